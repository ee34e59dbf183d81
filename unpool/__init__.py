"""Max pooling with indices and its inverse, for every array framework.

Max pooling keeps the largest value of each window.  Unpooling puts each value back where it was; all other cells are 0.

>>> import numpy as np, unpool
>>> x = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
>>> pooled, indices = unpool.max_pool2d(x, 2, return_indices=True)
>>> unpool.max_unpool2d(pooled, indices, 2, output_size=x.shape)[0, 0].tolist()
[[0.0, 0.0, 0.0, 0.0], [0.0, 6.0, 0.0, 8.0], [0.0, 0.0, 0.0, 0.0], [0.0, 14.0, 0.0, 16.0]]

The same call takes arrays of NumPy, CuPy, TensorFlow, PyTorch, JAX and Dask, and returns one of the same kind, on the
same device.  Every part has a form for one, two and three dimensions:

    max_pool2d, max_unpool2d                        functions
    max_pool2d_backward, max_unpool2d_backward      their gradients, for programs without automatic differentiation
    MaxPool2d, MaxUnpool2d                          objects that keep the arguments for later calls
    unpool.torch, unpool.keras                      layers of PyTorch and Keras, imported on first use

Beside them:

    take_along_plane                                the values of another array at these indices
    convert_indices                                 indices of TensorFlow, ONNX or Chainer in unpool's form, and back
    available                                       which backends work here, and the reason of those that do not
    keep_memory, release_memory                     the memory of large results on the CPU
    DefaultSizeWarning                              where a program of JAX may take a wrong size in silence
    Backend, Plan, BackendUnavailableError          for backends of third parties
    unpool.testing                                  their tests: the contract as a suite for pytest
    DataFormatWarning                               where the channels may be last, and `data_format` is not named

`max_pool2d` and `max_unpool2d` document every argument.  ``python -m unpool info`` tells how unpool was built.
"""

import typing as _typing

from unpool import calls, registry, tracing
from unpool.conventions import convert_indices
from unpool.errors import BackendUnavailableError, DataFormatWarning, DefaultSizeWarning
from unpool.functional import (
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool3d,
    max_pool3d_backward,
    max_unpool1d,
    max_unpool1d_backward,
    max_unpool2d,
    max_unpool2d_backward,
    max_unpool3d,
    max_unpool3d_backward,
    take_along_plane,
)
from unpool.memory import keep_memory, release_memory
from unpool.modules import MaxPool1d, MaxPool2d, MaxPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d
from unpool.plan import Plan
from unpool.protocol import Backend
from unpool.registry import available

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendUnavailableError",
    "DataFormatWarning",
    "DefaultSizeWarning",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Plan",
    "__version__",
    "available",
    "convert_indices",
    "keep_memory",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
    "release_memory",
    "take_along_plane",
]

if not _typing.TYPE_CHECKING:  # type checkers would take any attribute for one of this module

    def __getattr__(name: str) -> object:
        """Import `unpool.torch` and `unpool.keras` when they are first used."""
        return registry.part(name)


# Autograph has nothing to rewrite in the public functions and objects, nor in `calls.scatter`, which the Keras layers
# call.  The mark of an object is an attribute of its class: autograph reads it from what a program calls.
for _public in (*map(globals().get, __all__), calls.scatter):
    if isinstance(_public, type):
        _public = _public.__base__ if _public.__name__.startswith("Max") else None
    if callable(_public):
        tracing.not_rewritten(_public)
del _public
