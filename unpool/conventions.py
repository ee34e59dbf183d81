"""Between the index conventions of the field.

What "the index of a maximum" means differs.  For a cell (h, w) of a plane H x W, sample n, channel c of C, in a window
kh x kw that starts at cell (top, left):

    plane             h * W + w                                PyTorch, Paddle, MindSpore, and unpool itself
    tensorflow        (h * W + w) * C + c                      tf.nn.max_pool_with_argmax
    tensorflow_batch  ((n * H + h) * W + w) * C + c            the same with include_batch_in_index=True
    onnx              ((n * C + c) * H + h) * W + w            MaxPool and MaxUnpool of ONNX
    window            (h - top) // dh * kw + (w - left) // dw  Chainer, MediaPipe

Every conversion goes by way of "plane", and refuses an index that its convention could not have made at that place:
mixing conventions up gives pictures that are sheared, or right in the first image only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from unpool import backends, dtypes, errors, plan

CONVENTIONS = ("plane", "tensorflow", "tensorflow_batch", "onnx", "window")


def convert_indices(
    indices: Any,
    source: str,
    target: str,
    *,
    output_size: Sequence[int],
    data_format: str = "channels_first",
    kernel_size: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> Any:
    """Rewrite the indices of one convention in another; the module's docstring defines them.

    Parameters
    ----------
    indices
        NumPy array of integers of shape (N, C, *spatial), or (N, *spatial, C) for channels last.
    source, target
        Two of ``"plane"``, ``"tensorflow"``, ``"tensorflow_batch"``, ``"onnx"``, ``"window"``.
    output_size
        The full shape of the array that was pooled, in the data format given.
    data_format
        ``"channels_first"`` or ``"channels_last"``: how the arrays lie; it does not change the meaning of an index.
    kernel_size, stride, padding, dilation
        The arguments of the pooling call; needed by ``"window"`` alone.

    Returns
    -------
    A new array of the same shape; int32 if ``indices`` are int32 and the target fits, else int64.

    Raises
    ------
    IndexError
        If an index does not fit its convention: outside the plane, of another channel or sample, not in its window.
    TypeError
        If ``indices`` are not integers, or ``"window"`` lacks its ``kernel_size``.
    ValueError
        If shapes do not fit or a convention is unknown.

    Examples
    --------
    Channel 1 of cell 3, as TensorFlow counts it with 2 channels, is 3 * 2 + 1:

    >>> import numpy as np
    >>> convert_indices(np.array([[[[2, 7]]]]), "tensorflow", "plane", output_size=(1, 2, 2, 2),
    ...                 data_format="channels_last").tolist()
    [[[[1, 3]]]]
    """
    for argument, convention in (("source", source), ("target", target)):
        plan.check_choice(argument, convention, CONVENTIONS)
    geometry = _Geometry(
        indices, output_size, plan.is_channels_last(data_format), kernel_size, stride, padding, dilation
    )
    if "window" in (source, target) and kernel_size is None:
        raise errors.window_needed()
    cells = geometry.decode(source)
    return geometry.encode(cells, target)


class _Geometry:
    """The shape that indices live in, and where each of them stands."""

    def __init__(
        self,
        indices: Any,
        output_size: Sequence[int],
        channels_last: bool,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
    ) -> None:
        shape, dtype = dtypes.describe("indices", indices)
        dtypes.check_indices(dtype)
        self.xp = backends.namespace("indices", indices)
        self.size = plan.sizes("output_size", output_size)
        self.rank = len(shape) - 2
        if self.rank not in (1, 2, 3):
            raise errors.unbatched_indices(shape)
        first = 1 if channels_last else 2
        self.spatial = slice(first, first + self.rank)
        self.channel_axis = len(shape) - 1 if channels_last else 1
        full = len(self.size) == len(shape)
        if not full or any(self.size[axis] != shape[axis] for axis in (0, self.channel_axis)):
            raise errors.not_the_full_size(self.size, shape)
        if min(self.size[self.spatial]) < 1:
            raise errors.empty_dimension("output_size", self.size)
        plan.check_countable("output_size", self.size)
        self.shape = shape
        self.plane = self.size[self.spatial]
        self.cells = prod(self.plane)
        self.batch, self.channels = shape[0], shape[self.channel_axis]
        self.dtype = dtype
        self.given = indices
        self.window = None
        if kernel_size is not None:
            self.window = plan.window(self.rank, kernel_size, stride, padding, dilation)
            # The rule of sizes, in the words of the unpooling call.
            plan.unpool(shape, self.window, self.size, channels_last=channels_last, argument="indices")

    def decode(self, source: str) -> Any:
        """Return plane indices, having made sure that every index is one of its convention at its place."""
        value = self.given.astype("int64")
        sample, channel = self._along(0), self._along(self.channel_axis)
        if source == "plane":
            cells, rule, right = value, f"a plane has the cells 0..{self.cells - 1}", None
        elif source == "tensorflow":
            cells = value // self.channels
            rule, right = "its remainder by the channels is its channel", value % self.channels == channel
        elif source == "tensorflow_batch":
            cells = value // self.channels - sample * self.cells
            rule, right = "its remainder by the channels is its channel", value % self.channels == channel
        elif source == "onnx":
            cells = value - (sample * self.channels + channel) * self.cells
            rule, right = f"a plane of {self.cells} cells follows the other, by sample and channel", None
        else:
            return self._from_window(value)
        inside = (cells >= 0) & (cells < self.cells)
        self._refuse(source, ~inside if right is None else ~(inside & right), rule)
        return cells

    def encode(self, cells: Any, target: str) -> Any:
        sample, channel = self._along(0), self._along(self.channel_axis)
        largest = self.cells
        if target == "tensorflow":
            cells = cells * self.channels + channel
            largest *= self.channels
        elif target == "tensorflow_batch":
            cells = (sample * self.cells + cells) * self.channels + channel
            largest *= self.channels * self.batch
        elif target == "onnx":
            cells = (sample * self.channels + channel) * self.cells + cells
            largest *= self.channels * self.batch
        elif target == "window":
            cells = self._to_window(cells)
        return cells.astype("int32" if self.dtype == "int32" and largest <= 2**31 else "int64")

    def _from_window(self, value: Any) -> Any:
        assert self.window is not None
        inside = (value >= 0) & (value < prod(self.window.kernel))
        cells = 0 * value
        offset = value
        steps = []
        for size in reversed(self.window.kernel):
            steps.append(offset % size)
            offset = offset // size
        for axis, step in enumerate(reversed(steps)):
            at = self._corner(axis) + step * self.window.dilation[axis]
            inside = inside & (at >= 0) & (at < self.plane[axis])
            cells = cells * self.plane[axis] + at
        self._refuse("window", ~inside, f"it must lie in a window of {self.window.kernel} and outside the padding")
        return cells

    def _to_window(self, cells: Any) -> Any:
        assert self.window is not None
        inside = cells >= 0
        rest = cells
        coordinates = []
        for size in reversed(self.plane):
            coordinates.append(rest % size)
            rest = rest // size
        offset = 0 * cells
        for axis, coordinate in enumerate(reversed(coordinates)):
            away = coordinate - self._corner(axis)
            step = away // self.window.dilation[axis]
            inside = inside & (away % self.window.dilation[axis] == 0) & (step >= 0) & (step < self.window.kernel[axis])
            offset = offset * self.window.kernel[axis] + step
        self._refuse("window", ~inside, "its cell is not one that its own window reads")
        return offset

    def _corner(self, axis: int) -> Any:
        """The first cell of every window along one spatial axis; negative in the padding."""
        assert self.window is not None
        return self._along(self.spatial.start + axis) * self.window.stride[axis] - self.window.padding[axis]

    def _along(self, axis: int) -> Any:
        """The coordinate of every index along one axis of the array, to be broadcast."""
        shape = [1] * len(self.shape)
        shape[axis] = -1
        return self.xp.reshape(self.xp.arange(self.shape[axis], dtype=self.xp.int64), shape)

    def _refuse(self, convention: str, wrong: Any, rule: str) -> None:
        """Raise for the first of the wrong places, if there is one."""
        if not wrong.any():
            return
        flat = int(wrong.reshape(-1).argmax())
        position: list[int] = []
        for size in reversed(self.shape):
            position.insert(0, flat % size)
            flat //= size
        raise errors.foreign_index(position, int(self.given[tuple(position)]), convention, rule)
