"""Keras layers for max pooling with indices and its inverse, on every Keras backend.

>>> import numpy as np, unpool.keras
>>> pool, unpool2d = unpool.keras.MaxPooling2DWithIndices(2), unpool.keras.MaxUnpooling2D(2)
>>> values, indices = pool(np.array([[[[1.0], [5.0]], [[3.0], [2.0]]]]))
>>> np.asarray(unpool2d(values, indices))[..., 0].tolist()
[[[0.0, 5.0], [0.0, 0.0]]]

The layers hold shapes, configuration and messages; `unpool`'s functions compute, on the arrays of every Keras backend.
So a saved model loads on every Keras backend, once this module is imported.  Replacements for the layers of TensorFlow
Addons are in `unpool.keras.addons`.
"""

from __future__ import annotations

from unpool.keras import messages

try:
    from unpool.keras import addons as addons
    from unpool.keras.pooling import MaxPooling1DWithIndices, MaxPooling2DWithIndices, MaxPooling3DWithIndices
    from unpool.keras.unpooling import MaxUnpooling1D, MaxUnpooling2D, MaxUnpooling3D
except ModuleNotFoundError as error:  # Keras imports its backend
    if error.name not in messages.KERAS_BACKENDS:
        raise
    raise messages.missing_keras_backend(error.name) from error

__all__ = [
    "MaxPooling1DWithIndices",
    "MaxPooling2DWithIndices",
    "MaxPooling3DWithIndices",
    "MaxUnpooling1D",
    "MaxUnpooling2D",
    "MaxUnpooling3D",
]
