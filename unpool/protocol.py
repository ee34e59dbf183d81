"""The interface of a backend: three primitives on a `Plan`, and optional parts."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from unpool.plan import Plan

Duplicates = Literal["last", "sum", "error"]
DUPLICATES: tuple[Duplicates, ...] = ("last", "sum", "error")

PRIMITIVES = ("pool", "scatter", "gather")


@runtime_checkable
class Backend(Protocol):
    """Three primitives on a `Plan`; every public function calls one of them.

    Shapes, dtypes, ``duplicates`` and the types of arrays are checked before a backend is called.  The backend handles
    the device, the memory order, the values of the indices, and ``out``: None, or the array to write into and return.

    Five parts are optional.  ``index_formats`` lists the formats that the backend takes, of
    `unpool.plan.INDEX_FORMATS`; without it, every Plan has ``"plane"``.  ``fault()`` returns the error that explains
    why this machine cannot compute now, or None.  ``arithmetic(array)`` returns the `unpool.arithmetic.Arithmetic` of
    arrays that do not follow the array API.  If ``constants`` is true, `scatter` and `gather` may get NumPy arrays
    beside those of the library, convert them, and return an array of the library; without it, such calls are refused.
    If sizes may be unknown until the program runs, `scatter` takes ``given``, the entries of the user's size.  Some of
    them may be arrays; the backend applies the rules of `unpool.sizes` to them.
    """

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        """Return the maximum of each window and its index; None for the indices if ``plan.index_dtype`` is None."""

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        """Return planes of zeros with each value put at its index."""

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        """Return the value at each index, the adjoint of `scatter`: zero where a later duplicate overwrote it."""
