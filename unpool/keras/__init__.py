"""Keras layers for max pooling with indices and its inverse, on every Keras backend.

>>> import numpy as np, unpool.keras
>>> pool, unpool2d = unpool.keras.MaxPooling2DWithIndices(2), unpool.keras.MaxUnpooling2D(2)
>>> values, indices = pool(np.array([[[[1.0], [5.0]], [[3.0], [2.0]]]]))
>>> np.asarray(unpool2d(values, indices))[..., 0].tolist()
[[[0.0, 5.0], [0.0, 0.0]]]

The layers are thin: shapes, configuration and words are here; what computes is `unpool`'s functions, which look at
nothing but the type of the arrays.  So a saved model opens on every Keras backend; Keras finds the layers in it once
this module is imported.  Those of TensorFlow Addons are in `unpool.keras.addons`.
"""

from __future__ import annotations

from unpool.keras.pooling import MaxPooling1DWithIndices, MaxPooling2DWithIndices, MaxPooling3DWithIndices
from unpool.keras.unpooling import MaxUnpooling1D, MaxUnpooling2D, MaxUnpooling3D

__all__ = [
    "MaxPooling1DWithIndices",
    "MaxPooling2DWithIndices",
    "MaxPooling3DWithIndices",
    "MaxUnpooling1D",
    "MaxUnpooling2D",
    "MaxUnpooling3D",
]
