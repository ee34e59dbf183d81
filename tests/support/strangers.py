"""Arrays of libraries that need not be installed."""

import numpy as np

import unpool

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)


def stranger(module, like=X, **more):
    """Return an object with a shape and a dtype whose type claims to be defined in `module`."""
    return type("Tensor", (), {"__module__": module, "shape": like.shape, "dtype": like.dtype, **more})()
