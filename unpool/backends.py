"""Pick the backend that computes on an array, by the type of the array.

The backend itself reads the *device*, at every call.  There is no global switch: ``backend=`` is the only override, and
it never moves an array.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from unpool import registry
from unpool.arithmetic import Arithmetic
from unpool.errors import an_empty_one, is_result, kind_of
from unpool.protocol import Backend
from unpool.registry import BUILT_IN, BY_PACKAGE
from unpool.tracing import TRACER, is_traced_tensor, traced

# From the type of an array to the name of its backend.  Filled by single assignments, so no lock is needed.
_names: dict[type, str] = {}


def route(arguments: Sequence[str], arrays: Sequence[Any], backend: str | None = None) -> Backend:
    """Return the backend for these arrays, which must be of one library; `arguments` names them, in order.

    NumPy arrays may be constants beside arrays of another library.

    Raises
    ------
    TypeError
        If an array's library is unknown, two arrays are of different libraries, or ``backend`` serves another one.
    BackendUnavailableError
        If the backend is known, but is not installed or does not load.
    """
    place, first = 0, arrays[0]
    cls = type(first)
    for array in arrays:
        if type(array) is not cls:  # arrays of one type are of one library
            place = _deciding(arguments, arrays)
            first, cls = arrays[place], type(arrays[place])
            break
    # A traced program must not depend on these caches: PyTorch would recompile it when they change.
    fresh = TRACER in sys.modules and traced()
    kind = (not fresh and _names.get(cls)) or name_of(arguments[place], first)
    if backend is not None and backend != kind:
        registry.check_name(backend)
        if backend in BUILT_IN:
            raise _wrong_kind(arguments[place], first, backend, BUILT_IN[backend].convert)
        kind = backend
    return (not fresh and registry.LOADED.get(kind)) or registry.loaded(kind)


def _deciding(arguments: Sequence[str], arrays: Sequence[Any]) -> int:
    """Return the place of the first array of the library that computes; refuse arrays that it does not take."""
    given = list(zip(arguments, arrays, strict=False))  # the names include `out` in calls without one, too
    kinds = [name_of(argument, array) for argument, array in given]
    # An output is written into, so it is neither a constant, nor makes the inputs constants.
    inputs = [place for place, (argument, _) in enumerate(given) if not is_result(argument)]
    place = 0
    if kinds[0] == registry.NUMPY:
        place = next((at for at in inputs if registry.takes_constants(kinds[at])), 0)
    taken = [registry.NUMPY] if registry.takes_constants(kinds[place]) else []
    for at, kind in enumerate(kinds):
        if kind != kinds[place] and not (kind in taken and at in inputs):
            convert = BUILT_IN[kinds[place]].convert if kinds[place] in BUILT_IN else None
            raise _mixed_kinds(*given[place], *given[at], kinds[place], convert)
    return place


def check_format(chosen: Backend, index_format: str, arguments: Sequence[str], arrays: Sequence[Any]) -> None:
    """Refuse an index format that the backend of these arrays does not list in its optional `index_formats`."""
    if index_format not in getattr(chosen, "index_formats", ("plane",)):
        place = _deciding(arguments, arrays)
        raise _unsupported_format(index_format, name_of(arguments[place], arrays[place]))


def arithmetic_of(arguments: Sequence[str], arrays: Sequence[Any]) -> Arithmetic:
    """Return the `Arithmetic` of the library of these arrays; `arguments` names them, in order.

    Raises
    ------
    TypeError
        If two arrays are of different libraries; or if the library is unknown, or neither follows the array API nor has
        a backend with an arithmetic of its own.
    BackendUnavailableError
        If that backend is not installed, or does not load.
    """
    place = _deciding(arguments, arrays)
    argument, array = arguments[place], arrays[place]
    name = name_of(argument, array)
    own = None if name in BUILT_IN and BUILT_IN[name].namespace else getattr(registry.loaded(name), "arithmetic", None)
    return Arithmetic(namespace(argument, array)) if own is None else own(array)


def namespace(argument: str, array: Any) -> Any:
    """Return the array-API module of an array's library.

    Raises TypeError if the library is unknown, or does not follow the array API.
    """
    name = _names.get(type(array)) or name_of(argument, array)
    known = BUILT_IN[name].namespace if name in BUILT_IN else None
    if known is not None:  # arrays of NumPy 1 and CuPy have no `__array_namespace__`
        return sys.modules[known]
    if not hasattr(array, "__array_namespace__"):
        raise _no_namespace(argument, array, [row.framework for row in BUILT_IN.values()])
    return array.__array_namespace__()


def name_of(argument: str, array: Any) -> str:
    """Return the name of an array's backend, from the packages that define its type and the bases of it."""
    if is_traced_tensor(array):
        return TRACER
    bases = type(array).__mro__
    if any(cls.__name__ == "MaskedArray" and cls.__module__.startswith("numpy.ma") for cls in bases):
        raise _masked_array(argument)
    packages = [cls.__module__.partition(".")[0] for cls in bases]
    name = next((BY_PACKAGE[package] for package in packages if package in BY_PACKAGE), None)
    if name is None:
        plugins = registry.plugins()
        name = next(
            (package for package in packages if package in plugins and package not in registry.NO_LIBRARY), None
        )
    if name is None:
        layers = next((registry.LAYERS[package] for package in packages if package in registry.LAYERS), None)
        raise _unknown_array(argument, array, [row.framework for row in BUILT_IN.values()], layers)
    # Subclasses that other packages define are not cached: a program may make thousands of them.
    if name == BY_PACKAGE.get(packages[0], packages[0]) and not traced():
        _names[type(array)] = name
    return name


