"""Max unpooling, the inverse of pooling."""

from __future__ import annotations

from collections.abc import Sequence

from unpool.annotations import Array, ArrayT
from unpool.arguments import DataFormat, IndexFormatWord, Padding, window
from unpool.calls import scatter
from unpool.plan import Validate
from unpool.protocol import Duplicates


def max_unpool1d(
    input: ArrayT,
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Put each value of a pooled row back: `max_unpool2d` for arrays (N, C, L) or (C, L).

    Parameters
    ----------
    input
        Pooled array of shape (N, C, L) or (C, L), or with the channels last; any dtype.
    indices
        Positions in the output row, shape of ``input``.  Taps, with ``index_format="window"``.
    kernel_size, stride, padding, dilation
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
    output_size
        Shape of the array that was pooled: 1 spatial entry, or all of them.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCW"`` or ``"NWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"window"``, as in the pooling call.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
    out
        Array to write into and return.
    validate
        True reports an index outside its row, ``"windows"`` also one outside its own window.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, L_out).

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailableError
        As `max_unpool2d` does.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool1d(np.array([[5, 4]]), np.array([[1, 3]]), 2).tolist()
    [[0, 5, 0, 4]]
    """
    checked = window(1, kernel_size, stride, padding, dilation, optional=True)
    return scatter(input, indices, checked, output_size, data_format, index_format, duplicates, out, validate, backend)


def max_unpool2d(
    input: ArrayT,
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Put each value back where pooling took it from; everything else is zero.

    The output is zero; then, for i in row-major order,

        output[n, c].flat[indices[n, c, i]] = input[n, c, i]

    so the last of several values for one cell wins, at any number of threads and on every device.
    ``duplicates="sum"`` adds them up instead, ``"error"`` refuses them.

    Parameters
    ----------
    input
        Pooled array of shape (N, C, H, W) or (C, H, W), or with the channels last.  Its dtype may be any, since values
        are moved and not computed with.
    indices
        Flat positions ``h * W_out + w`` in the output plane, shape of ``input``; int64, int32, or widened to int64.
        With ``index_format="window"`` taps of any integer dtype.
    kernel_size, stride, padding, dilation
        The arguments of the pooling call.  ``kernel_size=None`` stands for no window, for indices of adaptive, global
        and fractional pooling.  ``output_size`` is then required, and may be any size.
    output_size
        Shape of the array that was pooled: 2 spatial entries, or all of them.  The default is
        ``(H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1``.  Arrays of several sizes pool to the same
        size, so ``output_size`` may differ from the default by less than a stride.  With ``padding="same"`` the default
        is ``H * stride``, and a size may be smaller by less than a stride.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCHW"`` or ``"NHWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"window"``, as in the pooling call.  A tap cannot leave its window, so no size shears the
        picture.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``.
    out
        Array to write into and return.
    validate
        True reports an index outside its plane.  ``"windows"`` also reports an index outside its own window, as a wrong
        ``output_size`` causes.  With True, a wrong size shears the picture silently if all indices are in range.  For
        taps, ``"windows"`` needs ``output_size`` where ``padding="same"`` depends on it.  False lets CUDA drop a bad
        index, since a report would wait for the device; the CPU always reports it.  Nothing is ever written out of
        range.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, H_out, W_out).  A NumPy array beside one of JAX or
    TensorFlow is a constant there, and the result is of their kind.

    Raises
    ------
    IndexError
        If an index is negative or past its plane, or outside its own window where ``validate="windows"``; if a tap does
        not exist, or lies in the padding.  The message names the first one in row-major order.
    TypeError
        If an argument is not an array, or ``indices`` are not integers, or are uint8 or uint16 without
        ``index_format="window"``; if arrays of different libraries are mixed, except NumPy with JAX or TensorFlow.
    ValueError
        If shapes do not fit, ``output_size`` cannot pool to the input's size, or an index repeats where
        ``duplicates="error"``.
    BackendUnavailableError
        If the array's backend is not installed.

    Warns
    -----
    DefaultSizeWarning
        If JAX traces the call with symbolic sizes and without ``output_size``, and several sizes fit.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool2d(np.array([[[5]]]), np.array([[[1]]]), 2).tolist()
    [[[0, 5], [0, 0]]]
    >>> taps = np.array([[[1, 2]]], "uint8")
    >>> max_unpool2d(np.array([[[5, 6]]]), taps, 2, index_format="window").tolist()
    [[[0, 5, 0, 0], [0, 0, 6, 0]]]

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014); the call is that of
    ``torch.nn.MaxUnpool2d``.
    """
    checked = window(2, kernel_size, stride, padding, dilation, optional=True)
    return scatter(input, indices, checked, output_size, data_format, index_format, duplicates, out, validate, backend)


def max_unpool3d(
    input: ArrayT,
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Put each value of a pooled volume back: `max_unpool2d` for arrays (N, C, D, H, W) or (C, D, H, W).

    Parameters
    ----------
    input
        Pooled array of shape (N, C, D, H, W) or (C, D, H, W), or with the channels last; any dtype.
    indices
        Flat positions ``(d * H_out + h) * W_out + w`` in the output, shape of ``input``.  Taps, with
        ``index_format="window"``.
    kernel_size, stride, padding, dilation
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
    output_size
        Shape of the array that was pooled: 3 spatial entries, or all of them.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCDHW"`` or ``"NDHWC"``.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    index_format
        ``"plane"`` or ``"window"``, as in the pooling call.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
    out
        Array to write into and return.
    validate
        True reports an index outside its volume, ``"windows"`` also one outside its own window.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, D_out, H_out, W_out).

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailableError
        As `max_unpool2d` does.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool3d(np.array([[[[7]]]]), np.array([[[[6]]]]), 2).tolist()
    [[[[0, 0], [0, 0]], [[0, 0], [7, 0]]]]
    """
    checked = window(3, kernel_size, stride, padding, dilation, optional=True)
    return scatter(input, indices, checked, output_size, data_format, index_format, duplicates, out, validate, backend)
