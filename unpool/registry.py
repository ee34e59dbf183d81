"""The table of built-in backends, and the plugins of third parties.

A backend is imported when the first of its arrays is passed, or when a call names it; no framework is imported before.
Built-in and third-party backends are used alike: as an object with the methods of `protocol.Backend`.

A third party declares ``[project.entry-points."unpool.backends"]`` with ``<package> = "<module>:<object>"``, where
``<package>`` is the top-level package that defines its array type; it is also the name for ``backend=``.  Entry points
are read only when the built-in table does not list a type or a name, because importing `importlib.metadata` costs
more than the rest of unpool.

A bad plugin is skipped.  `available` gives the reason, and a call that names the plugin or passes one of its arrays
raises it.  No other call changes.  An entry point is bad if it is malformed, has a reserved name, does not load, or
loads an object that is not a backend.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unpool import loading
from unpool.errors import BackendUnavailableError, kind_of
from unpool.extras import install_command
from unpool.protocol import PRIMITIVES, Backend
from unpool.tracing import TRACER, traced

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


class _BuiltIn(NamedTuple):
    """One row of the table; its key is also the name of its extra, as in ``pip install "unpool[cuda]"``."""

    framework: str  # the package that a backend imports
    packages: tuple[str, ...]  # the packages that define its array types
    convert: str  # the function that makes such an array
    oldest: str  # the oldest version that is served, as in the extra of pyproject.toml
    namespace: str | None = None  # the array-API module, where arrays do not name it themselves
    folder: str | None = None  # the environment variable of the folder that it writes to on import
    constants: bool = False  # the optional part of this name, so that a refused call imports no backend
    channels_last: bool = False  # True if its arrays usually have the channels last


BUILT_IN = {
    "cpu": _BuiltIn("numpy", ("numpy",), "numpy.asarray", "1.26", namespace="numpy"),
    "cuda": _BuiltIn("cupy", ("cupy",), "cupy.asarray", "14", namespace="cupy", folder="CUPY_CACHE_DIR"),
    "tensorflow": _BuiltIn(
        "tensorflow", ("tensorflow",), "tensorflow.convert_to_tensor", "2.18", constants=True, channels_last=True
    ),
    "torch": _BuiltIn("torch", ("torch",), "torch.as_tensor", "2.11"),
    "jax": _BuiltIn("jax", ("jax", "jaxlib"), "jax.numpy.asarray", "0.10", constants=True),
    "dask": _BuiltIn("dask", ("dask",), "dask.array.from_array", "2024.8"),
}
BY_PACKAGE = {package: name for name, row in BUILT_IN.items() for package in row.packages}
# The backend of the arrays that others may take as constants.
NUMPY = BY_PACKAGE["numpy"]
# Libraries of symbolic tensors, which have no values, and the layers that take them.
LAYERS = {"keras": "unpool.keras"}
# The parts of unpool that need a library of the same name, which is also the name of an extra.
_PARTS = ("torch", "keras")

_GROUP = "unpool.backends"
_TARGET = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\])?")  # an object reference of the entry-point specification
# Packages of base classes and of users' own classes.  A plugin with such a name would get the arrays of every library.
NO_LIBRARY = {*sys.stdlib_module_names, "__main__", "__mp_main__"}

# Filled by single assignments of finished values, so concurrent first calls at worst do the same work twice.
LOADED: dict[str, Backend] = {}


def check_name(backend: str | None) -> None:
    """Refuse a name that neither a built-in backend nor a good plugin has."""
    if backend is not None and backend not in tuple(BUILT_IN):
        found = plugins()
        if backend not in tuple(found):
            good = [name for name, plugin in found.items() if not isinstance(plugin, Exception)]
            raise _unknown_backend(backend, (*BUILT_IN, *good))


def part(name: str) -> Any:
    """Return `unpool.torch` or `unpool.keras`; import it on first use."""
    if name not in _PARTS:
        raise AttributeError(f"module 'unpool' has no attribute {name!r}")
    try:
        return import_module(f"unpool.{name}")
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise _missing_library(name) from None
    except BackendUnavailableError as error:  # Keras is there, and its own backend is not
        raise AttributeError(str(error)) from error


def available() -> dict[str, str | None]:
    """Return the reason that each backend, built-in or third-party, cannot be used, or None if it can.

    This imports every backend and its framework, which may take seconds.  It also starts CUDA, which a process that is
    forked afterwards cannot use.  A bad plugin whose name is taken has the key ``"name (distribution)"``.

    >>> available()["cpu"] is None
    True
    """
    return {name: why_not(name) for name in (*BUILT_IN, *plugins())}


def why_not(name: str) -> str | None:
    """Return the reason that a backend cannot be used, or None if it can; import no other backend."""
    try:
        load(name)
        fault = _fault(name)
    except BackendUnavailableError as error:
        fault = error
    return None if fault is None else str(fault)


def loaded(name: str) -> Backend:
    """Return a backend by its name; import it on the first call."""
    if name == TRACER and traced():
        return _traced_backend()
    return LOADED.get(name) or load(name)


def takes_constants(name: str) -> bool:
    """Return True if a NumPy array beside the arrays of a backend is a constant."""
    return BUILT_IN[name].constants if name in BUILT_IN else bool(getattr(loaded(name), "constants", False))


def _traced_backend() -> Backend:
    """Import PyTorch's backend by a statement, because PyTorch can trace no other import."""
    from unpool_backends.torch import BACKEND

    return cast(Backend, BACKEND)


