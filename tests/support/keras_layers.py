"""Make the layers of `unpool.keras` and their inputs, for the tests of results and of errors."""

import numpy as np

import unpool.keras
from unpool.keras import addons


def pooling(rank, *args, **named):
    return getattr(unpool.keras, f"MaxPooling{rank}DWithIndices")(*args, **named)


def unpooling(rank, *args, **named):
    return getattr(unpool.keras, f"MaxUnpooling{rank}D")(*args, **named)


def updates_and_mask(shape, plane, seed=0):
    """Whole numbers, whose sums are exact, and a mask of any places, so that some repeat."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, plane[0] * plane[1], shape) * shape[-1] + np.arange(shape[-1])
    return rng.integers(-99, 99, shape).astype("float32"), mask


def both_addons(window, padding, plane):
    """The two layers that restore a plane."""
    return addons.MaxUnpooling2D(*window, padding), addons.MaxUnpooling2DV2((None, *plane, None))
