"""Pooling and unpooling as objects that keep their arguments for later calls, like the layers of `torch.nn`.

Objects are immutable and compare by their arguments.  The constructor checks the arguments, so a wrong one raises there
and not at the first call.

For type checkers, a pooling object has `return_indices` in its type: ``MaxPool2d[Literal[True]]`` returns a pair,
``MaxPool2d`` alone an array, and ``MaxPool2d[bool]`` stands for either.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Generic, Literal, overload

from unpool import calls, dtypes, registry
from unpool.annotations import Array, ArrayT, ReturnIndicesT
from unpool.arguments import (
    DataFormat,
    IndexFormatWord,
    Padding,
    check_choice,
    check_validate,
    data_format_of,
    index_format_of,
    is_left_out,
    window,
)
from unpool.plan import Validate
from unpool.protocol import DUPLICATES, Duplicates
from unpool.sizes import check_no_window
from unpool.tracing import traced
from unpool.windows import Window


class _Resolved:
    """A field that is resolved when the object is made; where it was left out, a replaced copy resolves it anew.

    It reads as its value.  Only `dataclasses.replace` and `copy.replace` read None where it was left out: they pass
    what they read on to the copy.  PyTorch cannot trace `sys._getframe`, so in its programs they read the value.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.kept = name, f"_{name}"

    def __get__(self, module: Any, owner: type) -> Any:
        if module is None:  # the default of the field
            return None
        left_out = self.name in getattr(module, "_left_out", ())
        if left_out and not traced() and sys._getframe(1).f_code in _REPLACE:
            return None
        return getattr(module, self.kept)

    def __set__(self, module: Any, value: Any) -> None:
        object.__setattr__(module, self.kept, value)


# `copy.replace`, of Python 3.13, calls the same function as `dataclasses.replace`.
_REPLACE = {getattr(dataclasses, name).__code__ for name in ("replace", "_replace") if hasattr(dataclasses, name)}


@dataclass(frozen=True)
class _MaxPool(Generic[ReturnIndicesT]):
    rank: ClassVar[int]

    kernel_size: int | Sequence[int]
    stride: int | Sequence[int] | None = _Resolved()  # type: ignore[assignment]
    padding: Padding = 0
    dilation: int | Sequence[int] = 1
    return_indices: ReturnIndicesT = False  # type: ignore[assignment]  # also the type's default
    ceil_mode: bool = False
    _: KW_ONLY
    data_format: DataFormat | None = _Resolved()  # type: ignore[assignment]
    index_format: IndexFormatWord = "plane"
    index_dtype: Any = _Resolved()
    backend: str | None = None
    _window: Window = field(init=False, repr=False, compare=False)
    _data_format: str = field(init=False, repr=False, compare=False)
    _index_dtype: str = field(init=False, repr=False, compare=False)  # what `_Resolved` keeps, for calls
    _left_out: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _keep_window(self)
        _keep_formats(self)
        registry.check_name(self.backend)
        index_dtype = dtypes.index_dtype_of(self.index_dtype, self.index_format, self._window)
        object.__setattr__(self, "index_dtype", index_dtype)

    @overload
    def __call__(self: _MaxPool[Literal[False]], input: ArrayT, *, out: Any = None) -> ArrayT: ...
    @overload
    def __call__(self: _MaxPool[Literal[True]], input: ArrayT, *, out: Any = None) -> tuple[ArrayT, Any]: ...
    @overload
    def __call__(self: _MaxPool[bool], input: ArrayT, *, out: Any = None) -> ArrayT | tuple[ArrayT, Any]: ...
    def __call__(self, input: Any, *, out: Any = None) -> Any:
        """Pool an array with the arguments kept, as `max_pool1d` to `max_pool3d` do.

        Parameters
        ----------
        input
            Array to pool, batched or not.
        out
            Array to write into, or a pair ``(values, indices)`` if indices are returned.

        Returns
        -------
        Array of the kind of ``input``, or a pair ``(values, indices)`` if ``return_indices`` is True.
        """
        return calls.pool(
            input,
            self._window,
            self.ceil_mode,
            self.return_indices,
            None if "data_format" in self._left_out else self._data_format,
            self.index_format,
            self._index_dtype,
            out,
            self.backend,
        )


