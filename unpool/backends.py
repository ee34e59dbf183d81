"""The registry: from an array's type to the backend that computes on it.

It satisfies four requirements.

1. No framework is imported on a guess.  An array proves that its framework is imported, so a backend is loaded only
   when one of its arrays arrives, or when somebody asks for it by name.
2. Array type picks the backend; the *device* is the backend's own business, read at every call.
3. Built-in and third-party backends enter by the same door: an object with the three methods of `Backend`.  The module
   of a built-in one may have a function ``fault()`` besides: what `available` would say of the machine as it is now.
4. Nothing global can be switched.  ``backend=`` is the only override, and it never moves an array.

A third party declares ``[project.entry-points."unpool.backends"]`` with ``<package> = "<module>:<object>"``, where
``<package>`` is the top-level package that defines its array type; it is also the name for ``backend=``.  Entry points
are read only when the built-in table does not know a type or a name, because importing `importlib.metadata` costs
more than the rest of unpool.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from unpool import errors
from unpool.tracing import traced

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from unpool.plan import Plan

Duplicates = Literal["last", "sum", "error"]
DUPLICATES: tuple[Duplicates, ...] = ("last", "sum", "error")


class Backend(Protocol):
    """Three primitives on a `Plan`; everything public is made of them.

    Shapes, dtypes, duplicates and kinds of arrays are checked before a backend is called.  What is left to it: the
    device, memory order, the values of the indices, and ``out`` (None, or what to write into and return).
    """

    def pool(self, input: Any, plan: Plan, out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Return the largest value of each window and its index, or None for the latter if the plan wants none."""

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any) -> Any:
        """Return planes of zeros with each value put at its index."""

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any) -> Any:
        """Return the value at each index, the adjoint of `scatter`: zero for one that a later duplicate hid."""


class _BuiltIn(NamedTuple):
    """One row of the table; the name of a row is also that of its extra, ``pip install "unpool[cuda]"``."""

    framework: str  # the package that a backend imports
    packages: tuple[str, ...]  # where its array types are defined
    target: str  # "module:object"
    convert: str  # what a user writes to make such an array
    arrays: str | None = None  # "module:class" with what `unpool.arrays` needs, of those without the array API


BUILT_IN = {
    "cpu": _BuiltIn("numpy", ("numpy",), "unpool_cpu:BACKEND", "numpy.asarray"),
    "cuda": _BuiltIn("cupy", ("cupy",), "unpool_cuda:BACKEND", "cupy.asarray"),
    "tensorflow": _BuiltIn(
        "tensorflow",
        ("tensorflow",),
        "unpool_tensorflow:BACKEND",
        "tensorflow.convert_to_tensor",
        "unpool_tensorflow:Arrays",
    ),
    "torch": _BuiltIn("torch", ("torch",), "unpool_torch:BACKEND", "torch.as_tensor", "unpool_torch:Arrays"),
    "jax": _BuiltIn("jax", ("jax", "jaxlib"), "unpool_jax:BACKEND", "jax.numpy.asarray", "unpool_jax:Arrays"),
    "dask": _BuiltIn("dask", ("dask",), "unpool_dask:BACKEND", "dask.array.asarray"),
}
_BY_PACKAGE = {package: name for name, row in BUILT_IN.items() for package in row.packages}

# Filled by single assignments of finished values, so concurrent first calls at worst do the same work twice.
_names: dict[type, str] = {}
_loaded: dict[str, Backend] = {}


def check_name(backend: str | None) -> None:
    if backend is not None and backend not in tuple(BUILT_IN):
        names = (*BUILT_IN, *_entry_points())
        if backend not in names:
            raise errors.unknown_backend(backend, names)


def route(arguments: Sequence[str], arrays: Sequence[Any], backend: str | None = None) -> Backend:
    """Return the backend for these arrays, which must be of one kind; `arguments` names them, in order.

    Raises
    ------
    TypeError
        If an array's library is unknown, two arrays are of different libraries, or ``backend`` serves another one.
    BackendUnavailableError
        If the backend is known, but is not installed or does not load.
    """
    first = arrays[0]
    cls = type(first)
    # What PyTorch traces must not depend on what was met before: it would be compiled anew when that changes.
    fresh = "torch" in sys.modules and traced()
    kind = (not fresh and _names.get(cls)) or name_of(arguments[0], first)
    for array in arrays:
        if type(array) is not cls:  # of one type are of one kind
            _check_kinds(kind, arguments, arrays)
    if backend is not None and backend != kind:
        check_name(backend)
        if backend in BUILT_IN:
            raise errors.wrong_kind(arguments[0], first, backend, BUILT_IN[backend].convert)
        kind = backend
    return (not fresh and _loaded.get(kind)) or loaded(kind)


