"""Adaptive and fractional pooling: PyTorch's own forward pass, with gradients that are the same in every run.

PyTorch's gradients of these layers add with atomics on CUDA, in an order that changes from run to run.  Here PyTorch
finds the indices, and `unpool.take_along_plane` takes the values, so that a gradient is added in a fixed order.  The
classes are those of `torch.nn` in all else.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from unpool import take_along_plane
from unpool.arguments import DataFormat
from unpool.torch.layers import TENSORS, Unscriptable, not_a_tensor

# `torch.fx` records calls of this name in this module, and does not trace into it.
torch.fx.wrap("pool_by_indices")


def pool_by_indices(input: torch.Tensor, function: str, axes: DataFormat, **arguments: Any) -> Any:
    """Return the values and the indices of a pooling by a function of `torch.nn.functional`.

    The values are taken by the indices, so the gradient is that of `take_along_plane`.
    """
    pool = getattr(torch.nn.functional, function)
    values, indices = pool(input.detach(), **arguments, return_indices=True)
    if torch.is_grad_enabled():
        # Under autocast, PyTorch may pool in another dtype.  PyTorch's own indices are good.
        values = take_along_plane(input.to(values.dtype), indices, data_format=axes, validate=False)
    return values, indices


class _Indexed(Unscriptable):
    function: ClassVar[str]
    axes: ClassVar[DataFormat]
    arguments: ClassVar[tuple[str, ...]]
    return_indices: bool

    def forward(self, input: torch.Tensor) -> Any:
        """Pool a tensor; return the values, or ``(values, indices)`` if ``return_indices`` is True.

        Parameters
        ----------
        input
            Tensor to pool, with the channels first, batched or not.

        Raises
        ------
        TypeError
            If ``input`` is not a tensor.
        """
        if not isinstance(input, TENSORS):
            raise not_a_tensor("input", input)
        arguments = {name: getattr(self, name) for name in self.arguments}
        values, indices = pool_by_indices(input, self.function, self.axes, **arguments)
        return (values, indices) if self.return_indices else values


class _Adaptive(_Indexed):
    arguments = ("output_size",)


class _Fractional(_Indexed):
    arguments = ("kernel_size", "output_size", "output_ratio", "_random_samples")


class AdaptiveMaxPool1d(_Adaptive, torch.nn.AdaptiveMaxPool1d):  # type: ignore[misc]
    """Pool rows to a given size, as `torch.nn.AdaptiveMaxPool1d` does, with a gradient that is deterministic."""

    function, axes = "adaptive_max_pool1d", "NCW"


class AdaptiveMaxPool2d(_Adaptive, torch.nn.AdaptiveMaxPool2d):  # type: ignore[misc]
    """Pool planes to a given size, as `torch.nn.AdaptiveMaxPool2d` does, with a gradient that is deterministic.

    >>> AdaptiveMaxPool2d(1)(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]])).tolist()
    [[[5.0]]]
    """

    function, axes = "adaptive_max_pool2d", "NCHW"


class AdaptiveMaxPool3d(_Adaptive, torch.nn.AdaptiveMaxPool3d):  # type: ignore[misc]
    """Pool volumes to a given size, as `torch.nn.AdaptiveMaxPool3d` does, with a gradient that is deterministic."""

    function, axes = "adaptive_max_pool3d", "NCDHW"


class FractionalMaxPool2d(_Fractional, torch.nn.FractionalMaxPool2d):  # type: ignore[misc]
    """Pool random windows of planes, as `torch.nn.FractionalMaxPool2d` does, with a gradient that is deterministic.

    The same seed places the same windows as in PyTorch.
    """

    function, axes = "fractional_max_pool2d", "NCHW"


class FractionalMaxPool3d(_Fractional, torch.nn.FractionalMaxPool3d):  # type: ignore[misc]
    """Pool random windows of volumes, as `torch.nn.FractionalMaxPool3d` does, with a gradient that is deterministic.

    The same seed places the same windows as in PyTorch.
    """

    function, axes = "fractional_max_pool3d", "NCDHW"