@dataclass(frozen=True)
class _MaxUnpool:
    rank: ClassVar[int]

    kernel_size: int | Sequence[int] | None
    stride: int | Sequence[int] | None = _Resolved()  # type: ignore[assignment]
    padding: Padding = 0
    _: KW_ONLY
    dilation: int | Sequence[int] = 1
    data_format: DataFormat | None = _Resolved()  # type: ignore[assignment]
    index_format: IndexFormatWord = "plane"
    duplicates: Duplicates = "last"
    validate: Validate = True
    backend: str | None = None
    _window: Window = field(init=False, repr=False, compare=False)
    _data_format: str = field(init=False, repr=False, compare=False)
    _left_out: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _keep_window(self)
        _keep_formats(self)
        check_choice("duplicates", self.duplicates, DUPLICATES)
        check_validate(self.validate)
        if self._window.missing:
            check_no_window(self.index_format, self.validate)
        registry.check_name(self.backend)

    def __call__(
        self,
        input: ArrayT,
        indices: Array | None = None,
        output_size: Sequence[int] | None = None,
        *,
        out: ArrayT | None = None,
    ) -> ArrayT:
        """Unpool an array with the arguments kept, as `max_unpool1d` to `max_unpool3d` do.

        Parameters
        ----------
        input
            Pooled array.
        indices
            Index of each value, in an array of the same shape.
        output_size
            Shape of the array that was pooled, if it is not the default.
        out
            Array to write into and return.

        Returns
        -------
        Array of the kind of ``input``.
        """
        return calls.scatter(
            input,
            indices,
            self._window,
            output_size,
            None if "data_format" in self._left_out else self._data_format,
            self.index_format,
            self.duplicates,
            out,
            self.validate,
            self.backend,
        )


def _keep_window(module: _MaxPool[Any] | _MaxUnpool) -> None:
    """Check the four pooling arguments and keep each with one entry per spatial dimension."""
    following = [name for name in ("stride", "data_format", "index_dtype") if hasattr(module, name)]
    left_out = [name for name in following if is_left_out(getattr(module, name))]
    object.__setattr__(module, "_left_out", tuple(left_out))
    arguments = module.kernel_size, module.stride, module.padding, module.dilation
    checked = window(module.rank, *arguments, optional=isinstance(module, _MaxUnpool))
    for name, entries in checked.shown().items():
        object.__setattr__(module, name, entries)
    object.__setattr__(module, "_window", checked)


def _keep_formats(module: _MaxPool[Any] | _MaxUnpool) -> None:
    """Check the words of both formats and keep the plain ones, so that equal objects are equal."""
    object.__setattr__(module, "data_format", data_format_of(module.data_format, module.rank))
    object.__setattr__(module, "index_format", index_format_of(module.index_format))


