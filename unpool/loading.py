"""Import a backend, and tell a missing one from a broken one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from unpool.errors import BackendUnavailableError


def load(name: str, target: str, framework: str, folder: str | None = None) -> Any:
    """Import a built-in backend; `target` is ``"module:object"``.

    `folder` is the environment variable of the folder that its framework writes to on import, if there is one.

    Raises
    ------
    BackendUnavailableError
        If its package or its framework is missing, or it does not load.
    """
    module, _, attribute = target.partition(":")
    try:
        return attempt(name, lambda: getattr(import_module(module), attribute), folder)
    except BackendUnavailableError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing in (module, module.partition(".")[0]):
            raise _missing_backend(name, module) from None
        if missing == framework:
            raise _missing_framework(name, framework) from None
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


# --- messages ---------------------------------------------------------------------------------------------------------


def _missing_framework(backend: str, framework: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f'{framework} is not installed, which backend {backend!r} needs: pip install "unpool[{backend}]"'
    )


def _missing_backend(backend: str, package: str) -> BackendUnavailableError:
    if backend == "cpu":  # every version has it, so this is a source tree that was not built
        advice = "build it, in the folder that holds pyproject.toml, with: pip install ."
    else:
        advice = "this version of unpool does not have it; pass NumPy arrays, for example numpy.asarray(input)"
    return BackendUnavailableError(f"backend {backend!r} (package {package}) is not installed: {advice}")


def _broken_backend(backend: str, cause: BaseException, folder: str | None = None) -> BackendUnavailableError:
    """Return the error of a backend that does not load; `folder` is the variable of the folder that it writes to."""
    unwritable = folder is not None and isinstance(cause, OSError) and cause.filename is not None
    advice = f"Set {folder} to a folder that can be written" if unwritable else "Reinstall what it names"
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
