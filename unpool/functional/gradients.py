"""The gradients of pooling and unpooling."""

from __future__ import annotations

from collections.abc import Sequence

from unpool.annotations import Array, ArrayT
from unpool.arguments import DataFormat, IndexFormatWord, Padding, window
from unpool.calls import POOLING_GRADIENT, gather, scatter
from unpool.plan import Validate
from unpool.protocol import Duplicates

# --- of pooling -------------------------------------------------------------------------------------------------------


def max_pool1d_backward(
    grad_output: ArrayT,
    indices: Array,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_pool1d`: `max_pool2d_backward` for arrays (N, C, L) or (C, L).

    Parameters
    ----------
    grad_output
        Gradient of the pooled values, (N, C, L) or (C, L), or with the channels last; any real dtype.
    indices
        The indices that `max_pool1d` returned, of the same shape.
    input_size
        Shape of the array that was pooled: 1 spatial entry, or all of them.
    kernel_size, stride, padding, dilation, data_format, index_format
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
    out, validate, backend
        As in `max_unpool1d`.

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
    indices: Array,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
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
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
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
    indices: Array,
    input_size: Sequence[int],
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_pool3d`: `max_pool2d_backward` for arrays (N, C, D, H, W) or (C, D, H, W).

    Parameters
    ----------
    grad_output
        Gradient of the pooled values, (N, C, D, H, W) or (C, D, H, W), or with the channels last; any real dtype.
    indices
        The indices that `max_pool3d` returned, of the same shape.
    input_size
        Shape of the array that was pooled: 3 spatial entries, or all of them.
    kernel_size, stride, padding, dilation, data_format, index_format
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
    out, validate, backend
        As in `max_unpool3d`.

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


# --- of unpooling -----------------------------------------------------------------------------------------------------


def max_unpool1d_backward(
    grad_output: ArrayT,
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_unpool1d`: `max_unpool2d_backward` for arrays (N, C, L) or (C, L).

    In the example, the first of two values for cell 1 was overwritten, so its gradient is zero.

    Parameters
    ----------
    grad_output
        Gradient of the unpooled array, (N, C, L) or (C, L), or with the channels last; any dtype.
    indices
        The indices of the unpooling call.
    kernel_size, stride, padding, dilation, data_format, index_format, duplicates
        The arguments of the unpooling call.
    out, validate, backend
        As in `max_unpool1d`.

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
    >>> max_unpool1d_backward(np.array([[1.0, 2.0, 3.0]]), np.array([[1, 1]]), 2, 1).tolist()
    [[0.0, 2.0]]
    """
    checked = window(1, kernel_size, stride, padding, dilation, optional=True)
    return gather(grad_output, indices, checked, data_format, index_format, duplicates, out, validate, backend)


def max_unpool2d_backward(
    grad_output: ArrayT,
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
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
    indices: Array,
    kernel_size: int | Sequence[int] | None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    dilation: int | Sequence[int] = 1,
    data_format: DataFormat | None = None,
    index_format: IndexFormatWord = "plane",
    duplicates: Duplicates = "last",
    out: ArrayT | None = None,
    validate: Validate = True,
    backend: str | None = None,
) -> ArrayT:
    """Return the gradient of `max_unpool3d`: `max_unpool2d_backward` for arrays (N, C, D, H, W) or (C, D, H, W).

    Parameters
    ----------
    grad_output
        Gradient of the unpooled array, (N, C, D, H, W) or (C, D, H, W), or with the channels last; any dtype.
    indices
        The indices of the unpooling call.
    kernel_size, stride, padding, dilation, data_format, index_format, duplicates
        The arguments of the unpooling call.
    out, validate, backend
        As in `max_unpool3d`.

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
    >>> max_unpool3d_backward(np.arange(8.0).reshape(1, 2, 2, 2), np.array([[[[6]]]]), 2).tolist()
    [[[[6.0]]]]
    """
    checked = window(3, kernel_size, stride, padding, dilation, optional=True)
    return gather(grad_output, indices, checked, data_format, index_format, duplicates, out, validate, backend)
