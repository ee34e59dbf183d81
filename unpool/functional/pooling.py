"""Max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unpool.annotations import ArrayT, overloaded
from unpool.arguments import DataFormat, IndexFormatWord, Padding, window
from unpool.calls import pool


@overloaded
def max_pool1d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a row: `max_pool2d` for arrays (N, C, L) or (C, L).

    Parameters
    ----------
    input
        Array of shape (N, C, L) or (C, L), or with the channels last; any real dtype.
    kernel_size, stride, padding, dilation
        One integer, or a sequence of one, in cells.  ``stride=None`` is the kernel size.  ``padding`` is also a pair in
        a sequence, ``((before, after),)``, or ``"valid"`` (0), ``"same"`` or ``"same_lower"``, as in `max_pool2d`.
    ceil_mode
        Round the number of windows up instead of down.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCW"`` or ``"NWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"pytorch"`` for positions in the row.  ``"window"`` for taps of each window, in one byte up to
        256 cells.
    index_dtype
        Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
    out
        Array to write into, or a pair ``(values, indices)`` where indices are returned.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, L_out), or a pair of them.

    Raises
    ------
    TypeError, ValueError, BackendUnavailableError
        As `max_pool2d` does.

    Examples
    --------
    >>> import numpy as np
    >>> values, indices = max_pool1d(np.array([[1, 5, 3, 4]]), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[5, 4]], [[1, 3]])
    """
    checked = window(1, kernel_size, stride, padding, dilation)
    return pool(input, checked, ceil_mode, return_indices, data_format, index_format, index_dtype, out, backend)


@overloaded
def max_pool2d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a plane, and its index.

    With windows ``w(i)`` of cells,

        values[n, c, i] = max(input[n, c, w(i)]),    input[n, c].flat[indices[n, c, i]] = values[n, c, i]

    An index is the flat position ``h * W + w`` in the plane of its own sample and channel, in both data formats.
    Padding cells have no position, and are never a maximum.  Of equal maxima the first is taken.  A window that holds
    NaN pools to its last NaN.  With ``index_format="window"``, an index is the number of a tap of its own window
    instead.

    Parameters
    ----------
    input
        Array of shape (N, C, H, W) or (C, H, W), or with the channels last; any real dtype.
    kernel_size, stride, padding, dilation
        One integer or two of them, in cells.  ``stride=None`` is the kernel size.  ``padding`` is at most half of the
        kernel size.  It may also have a pair ``(before, after)`` for each axis, of at most
        ``dilation * (kernel_size - 1)`` cells.  ``"valid"`` is 0.  ``"same"`` pads as much as ``ceil(H / stride)``
        windows need, with the smaller half before the plane, as in TensorFlow, Keras and JAX.  ``"same_lower"`` pads
        the larger half before the plane, as in ONNX.  ``"VALID"`` and ``"SAME"`` are accepted, too.
    ceil_mode
        Round the number of windows up instead of down; ``"same"`` always does.  No window starts past the input.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCHW"`` or ``"NHWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"pytorch"`` for flat positions.  ``"window"`` for taps, ``kh * kernel_size[1] + kw``, where
        padding cells count, too.  A tap is one byte in windows of up to 256 cells, and does not depend on the plane's
        size.
    index_dtype
        None stands for int64 positions, and for the smallest of uint8, uint16, int32 and int64 that holds every tap.
        ``"int32"`` positions save memory and time for planes of up to 2**31 cells.
    out
        Array to write into, or a pair ``(values, indices)`` where indices are returned.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, H_out, W_out), or a pair of them, with
    ``H_out = floor((H + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1``, or ``ceil(H / stride)`` for
    ``padding="same"``.  A pair counts ``before + after`` instead of ``2 * padding``.

    Raises
    ------
    TypeError
        If ``input`` is not an array, its library or dtype is not supported, or an argument is not an integer.
    ValueError
        If a size is out of its range, the input is smaller than a window, or ``out`` does not fit.
    BackendUnavailableError
        If the array's backend is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> values, indices = max_pool2d(np.array([[[1, 5], [3, 2]]]), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[[5]]], [[[1]]])
    >>> x = np.arange(16).reshape(1, 4, 4)
    >>> _, taps = max_pool2d(x, 2, return_indices=True, index_format="window")
    >>> taps.tolist(), taps.dtype.name
    ([[[3, 3], [3, 3]]], 'uint8')

    Source: the semantics of ``torch.nn.functional.max_pool2d``.
    """
    checked = window(2, kernel_size, stride, padding, dilation)
    return pool(input, checked, ceil_mode, return_indices, data_format, index_format, index_dtype, out, backend)


@overloaded
def max_pool3d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a volume: `max_pool2d` for arrays (N, C, D, H, W) or (C, D, H, W).

    An index is ``(d * H + h) * W + w``.

    Parameters
    ----------
    input
        Array of shape (N, C, D, H, W) or (C, D, H, W), or with the channels last; any real dtype.
    kernel_size, stride, padding, dilation
        One integer or three of them, in cells.  ``stride=None`` is the kernel size.  ``padding`` is also three pairs
        ``(before, after)``, or ``"valid"`` (0), ``"same"`` or ``"same_lower"``, as in `max_pool2d`.
    ceil_mode
        Round the number of windows up instead of down.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCDHW"`` or ``"NDHWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"pytorch"`` for flat positions.  ``"window"`` for taps of each window, in one byte up to
        256 cells.
    index_dtype
        Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
    out
        Array to write into, or a pair ``(values, indices)`` where indices are returned.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, D_out, H_out, W_out), or a pair of them.

    Raises
    ------
    TypeError, ValueError, BackendUnavailableError
        As `max_pool2d` does.

    Examples
    --------
    >>> import numpy as np
    >>> values, indices = max_pool3d(np.arange(8).reshape(1, 2, 2, 2), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[[[7]]]], [[[[7]]]])
    """
    checked = window(3, kernel_size, stride, padding, dilation)
    return pool(input, checked, ceil_mode, return_indices, data_format, index_format, index_dtype, out, backend)
