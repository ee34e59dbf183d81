"""Layers of `unpool.keras` and inputs for them, for the tests of results and of errors."""

import numpy as np

import unpool.keras
from unpool.keras import addons


def pooling(rank, *args, **named):
    return getattr(unpool.keras, f"MaxPooling{rank}DWithIndices")(*args, **named)


def unpooling(rank, *args, **named):
    return getattr(unpool.keras, f"MaxUnpooling{rank}D")(*args, **named)


def updates_and_mask(shape, plane, seed=0):
    """Return integers, whose sums are exact, and a random mask with repeated indices."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, plane[0] * plane[1], shape) * shape[-1] + np.arange(shape[-1])
    return rng.integers(-99, 99, shape).astype("float32"), mask


def both_addons(window, padding, plane):
    """Return the two layers that unpool to a plane."""
    return addons.MaxUnpooling2D(*window, padding), addons.MaxUnpooling2DV2((None, *plane, None))
