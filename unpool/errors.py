"""The messages of the core, which backends raise, too: a bad index reads the same on every device.

A message names the argument in backticks, states the rule, shows what was received and says what to do next.  Functions
here build the exception; the caller raises it, so a traceback ends where the rule was broken.  A message that one
framework alone can cause lives with its backend, its layers or `unpool.tracing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class BackendUnavailableError(ImportError):
    """The arrays are known, but what computes on them is not installed or does not work on this machine."""


# --- arguments ------------------------------------------------------------------------------------------------------


def not_an_integer(argument: str, value: object) -> TypeError:
    whole = isinstance(value, float) and value.is_integer()
    advice = f"pass {value:.0f}" if whole else "pass one integer, or one for each spatial dimension"
    return TypeError(f"`{argument}` must be an integer or a sequence of integers, got {value!r}: {advice}")


def unknown_padding(value: str) -> ValueError:
    known = value.lower() if value.lower() in ("same", "valid") else None
    return ValueError(
        f"`padding` must be an integer, a sequence of integers, 'same' or 'valid', got {value!r}: pass "
        f"{repr(known) if known else '0 for none'}"
    )


def not_sizes(argument: str, value: object) -> TypeError:
    shown = f"{kind_of(value)} of shape {value.shape}" if hasattr(value, "shape") else repr(value)
    return TypeError(f"`{argument}` must be a sequence of integers, got {shown}: pass the shape of an array")


def wrong_length(argument: str, value: Sequence[int | None], rank: int) -> ValueError:
    rule = f"one integer or {rank} of them, one per spatial dimension" if rank > 1 else "one integer"
    if len(value) > rank and argument == "stride":
        advice = "a shape is passed as `output_size`"
    else:
        advice = f"pass {rank} of them" if rank > 1 else "pass that one"
    return ValueError(f"`{argument}` must be {rule}, got {tuple(value)}: {advice}")


def out_of_bounds(argument: str, value: object, low: int, high: int) -> ValueError:
    return ValueError(
        f"`{argument}` must be between {low} and {high} in every dimension, got {value}: pass a number in that range"
    )


def padding_too_large(padding: Sequence[int], kernel: Sequence[int]) -> ValueError:
    return ValueError(
        f"`padding` must be at most half of `kernel_size` (rounded down), got padding={padding} and "
        f"kernel_size={kernel}: pass a smaller one, since windows of nothing but padding have no maximum"
    )


# What other libraries call a choice.
_ALSO_KNOWN_AS: dict[object, tuple[str, ...]] = {
    "channels_first": ("ncl", "ncw", "nchw", "ncdhw"),
    "channels_last": ("nlc", "nwc", "nhwc", "ndhwc"),
}


def unknown_choice(argument: str, value: object, choices: Sequence[object]) -> ValueError:
    text = value.lower() if isinstance(value, str) else ""
    meant = [choice for choice in choices if str(choice).lower() == text or text in _ALSO_KNOWN_AS.get(choice, ())]
    advice = f"pass {meant[0]!r}" if meant else "pass one of these"
    return ValueError(f"`{argument}` must be one of {', '.join(map(repr, choices))}, got {value!r}: {advice}")


def window_needed() -> TypeError:
    return TypeError('`kernel_size` is needed by the convention "window": pass the arguments of the pooling call')


# --- arrays ---------------------------------------------------------------------------------------------------------


def kind_of(value: object) -> str:
    """The qualified name of a value's type, as a user would write it: ``numpy.ndarray``, ``list``."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def not_an_array(argument: str, value: object) -> TypeError:
    if is_result(argument):
        hint = "; a pair belongs to return_indices=True" if isinstance(value, tuple) else ""
        return TypeError(f"`{argument}` must be an array, got {kind_of(value)}: {_an_empty_one('the input')}{hint}")
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


