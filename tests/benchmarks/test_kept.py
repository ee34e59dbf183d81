"""`benchmarks/kept.py` counts what autograd keeps of a SegNet."""

import pytest
from needs import require, require_backend
from tree import load

require("torch", "autograd keeps its tensors")
require_backend("torch")

benchmark = load("kept")

SIZE = 32, 32
PLANES = sum(channels * (32 >> level) ** 2 for level, (channels, _) in enumerate(benchmark.LEVELS))


@pytest.mark.parametrize("dtype", benchmark.DTYPES)
def test_taps_save_seven_bytes_a_window(dtype):
    one = benchmark.kept("SegNet", dtype, "torch.nn", SIZE)
    assert benchmark.kept("SegNet", dtype, "plane", SIZE) == one
    assert one - benchmark.kept("SegNet", dtype, "window", SIZE) == 7 * PLANES // 4


@pytest.mark.parametrize("dtype", benchmark.DTYPES)
def test_pooling_alone_keeps_taps_in_both_formats(dtype):
    one = benchmark.kept("encoder", dtype, "torch.nn", SIZE)
    for peer in ("plane", "window"):
        assert one - benchmark.kept("encoder", dtype, peer, SIZE) == 7 * PLANES // 4
