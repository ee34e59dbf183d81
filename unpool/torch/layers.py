"""The layers that pool and unpool by the functions of `unpool`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, overload

import torch

import unpool
from unpool import max_pool1d, max_pool2d, max_pool3d, max_unpool1d, max_unpool2d, max_unpool3d
from unpool.annotations import ReturnIndicesT
from unpool.arguments import DataFormat, IndexFormatWord, Padding
from unpool.errors import kind_of
from unpool.plan import Validate
from unpool.protocol import Duplicates

# `torch.fx` records calls of these names in this module, and does not trace into them.
for _name in ("max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d"):
    torch.fx.wrap(_name)

TENSORS = (torch.Tensor, torch.fx.Proxy)  # a proxy stands for a tensor while `torch.fx` traces


class Unscriptable(torch.nn.Module):  # type: ignore[misc]
    """A layer that `torch.jit.script` cannot compile."""

    def __prepare_scriptable__(self) -> Any:
        """Refuse `torch.jit.script`, which calls this first and cannot compile the functions of unpool."""
        raise _unscriptable(type(self).__name__)


class _Layer(Unscriptable):
    """Keep the arguments as attributes, as `torch.nn`'s layers do; a call uses their current values."""

    shown: ClassVar[tuple[str, ...]]  # the arguments that `extra_repr` always shows
    more: ClassVar[dict[str, Any]]  # the defaults of the others, which it shows if they differ
    function: ClassVar[Any]  # looks the function's name up at each call, because `torch.fx` replaces it while it traces
    checked: ClassVar[Any]  # the class of `unpool` that checks these arguments
    index_format: IndexFormatWord = "plane"  # for layers that were pickled without one

    def extra_repr(self) -> str:
        names = [*self.shown, *[name for name, default in self.more.items() if getattr(self, name) != default]]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class MaxPool(_Layer, Generic[ReturnIndicesT]):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    more: ClassVar[dict[str, Any]] = {"data_format": "channels_first", "index_format": "plane", "index_dtype": None}

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: ReturnIndicesT = False,  # type: ignore[assignment]  # also the type's default
        ceil_mode: bool = False,
        *,
        data_format: DataFormat = "channels_first",
        index_format: IndexFormatWord = "plane",
        index_dtype: Any = None,
    ) -> None:
        """Check the arguments and keep them.

        Parameters
        ----------
        kernel_size, stride, padding, dilation
            One integer, or one for each spatial dimension, in cells; ``padding`` also takes pairs ``(before, after)``,
            ``"valid"``, ``"same"`` and ``"same_lower"``.
        return_indices
            Return ``(values, indices)`` instead of the values alone.
        ceil_mode
            Round the number of windows up instead of down.
        data_format
            ``"channels_first"`` or ``"channels_last"``, the order of the tensor's axes.
        index_format
            ``"plane"`` for flat positions, as in PyTorch, or ``"window"`` for taps of each window.
        index_dtype
            Dtype of the indices.  None stands for int64 positions, and for the smallest dtype that holds every tap.
        """
        super().__init__()
        options = {"data_format": data_format, "index_format": index_format, "index_dtype": index_dtype}
        checked = self.checked(kernel_size, stride, padding, dilation, return_indices, ceil_mode, **options)
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices: bool = return_indices
        self.ceil_mode = ceil_mode
        self.data_format, self.index_format = checked.data_format, index_format
        self.index_dtype = None if index_dtype is None else checked.index_dtype

    def forward(self, input: torch.Tensor) -> Any:
        """Pool a tensor; return the values, or ``(values, indices)`` if ``return_indices`` is True.

        Parameters
        ----------
        input
            Tensor to pool, batched or not.

        Raises
        ------
        TypeError
            If ``input`` is not a tensor.
        """
        if not isinstance(input, TENSORS):
            raise not_a_tensor("input", input, self.data_format)
        window = self.kernel_size, self.stride, self.padding, self.dilation
        options = {name: getattr(self, name) for name in self.more}
        return type(self).function(input, *window, self.ceil_mode, self.return_indices, **options)

    if TYPE_CHECKING:  # where `torch.nn.Module` has Any

        @overload
        def __call__(self: MaxPool[Literal[False]], input: torch.Tensor) -> torch.Tensor: ...
        @overload
        def __call__(self: MaxPool[Literal[True]], input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
        @overload
        def __call__(self: MaxPool[bool], input: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]: ...
        def __call__(self, input: torch.Tensor) -> Any:
            """Pool a tensor.

            Parameters
            ----------
            input
                Tensor to pool, batched or not.

            Returns
            -------
            The values, or a pair ``(values, indices)`` if ``return_indices`` is True.
            """


class MaxUnpool(_Layer):
    shown = ("kernel_size", "stride", "padding")
    more: ClassVar[dict[str, Any]] = {
        "dilation": 1,
        "data_format": "channels_first",
        "index_format": "plane",
        "duplicates": "last",
        "validate": True,
    }

    def __init__(
        self,
        kernel_size: int | Sequence[int] | None,
        stride: int | Sequence[int] | None = None,
        padding: Padding = 0,
        *,
        dilation: int | Sequence[int] = 1,
        data_format: DataFormat = "channels_first",
        index_format: IndexFormatWord = "plane",
        duplicates: Duplicates = "last",
        validate: Validate = True,
    ) -> None:
        """Check the arguments and keep them.

        Parameters
        ----------
        kernel_size, stride, padding, dilation
            The arguments of the pooling layer, or ``kernel_size=None``, as in `unpool.max_unpool2d`.
        data_format, index_format
            The arguments of the pooling layer.
        duplicates
            ``"last"``, ``"sum"`` or ``"error"``: what happens to several values of one cell.
        validate
            True reports an index outside its plane, ``"windows"`` also one outside its own window.
        """
        super().__init__()
        options = {
            "dilation": dilation,
            "data_format": data_format,
            "index_format": index_format,
            "duplicates": duplicates,
            "validate": validate,
        }
        checked = self.checked(kernel_size, stride, padding, **options)
        # One entry per dimension, as in `torch.nn`.
        self.kernel_size, self.stride, self.padding = checked.kernel_size, checked.stride, checked.padding
        for name, value in options.items():
            setattr(self, name, value)
        self.data_format = checked.data_format

    def forward(
        self, input: torch.Tensor, indices: torch.Tensor | None = None, output_size: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Return a tensor with each value at its index, and zeros elsewhere.

        >>> values, indices = torch.tensor([[[5.0]]]), torch.tensor([[[1]]])
        >>> MaxUnpool2d(2).forward(values, indices, output_size=(2, 3)).tolist()
        [[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]

        Call the layer, ``layer(values, indices, output_size=x.shape)``, so that hooks run, too.

        Parameters
        ----------
        input
            Pooled tensor.
        indices
            Index of each value, in a tensor of the same shape.
        output_size
            Shape of the tensor that was pooled, or its spatial sizes alone.  Several sizes pool to the same one; the
            default is the size that the windows cover exactly.

        Raises
        ------
        TypeError
            If ``input`` or ``indices`` is not a tensor.
        IndexError
            If an index names no cell of its plane.
        """
        if not isinstance(input, TENSORS):
            raise not_a_tensor("input", input, self.data_format)
        if indices is not None and not isinstance(indices, TENSORS):
            raise not_a_tensor("indices", indices, self.data_format)
        options = {name: getattr(self, name) for name in self.more}
        arguments = self.kernel_size, self.stride, self.padding, output_size
        result: torch.Tensor = type(self).function(input, indices, *arguments, **options)
        return result

    if TYPE_CHECKING:

        def __call__(
            self, input: torch.Tensor, indices: torch.Tensor | None = None, output_size: Sequence[int] | None = None
        ) -> torch.Tensor:
            """Unpool a tensor.

            Parameters
            ----------
            input
                Pooled tensor.
            indices
                Index of each value, in a tensor of the same shape.
            output_size
                Shape of the tensor that was pooled, if it is not the default.
            """


class MaxPool1d(MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a row: `unpool.max_pool1d`, with the arguments of `torch.nn.MaxPool1d`."""

    function = staticmethod(lambda *arguments, **options: max_pool1d(*arguments, **options))
    checked = unpool.MaxPool1d


class MaxPool2d(MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a plane: `unpool.max_pool2d`, with the arguments of `torch.nn.MaxPool2d`."""

    function = staticmethod(lambda *arguments, **options: max_pool2d(*arguments, **options))
    checked = unpool.MaxPool2d


class MaxPool3d(MaxPool[ReturnIndicesT]):
    """Take the maximum of each window of a volume: `unpool.max_pool3d`, with the arguments of `torch.nn.MaxPool3d`."""

    function = staticmethod(lambda *arguments, **options: max_pool3d(*arguments, **options))
    checked = unpool.MaxPool3d


class MaxUnpool1d(MaxUnpool):
    """Put each value of a pooled row back: `unpool.max_unpool1d`, with the arguments of `torch.nn.MaxUnpool1d`."""

    function = staticmethod(lambda *arguments, **options: max_unpool1d(*arguments, **options))
    checked = unpool.MaxUnpool1d


class MaxUnpool2d(MaxUnpool):
    """Put each value of a pooled plane back: `unpool.max_unpool2d`, with the arguments of `torch.nn.MaxUnpool2d`."""

    function = staticmethod(lambda *arguments, **options: max_unpool2d(*arguments, **options))
    checked = unpool.MaxUnpool2d


class MaxUnpool3d(MaxUnpool):
    """Put each value of a pooled volume back: `unpool.max_unpool3d`, with the arguments of `torch.nn.MaxUnpool3d`."""

    function = staticmethod(lambda *arguments, **options: max_unpool3d(*arguments, **options))
    checked = unpool.MaxUnpool3d


# --- messages ---------------------------------------------------------------------------------------------------------


def _unscriptable(layer: str) -> RuntimeError:
    return RuntimeError(
        f"`obj` of torch.jit.script must hold no layer of unpool.torch, which it cannot compile, got a {layer}: use "
        f"torch.export or torch.compile"
    )


def not_a_tensor(argument: str, value: object, data_format: str = "channels_first") -> TypeError:
    if isinstance(value, (tuple, list)) and any(isinstance(entry, TENSORS) for entry in value):
        return TypeError(
            f"`{argument}` must be a torch.Tensor, got a {kind_of(value)} of tensors: pass the values alone to "
            f"pooling, and the values and the indices one by one to unpooling, as *{argument} does"
        )
    place = "last" if str(data_format).endswith(("last", "C")) else "first"
    return TypeError(
        f"`{argument}` must be a torch.Tensor, got {kind_of(value)}: pass torch.as_tensor(...), with the channels "
        f"{place}"
    )
