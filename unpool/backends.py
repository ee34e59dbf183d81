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

A bad plugin is named and passed over.  `available` gives the reason, and a call raises it that asks for the plugin by
name or brings one of its arrays.  No other call changes.  An entry point is bad if it is malformed, claims a name that
it must not have, does not load, or loads an object that is no backend.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from unpool import errors
from unpool.tracing import traced

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

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
    "cpu": _BuiltIn("numpy", ("numpy",), "unpool_backends.cpu:BACKEND", "numpy.asarray"),
    "cuda": _BuiltIn("cupy", ("cupy",), "unpool_backends.cuda:BACKEND", "cupy.asarray"),
    "tensorflow": _BuiltIn(
        "tensorflow",
        ("tensorflow",),
        "unpool_backends.tensorflow:BACKEND",
        "tensorflow.convert_to_tensor",
        "unpool_backends.tensorflow:Arrays",
    ),
    "torch": _BuiltIn(
        "torch", ("torch",), "unpool_backends.torch:BACKEND", "torch.as_tensor", "unpool_backends.torch:Arrays"
    ),
    "jax": _BuiltIn(
        "jax", ("jax", "jaxlib"), "unpool_backends.jax:BACKEND", "jax.numpy.asarray", "unpool_backends.jax:Arrays"
    ),
}
_BY_PACKAGE = {package: name for name, row in BUILT_IN.items() for package in row.packages}

_PRIMITIVES = ("pool", "scatter", "gather")

# Libraries of symbolic tensors, which have no values, and the layers that take them.
_LAYERS = {"keras": "unpool.keras"}

_GROUP = "unpool.backends"
_TARGET = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\])?")  # an object reference of the entry-point specification
# Packages of base classes and of users' own classes.  A plugin named like one would serve the arrays of every library.
_NO_LIBRARY = {*sys.stdlib_module_names, "__main__", "__mp_main__"}

# Filled by single assignments of finished values, so concurrent first calls at worst do the same work twice.
_names: dict[type, str] = {}
_loaded: dict[str, Backend] = {}


def check_name(backend: str | None) -> None:
    if backend is not None and backend not in tuple(BUILT_IN):
        plugins = _plugins()
        if backend not in tuple(plugins):
            good = [name for name, plugin in plugins.items() if not isinstance(plugin, Exception)]
            raise errors.unknown_backend(backend, (*BUILT_IN, *good))


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
    process that is forked afterwards cannot use it.  A bad plugin whose name is taken has a key with its distribution,
    ``"name (distribution)"``.

    >>> available()["cpu"] is None
    True
    """
    return {name: why_not(name) for name in (*BUILT_IN, *_plugins())}


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
        plugins = _plugins()
        name = next((package for package in packages if package in plugins and package not in _NO_LIBRARY), None)
    if name is None:
        layers = next((_LAYERS[package] for package in packages if package in _LAYERS), None)
        raise errors.unknown_array(argument, array, [row.framework for row in BUILT_IN.values()], layers)
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
    from unpool_backends.torch import BACKEND

    return cast(Backend, BACKEND)


def load(name: str) -> Backend:
    """Import a backend by its name, telling one that is not there from one that is broken."""
    if name in BUILT_IN:
        row = BUILT_IN[name]
        module, _, attribute = row.target.partition(":")
        try:
            backend = _attempt(name, lambda: getattr(import_module(module), attribute))
        except errors.BackendUnavailableError as error:
            missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
            if missing in (module, module.partition(".")[0]):
                raise errors.missing_backend(name, module) from None
            if missing == row.framework:
                raise errors.missing_framework(name, row.framework) from None
            raise
    else:
        plugin = _plugins()[name]
        if isinstance(plugin, errors.BackendUnavailableError):
            raise plugin
        backend = _attempt(name, plugin.load)
        problem = _attempt(name, lambda: _misfit(plugin, backend))
        if problem is not None:
            raise problem
    _loaded[name] = cast(Backend, backend)
    return _loaded[name]


def _attempt(name: str, call: Callable[[], Any]) -> Any:
    """Return the result of a backend's own code; any exception makes the backend unavailable, SystemExit too.

    Only KeyboardInterrupt passes.  A plugin that raises it cannot be told from a user who presses Ctrl-C, and Ctrl-C
    must end the program.
    """
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise errors.broken_backend(name, error) from error


def _misfit(plugin: EntryPoint, backend: Any) -> errors.BackendUnavailableError | None:
    """Say why the object that an entry point names is no backend: None if it is one."""
    if isinstance(backend, type):
        return errors.backend_class(plugin.name, plugin.value)
    lacking = [method for method in _PRIMITIVES if not callable(getattr(backend, method, None))]
    return errors.no_backend(plugin.name, plugin.value, backend, lacking) if lacking else None


def _fault(name: str) -> errors.BackendUnavailableError | None:
    """Ask a backend that loads whether this machine has what it needs, which may change between two calls."""
    module = import_module(BUILT_IN[name].target.partition(":")[0]) if name in BUILT_IN else None
    fault: errors.BackendUnavailableError | None = _attempt(name, getattr(module, "fault", lambda: None))
    return fault


def _plugins() -> Mapping[str, EntryPoint | errors.BackendUnavailableError]:
    """Return the entry point of each plugin by its name, or the error that says why it is passed over."""
    from importlib.metadata import EntryPoint

    values: dict[str, dict[str, str]] = {}  # of the well-formed, by name and distribution
    bad: dict[tuple[str, str], errors.BackendUnavailableError] = {}
    for owner, name, value in _declared():
        if not name or name in _NO_LIBRARY or name in BUILT_IN or name in _BY_PACKAGE:
            bad[name, owner] = errors.reserved_plugin(name, owner)
        elif not _TARGET.fullmatch(value):
            bad[name, owner] = errors.malformed_plugin(name, value, owner)
        else:
            values.setdefault(name, {}).setdefault(owner, value)
    plugins: dict[str, EntryPoint | errors.BackendUnavailableError] = {}
    for name, by_owner in values.items():
        value, *others = set(by_owner.values())
        # Which of two is meant cannot be known: the order of folders on the disk must not decide it.
        plugins[name] = errors.rival_plugins(name, by_owner) if others else EntryPoint(name, value, _GROUP)
    for (name, owner), error in bad.items():
        plugins[f"{name} ({owner})" if name in BUILT_IN or name in plugins else name] = error
    return plugins


def _declared() -> Iterator[tuple[str, str, str]]:
    """Yield the distribution, name and value of every entry point in our group.

    `importlib.metadata.entry_points` would raise for all of them if any package had one malformed line, in any group.
    """
    from importlib.metadata import distributions

    seen = set()
    for distribution in distributions():
        text = _entry_points_of(distribution)
        if _GROUP not in text:
            continue
        owner = _name_of_distribution(distribution)
        if owner in seen:  # shadowed by one that comes earlier on the path
            continue
        seen.add(owner)
        section = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line.strip("[] ")
            elif section == _GROUP and line and line[0] not in "#;":
                name, _, value = line.partition("=")
                yield owner, name.strip(), value.strip()


def _entry_points_of(distribution: Distribution) -> str:
    """Return the file that declares a distribution's entry points: nothing if there is none, or it cannot be read."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")  # spoils no other line
    except Exception:
        return ""


def _name_of_distribution(distribution: Distribution) -> str:
    try:
        return distribution.metadata["Name"] or "unknown"
    except Exception:  # the file is missing or malformed
        return "unknown"
