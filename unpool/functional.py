"""The public functions: twelve signatures and their documentation; `calls` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from unpool.arguments import DataFormat, IndexFormatWord, Padding, window
from unpool.calls import POOLING_GRADIENT, gather, pool, scatter
from unpool.plan import Validate
from unpool.protocol import Duplicates

ArrayT = TypeVar("ArrayT")


# --- pooling ----------------------------------------------------------------------------------------------------------


def max_pool1d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a row: `max_pool2d` for arrays (N, C, L) or (C, L).

    >>> import numpy as np
    >>> values, indices = max_pool1d(np.array([[1, 5, 3, 4]]), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[5, 4]], [[1, 3]])
    """
    checked = window(1, kernel_size, stride, padding, dilation)
    return pool(input, checked, ceil_mode, return_indices, data_format, index_format, index_dtype, out, backend)


def max_pool2d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a plane, and its index.

    With windows ``w(i)`` of cells,

        values[n, c, i] = max(input[n, c, w(i)]),    input[n, c].flat[indices[n, c, i]] = values[n, c, i]

    An index is the flat position ``h * W + w`` in the plane of its own sample and channel, in both data formats.
    Padding is not counted, and never picked.  Of equal maxima the first is taken.  A window that holds NaN pools to its
    last NaN.  With ``index_format="window"`` an index is the number of a tap of its own window instead.

    Parameters
    ----------
    input
        Array of shape (N, C, H, W) or (C, H, W), or with the channels last; any real dtype.
    kernel_size, stride, padding, dilation
        One integer or a pair, in cells.  ``stride=None`` is the kernel size.  ``padding`` is at most half of the kernel
        size, ``"valid"`` (0) or ``"same"``; capitals serve, too.  ``"same"`` pads as much as ``ceil(H / stride)``
        windows need, the smaller half before the plane, as in TensorFlow, Keras and JAX.
    ceil_mode
        Round the number of windows up instead of down; ``"same"`` always does.  No window starts past the input.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCHW"`` or ``"NHWC"``.
    index_format
        ``"plane"`` or ``"pytorch"`` for flat positions.  ``"window"`` for taps, ``kh * kernel_size[1] + kw``, those in
        the padding included.  A tap is one byte in windows of up to 256 cells, and does not depend on the plane's size.
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
    ``padding="same"``.

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


def max_pool3d(
    input: ArrayT,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    index_dtype: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Take the maximum of each window of a volume: `max_pool2d` for arrays (N, C, D, H, W) or (C, D, H, W).

    An index is ``(d * H + h) * W + w``.

    >>> import numpy as np
    >>> values, indices = max_pool3d(np.arange(8).reshape(1, 2, 2, 2), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[[[7]]]], [[[[7]]]])
    """
    checked = window(3, kernel_size, stride, padding, dilation)
    return pool(input, checked, ceil_mode, return_indices, data_format, index_format, index_dtype, out, backend)


# --- unpooling --------------------------------------------------------------------------------------------------------


def max_unpool1d(
    input: ArrayT,
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Put each value of a pooled row back: `max_unpool2d` for arrays (N, C, L) or (C, L).

    >>> import numpy as np
    >>> max_unpool1d(np.array([[5, 4]]), np.array([[1, 3]]), 2).tolist()
    [[0, 5, 0, 4]]
    """
    checked = window(1, kernel_size, stride, padding, dilation, optional=True)
    return scatter(input, indices, checked, output_size, data_format, index_format, duplicates, out, validate, backend)


