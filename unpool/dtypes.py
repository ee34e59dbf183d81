"""The dtypes that the library supports, by their names, which are the same in every framework.

Unpooling moves values, so it takes all of them.  Pooling compares them, so pooling and its gradient take real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from unpool import errors
from unpool.errors import an_empty_one, is_result, kind_of
from unpool.sizes import check_taps
from unpool.tracing import refuse_proxy, refuse_recorded, remembered
from unpool.windows import Window

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
REALS = ("float16", "bfloat16", "float32", "float64", *INTEGERS, "bool")
VALUES = (*REALS, "complex64", "complex128")
# The dtypes of new indices: of positions in a plane, and of taps, in ascending order.
INDEX_DTYPES = ("int64", "int32")
TAP_DTYPES = ("uint8", "uint16", "int32", "int64")


@remembered(maxsize=256)
def name(dtype: Any) -> str:
    """Return ``"float32"`` for NumPy's, CuPy's, TensorFlow's, PyTorch's and JAX's float32, and for the string.

    >>> import numpy
    >>> name(numpy.dtype(">f4")), name(numpy.float32), name("float32")
    ('float32', 'float32', 'float32')
    """
    text = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return str(text).rpartition(".")[2].removesuffix("_")


def describe(argument: str, array: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape of an array and the name of its dtype."""
    try:
        return shape_of(argument, array.shape), name(array.dtype)
    except (AttributeError, TypeError):
        raise _not_an_array(argument, array) from None
    except ValueError:  # the shape has no length: a proxy of torch.fx, or a tensor of TensorFlow of unknown rank
        refuse_proxy(argument, array)
        raise _unknown_rank(argument) from None


def shape_of(argument: str, shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple, with None for each unknown size.

    TensorFlow's shapes may hold objects of its own; their `as_list` gives integers.  Dask's have NaN for an unknown
    size.  A shape that TorchScript records is refused.
    """
    if type(shape) is tuple:
        if float not in map(type, shape):
            return shape
        return tuple([cast(int, None) if type(size) is float else size for size in shape])
    sizes = tuple(shape.as_list() if hasattr(shape, "as_list") else shape)
    refuse_recorded(argument, sizes)
    return sizes


def check_arrays(argument: str, values: Any, indices: Any) -> tuple[int, ...]:
    """Refuse values or indices that are not arrays of a known number of dimensions; return the shape of the values."""
    shape, _ = describe(argument, values)
    describe("indices", indices)
    return shape


def check_pair(argument: str, dtype: Any, index_dtype: Any, index_format: str, real: bool) -> None:
    """Refuse values or indices of a dtype that the operation does not take."""
    check_values(argument, name(dtype), REALS if real else VALUES)
    check_indices(name(index_dtype), index_format)


def check_values(argument: str, dtype: str, allowed: tuple[str, ...]) -> None:
    if dtype not in allowed:
        raise _wrong_values(argument, dtype, allowed)


def check_indices(dtype: str, index_format: str) -> None:
    """Refuse a dtype of indices.  Small unsigned ones hold taps, and would be taken for positions in the plane."""
    if dtype not in INTEGERS:
        raise _wrong_indices(dtype)
    if index_format == "plane" and dtype in ("uint8", "uint16"):
        raise _indices_of_taps(dtype)


def index_dtype_of(value: Any, index_format: str, window: Window) -> str:
    """Return the name of the dtype of new indices; None stands for int64, and for the smallest one of taps.

    >>> index_dtype_of(None, "window", Window((20, 20), (1, 1), (0, 0), (1, 1)))
    'uint16'
    """
    if index_format == "plane":
        return "int64" if value is None else _one_of(value, INDEX_DTYPES)
    check_taps(window)
    taps = math.prod(window.kernel)
    fitting = [dtype for dtype, most in zip(TAP_DTYPES, (2**8, 2**16, 2**31, 2**63), strict=True) if taps <= most]
    if value is None:
        return fitting[0]
    dtype = _one_of(value, TAP_DTYPES)
    if dtype not in fitting:
        raise _index_dtype_too_small(dtype, taps, fitting[0])
    return dtype


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in allowed:
        return allowed[allowed.index(value)]
    try:
        dtype = name(value)
    except TypeError:  # unhashable
        dtype = ""
    if dtype not in allowed:
        raise errors.unknown_choice("index_dtype", value, allowed)
    return dtype


# --- messages ---------------------------------------------------------------------------------------------------------


def _not_an_array(argument: str, value: object) -> TypeError:
    if is_result(argument):
        hint = "; a pair belongs to return_indices=True" if isinstance(value, tuple) else ""
        return TypeError(f"`{argument}` must be an array, got {kind_of(value)}: {an_empty_one('the input')}{hint}")
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(hasattr(entry, "dtype") for entry in value):
        return TypeError(
            f"`{argument}` must be an array, got a {kind_of(value)} of two arrays: pass the values and the indices one "
            f"by one, as *{argument} does"
        )
    if argument == "indices" and value is None:
        return TypeError(
            "`indices` must be an array, got None: pass what pooling returned with return_indices=True, after the "
            "values"
        )
    hint = " (`indices` comes second, the sizes after it)" if isinstance(value, (int, tuple)) else ""
    return TypeError(
        f"`{argument}` must be an array, got {kind_of(value)}: pass numpy.asarray({argument}), or an array of another "
        f"supported library{hint}"
    )


def _unknown_rank(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must have a known number of dimensions, got an array of unknown rank: give it a shape, with "
        f"None for each unknown size"
    )


def _wrong_values(argument: str, dtype: str, allowed: Sequence[str]) -> TypeError:
    return TypeError(f"`{argument}` must be of one of the dtypes {', '.join(allowed)}, got {dtype}: convert it first")


def _wrong_indices(dtype: str) -> TypeError:
    hint = (
        ": floats are exact only up to 2**24 (float32), so round and convert them where they are made"
        if "float" in dtype
        else ": convert them to int64"
    )
    return TypeError(
        f"`indices` must be integers (int64 or int32, as max_pool returns them with return_indices=True), got "
        f"{dtype}{hint}. The order of the arguments is (values, indices)"
    )


def _indices_of_taps(dtype: str) -> TypeError:
    return TypeError(
        f'`indices` must be int64 or int32 where index_format="plane", got {dtype}, which holds the taps of windows: '
        f'if they are taps, pass index_format="window" with the window of the pooling call, or convert them by '
        f"unpool.convert_indices; if they are positions in the plane, convert them to int64. The order of the "
        f"arguments is (values, indices)"
    )


def _index_dtype_too_small(dtype: str, taps: int, smallest: str) -> ValueError:
    return ValueError(
        f"`index_dtype` must hold every tap of a window, got {dtype!r} for {taps} taps: pass {smallest!r}, or leave it "
        f"out"
    )
