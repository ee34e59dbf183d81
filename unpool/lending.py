"""Run the kernels of one backend on the memory of another library's arrays; nothing is copied on the way in or out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from unpool.plan import Plan
from unpool.protocol import Backend, Duplicates


class Lender:
    """The three primitives of a backend of kernels, on arrays of another library, here called tensors.

    ``kernels()`` returns the backend.  ``array(tensor)`` returns the kernels' array on the memory of a tensor.
    ``tensor(array, *given)`` returns a tensor on the memory of a result, like the given tensors.  ``within(tensor)`` is
    the context manager of a call.
    """

    def __init__(
        self,
        kernels: Callable[[], Backend],
        array: Callable[[Any], Any],
        tensor: Callable[..., Any],
        within: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._kernels, self._array, self._tensor, self._within = kernels, array, tensor, within

    def pool(self, cells: Any, plan: Plan[Any], out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        with self._within(cells):
            targets = None if out is None else (self._array(out[0]), self._optional(out[1]))
            values, indices = self._kernels().pool(self._array(cells), plan, targets)
            if out is not None:
                return out
            return self._tensor(values, cells), None if indices is None else self._tensor(indices, cells)

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any = None) -> Any:
        """Return the planes; None if the kernels are quiet and found a bad or repeated index."""
        return self._moved(self._kernels().scatter, values, indices, plan, duplicates, out)

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any = None) -> Any:
        """Return the values; None if the kernels are quiet and found a bad or repeated index."""
        return self._moved(self._kernels().gather, grad, indices, plan, duplicates, out)

    def _moved(
        self, run: Callable[..., Any], given: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any
    ) -> Any:
        with self._within(given):
            result = run(self._array(given), self._array(indices), plan, duplicates, self._optional(out))
            return out if out is not None or result is None else self._tensor(result, given, indices)

    def _optional(self, tensor: Any) -> Any:
        return None if tensor is None else self._array(tensor)