def max_unpool2d(
    input: ArrayT,
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
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
        The arguments of the pooling call: one integer or a pair, in cells.
    output_size
        Shape of the array that was pooled: 2 spatial entries, or all of them.  The default is
        ``(H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1``.  Several sizes pool to one, so a size may
        differ from it by less than a stride.  With ``padding="same"`` the default is ``H * stride``, and a size may be
        smaller by less than a stride.
    data_format
        ``"channels_first"`` or ``"channels_last"``, or TensorFlow's words: ``"NCHW"`` or ``"NHWC"``.
    index_format
        ``"plane"`` or ``"window"``, as in the pooling call.  A tap cannot leave its window, so no size shears the
        picture.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``.
    out
        Array to write into and return.
    validate
        True reports an index outside its plane.  ``"windows"`` also reports an index outside its own window, which a
        wrong ``output_size`` makes.  Without it, such a size shears the picture silently if all indices are in range.
        For taps it needs ``output_size`` where ``padding="same"`` depends on it.
        False lets CUDA, where a report waits for the device, drop a bad index instead; the CPU always reports it.
        Nothing is ever written out of range.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and shape (N, C, H_out, W_out).

    Raises
    ------
    IndexError
        If an index is negative or past its plane, or outside its own window where ``validate="windows"``; if a tap does
        not exist, or lies in the padding.  The message names the first one in row-major order.
    TypeError
        If an argument is not an array, the two are of different libraries, or ``indices`` are not integers, or are
        uint8 or uint16 without ``index_format="window"``.
    ValueError
        If shapes do not fit, ``output_size`` cannot pool to the input's size, or an index repeats where
        ``duplicates="error"``.
    BackendUnavailableError
        If the array's backend is not installed.

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
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Put each value of a pooled volume back: `max_unpool2d` for arrays (N, C, D, H, W) or (C, D, H, W).

    >>> import numpy as np
    >>> max_unpool3d(np.array([[[[7]]]]), np.array([[[[6]]]]), 2).tolist()
    [[[[0, 0], [0, 0]], [[0, 0], [7, 0]]]]
    """
    checked = window(3, kernel_size, stride, padding, dilation, optional=True)
    return scatter(input, indices, checked, output_size, data_format, index_format, duplicates, out, validate, backend)


# --- gradient of pooling ----------------------------------------------------------------------------------------------


def max_pool1d_backward(
    grad_output: ArrayT,
    indices: Any,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_pool1d`: `max_pool2d_backward` for arrays (N, C, L) or (C, L).

    >>> import numpy as np
    >>> max_pool1d_backward(np.array([[3.0, 1.0]]), np.array([[1, 1]]), (3,), 2, 1).tolist()
    [[0.0, 4.0, 0.0]]
    """
    checked = window(1, kernel_size, stride, padding, dilation, optional=True)
    return scatter(
        grad_output,
        indices,
        checked,
        input_size,
        data_format,
        index_format,
        "sum",
        out,
        validate,
        backend,
        POOLING_GRADIENT,
    )


def max_pool2d_backward(
    grad_output: ArrayT,
    indices: Any,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_pool2d`: add the gradient of each window to the cell that the window picked.

        grad_input[n, c, p] = sum of grad_output[n, c, i] over the i with indices[n, c, i] == p

    This is ``max_unpool2d(..., duplicates="sum")``.

    Parameters
    ----------
    grad_output
        Gradient of the pooled values, (N, C, H, W) or (C, H, W), or with the channels last; any real dtype.
    indices
        The indices that `max_pool2d` returned, of the same shape.
    input_size
        Shape of the array that was pooled: 2 spatial entries, or all of them.
    kernel_size, stride, padding, dilation, data_format, index_format
        The arguments of the pooling call.
    out, validate, backend
        As in `max_unpool2d`.

    Returns
    -------
    Array of the kind, device and dtype of ``grad_output`` and the shape of the array that was pooled.

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailableError
        As `max_unpool2d` does; complex gradients are a TypeError.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d_backward(np.array([[[3.0]]]), np.array([[[1]]]), (2, 2), 2).tolist()
    [[[0.0, 3.0], [0.0, 0.0]]]
    """
    checked = window(2, kernel_size, stride, padding, dilation, optional=True)
    return scatter(
        grad_output,
        indices,
        checked,
        input_size,
        data_format,
        index_format,
        "sum",
        out,
        validate,
        backend,
        POOLING_GRADIENT,
    )


def max_pool3d_backward(
    grad_output: ArrayT,
    indices: Any,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_pool3d`: `max_pool2d_backward` for arrays (N, C, D, H, W) or (C, D, H, W).

    >>> import numpy as np
    >>> max_pool3d_backward(np.array([[[[3.0]]]]), np.array([[[[6]]]]), (2, 2, 2), 2).tolist()
    [[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 0.0]]]]
    """
    checked = window(3, kernel_size, stride, padding, dilation, optional=True)
    return scatter(
        grad_output,
        indices,
        checked,
        input_size,
        data_format,
        index_format,
        "sum",
        out,
        validate,
        backend,
        POOLING_GRADIENT,
    )


# --- gradient of unpooling --------------------------------------------------------------------------------------------


def max_unpool1d_backward(
    grad_output: ArrayT,
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_unpool1d`: `max_unpool2d_backward` for arrays (N, C, L) or (C, L).

    The first of two values for cell 1 was overwritten, so its gradient is zero:

    >>> import numpy as np
    >>> max_unpool1d_backward(np.array([[1.0, 2.0, 3.0]]), np.array([[1, 1]]), 2, 1).tolist()
    [[0.0, 2.0]]
    """
    checked = window(1, kernel_size, stride, padding, dilation, optional=True)
    return gather(grad_output, indices, checked, data_format, index_format, duplicates, out, validate, backend)


def max_unpool2d_backward(
    grad_output: ArrayT,
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_unpool2d` with respect to its input: for each value, the gradient of its cell.

        grad_input[n, c, i] = grad_output[n, c].flat[indices[n, c, i]]

    With ``duplicates="last"`` a value that a later one overwrote has a gradient of zero.  With ``"sum"`` every value
    has the gradient of its cell.

    Parameters
    ----------
    grad_output
        Gradient of the unpooled array, (N, C, H, W) or (C, H, W), or with the channels last; any dtype.
    indices
        The indices of the unpooling call.
    kernel_size, stride, padding, dilation, data_format, index_format, duplicates
        The arguments of the unpooling call.
    out, validate, backend
        As in `max_unpool2d`.

    Returns
    -------
    Array of the kind, device and dtype of ``grad_output`` and the shape of ``indices``.

    Raises
    ------
    IndexError, TypeError, ValueError, BackendUnavailableError
        As `max_unpool2d` does.

    Examples
    --------
    >>> import numpy as np
    >>> max_unpool2d_backward(np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[1]]]), 2).tolist()
    [[[2.0]]]
    """
    checked = window(2, kernel_size, stride, padding, dilation, optional=True)
    return gather(grad_output, indices, checked, data_format, index_format, duplicates, out, validate, backend)


def max_unpool3d_backward(
    grad_output: ArrayT,
    indices: Any,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat = "channels_first",
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_unpool3d`: `max_unpool2d_backward` for arrays (N, C, D, H, W) or (C, D, H, W).

    >>> import numpy as np
    >>> max_unpool3d_backward(np.arange(8.0).reshape(1, 2, 2, 2), np.array([[[[6]]]]), 2).tolist()
    [[[[6.0]]]]
    """
    checked = window(3, kernel_size, stride, padding, dilation, optional=True)
    return gather(grad_output, indices, checked, data_format, index_format, duplicates, out, validate, backend)
