"""Import a backend, and tell one that is not there from one that is broken."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from unpool import errors


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
    except errors.BackendUnavailableError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing in (module, module.partition(".")[0]):
            raise errors.missing_backend(name, module) from None
        if missing == framework:
            raise errors.missing_framework(name, framework) from None
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
        raise errors.broken_backend(name, error, folder) from error