def unknown_array(argument: str, value: object, kinds: Sequence[str], layers: str | None) -> TypeError:
    if layers is not None:
        return TypeError(
            f"`{argument}` must be an array with values, got {kind_of(value)}: call a layer of {layers} where a model "
            f"is made"
        )
    return TypeError(
        f"`{argument}` must be an array of a library that unpool knows ({', '.join(kinds)}, or one with a plugin in "
        f"the entry-point group 'unpool.backends'), got {kind_of(value)}: convert it first, for example with "
        f"numpy.asarray({argument})"
    )


def masked_array(argument: str) -> TypeError:
    advice = f"pass {argument}.filled(value), or {argument}.data to ignore it yourself"
    return TypeError(
        f"`{argument}` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: "
        f"{f'pass {argument}.data' if is_result(argument) else advice}"
    )


def mixed_kinds(first: str, one: object, second: str, other: object, library: str, convert: str | None) -> TypeError:
    if is_result(second):
        advice = _an_empty_one(f"`{first}`")
    elif convert is None:
        advice = f"convert `{second}` to an array of {library}"
    else:
        advice = f"pass {convert}({second})"
    return TypeError(
        f"`{first}` and `{second}` must be arrays of one library, got {kind_of(one)} and {kind_of(other)}: {advice}"
    )


def wrong_kind(argument: str, value: object, backend: str, convert: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be an array of the library that backend={backend!r} serves, got {kind_of(value)}: pass "
        f"{convert}({argument}), or leave `backend` out"
    )


def unknown_rank(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must have a known number of dimensions, got an array of unknown rank: say its shape where it is "
        f"made, with None for sizes that only a run will know"
    )


def wrong_rank(argument: str, shape: Sequence[int | None], rank: int, layouts: Sequence[str]) -> ValueError:
    if len(shape) == rank:
        advice = "give it a dimension of 1 for the channels"
    else:
        advice = "reshape it, or call the function for as many spatial dimensions as it has"
    return ValueError(
        f"`{argument}` must have {rank + 2} dimensions {layouts[0]}, or {rank + 1} without the batch {layouts[1]}, got "
        f"shape {tuple(shape)}: {advice}"
    )


def empty_dimension(argument: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must have at least one element in every dimension but the batch, got shape {tuple(shape)}: "
        f"leave such arrays out"
    )


def shapes_differ(argument: str, shape: Sequence[int | None], other: str, expected: Sequence[int | None]) -> ValueError:
    if len(shape) != len(expected):
        advice = "give both a batch dimension, or neither"
    else:
        advice = (
            f"if `{other}` comes out of an unpooling, pass that call the size that was pooled as "
            f"{'`like` or `output_size`' if other == 'inputs' else '`output_size`'}; else "
            f"pass what the same pooling call returned"
        )
    return ValueError(f"`{argument}` must have the shape of `{other}`, {tuple(expected)}, got {tuple(shape)}: {advice}")


def dimensions_differ(
    argument: str, shape: Sequence[int | None], other: str, expected: Sequence[int | None]
) -> ValueError:
    return ValueError(
        f"`{argument}` must have as many dimensions as `{other}`, whose shape is {tuple(expected)}, got shape "
        f"{tuple(shape)}: give both a batch dimension, or neither"
    )


def unbatched_indices(shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`indices` must have the batch and channels and 1 to 3 spatial dimensions, got shape {tuple(shape)}: give "
        f"unbatched ones a leading 1, and `output_size` too"
    )


def not_the_full_size(size: Sequence[int], shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`output_size` must be the full shape of the array that was pooled, with the batch and channels of `indices`, "
        f"got {tuple(size)} for shape {tuple(shape)}: pass all of it; unbatched arrays need a leading 1 in both"
    )


def no_namespace(argument: str, value: object, kinds: Sequence[str]) -> TypeError:
    return TypeError(
        f"`{argument}` must be an array of a library that unpool serves itself ({', '.join(kinds)}), or one that "
        f"follows the array API, got {kind_of(value)}: pass numpy.asarray({argument})"
    )


def wrong_values(argument: str, dtype: str, allowed: Sequence[str]) -> TypeError:
    return TypeError(f"`{argument}` must be of one of the dtypes {', '.join(allowed)}, got {dtype}: convert it first")


