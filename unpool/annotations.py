"""The types that signatures name, for type checkers: arrays of any library, and what pooling returns.

Nothing here checks a value.  Type checkers rely on these types: a call returns the kind of array that it is given, and
pooling returns a pair if `return_indices` is True.  NumPy values beside indices of JAX or TensorFlow are typed as
NumPy's result, since no type says which library takes constants.  Indices are `Any`, because the type of a NumPy array
includes its dtype, and other libraries' types do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, overload

from unpool.arguments import DataFormat, IndexFormatWord, Padding

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # The type of `return_indices` in objects and layers.  `MaxPool2d` alone stands for `MaxPool2d[Literal[False]]`.
    ReturnIndicesT = TypeVar(
        "ReturnIndicesT", Literal[False], Literal[True], bool, default=Literal[False], covariant=True
    )
else:
    from typing import TypeVar

    ReturnIndicesT = TypeVar("ReturnIndicesT", covariant=True)  # `typing` has defaults from Python 3.13 on


class Array(Protocol):
    """What the arrays of every library have."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=Array)


class Pooling(Protocol):
    """The type of `max_pool1d` to `max_pool3d`.

    A call without `return_indices` takes the first overload, so the default in the second is never used.
    """

    @overload
    def __call__(
        self,
        input: ArrayT,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: Literal[False] = False,
        *,
        data_format: DataFormat | None = None,
        index_format: IndexFormatWord = "plane",
        index_dtype: Any = None,
        out: Any = None,
        backend: str | None = None,
    ) -> ArrayT: ...
    @overload
    def __call__(
        self,
        input: ArrayT,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: Literal[True] = ...,
        *,
        data_format: DataFormat | None = None,
        index_format: IndexFormatWord = "plane",
        index_dtype: Any = None,
        out: Any = None,
        backend: str | None = None,
    ) -> tuple[ArrayT, Any]: ...
    @overload
    def __call__(
        self,
        input: ArrayT,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
        *,
        data_format: DataFormat | None = None,
        index_format: IndexFormatWord = "plane",
        index_dtype: Any = None,
        out: Any = None,
        backend: str | None = None,
    ) -> ArrayT | tuple[ArrayT, Any]: ...


def overloaded(function: Callable[..., Any]) -> Pooling:
    """Return the function itself, with the overloads for type checkers."""
    return cast(Pooling, function)
