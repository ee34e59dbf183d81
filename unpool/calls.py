"""The path of every call: check the arguments, make the Plan, pick the backend, call its primitive.

Each function has the name of its primitive, and serves functions and objects of every rank.  Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from unpool import backends, dtypes, errors
from unpool.annotations import ArrayT
from unpool.arguments import (
    IndexFormatWord,
    check_choice,
    check_validate,
    index_format_of,
    is_channels_last,
    rank_of,
    sizes_of,
    unknown_sizes,
)
from unpool.errors import kind_of
from unpool.plan import IndexFormat, Plan, Validate, plan_pooling, plan_unpooling
from unpool.protocol import DUPLICATES, Duplicates
from unpool.sizes import common_shape
from unpool.tracing import is_unchecked, remembered
from unpool.warned import may_be_channels_last, note_format, warn_of_default_size, warn_of_format
from unpool.windows import Window, no_window


class Terms(NamedTuple):
    """The argument names and rules of a public function that scatters or gathers."""

    arrays: tuple[str, ...]  # the values or planes, the indices and the output
    sized_by: str
    real: bool  # complex values are refused
    needs_size: bool = False


UNPOOLING = Terms(("input", "indices", "out"), "output_size", real=False)
POOLING_GRADIENT = Terms(("grad_output", "indices", "out"), "input_size", real=True, needs_size=True)
UNPOOLING_GRADIENT = Terms(("grad_output", "indices", "out"), "grad_output", real=False)
_TAKING = Terms(("input", "indices", "out"), "input", real=False)


def pool(
    input: Any,
    window: Window,
    ceil_mode: bool,
    return_indices: bool,
    data_format: str | None,
    index_format: IndexFormatWord,
    index_dtype: Any,
    out: Any,
    backend: str | None,
) -> Any:
    """Pool an array: `max_pool1d` to `max_pool3d`."""
    try:
        described = input.shape, input.dtype
        if index_format != "plane":
            index_format = index_format_of(index_format)
        index_dtype = dtypes.index_dtype_of(index_dtype, index_format, window)
        returned = index_dtype if return_indices else None
        channels_last = data_format is not None and is_channels_last(data_format, len(window.kernel))
        plan, may_be_last = _plan_pool(*described, window, bool(ceil_mode), channels_last, returned, index_format)
    except (AttributeError, TypeError, ValueError) as error:
        shape, _ = dtypes.describe("input", input)
        note_format(error, data_format, "input", input.shape, shape, len(window.kernel))
        raise
    names: tuple[str, ...] = ("input",)
    arrays: tuple[Any, ...] = (input,)
    pair = None
    if out is not None and return_indices:
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise _out_not_a_pair(out)
        _check_out("out[0]", out[0], plan.pooled_shape, input)
        _check_out("out[1]", out[1], plan.pooled_shape, index_dtype)
        pair = (out[0], out[1])
        names, arrays = ("input", "out[0]", "out[1]"), (input, *pair)
    elif out is not None:
        _check_out("out", out, plan.pooled_shape, input)
        pair = (out, None)
        names, arrays = ("input", "out"), (input, out)
    chosen = backends.route(names, arrays, backend)
    if index_format != "plane":
        backends.check_format(chosen, index_format, names, arrays)
    if data_format is None and may_be_last:
        warn_of_format("input")
    values, indices = chosen.pool(input, plan, pair)
    return (values, indices) if return_indices else values


def scatter(
    values: ArrayT,
    indices: Any,
    window: Window,
    size: Sequence[int] | None,
    data_format: str | None,
    index_format: IndexFormatWord,
    duplicates: Duplicates,
    out: Any,
    validate: Validate,
    backend: str | None,
    terms: Terms = UNPOOLING,
) -> ArrayT:
    """Put values into planes: `max_unpool1d` to `max_unpool3d`, and the gradients of pooling."""
    names, sized_by, _, needs_size = terms
    known = entries = None
    try:
        pair = values.shape, indices.shape, values.dtype, indices.dtype
        if index_format != "plane":
            index_format = index_format_of(index_format)
        duplicates = check_choice("duplicates", duplicates, DUPLICATES)
        channels_last = data_format is not None and is_channels_last(data_format, len(window.kernel))
        if size is not None or needs_size:
            if type(pair[0]) is not tuple:
                dtypes.shape_of(names[0], pair[0])  # refuses sizes that TorchScript records before `size` is read
            known, entries = sizes_of(sized_by, size, len(window.kernel), channels_last)
        checked = True if validate is True else check_validate(validate)
        plan, may_be_last = _plan_scatter(*pair, window, known, channels_last, index_format, checked, terms)
    except (AttributeError, TypeError, ValueError) as error:
        shape = dtypes.check_arrays(names[0], values, indices)
        note_format(error, data_format, names[0], values.shape, shape, len(window.kernel))
        raise
    if known is None and type(plan.windows) is not int:
        _warn_of_default(plan)
    if out is not None:
        _check_out("out", out, plan.plane_shape, values)
    arrays: tuple[Any, ...] = (values, indices) if out is None else (values, indices, out)
    given: tuple[Any, ...] | None = entries
    if given is None and known is not None and None in plan.pooled_shape:
        given = known
    if given is not None:
        # The backend applies the rules of sizes when the program runs; some entries of the given size may be arrays.
        unknown = unknown_sizes(given)
        names, arrays = (*names[: len(arrays)], *[sized_by] * len(unknown)), (*arrays, *unknown)
    chosen = backends.route(names, arrays, backend)
    if index_format != "plane":
        backends.check_format(chosen, index_format, names, arrays)
    if data_format is None and may_be_last:
        warn_of_format(names[0])
    if given is None:
        output: ArrayT = chosen.scatter(values, indices, plan, duplicates, out)
        return output
    return cast(ArrayT, cast(Any, chosen).scatter(values, indices, plan, duplicates, out, given=given))


def gather(
    planes: ArrayT,
    indices: Any,
    window: Window,
    data_format: str | None,
    index_format: IndexFormatWord,
    duplicates: Duplicates,
    out: Any,
    validate: Validate,
    backend: str | None,
    terms: Terms = UNPOOLING_GRADIENT,
) -> ArrayT:
    """Take values out of planes: the gradients of unpooling, and `take_along_plane`."""
    names = terms.arrays
    try:
        pair = planes.shape, indices.shape, planes.dtype, indices.dtype
        if index_format != "plane":
            index_format = index_format_of(index_format)
        duplicates = check_choice("duplicates", duplicates, DUPLICATES)
        checked = True if validate is True else check_validate(validate)
        channels_last = data_format is not None and is_channels_last(data_format, len(window.kernel))
        plan, may_be_last = _plan_gather(*pair, window, channels_last, index_format, checked, terms)
    except (AttributeError, TypeError, ValueError) as error:
        shape = dtypes.check_arrays(names[0], planes, indices)
        note_format(error, data_format, names[0], planes.shape, shape, len(window.kernel))
        raise
    if out is not None:
        _check_out("out", out, plan.pooled_shape, planes)
    arrays = (planes, indices) if out is None else (planes, indices, out)
    chosen = backends.route(names, arrays, backend)
    if index_format != "plane":
        backends.check_format(chosen, index_format, names, arrays)
    if data_format is None and may_be_last:
        warn_of_format(names[0])
    output: ArrayT = chosen.gather(planes, indices, plan, duplicates, out)
    return output


def take(input: ArrayT, indices: Any, data_format: str | None, out: Any, validate: bool, backend: str | None) -> ArrayT:
    """Gather values at positions in their planes: `take_along_plane`."""
    shape, _ = dtypes.describe("input", input)
    rank = rank_of(data_format, "input", shape)
    if isinstance(validate, str):
        raise errors.unknown_choice("validate", validate, (True, False))
    return gather(input, indices, no_window(rank), data_format, "plane", "sum", out, validate, backend, _TAKING)


# --- plans ------------------------------------------------------------------------------------------------------------

# Checks and Plan in one function, since a tiny call spends more time on looking up caches than on its kernel.  So these
# functions also return whether the channels may be last, for calls that do not name `data_format`.


@remembered(maxsize=1024)
def _plan_pool(
    shape: Any,
    dtype: Any,
    window: Window,
    ceil_mode: bool,
    channels_last: bool,
    index_dtype: str | None,
    index_format: IndexFormat,
) -> tuple[Plan[Any], bool]:
    dtypes.check_values("input", dtypes.name(dtype), dtypes.REALS)
    sizes = dtypes.shape_of("input", shape)
    plan = plan_pooling(sizes, window, ceil_mode, channels_last, index_dtype, index_format)
    return plan, may_be_channels_last(shape, sizes, len(window.kernel))


@remembered(maxsize=1024)
def _plan_scatter(
    shape: Any,
    indices_shape: Any,
    dtype: Any,
    index_dtype: Any,
    window: Window,
    size: tuple[int, ...] | None,
    channels_last: bool,
    index_format: IndexFormat,
    validate: Validate,
    terms: Terms,
) -> tuple[Plan[Any], bool]:
    argument = terms.arrays[0]
    pooled, other = _pair(argument, shape, indices_shape, dtype, index_dtype, index_format, terms.real)
    pooled = common_shape("indices", other, argument, pooled)
    plan = plan_unpooling(pooled, window, size, channels_last, validate, argument, terms.sized_by, index_format)
    return plan, may_be_channels_last(shape, pooled, len(window.kernel))


@remembered(maxsize=1024)
def _plan_gather(
    shape: Any,
    indices_shape: Any,
    dtype: Any,
    index_dtype: Any,
    window: Window,
    channels_last: bool,
    index_format: IndexFormat,
    validate: Validate,
    terms: Terms,
) -> tuple[Plan[Any], bool]:
    size, pooled = _pair(terms.sized_by, shape, indices_shape, dtype, index_dtype, index_format, terms.real)
    if len(size) != len(pooled):
        raise _dimensions_differ(terms.sized_by, size, "indices", pooled)
    plan = plan_unpooling(pooled, window, size, channels_last, validate, "indices", terms.sized_by, index_format)
    return plan, may_be_channels_last(shape, size, len(window.kernel))


def _pair(
    argument: str, shape: Any, indices_shape: Any, dtype: Any, index_dtype: Any, index_format: IndexFormat, real: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check the dtypes of values and indices, and return both shapes as tuples."""
    dtypes.check_pair(argument, dtype, index_dtype, index_format, real)
    return dtypes.shape_of(argument, shape), dtypes.shape_of("indices", indices_shape)


def _warn_of_default(plan: Plan[Any]) -> None:
    """Warn if a default size may be wrong and the program will not tell."""
    if any(is_unchecked(count) and stride > 1 for count, stride in zip(plan.pooled, plan.stride, strict=True)):
        warn_of_default_size(plan.sized_by, plan.pooled_shape)


def _check_out(argument: str, out: Any, shape: tuple[int, ...], like: Any) -> None:
    """Refuse an output unless it has this shape, and the dtype of an array or of this name."""
    dtype = like if isinstance(like, str) else dtypes.name(like.dtype)
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
