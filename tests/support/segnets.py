"""A SegNet of the layers of `unpool`, in PyTorch and in Keras, whose sums are exact.

All weights and pictures are small integers, and the scales are 1 or a half.  So each runtime must return the same bits,
whatever its order of sums.  Ties are many.  Both models have the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

CLASSES = 4
# The channels of each convolution: a pooling follows those of the way down, an unpooling precedes those of the way up.
DOWN, UP = (3, 4, 6, 8), (8, 6, 4, 4)
EPSILON = 2.0**-10


class Weights(NamedTuple):
    """A convolution without bias and a batch norm."""

    kernel: np.ndarray  # (out, in, 3, 3)
    scale: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    variance: np.ndarray  # one, less the epsilon that batch norm adds


def weights() -> Iterator[Weights]:
    """Yield the weights of each block."""
    random = np.random.default_rng(0)
    for before, after in [*pairwise(DOWN), *pairwise(UP)]:
        kernel = np.zeros((after, before * 9), "float32")
        for row in kernel:
            row[random.choice(row.size, 4, replace=False)] = random.choice([-1, 1, 1], 4)
        scale, shift, mean = random.choice([0.5, 1], after), random.integers(0, 3, after), random.integers(-2, 3, after)
        variance = np.full(after, 1 - EPSILON)
        rest = [np.asarray(array, "float32") for array in (scale, shift, mean, variance)]
        yield Weights(kernel.reshape(after, before, 3, 3), *rest)


def last() -> np.ndarray:
    return np.random.default_rng(1).integers(-1, 2, (CLASSES, UP[-1], 3, 3)).astype("float32")


def picture(*size: int) -> np.ndarray:
    """Return one picture, channels last, of integers."""
    return np.random.default_rng(2).integers(-8, 9, (1, *size, 3)).astype("float32")


def in_torch(layers: Any, ceil_mode: bool = False, **index: Any) -> Any:
    """Return the model with the pooling layers of a module: `unpool.torch` or `torch.nn`."""
    import torch

    def block(given: Weights) -> Any:
        after, before = given.kernel.shape[:2]
        convolution = torch.nn.Conv2d(before, after, 3, padding=1, bias=False)
        norm = torch.nn.BatchNorm2d(after, eps=EPSILON)
        targets = convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var
        for target, array in zip(targets, given, strict=True):
            target.data.copy_(torch.from_numpy(array))
        return torch.nn.Sequential(convolution, norm, torch.nn.ReLU())

    class SegNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            blocks = [block(given) for given in weights()]
            self.down, self.up = torch.nn.ModuleList(blocks[:3]), torch.nn.ModuleList(blocks[3:])
            self.pool = layers.MaxPool2d(2, ceil_mode=ceil_mode, return_indices=True, **index)
            self.unpool = layers.MaxUnpool2d(2, **index)
            self.last = torch.nn.Conv2d(UP[-1], CLASSES, 3, padding=1, bias=False)
            self.last.weight.data.copy_(torch.from_numpy(last()))

        def forward(self, x: Any) -> Any:
            kept = []
            for down in self.down:
                x = down(x)
                kept.append(x.shape)
                x, indices = self.pool(x)
                kept.append(indices)
            for up in self.up:
                indices, size = kept.pop(), kept.pop()
                x = up(self.unpool(x, indices, output_size=size))
            return self.last(x)

    return SegNet().eval()


def in_keras(size: tuple[int, ...], padding: str = "same", batch: int | None = None, **index: Any) -> Any:
    import keras

    from unpool.keras import MaxPooling2DWithIndices, MaxUnpooling2D

    index = {"padding": padding, "data_format": "channels_last", **index}
    options = {"padding": "same", "use_bias": False, "data_format": "channels_last"}

    def block(x: Any, given: Weights) -> Any:
        convolution = keras.layers.Conv2D(given.kernel.shape[0], 3, **options)
        norm = keras.layers.BatchNormalization(epsilon=EPSILON)
        x = keras.layers.ReLU()(norm(convolution(x)))
        convolution.set_weights([given.kernel.transpose(2, 3, 1, 0)])
        norm.set_weights(given[1:])
        return x

    blocks, kept = list(weights()), []
    x = image = keras.Input((*size, 3), batch_size=batch)
    for given in blocks[:3]:
        features = block(x, given)
        x, indices = MaxPooling2DWithIndices(2, **index)(features)
        kept.append((indices, features))
    for given, (indices, features) in zip(blocks[3:], reversed(kept), strict=True):
        x = block(MaxUnpooling2D(2, **index)(x, indices, like=features), given)
    final = keras.layers.Conv2D(CLASSES, 3, **options)
    model = keras.Model(image, final(x))
    final.set_weights([last().transpose(2, 3, 1, 0)])
    return model
