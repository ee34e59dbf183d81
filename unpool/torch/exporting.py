"""The tables with which exporters convert the operators of `unpool`."""

from __future__ import annotations

from typing import Any, Literal, get_args

Form = Literal["max_unpool", "portable"]


def onnx_translations(*, form: Form = "max_unpool") -> dict[Any, Any]:
    """Return the translation table with which ONNX export converts these layers and `unpool`'s functions.

    ::

        torch.onnx.export(model, (x,), dynamo=True, custom_translation_table=unpool.torch.onnx_translations())

    Pooling becomes ``MaxPool``.  Unpooling becomes ``MaxUnpool``, or ``ScatterElements`` where values add up, are not
    floats, or have no window.  `take_along_plane` becomes ``GatherElements``.  ONNX has no rule for NaN in a window,
    and does not refuse repeated indices.  A bad index is not checked: it may be written into another channel, or raise
    an error of the runtime.  Gradients are not exported.

    ``form="portable"`` is for runtimes without ``MaxUnpool`` and the indices of ``MaxPool``, such as OpenVINO.  It
    needs only ``MaxPool``, ``Slice``, ``Less``, ``Equal``, ``Where``, ``Concat``, ``Transpose``, ``Reshape`` and
    ``Pad``, and indices of 32 bits.  The windows must lie apart: 1-D or 2-D, no dilation, ``kernel_size <= stride``, no
    padding before the plane.  All sizes but the batch's must be known.  An index outside of its own window is dropped.

    Raises
    ------
    ModuleNotFoundError
        If onnxscript is not installed; the exporter itself needs it, too.
    ValueError
        If ``form`` is neither word.  The export raises one, as the cause of its error, for a call that the portable
        form does not serve.
    """
    if form not in get_args(Form):
        raise _unknown_form(form)
    from unpool_backends.torch import onnx, onnx_portable

    return onnx.translations() if form == "max_unpool" else onnx_portable.translations()


def decompositions() -> dict[Any, Any]:
    """Return the table that replaces the operators of `unpool` in an exported program by PyTorch's own.

    ::

        program = torch.export.export(model, (x,)).run_decompositions(unpool.torch.decompositions())

    Tools that start from `torch.export` then need no rule for these operators: OpenVINO's ``convert_model``, for
    example.  The program returns the same bits, except that a NaN goes to the first tap of its window.  Pooling with
    indices and unpooling are decomposed for the windows and sizes of ``onnx_translations(form="portable")``; pooling
    without indices for all.  Gradients in the graph of a loss are decomposed, too.

    Raises
    ------
    ValueError
        By ``run_decompositions``, for a call that the portable form does not serve.
    """
    from unpool_backends.torch import decompositions

    return decompositions.table()


# --- messages ---------------------------------------------------------------------------------------------------------


def _unknown_form(form: object) -> ValueError:
    return ValueError(f"`form` must be 'max_unpool' or 'portable', got {form!r}: pass one of them, or leave it out")
