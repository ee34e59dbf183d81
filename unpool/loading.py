"""Import a backend, and tell a missing one from a broken one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from unpool.errors import BackendUnavailableError
from unpool.extras import install_command

# The package whose modules are compiled when unpool is installed; other backends import it, too.
_COMPILED = "unpool_backends.cpu"


def load(name: str, target: str, framework: str, folder: str | None = None, oldest: str = "") -> Any:
    """Import a built-in backend; `target` is ``"module:object"``.

    `folder` is the environment variable of the folder that its framework writes to on import, if there is one.
    `oldest` is the oldest version of its framework that is served.

    Raises
    ------
    BackendUnavailableError
        If its package or its framework is missing, or it does not load.
    """
    module, _, attribute = target.partition(":")
    try:
        return attempt(name, lambda: getattr(import_module(module), attribute), folder)
    except BackendUnavailableError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing in (module, module.partition(".")[0]):
            raise _missing_backend(name, str(missing)) from None
        if missing == framework:
            raise _missing_framework(name, framework) from None
        if isinstance(cause, ImportError) and missing is None and cause.name == _COMPILED:
            raise _unbuilt_kernels(name) from None  # the package is there, and lacks a module
        version = version_of(framework)
        if version and _older(version, oldest):
            raise _old_framework(name, framework, version, oldest) from cause
        raise


def attempt(name: str, call: Callable[[], Any], folder: str | None = None) -> Any:
    """Call a backend's own code and return its result; any exception, SystemExit too, makes the backend unavailable.

    Only KeyboardInterrupt passes, because Ctrl-C must end the program.

    Raises
    ------
    BackendUnavailableError
        If the call raises anything else.
    """
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken_backend(name, error, folder) from error


def version_of(framework: str) -> str | None:
    """Return the version of a framework, or None if it is not imported or has none."""
    try:
        version = getattr(sys.modules.get(framework), "__version__", None)
    except (Exception, SystemExit):  # from a `__getattr__` that the module defines
        return None
    return version if isinstance(version, str) else None


def _older(version: str, oldest: str) -> bool:
    """Compare the numbers of two versions; a development version is as old as its release."""
    found, least = ([int(digits) for digits in re.findall(r"\d+", text)] for text in (version, oldest))
    return found[: len(least)] < least


# --- messages ---------------------------------------------------------------------------------------------------------


def _missing_framework(backend: str, framework: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {backend!r} needs {framework}, which is not installed: {install_command(backend)}"
    )


def _missing_backend(backend: str, package: str) -> BackendUnavailableError:
    if backend == "cpu" or package == _COMPILED.partition(".")[0]:  # a source tree that was not built
        advice = "build it, in the folder that holds pyproject.toml, with: pip install ."
    else:
        advice = "this version of unpool does not have it; pass NumPy arrays, for example numpy.asarray(input)"
    return BackendUnavailableError(f"backend {backend!r} (package {package}) is not installed: {advice}")


def _unbuilt_kernels(backend: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {backend!r} needs the compiled kernels of the CPU, which are not built for this Python: build them, "
        f"in the folder that holds pyproject.toml, with: pip install ."
    )


def _old_framework(backend: str, framework: str, version: str, oldest: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend {backend!r} needs {framework} {oldest} or later, found {version}: upgrade {framework} in "
        f"the environment that runs this program"
    )


def _broken_backend(backend: str, cause: BaseException, folder: str | None = None) -> BackendUnavailableError:
    """Return the error of a backend that does not load; `folder` is the variable of the folder that it writes to."""
    unwritable = folder is not None and isinstance(cause, OSError) and cause.filename is not None
    advice = (
        f"Set {folder} to a folder that can be written" if unwritable else "Reinstall the package that this error names"
    )
    if "\n" in _text(cause) and cause.__cause__ is not None:  # a page of advice around the real cause
        cause = cause.__cause__
    text = _text(cause)
    shown = type(cause).__name__ + (f": {text}" if text else "")
    return BackendUnavailableError(f"backend {backend!r} does not load: {shown}. {advice}")


def _text(cause: BaseException) -> str:
    try:
        return str(cause)
    except BaseException:  # from the `__str__` of a plugin's own exception
        return ""