def load(name: str) -> Backend:
    """Import a backend by its name.

    Raises
    ------
    BackendUnavailableError
        If it is not installed, does not load, or is a bad plugin.
    """
    if name in BUILT_IN:
        row = BUILT_IN[name]
        backend = loading.load(name, f"unpool_backends.{name}:BACKEND", row.framework, row.folder, row.oldest)
    else:
        plugin = plugins()[name]
        if isinstance(plugin, BackendUnavailableError):
            raise plugin
        backend = loading.attempt(name, plugin.load)
        problem = loading.attempt(name, lambda: _misfit(plugin, backend))
        if problem is not None:
            raise problem
    LOADED[name] = cast(Backend, backend)
    return LOADED[name]


def _misfit(plugin: EntryPoint, backend: Any) -> BackendUnavailableError | None:
    """Return the error of an entry point whose object is not a backend, or None if it is one."""
    if isinstance(backend, type):
        return _backend_class(plugin.name, plugin.value)
    lacking = [method for method in PRIMITIVES if not callable(getattr(backend, method, None))]
    return _no_backend(plugin.name, plugin.value, backend, lacking) if lacking else None


def _fault(name: str) -> BackendUnavailableError | None:
    """Return the error of a loaded backend that cannot compute on this machine now, or None if it can."""
    found = loading.attempt(name, lambda: getattr(LOADED[name], "fault", lambda: None)())
    return cast("BackendUnavailableError | None", found)


def plugins() -> Mapping[str, EntryPoint | BackendUnavailableError]:
    """Return the entry point of each plugin by its name, or the error that gives the reason to skip it."""
    from importlib.metadata import EntryPoint

    values: dict[str, dict[str, str]] = {}  # of the well-formed entry points, by name and distribution
    bad: dict[tuple[str, str], BackendUnavailableError] = {}
    for owner, name, value in _declared():
        if not name or name in NO_LIBRARY or name in BUILT_IN or name in BY_PACKAGE:
            bad[name, owner] = _reserved_plugin(name, owner)
        elif not _TARGET.fullmatch(value):
            bad[name, owner] = _malformed_plugin(name, value, owner)
        else:
            values.setdefault(name, {}).setdefault(owner, value)
    found: dict[str, EntryPoint | BackendUnavailableError] = {}
    for name, by_owner in values.items():
        value, *others = set(by_owner.values())
        # If two objects have one name, the order of folders on the disk must not decide between them.
        found[name] = _rival_plugins(name, by_owner) if others else EntryPoint(name, value, _GROUP)
    for (name, owner), error in bad.items():
        found[f"{name} ({owner})" if name in BUILT_IN or name in found else name] = error
    return found


def _declared() -> Iterator[tuple[str, str, str]]:
    """Yield the distribution, name and value of every entry point in our group.

    `importlib.metadata.entry_points` would raise if any package had one malformed line, in any group.
    """
    from importlib.metadata import distributions

    seen = set()
    for distribution in distributions():
        text = _entry_points_of(distribution)
        if _GROUP not in text:
            continue
        owner = _name_of_distribution(distribution)
        if owner in seen:  # shadowed by a distribution that comes earlier on the path
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
    """Return the text of a distribution's file of entry points; empty if it is missing or cannot be read."""
    try:
        return distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")  # a bad line must not spoil the others
    except Exception:
        return ""


def _name_of_distribution(distribution: Distribution) -> str:
    try:
        return distribution.metadata["Name"] or "unknown"
    except Exception:  # the file is missing or malformed
        return "unknown"


# --- messages ---------------------------------------------------------------------------------------------------------


def _missing_library(name: str) -> AttributeError:
    """Return an AttributeError, so that `hasattr(unpool, name)` is False."""
    return AttributeError(f"unpool.{name} needs {name}, which is not installed: {install_command(name)}")


def _malformed_plugin(name: str, value: str, distribution: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be declared by an entry point <package> = <module>:<object>, got "
        f"{f'{name} = {value}'!r} in the distribution {distribution!r}: correct it, or uninstall {distribution}"
    )


def _reserved_plugin(name: str, distribution: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must have the name of the package that defines its arrays, which must not be a part of "
        f"Python or a package that unpool serves itself, got {name!r} in the distribution {distribution!r}: rename the "
        f"entry point, or uninstall {distribution}"
    )


def _rival_plugins(name: str, values: Mapping[str, str]) -> BackendUnavailableError:
    found = " and ".join(f"{value!r} in the distribution {owner!r}" for owner, value in sorted(values.items()))
    return BackendUnavailableError(
        f"backend {name!r} must be declared by one distribution, got {found}: uninstall all but one"
    )


def _backend_class(name: str, target: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be an object with the methods of unpool.Backend, got the class {target!r}: let the "
        f"entry point name an instance of it"
    )


def _no_backend(name: str, target: str, value: object, lacking: Sequence[str]) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {name!r} must be an object with the methods of unpool.Backend, got {target!r} of type "
        f"{kind_of(value)} without {', '.join(lacking)}: let the entry point name an object that has them"
    )


def _unknown_backend(name: object, names: Sequence[str]) -> ValueError:
    return ValueError(
        f"`backend` must be one of {', '.join(map(repr, names))}, got {name!r}: pass one of these, or leave it out"
    )
