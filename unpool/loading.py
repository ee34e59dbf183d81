"""Import a backend, and tell one that is not there from one that is broken."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from unpool.errors import BackendUnavailableError


def load(name: str, target: str, framework: str, folder: str | None = None) -> Any:
    """Import a backend that unpool has built in; `target` is ``"module:object"``.

    `folder` is the variable that names where its framework writes as it is imported, if it does.

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
    """Return the result of a backend's own code; any exception makes the backend unavailable, SystemExit too.

    Only KeyboardInterrupt passes.  A plugin that raises it cannot be told from a user who presses Ctrl-C, and Ctrl-C
    must end the program.

    Raises
    ------
    BackendUnavailableError
        If there is an exception.
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
    if backend == "cpu":  # in every version, so this is a source tree that was not built
        advice = "build it, in the folder that holds pyproject.toml, with: pip install ."
    else:
        advice = "this version of unpool does not have it; pass NumPy arrays, for example numpy.asarray(input)"
    return BackendUnavailableError(f"backend {backend!r} (package {package}) is not installed: {advice}")


def _broken_backend(backend: str, cause: BaseException, folder: str | None = None) -> BackendUnavailableError:
    """Return the error of a backend that does not load; `folder` is the variable that names where it writes."""
    unwritable = folder is not None and isinstance(cause, OSError) and cause.filename is not None
    advice = f"Set {folder} to a folder that can be written" if unwritable else "Reinstall what it names"
    if "\n" in _text(cause) and cause.__cause__ is not None:  # the cause in a page of advice
        cause = cause.__cause__
    text = _text(cause)
    shown = type(cause).__name__ + (f": {text}" if text else "")
    return BackendUnavailableError(f"backend {backend!r} does not load: {shown}. {advice}")


def _text(cause: BaseException) -> str:
    try:
        return str(cause)
    except BaseException:  # code of the plugin that raised it
        return ""
