"""Replacements for the max pooling and unpooling layers of `torch.nn`: the same names, arguments and indices.

They add dilation, `output_size` for samples without a batch, both data formats, indices of one byte, a rule for
repeated indices, errors that name the bad index, and gradients that are right in all of these cases.

>>> import torch, unpool.torch
>>> pool, unpool2d = unpool.torch.MaxPool2d(2, return_indices=True), unpool.torch.MaxUnpool2d(2)
>>> values, indices = pool(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]))
>>> unpool2d(values, indices).tolist()
[[[0.0, 5.0], [0.0, 0.0]]]

Adaptive and fractional pooling compute as in PyTorch, with gradients that are the same in every run.  `replace_layers`
changes the layers of a whole model, so that it trains under ``torch.use_deterministic_algorithms(True)``.

`torch.compile`, `torch.export` and `torch.fx` can trace a model with these layers; TorchScript cannot.  The export to
ONNX needs ``custom_translation_table=onnx_translations()``, and that to other tools `decompositions`.
"""

import typing as _typing

import unpool as _unpool
from unpool.torch.exporting import decompositions, onnx_translations
from unpool.torch.indexed import (
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    FractionalMaxPool2d,
    FractionalMaxPool3d,
)
from unpool.torch.layers import MaxPool1d, MaxPool2d, MaxPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d
from unpool.torch.replacing import replace_layers

__all__ = [
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "decompositions",
    "onnx_translations",
    "replace_layers",
]

if not _typing.TYPE_CHECKING:  # type checkers would take any attribute for one of this module

    def __getattr__(name: str) -> object:
        """Say where the functions are, which take tensors as well."""
        raise _no_attribute(name)


# --- messages ---------------------------------------------------------------------------------------------------------


def _no_attribute(name: str) -> AttributeError:
    advice = f": functions are in unpool, call unpool.{name}" if name in _unpool.__all__ else ""
    return AttributeError(f"module 'unpool.torch' has no attribute {name!r}{advice}")
