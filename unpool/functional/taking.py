"""The values of planes at indices."""

from __future__ import annotations

from unpool.annotations import Array, ArrayT
from unpool.arguments import DataFormat
from unpool.calls import take


def take_along_plane(
    input: ArrayT,
    indices: Array,
    *,
    data_format: DataFormat | None = None,
    validate: bool = True,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """Return the value of each plane at each of its indices.

        output[n, c, i] = input[n, c].flat[indices[n, c, i]]

    Use it to read one array at the maxima of another.  Where indices repeat, the gradient is a sum, added in a fixed
    order.

    Parameters
    ----------
    input
        Planes of shape (N, C, H, W) or (C, H, W), or volumes (N, C, D, H, W), or with the channels last.  Its dtype may
        be any, since values are moved and not computed with.
    indices
        Flat positions ``h * W + w`` in their own planes: int64, int32, or widened to int64.  Their spatial sizes may be
        any; the batch, the channels and the number of dimensions are those of ``input``.
    data_format
        ``"channels_first"`` or ``"channels_last"``.  TensorFlow's words name the axes, too: ``"NCW"`` is for rows
        (N, C, L) or (C, L), ``"NCHW"`` for planes, and ``"NCDHW"`` for volumes, also those without a batch.  None is
        channels first, with a `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    validate
        True reports an index outside its plane.  False lets CUDA return 0 for a bad index, since a report would wait
        for the device; the CPU always reports it.  Nothing is ever read out of range.
    out
        Array to write into and return.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Returns
    -------
    Array of the kind, device and dtype of ``input`` and the shape of ``indices``.  A NumPy array beside one of JAX or
    TensorFlow is a constant there, and the result is of their kind.

    Raises
    ------
    IndexError
        If an index is negative or past its plane.  The message names the first one in row-major order.
    TypeError
        If an argument is not an array, or ``indices`` are not integers, or are uint8 or uint16; if arrays of different
        libraries are mixed, except NumPy with JAX or TensorFlow.
    ValueError
        If shapes do not fit.
    BackendUnavailableError
        If the array's backend is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> take_along_plane(np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[[3, 3, 0]]])).tolist()
    [[[4.0, 4.0, 1.0]]]
    >>> take_along_plane(np.array([[5, 6, 7]]), np.array([[2, 0]]), data_format="NCW").tolist()
    [[7, 5]]

    Source: ``numpy.take_along_axis`` on flattened planes.
    """
    return take(input, indices, data_format, out, validate, backend)
