"""What a backend is: three primitives on a `Plan`, and optional parts."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from unpool.plan import Plan

Duplicates = Literal["last", "sum", "error"]
DUPLICATES: tuple[Duplicates, ...] = ("last", "sum", "error")

PRIMITIVES = ("pool", "scatter", "gather")


class Backend(Protocol):
    """Three primitives on a `Plan`; everything public is made of them.

    Shapes, dtypes, duplicates and kinds of arrays are checked before a backend is called.  What is left to it: the
    device, memory order, the values of the indices, and ``out`` (None, or what to write into and return).

    A backend may have three parts more.  ``fault()`` returns the error that says why this machine cannot compute now,
    or None.  ``arithmetic(array)`` returns the `unpool.arithmetic.Arithmetic` of its arrays, if they do not follow the
    array API.  If sizes of its arrays may be unknown before a run, `scatter` takes ``given``: the entries of the user's
    size, some of them arrays, to which the rules of `unpool.plan` are then applied.
    """

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Return the largest value of each window and its index, or None for the latter if the plan wants none."""

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        """Return planes of zeros with each value put at its index."""

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        """Return the value at each index, the adjoint of `scatter`: zero for one that a later duplicate hid."""
