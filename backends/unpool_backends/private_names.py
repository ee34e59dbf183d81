"""Find the private names of a framework, and list them with the public way that serves where one is gone.

Each backend that uses such names has a `private.py` with its own `Names`; its other files import from there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Name(NamedTuple):
    """A private or undocumented name of a framework, with sentences for the person who finds it gone."""

    path: str  # dotted, from the framework's package on
    use: str  # what the backend does with it
    breaks: str  # what does not work without it
    instead: str  # the public way that serves then; it computes and differentiates plain eager calls


class Names(list[Name]):
    """The private names of one framework, and which of them are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[str] = []

    def find(self, path: str, *, use: str, breaks: str, instead: str) -> Any:
        """List a name, and return what it stands for, or None where it is gone."""
        self.append(Name(path, use, breaks, instead))
        found = lookup(path)
        if found is None:
            self.gone.append(path)
        return found


def lookup(path: str) -> Any:
    """Return what a dotted name stands for, or None where it is gone."""
    first, *rest = path.split(".")
    found, done = import_module(first), first
    for name in rest:
        done += f".{name}"
        try:
            found = getattr(found, name)
        except AttributeError:  # or it is a module that nobody imported yet
            try:
                found = import_module(done)
            except ImportError:
                return None
    return found
