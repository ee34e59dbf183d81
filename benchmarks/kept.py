"""Count the bytes that PyTorch keeps for the backward pass of a SegNet, with `torch.nn` and with `unpool.torch`.

    python benchmarks/kept.py [--size 360 480]

The SegNet has the encoder of VGG16 with batch norm, and its mirror image as the decoder, for 12 classes; one picture.
"encoder" is the encoder alone, whose poolings return no indices.  A tensor counts once, however often it is kept, and
weights do not count: `torch.autograd.graph.saved_tensors_hooks` tells of each.  Other memory is not counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from unpool.__main__ import as_program, positive

CLASSES = 12
# The channels and the number of convolutions of each level.
LEVELS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
DTYPES = ("float32", "bfloat16")
PARTS = ("SegNet", "encoder")
PEERS = ("torch.nn", "plane", "window")  # the last two are the index formats of `unpool.torch`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=positive, nargs=2, default=(360, 480), metavar=("ROWS", "COLS"))
    size = parser.parse_args().size
    print(f"MB kept for backward | {' | '.join(PEERS)}\n---|---|---|---")
    for part in PARTS:
        for dtype in DTYPES:
            counts = [kept(part, dtype, peer, size) / 1e6 for peer in PEERS]
            shares = [f"{count:.1f} ({count / counts[0] - 1:+.1%})" for count in counts]
            print(f"{part}, {dtype} | {' | '.join(shares)}", flush=True)


def kept(part: str, dtype: str, peer: str, size: tuple[int, int]) -> int:
    """Return the bytes that autograd keeps of one call."""
    import torch

    model = segnet(part, peer).to(getattr(torch, dtype))
    weights = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    storages: dict[int, Any] = {}  # alive, so that no address is used twice

    def keep(tensor: Any) -> Any:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    picture = torch.rand(1, 3, *size, dtype=getattr(torch, dtype))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(picture)
    return sum(storage.nbytes() for address, storage in storages.items() if address not in weights)


def segnet(part: str, peer: str) -> Any:
    import torch

    import unpool.torch

    layers: Any = torch.nn if peer == "torch.nn" else unpool.torch
    index = {} if peer == "torch.nn" else {"index_format": peer}

    def blocks(*channels: int) -> Iterator[Any]:
        for before, after in pairwise(channels):
            yield torch.nn.Conv2d(before, after, 3, padding=1)
            yield torch.nn.BatchNorm2d(after)
            yield torch.nn.ReLU(inplace=True)

    class SegNet(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = torch.nn.ModuleList(), torch.nn.ModuleList()
            before, first = 3, CLASSES
            for channels, count in LEVELS:
                inner = [channels] * (count - 1)
                self.down.append(torch.nn.Sequential(*blocks(before, *inner, channels)))
                self.up.insert(0, torch.nn.Sequential(*blocks(channels, *inner, first)))
                before = first = channels
            self.pool = layers.MaxPool2d(2, return_indices=part == "SegNet", **index)
            self.unpool = layers.MaxUnpool2d(2, **index)

        def forward(self, x: Any) -> Any:
            sizes_and_indices = []
            for down in self.down:
                features = down(x)
                x = self.pool(features)
                if part == "SegNet":
                    x, indices = x
                    sizes_and_indices.append((features.shape, indices))
            for up in self.up if part == "SegNet" else ():
                size, indices = sizes_and_indices.pop()
                x = up(self.unpool(x, indices, output_size=size))
            return x

    return SegNet()


if __name__ == "__main__":
    as_program(main)