@dataclass(frozen=True)
class MaxPool1d(_MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a row; arguments as in `max_pool1d`, in the order of `torch.nn.MaxPool1d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One integer, or a sequence of one, in cells; ``padding`` also takes the pairs and words of `max_pool1d`.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    ceil_mode
        Round the number of windows up instead of down.
    data_format
        ``"channels_first"`` or ``"channels_last"``; ``"NCW"`` or ``"NWC"``.  None is channels first, with the
        warning of the function.
    index_format
        ``"plane"`` for flat positions, or ``"window"`` for taps of each window.
    index_dtype
        Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool1d(2)(np.array([[1, 5, 3, 4]])).tolist()
    [[5, 4]]
    """

    rank: ClassVar[int] = 1


@dataclass(frozen=True)
class MaxPool2d(_MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a plane; arguments as in `max_pool2d`, in the order of `torch.nn.MaxPool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One integer or two of them, in cells; ``padding`` also takes the pairs and words of `max_pool2d`.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    ceil_mode
        Round the number of windows up instead of down.
    data_format
        ``"channels_first"`` or ``"channels_last"``; ``"NCHW"`` or ``"NHWC"``.  None is channels first, with the
        warning of the function.
    index_format
        ``"plane"`` for flat positions, or ``"window"`` for taps of each window.
    index_dtype
        Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    >>> import numpy as np
    >>> values, indices = MaxPool2d(2, return_indices=True)(np.array([[[1, 5], [3, 2]]]))
    >>> values.tolist(), indices.tolist()
    ([[[5]]], [[[1]]])
    """

    rank: ClassVar[int] = 2


@dataclass(frozen=True)
class MaxPool3d(_MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a volume; arguments as in `max_pool3d`, in the order of `torch.nn.MaxPool3d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One integer or three of them, in cells; ``padding`` also takes the pairs and words of `max_pool3d`.
    return_indices
        Return ``(values, indices)`` instead of the values alone.
    ceil_mode
        Round the number of windows up instead of down.
    data_format
        ``"channels_first"`` or ``"channels_last"``; ``"NCDHW"`` or ``"NDHWC"``.  None is channels first, with the
        warning of the function.
    index_format
        ``"plane"`` for flat positions, or ``"window"`` for taps of each window.
    index_dtype
        Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool3d(2)(np.arange(8).reshape(1, 2, 2, 2)).tolist()
    [[[[7]]]]
    """

    rank: ClassVar[int] = 3


@dataclass(frozen=True)
class MaxUnpool1d(_MaxUnpool):
    """Put each value of a pooled row back; arguments as in `max_unpool1d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool1d`.
    data_format, index_format
        The arguments of the pooling call.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
    validate
        True reports an index outside its plane, ``"windows"`` also one outside its own window.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    >>> import numpy as np
    >>> MaxUnpool1d(2)(np.array([[5, 4]]), np.array([[1, 3]])).tolist()
    [[0, 5, 0, 4]]
    """

    rank: ClassVar[int] = 1


@dataclass(frozen=True)
class MaxUnpool2d(_MaxUnpool):
    """Put each value back where pooling took it from; arguments as in `max_unpool2d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool2d`.
    data_format, index_format
        The arguments of the pooling call.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
    validate
        True reports an index outside its plane, ``"windows"`` also one outside its own window.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    Several sizes pool to one, so pass the shape of the array that was pooled if its size is not the default:

    >>> import numpy as np
    >>> x = np.arange(1, 21).reshape(1, 4, 5)
    >>> pooled, indices = MaxPool2d(2, return_indices=True)(x)
    >>> MaxUnpool2d(2)(pooled, indices, output_size=x.shape).tolist()
    [[[0, 0, 0, 0, 0], [0, 7, 0, 9, 0], [0, 0, 0, 0, 0], [0, 17, 0, 19, 0]]]
    """

    rank: ClassVar[int] = 2


@dataclass(frozen=True)
class MaxUnpool3d(_MaxUnpool):
    """Put each value of a pooled volume back; arguments as in `max_unpool3d`.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        The arguments of the pooling call, or ``kernel_size=None``, as in `max_unpool3d`.
    data_format, index_format
        The arguments of the pooling call.
    duplicates
        ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
    validate
        True reports an index outside its plane, ``"windows"`` also one outside its own window.
    backend
        Name of a backend to use instead of the one that the array's type picks.

    Examples
    --------
    >>> import numpy as np
    >>> MaxUnpool3d(2)(np.array([[[[7]]]]), np.array([[[[6]]]])).tolist()
    [[[[0, 0], [0, 0]], [[0, 0], [7, 0]]]]
    """

    rank: ClassVar[int] = 3