def _check_kinds(kind: str, arguments: Sequence[str], arrays: Sequence[Any]) -> None:
    for argument, array in zip(arguments, arrays, strict=False):  # `out` has a name in calls without one, too
        if name_of(argument, array) != kind:
            convert = BUILT_IN[kind].convert if kind in BUILT_IN else None
            raise errors.mixed_kinds(arguments[0], arrays[0], argument, array, kind, convert)


def namespace(argument: str, array: Any) -> Any:
    """Return the array-API module of an array's library.

    Raises TypeError if it is unknown, or does not follow the array API.
    """
    name = _names.get(type(array)) or name_of(argument, array)
    if name in ("cpu", "cuda"):  # NumPy 1 and CuPy have arrays that do not name theirs
        return sys.modules[BUILT_IN[name].framework]
    if not hasattr(array, "__array_namespace__"):
        raise errors.no_namespace(argument, array)
    return array.__array_namespace__()


def available() -> dict[str, str | None]:
    """Say of every backend, built-in or third-party, why it cannot be used: None if it can.

    Backends are imported to find out, and with them their frameworks, which may take seconds.  CUDA is started, too: a
    process that is forked afterwards cannot use it.

    >>> available()["cpu"] is None
    True
    """
    return {name: why_not(name) for name in (*BUILT_IN, *_entry_points())}


def why_not(name: str) -> str | None:
    """Say why one backend cannot be used, and import no other: None if it can."""
    try:
        load(name)
        fault = _fault(name)
    except errors.BackendUnavailableError as error:
        fault = error
    return None if fault is None else str(fault)


def name_of(argument: str, array: Any) -> str:
    """Look an array's type up by the packages that define it and its bases."""
    if "torch" in sys.modules and traced() and isinstance(array, sys.modules["torch"].Tensor):
        return "torch"  # whose bases PyTorch cannot go through where it traces
    bases = type(array).__mro__
    if any(cls.__name__ == "MaskedArray" and cls.__module__.startswith("numpy.ma") for cls in bases):
        raise errors.masked_array(argument)
    packages = [cls.__module__.partition(".")[0] for cls in bases]
    name = next((_BY_PACKAGE[package] for package in packages if package in _BY_PACKAGE), None)
    if name is None:
        plugins = _entry_points()
        name = next((package for package in packages if package in plugins), None)
    if name is None:
        raise errors.unknown_array(argument, array, [row.framework for row in BUILT_IN.values()])
    # Subclasses may be made by the thousand: not kept.
    if name == _BY_PACKAGE.get(packages[0], packages[0]) and not traced():
        _names[type(array)] = name
    return name


def loaded(name: str) -> Backend:
    """Return a backend, imported when it is first asked for."""
    if name == "torch" and traced():
        return _traced_torch()
    return _loaded.get(name) or load(name)


def _traced_torch() -> Backend:
    """Import the backend by a statement, the only way that PyTorch goes along where it traces a program."""
    from unpool_torch import BACKEND

    return cast(Backend, BACKEND)


def load(name: str) -> Backend:
    """Import a backend by its name, telling one that is not there from one that is broken."""
    if name in BUILT_IN:
        row = BUILT_IN[name]
        module, _, attribute = row.target.partition(":")
        try:
            backend = getattr(import_module(module), attribute)
        except Exception as error:  # not ImportError alone: CuPy raises OSError where it cannot make its cache folder
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing == module:
                raise errors.missing_backend(name, module) from None
            if missing == row.framework:
                raise errors.missing_framework(name, row.framework) from None
            raise errors.broken_backend(name, error) from error
    else:
        try:
            backend = _entry_points()[name].load()
        except Exception as error:
            raise errors.broken_backend(name, error) from error
    _loaded[name] = cast(Backend, backend)
    return _loaded[name]


def _fault(name: str) -> errors.BackendUnavailableError | None:
    """Ask a backend that loads whether this machine has what it needs, which may change between two calls."""
    module = import_module(BUILT_IN[name].target.partition(":")[0]) if name in BUILT_IN else None
    fault: errors.BackendUnavailableError | None = getattr(module, "fault", lambda: None)()
    return fault


def _entry_points() -> Mapping[Any, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="unpool.backends")}