# --- messages ---------------------------------------------------------------------------------------------------------


def _unknown_array(argument: str, value: object, kinds: Sequence[str], layers: str | None) -> TypeError:
    if layers is not None:
        return TypeError(
            f"`{argument}` must be an array with values, got {kind_of(value)}: call a layer of {layers} where a model "
            f"is made"
        )
    if _holds_array(value):
        advice = f"pass {argument}.data"
    elif is_result(argument):
        advice = an_empty_one("the input")
    elif getattr(value, "chunks", None):  # Zarr and HDF5 have chunks in files
        advice = (
            f"read it first, all by numpy.asarray({argument}) or a part by {argument}[:1]; docs/scale.md shows how to "
            f"compute planes that are larger than memory"
        )
    else:
        advice = f"convert it first, for example with numpy.asarray({argument})"
    return TypeError(
        f"`{argument}` must be an array of a library that unpool knows ({', '.join(kinds)}, or one with a plugin in "
        f"the entry-point group 'unpool.backends'), got {kind_of(value)}: {advice}"
    )


def _holds_array(value: Any) -> bool:
    """Return True if `value.data` is an array of a known library with the same cells, as in an xarray.DataArray."""
    held = getattr(value, "data", None)
    packages = {cls.__module__.partition(".")[0] for cls in type(held).__mro__}
    return not packages.isdisjoint(BY_PACKAGE) and getattr(held, "shape", None) == value.shape


def _masked_array(argument: str) -> TypeError:
    advice = f"pass {argument}.filled(value), or {argument}.data to ignore it yourself"
    return TypeError(
        f"`{argument}` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: "
        f"{f'pass {argument}.data' if is_result(argument) else advice}"
    )


def _mixed_kinds(first: str, one: object, second: str, other: object, library: str, convert: str | None) -> TypeError:
    if is_result(second):
        advice = an_empty_one(f"`{first}`")
    elif convert is None:
        advice = f"convert `{second}` to an array of {library}"
    else:
        advice = f"pass {convert}({second})"
    return TypeError(
        f"`{first}` and `{second}` must be arrays of one library, got {kind_of(one)} and {kind_of(other)}: {advice}"
    )


def _wrong_kind(argument: str, value: object, backend: str, convert: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be an array of the library that backend={backend!r} serves, got {kind_of(value)}: pass "
        f"{convert}({argument}), or leave `backend` out"
    )


def _unsupported_format(index_format: str, name: str) -> ValueError:
    return ValueError(
        f"`index_format` must be 'plane' for arrays of {name!r}, whose backend lists no other in `index_formats`, got "
        f"{index_format!r}: pass 'plane', and convert indices that are taps with unpool.convert_indices"
    )


def _no_namespace(argument: str, value: object, kinds: Sequence[str]) -> TypeError:
    return TypeError(
        f"`{argument}` must be an array of a library that unpool serves itself ({', '.join(kinds)}), or one that "
        f"follows the array API, got {kind_of(value)}: pass numpy.asarray({argument})"
    )
