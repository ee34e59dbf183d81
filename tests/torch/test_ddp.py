"""Two processes of `DistributedDataParallel` get the gradients of one process, with the same bits.

The sums of this SegNet are exact, so their order does not matter.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from needs import require, require_backend
from processes import python

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from segnets import CLASSES, in_torch  # noqa: E402

import unpool.torch  # noqa: E402

PROCESS = """
import sys
from datetime import timedelta
import torch
import unpool.torch
from segnets import in_torch

folder, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=100)
)
model = torch.nn.parallel.DistributedDataParallel(in_torch(unpool.torch))
x, factors = (part[rank::2] for part in torch.load(f"{folder}/data.pt"))
for deterministic in (False, True):
    torch.use_deterministic_algorithms(deterministic)
    model.zero_grad()
    (model(x) * factors).sum().backward()
    torch.save([weight.grad for weight in model.parameters()], f"{folder}/{rank}-{deterministic}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_gradients_of_two_processes(tmp_path):
    integers = torch.Generator().manual_seed(0)
    data = [torch.randint(-8, 9, (4, channels, 13, 9), generator=integers).float() for channels in (3, CLASSES)]
    torch.save(data, tmp_path / "data.pt")
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda rank: python("-c", PROCESS, str(tmp_path), rank), "01"))
    assert not any(result.returncode for result in results), "".join(result.stderr for result in results)

    model = in_torch(unpool.torch)
    x, factors = data
    (model(x) * factors).sum().div(2).backward()  # DistributedDataParallel averages the processes
    for name in ("0-False", "0-True", "1-False", "1-True"):
        for weight, gradient in zip(model.parameters(), torch.load(tmp_path / f"{name}.pt"), strict=True):
            assert gradient.any()
            assert torch.equal(gradient, weight.grad)