def wrong_indices(dtype: str) -> TypeError:
    hint = (
        ": floats are exact only up to 2**24 (float32), so round and convert them where they are made"
        if "float" in dtype
        else ": convert them to int64"
    )
    return TypeError(
        f"`indices` must be integers (int64 or int32, as max_pool returns them), got {dtype}{hint}. "
        f"The order of the arguments is (values, indices)"
    )


def index_dtype_too_small(cells: int) -> ValueError:
    return ValueError(
        f"`index_dtype` must hold every position of a plane, got 'int32' for one of {cells} cells: pass "
        f"index_dtype='int64'"
    )


def wrong_out(
    argument: str, shape: Sequence[int | None], dtype: str, expected: Sequence[int | None], wanted: str
) -> ValueError:
    return ValueError(
        f"`{argument}` must have shape {tuple(expected)} and dtype {wanted}, got shape {tuple(shape)} and dtype "
        f"{dtype}: pass an empty array of that shape and dtype"
    )


def out_not_a_pair(out: object) -> TypeError:
    return TypeError(
        f"`out` must be a pair of arrays (values, indices) where return_indices=True, got {kind_of(out)}: pass both, "
        f"or return_indices=False"
    )


def fixed_arrays(argument: str, library: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be left out for arrays of {library}, which cannot be written into: use what the call "
        f"returns"
    )


def not_dense(argument: str, kind: str, convert: str) -> TypeError:
    return TypeError(f"`{argument}` must be a dense tensor, got {kind}: pass {convert}")


def devices_differ(argument: str, device: str, other: str, expected: str, convert: str) -> TypeError:
    return TypeError(f"`{other}` and `{argument}` must be on one device, got {expected} and {device}: pass {convert}")


def unusable_out(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must be writeable, aligned, C-contiguous and in native byte order, got an array that is not: "
        f"write into a new array and copy it over"
    )


def overlapping_out(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must not share memory with the other arrays of the call, which are still read while it is "
        f"written: pass a copy of one of them"
    )


def no_scratch(size: int, threads: int) -> MemoryError:
    return MemoryError(
        f"`indices` take {size} bytes of scratch memory on {threads} thread{'s' * (threads > 1)} to be checked, and "
        f"the system has none: free some, raise the limit on memory (ulimit -v), or use fewer threads (OMP_NUM_THREADS)"
    )


# --- sizes ----------------------------------------------------------------------------------------------------------


def pooled_to_nothing(
    argument: str, shape: Sequence[int | None], axis: int, window: Sequence[Sequence[int]]
) -> ValueError:
    return ValueError(
        f"`{argument}` must be at least as large as one window, got shape {tuple(shape)}, whose spatial dimension "
        f"{axis} pools to nothing with {_arguments(window)}: pass a smaller `kernel_size` or `dilation`"
    )


def window_in_padding(argument: str, size: int, axis: int, window: Sequence[Sequence[int]]) -> ValueError:
    return ValueError(
        f"`dilation` must leave at least one element of `{argument}` in every window, got a window that reads only "
        f"padding in spatial dimension {axis} of {size} with {_arguments(window)}: pass a smaller `dilation` or "
        f"`padding`"
    )


def window_too_large(window: Sequence[Sequence[int]], span: int) -> ValueError:
    return ValueError(
        f"`kernel_size` must span fewer than 2**31 cells from the first to the last of a window, got {span} with "
        f"{_arguments(window)}: pool in two steps"
    )


def too_many_taps(window: Sequence[Sequence[int]]) -> ValueError:
    return ValueError(
        f"`kernel_size` must have fewer than 2**63 cells for the convention 'window', got {_arguments(window)}: pass "
        f"the arguments of the pooling call"
    )


def wrong_size_length(argument: str, value: Sequence[int | None], rank: int, ndim: int) -> ValueError:
    return ValueError(
        f"`{argument}` must have {rank} entries (the spatial ones) or {ndim} (the full shape), got {tuple(value)}: "
        f"{_what_was_pooled(argument)}"
    )


def wrong_leading(argument: str, value: Sequence[int | None], other: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must keep the batch and channels of `{other}`, got {tuple(value)} for shape {tuple(shape)}: "
        f"{_what_was_pooled(argument, spatial=True)}"
    )


