"""The path of every call: check the arguments, make the Plan, pick the backend, call its primitive.

Each function has the name of its primitive, and serves functions and objects of every rank.  Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

from unpool import backends, dtypes
from unpool.arguments import check_choice, check_validate, is_channels_last, sizes_of
from unpool.errors import kind_of
from unpool.plan import Validate, plan_pooling, plan_unpooling
from unpool.protocol import DUPLICATES, Duplicates
from unpool.sizes import Window, common_shape

ArrayT = TypeVar("ArrayT")


class Terms(NamedTuple):
    """The argument names and rules of a public function that scatters: an unpooling, or a gradient of pooling."""

    arrays: tuple[str, ...]  # the values, the indices and the output
    sized_by: str
    real: bool  # complex values are refused
    needs_size: bool = False


UNPOOLING = Terms(("input", "indices", "out"), "output_size", real=False)
POOLING_GRADIENT = Terms(("grad_output", "indices", "out"), "input_size", real=True, needs_size=True)
_UNPOOLING_GRADIENT = ("grad_output", "indices", "out")


def pool(
    input: Any,
    window: Window,
    ceil_mode: bool,
    return_indices: bool,
    data_format: str,
    index_dtype: Any,
    out: Any,
    backend: str | None,
) -> Any:
    """Pool an array: `max_pool1d` to `max_pool3d`."""
    shape, dtype = dtypes.describe("input", input)
    dtypes.check_values("input", dtype, dtypes.REALS)
    index_dtype = dtypes.check_index_dtype(index_dtype)
    channels_last = is_channels_last(data_format)
    plan = plan_pooling(shape, window, bool(ceil_mode), channels_last, index_dtype if return_indices else None)
    names: tuple[str, ...] = ("input",)
    arrays: tuple[Any, ...] = (input,)
    pair = None
    if out is not None and return_indices:
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise _out_not_a_pair(out)
        _check_out("out[0]", out[0], plan.pooled_shape, dtype)
        _check_out("out[1]", out[1], plan.pooled_shape, index_dtype)
        pair = (out[0], out[1])
        names, arrays = ("input", "out[0]", "out[1]"), (input, *pair)
    elif out is not None:
        _check_out("out", out, plan.pooled_shape, dtype)
        pair = (out, None)
        names, arrays = ("input", "out"), (input, out)
    values, indices = backends.route(names, arrays, backend).pool(input, plan, pair)
    return (values, indices) if return_indices else values


def scatter(
    values: ArrayT,
    indices: Any,
    window: Window,
    size: Sequence[int] | None,
    data_format: str,
    duplicates: Duplicates,
    out: Any,
    validate: Validate,
    backend: str | None,
    terms: Terms = UNPOOLING,
) -> ArrayT:
    """Put values into planes: `max_unpool1d` to `max_unpool3d`, and the gradients of pooling."""
    names, sized_by, real, needs_size = terms
    shape, indices_shape, dtype = dtypes.describe_pair(names[0], values, indices, real)
    if indices_shape != shape:
        shape = common_shape("indices", indices_shape, names[0], shape)
    check_choice("duplicates", duplicates, DUPLICATES)
    channels_last = is_channels_last(data_format)
    known = entries = None
    if size is not None or needs_size:
        known, entries = sizes_of(sized_by, size, len(window.kernel), channels_last)
    checked = True if validate is True else check_validate(validate)
    plan = plan_unpooling(shape, window, known, channels_last, checked, names[0], sized_by)
    if out is not None:
        _check_out("out", out, plan.plane_shape, dtype)
    arrays = (values, indices) if out is None else (values, indices, out)
    if entries is None and (known is None or None not in shape):
        output: ArrayT = backends.route(names, arrays, backend).scatter(values, indices, plan, duplicates, out)
        return output
    # The backend applies the rules of sizes when the program runs; some entries of the given size may be arrays.
    given: tuple[Any, ...] = entries or known or ()
    unknown = [entry for entry in given if entry is not None and not isinstance(entry, int)]
    backends.route((names[0], *[sized_by] * len(unknown)), (values, *unknown), backend)
    chosen: Any = backends.route(names, arrays, backend)
    return cast(ArrayT, chosen.scatter(values, indices, plan, duplicates, out, given=given))


def gather(
    grad: ArrayT,
    indices: Any,
    window: Window,
    data_format: str,
    duplicates: Duplicates,
    out: Any,
    validate: Validate,
    backend: str | None,
) -> ArrayT:
    """Take values out of planes: the gradients of unpooling."""
    size, shape, dtype = dtypes.describe_pair("grad_output", grad, indices, real=False)
    if len(size) != len(shape):
        raise _dimensions_differ("grad_output", size, "indices", shape)
    check_choice("duplicates", duplicates, DUPLICATES)
    channels_last = is_channels_last(data_format)
    checked = True if validate is True else check_validate(validate)
    plan = plan_unpooling(shape, window, size, channels_last, checked, "indices", "grad_output")
    if out is not None:
        _check_out("out", out, plan.pooled_shape, dtype)
    arrays = (grad, indices) if out is None else (grad, indices, out)
    output: ArrayT = backends.route(_UNPOOLING_GRADIENT, arrays, backend).gather(grad, indices, plan, duplicates, out)
    return output


def _check_out(argument: str, out: Any, shape: tuple[int, ...], dtype: str) -> None:
    found, found_dtype = dtypes.describe(argument, out)
    if found != shape or found_dtype != dtype:
        raise _wrong_out(argument, found, found_dtype, shape, dtype)


# --- messages ---------------------------------------------------------------------------------------------------------


def _dimensions_differ(
    argument: str, shape: Sequence[int | None], other: str, expected: Sequence[int | None]
) -> ValueError:
    return ValueError(
        f"`{argument}` must have as many dimensions as `{other}`, whose shape is {tuple(expected)}, got shape "
        f"{tuple(shape)}: give both a batch dimension, or neither"
    )


def _wrong_out(
    argument: str, shape: Sequence[int | None], dtype: str, expected: Sequence[int | None], wanted: str
) -> ValueError:
    return ValueError(
        f"`{argument}` must have shape {tuple(expected)} and dtype {wanted}, got shape {tuple(shape)} and dtype "
        f"{dtype}: pass an empty array of that shape and dtype"
    )


def _out_not_a_pair(out: object) -> TypeError:
    return TypeError(
        f"`out` must be a pair of arrays (values, indices) where return_indices=True, got {kind_of(out)}: pass both, "
        f"or return_indices=False"
    )
