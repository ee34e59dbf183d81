"""Look up the private names of a framework, and record the public replacement for each missing one.

Each backend that uses such names has a `private.py` with its own `Names`; its other files import from there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Name(NamedTuple):
    """A private or undocumented name of a framework, with the text to show if it is missing."""

    path: str  # dotted, starting with the framework's package
    use: str  # the backend's use of the name
    breaks: str  # the features that fail without it
    instead: str  # the public replacement, which computes and differentiates plain eager calls


class Names(list[Name]):
    """The private names of one framework; `gone` holds the paths of the missing ones."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[str] = []

    def find(self, path: str, *, use: str, breaks: str, instead: str) -> Any:
        """Record a name, and return its object, or None if the framework lacks it."""
        self.append(Name(path, use, breaks, instead))
        found = lookup(path)
        if found is None:
            self.gone.append(path)
        return found


def lookup(path: str) -> Any:
    """Return the object that a dotted name refers to, or None if there is none."""
    first, *rest = path.split(".")
    found, done = import_module(first), first
    for name in rest:
        done += f".{name}"
        try:
            found = getattr(found, name)
        except AttributeError:  # it may be a submodule that is not imported yet
            try:
                found = import_module(done)
            except ImportError:
                return None
    return found