def no_size(
    argument: str, value: Sequence[int | None] | None, axis: int, pooled: int, window: Sequence[Sequence[int]]
) -> ValueError:
    return ValueError(
        f"`{argument}` has no right value: no plane pools to {pooled} in spatial dimension {axis}, got "
        f"{argument}={value} with {_arguments(window)}: pass the arguments of the pooling call"
    )


def size_needed(argument: str, axis: int, bounds: tuple[int, int], window: Sequence[Sequence[int]]) -> ValueError:
    return ValueError(
        f"`{argument}` must be given: the size that follows is empty in spatial dimension {axis}, got "
        f"{argument}=None with {_arguments(window)}: pass one that is {_between(*bounds)} there"
    )


def size_out_of_range(
    argument: str,
    value: Sequence[int | None],
    axis: int,
    pooled: int,
    bounds: tuple[int, int],
    window: Sequence[Sequence[int]],
) -> ValueError:
    return ValueError(
        f"`{argument}` must be {_between(*bounds)} in spatial dimension {axis} to pool to {pooled}, got "
        f"{argument}={value} with {_arguments(window)}: {_what_was_pooled(argument)}"
    )


def size_left_open(argument: str, value: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must say every spatial size, got {tuple(value)}: where only a run will know one, pass the shape "
        f"as an array that the run computes"
    )


def too_many_cells(argument: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must be the size of an array of fewer than 2**59 elements, got shape {tuple(shape)}: pass the "
        f"arguments of the pooling call"
    )


# --- indices --------------------------------------------------------------------------------------------------------


def bad_index(
    position: Sequence[int], value: int, plane: Sequence[int], sized_by: str, *, touched: bool = False
) -> IndexError:
    """The first index outside its plane, in row-major order of ``indices``."""
    cells = 1
    for size in plane:
        cells *= size
    return IndexError(
        f"{_at(position)} = {value} is out of range for {_plane(plane)}: expected 0..{cells - 1}; "
        f"{_what_was_pooled(sized_by, f' as `{sized_by}`')}, and convert indices of TensorFlow, ONNX or Chainer by "
        f"unpool.convert_indices{_touched(touched)}"
    )


def outside_window(
    position: Sequence[int],
    value: int,
    plane: Sequence[int],
    window: Sequence[Sequence[int]],
    sized_by: str,
    *,
    touched: bool = False,
) -> IndexError:
    """The first index that is no cell of its own window, in row-major order of ``indices``."""
    return IndexError(
        f"{_at(position)} = {value} is outside its own window in {_plane(plane)}, with {_arguments(window)}: "
        f"{_what_was_pooled(sized_by, f' as `{sized_by}`')}, with the arguments of the pooling call{_touched(touched)}"
    )


def duplicate_index(first: Sequence[int], second: Sequence[int], value: int, *, touched: bool = False) -> ValueError:
    return ValueError(
        f"`indices` must not repeat within a plane where duplicates='error', got {_at(first)} = {_at(second)} = "
        f"{value}: pass duplicates='last' (the last one wins) or 'sum' (they add up){_touched(touched)}"
    )


def foreign_index(position: Sequence[int], value: int, convention: str, rule: str) -> IndexError:
    """An index that its convention cannot hold at that position."""
    return IndexError(
        f"{_at(position)} = {value} does not fit the convention {convention!r}: {rule}. Pass the convention and the "
        f"`output_size` that the indices were made with"
    )


# --- backends -------------------------------------------------------------------------------------------------------


def missing_framework(backend: str, framework: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f'{framework} is not installed, which backend {backend!r} needs: pip install "unpool[{backend}]"'
    )


def missing_backend(backend: str, package: str) -> BackendUnavailableError:
    if backend == "cpu":  # in every version, so this is a source tree that was not built
        advice = "build it, in the folder that holds pyproject.toml, with: pip install ."
    else:
        advice = "this version of unpool does not have it; pass NumPy arrays, for example numpy.asarray(input)"
    return BackendUnavailableError(f"backend {backend!r} (package {package}) is not installed: {advice}")


