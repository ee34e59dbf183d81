"""Warn in an export to ONNX for which no translation table was made.

The exporter refuses the operators, and its error does not say what to pass. No public API of PyTorch adds a rule for an
operator.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch

# The exports that were warned of, by their fake modes: an export calls the kernels of fake tensors for each layer, and
# PyTorch resets Python's own record of the warnings that were shown.
_WARNED: weakref.WeakSet[Any] = weakref.WeakSet()


def warned(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel of fake tensors that warns once in each export without a table."""

    def call(*arguments: Any) -> Any:
        # The exporter imports onnxscript, and the tables are made by `onnx`.
        if "onnxscript" in sys.modules and f"{__package__}.onnx" not in sys.modules and torch.onnx.is_in_onnx_export():
            mode = arguments[0].fake_mode
            if mode not in _WARNED:
                _WARNED.add(mode)
                warnings.warn(_no_translations(), stacklevel=1)
        return kernel(*arguments)

    return call


# --- messages ---------------------------------------------------------------------------------------------------------


def _no_translations() -> UserWarning:
    return UserWarning(
        "`custom_translation_table` must have rules for the operators of unpool, got none from onnx_translations(): "
        "pass torch.onnx.export(..., dynamo=True, custom_translation_table=unpool.torch.onnx_translations()), or rules "
        "of your own"
    )
