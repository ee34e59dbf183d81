"""Convert indices between the conventions of the field, which the docstring of `convert_indices` defines.

Every conversion goes through "plane".  It refuses an index that the source convention cannot have at its position,
since a wrong convention gives pictures that are sheared, or right in the first sample only.  If the window is given, an
index must also be a cell of its own window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, TypeAlias, get_args

from unpool import dtypes, errors
from unpool.annotations import Array
from unpool.arguments import (
    DataFormat,
    Padding,
    check_choice,
    is_channels_last,
    plain_convention,
    sizes_of,
    unknown_sizes,
    window,
)
from unpool.backends import arithmetic_of
from unpool.errors import index_at
from unpool.plan import plan_unpooling
from unpool.sizes import Demand, Number, Problem, check_countable, check_taps, demand_size, spatial_axes
from unpool.taps import cells_of, taps_of
from unpool.warned import may_be_channels_last, note_format, warn_of_format
from unpool.windows import padding_before

Convention = Literal["plane", "tensorflow", "tensorflow_batch", "onnx", "onnx_column_major", "window"]
ConventionWord: TypeAlias = 'Convention | Literal["pytorch"]'
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
# The conventions whose indices also count channels, and those whose indices also count samples.
_COUNT_CHANNELS = ("tensorflow", "tensorflow_batch", "onnx", "onnx_column_major")
_COUNT_SAMPLES = ("tensorflow_batch", "onnx", "onnx_column_major")


def convert_indices(
    indices: Array,
    source: ConventionWord,
    target: ConventionWord,
    *,
    output_size: Sequence[int],
    data_format: DataFormat | None = None,
    kernel_size: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> Any:
    """Rewrite the indices of one convention in another.

    Libraries differ in the meaning of "the index of a maximum".  For a cell (h, w) of a plane H x W, sample n, channel
    c of C, in a window kh x kw that starts at cell (top, left) with dilation dh, dw::

        plane             h * W + w                                PyTorch, Paddle, MindSpore, and unpool itself
        tensorflow        (h * W + w) * C + c                      tf.nn.max_pool_with_argmax
        tensorflow_batch  ((n * H + h) * W + w) * C + c            the same with include_batch_in_index=True
        onnx              ((n * C + c) * H + h) * W + w            MaxPool and MaxUnpool of ONNX
        onnx_column_major (n * C + c) * H * W + w * H + h          MaxPool of ONNX with storage_order=1
        window            (h - top) // dh * kw + (w - left) // dw  Chainer, MediaPipe

    Parameters
    ----------
    indices
        Array of integers of shape (N, C, *spatial), or (N, *spatial, C) for channels last, of any library that unpool
        supports.
    source, target
        Two of ``"plane"``, ``"tensorflow"``, ``"tensorflow_batch"``, ``"onnx"``, ``"onnx_column_major"``, ``"window"``;
        ``"pytorch"`` is another word for ``"plane"``.
    output_size
        The full shape of the array that was pooled, in the given data format.
    data_format
        ``"channels_first"`` or ``"channels_last"``, the order of the arrays' axes, or TensorFlow's words for them, such
        as ``"NHWC"``; the meaning of an index does not depend on it.  None is channels first, with a
        `DataFormatWarning` for TensorFlow's tensors and where the channels may be last.
    kernel_size, stride, padding, dilation
        The arguments of the pooling call; needed by ``"window"``.  If they are given, each index must be a cell of its
        own window.

    Returns
    -------
    A new array of the same shape; int32 if ``indices`` are int32 and the new ones fit, else int64.  For ``"window"``
    it has the smallest dtype of uint8, uint16, int32 and int64 that holds every tap of a window.

    Raises
    ------
    IndexError
        If an index is outside its plane, of another channel or sample, or outside its own window where that is given.
        Programs that PyTorch, JAX or XLA compiles do not check values: convert before.
    TypeError
        If ``indices`` are not integers, or ``"window"`` lacks its ``kernel_size``.
    ValueError
        If shapes do not fit, a convention is unknown, or a window has more taps than 64 bits count.

    Examples
    --------
    In TensorFlow's convention with 2 channels, the index of cell 3 in channel 1 is 3 * 2 + 1:

    >>> import numpy as np
    >>> convert_indices(np.array([[[[2, 7]]]]), "tensorflow", "plane", output_size=(1, 2, 2, 2),
    ...                 data_format="channels_last").tolist()
    [[[[1, 3]]]]
    """
    plain_source, plain_target = plain_convention(source), plain_convention(target)
    for argument, convention in (("source", plain_source), ("target", plain_target)):
        check_choice(argument, convention, CONVENTIONS)
    geometry = _Geometry(indices, output_size, data_format, kernel_size, stride, padding, dilation)
    if "window" in (plain_source, plain_target):
        if geometry.window is None:
            raise _window_needed()
        check_taps(geometry.window)
    cells = geometry.decode(plain_source)
    return geometry.encode(cells, plain_target)


class _Run(Demand):
    """Apply rules to the sizes of a conversion when the program runs."""

    def __init__(self, geometry: _Geometry) -> None:
        self._geometry = geometry

    def __call__(self, right: Any, problem: Problem) -> None:
        self._geometry.require(right, problem)

    def larger(self, one: Any, other: Any) -> Any:
        return self._geometry.arithmetic.larger(one, other)


class _Geometry:
    """The sizes, the window and the arithmetic of one conversion."""

    def __init__(
        self,
        indices: Any,
        output_size: Sequence[int],
        data_format: DataFormat | None,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
    ) -> None:
        shape, dtype = dtypes.describe("indices", indices)
        dtypes.check_indices(dtype, "window")  # the convention tells a position from a tap, so any dtype serves
        self.rank = len(shape) - 2
        if self.rank not in (1, 2, 3):
            raise _unbatched_indices(shape)
        channels_last = is_channels_last(data_format, self.rank)
        size, entries = sizes_of("output_size", output_size, self.rank, channels_last)
        unknown = unknown_sizes(entries or ())
        self.arithmetic = arithmetic_of(("indices", *["output_size"] * len(unknown)), (indices, *unknown))
        self.spatial = spatial_axes(len(shape), self.rank, channels_last)
        self.channel_axis = len(shape) - 1 if channels_last else 1
        outside = (0, self.channel_axis)
        differ = any(None not in (size[axis], shape[axis]) and size[axis] != shape[axis] for axis in outside)
        if len(size) != len(shape) or differ:
            error = _not_the_full_size(size, shape)
            note_format(error, data_format, "indices", indices.shape, shape, self.rank)
            raise error
        if any(entry is not None and entry < 1 for entry in size[self.spatial]):
            raise errors.empty_dimension("output_size", size)
        check_countable("output_size", size)
        self.dtype, self.given = dtype, self.arithmetic.array(indices)
        # A size that is unknown until the program runs is a number of its framework.
        found = [self.arithmetic.size(indices, axis) if entry is None else entry for axis, entry in enumerate(shape)]
        self.shape, wanted = found, size if entries is None else entries
        self.size = [
            found[axis] if entry is None else self.arithmetic.number(entry) for axis, entry in enumerate(wanted)
        ]
        self.plane = self.size[self.spatial]
        self.cells = prod(self.plane)
        self.batch, self.channels = found[0], found[self.channel_axis]
        if entries is not None or None in shape:
            self._require_full_size()
        self.window = None
        if kernel_size is not None:
            self.window = window(self.rank, kernel_size, stride, padding, dilation)
            # Apply the rules of sizes, with the messages of the unpooling call.
            plan_unpooling(shape, self.window, size, channels_last, True, "indices")
            # The Plan leaves out the sizes that only a run knows.
            for axis, place in enumerate(range(len(shape))[self.spatial]):
                if None in (shape[place], size[place]) and not isinstance(found[place], float):
                    demand_size(axis, found[place], self.size[place], self.window, self.size, "output_size", _Run(self))
        if data_format is None and may_be_channels_last(indices.shape, shape, self.rank):
            warn_of_format("indices")

    def require(self, right: Any, problem: Problem) -> None:
        """Let the indices be read only if a condition on sizes holds, which the program may know only when it runs."""
        self.given = self.arithmetic.require(right, self.given, problem)

    def _require_full_size(self) -> None:
        def other(number: Number) -> Exception:
            return _not_the_full_size(list(map(number, self.size)), list(map(number, self.shape)))

        for axis in (0, self.channel_axis):
            if not isinstance(self.shape[axis], float):  # Dask's NaN: a size that no run knows before all blocks
                self.require(self.arithmetic.equal(self.size[axis], self.shape[axis]), other)
        for entry in self.plane:
            self.require(
                entry >= 1,
                lambda number: errors.empty_dimension("output_size", list(map(number, self.size))),
            )

    def decode(self, source: str) -> Any:
        """Return plane indices; refuse an index that its convention cannot have at its position."""
        self._check_room(source)
        value = self.arithmetic.cast(self.given, "int64")
        right, rule = None, ""
        if source == "plane":
            cells, rule = value, "a plane has the cells 0..{last}"
        elif source == "tensorflow":
            rule = "an index is cell * {channels} + channel, with the cells 0..{last}"
            cells, right = value // self.channels, self.arithmetic.equal(value % self.channels, self._channel)
        elif source == "tensorflow_batch":
            rule = "an index is (sample * {cells} + cell) * {channels} + channel, with the cells 0..{last}"
            cells = value // self.channels - self._sample * self.cells
            right = self.arithmetic.equal(value % self.channels, self._channel)
        elif source in ("onnx", "onnx_column_major"):
            cells = value - (self._sample * self.channels + self._channel) * self.cells
            rule = "a plane of {cells} cells follows the other, by sample and channel"
        else:
            return self._from_window(value)
        inside = (cells >= 0) & (cells < self.cells)
        cells = self._all(inside if right is None else inside & right, cells, self._foreign(source, rule))
        if source == "onnx_column_major":
            cells = _transposed(cells, self.plane)
        return cells if self.window is None else self._in_windows(cells)

    def encode(self, cells: Any, target: str) -> Any:
        self._check_room(target)
        if target == "tensorflow":
            cells = cells * self.channels + self._channel
        elif target == "tensorflow_batch":
            cells = (self._sample * self.cells + cells) * self.channels + self._channel
        elif target == "onnx":
            cells = (self._sample * self.channels + self._channel) * self.cells + cells
        elif target == "onnx_column_major":
            cells = (self._sample * self.channels + self._channel) * self.cells + _transposed(cells, self.plane[::-1])
        elif target == "window":
            assert self.window is not None
            cells, _ = self._taps(cells)  # `decode` has checked that all are in their own windows
            return self.arithmetic.cast(cells, dtypes.index_dtype_of(None, "window", self.window))
        largest = self._room(target)
        narrow = self.dtype == "int32" and isinstance(largest, int) and largest <= 2**31
        return self.arithmetic.cast(cells, "int32" if narrow else "int64")

    def _room(self, convention: str) -> Any:
        """Return the number of different indices in a convention."""
        if convention == "window":
            assert self.window is not None
            return prod(self.window.kernel)
        channels = self.channels if convention in _COUNT_CHANNELS else 1
        return self.cells * channels * (self.batch if convention in _COUNT_SAMPLES else 1)

    def _check_room(self, convention: str) -> None:
        """Refuse sizes whose indices, or coordinates of a window's last tap, the library's integers cannot hold."""
        self.arithmetic.check_room(self._room(convention))
        if self.window is not None:
            self.arithmetic.check_room(self.cells)
            for size, kernel, dilation in zip(self.plane, self.window.kernel, self.window.dilation, strict=True):
                if isinstance(size, int):
                    self.arithmetic.check_room(size + (kernel - 1) * dilation)

    def _from_window(self, value: Any) -> Any:
        assert self.window is not None
        cells, inside = cells_of(value, self.plane, self._corners(), self.window)
        rule = f"it must lie in a window of {self.window.kernel} and outside the padding"
        return self._all(inside, cells, self._foreign("window", rule))

    def _in_windows(self, cells: Any) -> Any:
        """Return the cells; refuse a cell outside its own window."""
        window = self.window
        assert window is not None

        def outside(position: list[int], value: int, number: Number) -> Exception:
            return errors.outside_window(position, value, list(map(number, self.plane)), window, "output_size")

        _, inside = self._taps(cells)
        return self._all(inside, cells, outside)

    def _taps(self, cells: Any) -> tuple[Any, Any]:
        assert self.window is not None
        return taps_of(cells, self.plane, self._corners(), self.window)

    def _corners(self) -> list[Any]:
        """Return the first cell of every window along each spatial axis; negative in the padding."""
        assert self.window is not None
        corners = []
        for axis, size in enumerate(self.plane):
            along = self.window.along(axis)
            place = self.spatial.start + axis
            corners.append(self._along(place) * along[1] - padding_before(size, self.shape[place], *along))
        return corners

    @property
    def _sample(self) -> Any:
        return self._along(0)

    @property
    def _channel(self) -> Any:
        return self._along(self.channel_axis)

    def _along(self, axis: int) -> Any:
        """Return the coordinates along one axis of the array, in a shape that broadcasts."""
        return self.arithmetic.along(self.shape[axis], axis, len(self.shape))

    def _foreign(self, convention: str, rule: str) -> Callable[[list[int], int, Number], Exception]:
        """Return a function that builds the error of an index that breaks a rule of its convention."""

        def foreign(position: list[int], value: int, number: Number) -> Exception:
            filled = rule
            if "{" in rule:
                cells, channels = number(self.cells), number(self.channels)
                filled = rule.format(cells=cells, last=cells - 1, channels=channels)
            return _foreign_index(position, value, convention, filled)

        return foreign

    def _all(self, right: Any, result: Any, problem: Callable[[list[int], int, Number], Exception]) -> Any:
        """Return `result` if `right` holds for every index, or else raise the error of the first other index."""

        def wrong(number: Number, flat: Any) -> Exception:
            position: list[int] = []
            rest = flat
            for size in reversed(self.shape):
                position.insert(0, number(rest % size))
                rest = rest // size
            return problem(position, number(self.arithmetic.at(self.given, flat)), number)

        return self.arithmetic.require_all(right, result, wrong)


def _transposed(cells: Any, plane: Sequence[Any]) -> Any:
    """Return row-major positions for column-major ones; with the sizes reversed, column-major for row-major ones.

    >>> _transposed(8, (4, 6)), _transposed(2, (6, 4))
    (2, 8)
    """
    found = 0 * cells
    for size in plane:
        found = found * size + cells % size
        cells = cells // size
    return found


# --- messages ---------------------------------------------------------------------------------------------------------


def _window_needed() -> TypeError:
    return TypeError('`kernel_size` is needed by the convention "window": pass the arguments of the pooling call')


def _unbatched_indices(shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`indices` must have the batch and channels and 1 to 3 spatial dimensions, got shape {tuple(shape)}: without "
        f"a batch, pass indices[None], and `output_size` with a leading 1"
    )


def _not_the_full_size(size: Sequence[int], shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`output_size` must be the full shape of the array that was pooled, with the batch and channels of `indices`, "
        f"got {tuple(size)} for shape {tuple(shape)}: pass all of it; unbatched arrays need a leading 1 in both"
    )


def _foreign_index(position: Sequence[int], value: int, convention: str, rule: str) -> IndexError:
    """Return the error of an index that its convention cannot have at that position."""
    advice = "Pass the convention and the `output_size` that the indices were made with"
    if convention == "tensorflow":  # also the layers of TensorFlow Addons, which take no other convention
        advice = (
            "Pass what tf.nn.max_pool_with_argmax returns without the batch, and the shape of its input as "
            "`output_size`; or the convention that the indices were made with"
        )
    return IndexError(f"{index_at(position)} = {value} does not fit the convention {convention!r}: {rule}. {advice}")