def broken_backend(backend: str, cause: BaseException, folder: str | None = None) -> BackendUnavailableError:
    """Return the error of a backend that does not load; `folder` is the variable that names where it writes."""
    unwritable = folder is not None and isinstance(cause, OSError) and cause.filename is not None
    advice = f"Set {folder} to a folder that can be written" if unwritable else "Reinstall what it names"
    if "\n" in _text(cause) and cause.__cause__ is not None:  # the cause in a page of advice
        cause = cause.__cause__
    text = _text(cause)
    shown = type(cause).__name__ + (f": {text}" if text else "")
    return BackendUnavailableError(f"backend {backend!r} does not load: {shown}. {advice}")


def malformed_plugin(name: str, value: str, distribution: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be declared by an entry point <package> = <module>:<object>, got "
        f"{f'{name} = {value}'!r} in the distribution {distribution!r}: correct it, or uninstall {distribution}"
    )


def reserved_plugin(name: str, distribution: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must have the name of the package that defines its arrays, other than a part of Python or a "
        f"package that unpool serves itself, got {name!r} in the distribution {distribution!r}: rename the entry "
        f"point, or uninstall {distribution}"
    )


def rival_plugins(name: str, values: Mapping[str, str]) -> BackendUnavailableError:
    found = " and ".join(f"{value!r} in the distribution {owner!r}" for owner, value in sorted(values.items()))
    return BackendUnavailableError(
        f"backend {name!r} must be declared by one distribution, got {found}: uninstall all but one"
    )


def backend_class(name: str, target: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be an object with the methods of unpool.Backend, got the class {target!r}: let the "
        f"entry point name an instance of it"
    )


def no_backend(name: str, target: str, value: object, lacking: Sequence[str]) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be an object with the methods of unpool.Backend, got {target!r} of type "
        f"{kind_of(value)} without {', '.join(lacking)}: let the entry point name an object that has them"
    )


def unknown_backend(name: object, names: Sequence[str]) -> ValueError:
    return ValueError(
        f"`backend` must be one of {', '.join(map(repr, names))}, got {name!r}: pass one of these, or leave it out"
    )


# --- parts of a message ---------------------------------------------------------------------------------------------


def _arguments(window: Sequence[Sequence[int]]) -> str:
    names = ("kernel_size", "stride", "padding", "dilation")
    # One that follows from the size is negative (`unpool.plan.SAME`).
    shown = ["'same'" if min(value) < 0 else tuple(value) for value in window]
    return ", ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))


def _at(position: Sequence[int]) -> str:
    return f"indices[{', '.join(map(str, position))}]"


def is_result(argument: str) -> bool:
    """Whether an argument is written into: a converted copy of it would be thrown away."""
    return argument.startswith("out")


def _an_empty_one(library_of: str) -> str:
    return f"pass an empty array of the library of {library_of}"


def _text(cause: BaseException) -> str:
    try:
        return str(cause)
    except BaseException:  # code of the plugin that raised it
        return ""


def _what_was_pooled(argument: str, as_what: str = "", *, spatial: bool = False) -> str:
    """Advice for an argument that gave the size of the plane."""
    if argument == "grad_output":
        return "pass the gradient of the array that was unpooled"
    if argument == "like":  # of the Keras layers
        return "pass what was pooled as `like`, or its size as `output_size`"
    return f"pass {'the spatial entries alone, or ' if spatial else ''}the shape of the array that was pooled{as_what}"


def _plane(plane: Sequence[int]) -> str:
    return f"an output plane of {' x '.join(map(str, plane))}{' cells' if len(plane) == 1 else ''}"


def _between(low: int, high: int) -> str:
    # Numbers that only a run knows are not compared: they are one if they are the same object.
    one = low is high or (type(low) is type(high) is int and low == high)
    return f"{low}" if one else f"between {low} and {high} (both allowed)"


TOUCHED = "`out` may be partly overwritten"


def _touched(touched: bool) -> str:
    return f". {TOUCHED}" if touched else ""
