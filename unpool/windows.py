"""The window of a call, and the formulas between the sizes on both sides of it, along one axis.

Pooling with kernel k, stride s, dilation d, and p padded cells before the plane and q after it has

    windows = floor((size + p + q - d (k - 1) - 1) / s) + 1    (`ceil_mode` rounds up; no window starts past the input)

Window ``o`` reads the cells ``o s - p + j d`` for ``j`` in ``0..k-1``.  Several sizes pool to the same ``windows``:

    default = (windows - 1) s - p - q + d (k - 1) + 1,    default - s < size < default + s

With ``padding="same"`` there are ``ceil(size / s)`` windows, as in TensorFlow, Keras and JAX.  The plane is padded as
much as they need, the smaller half before it, or with ``"same_lower"`` the larger half, as in ONNX.  This padding
follows from the size, so a `Window` holds `SAME` or `SAME_LOWER`, and

    default = windows s,    default - s < size <= default

``kernel_size=None`` stands for no window.  Any size serves, and an index may be anywhere in its plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

# Cells on both sides of the plane, (before, after) it, `SAME` or `SAME_LOWER`.
Padding: TypeAlias = "int | tuple[int, int]"
SAME, SAME_LOWER = -1, -2
WORDS = {SAME: "same", SAME_LOWER: "same_lower"}
# The kernel of a `Window` that stands for no window.
NO_KERNEL = 0
# Kernels compute o * stride - padding + j * dilation in 64 bits, where two factors below 2**31 cannot overflow.  They
# keep the offset of a maximum from the corner of its window in 32 bits.
LARGEST = 2**31 - 1


class Window(NamedTuple):
    """The pooling arguments, one entry per spatial dimension.

    Along all of them, the padding is `SAME` or `SAME_LOWER`, or neither; the kernel is `NO_KERNEL`, or it is not.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Padding, ...]
    dilation: tuple[int, ...]

    @property
    def missing(self) -> bool:
        """Return True for ``kernel_size=None``."""
        return NO_KERNEL in self.kernel

    @property
    def same(self) -> bool:
        """Return True if the padding follows from the size."""
        return self.padding[0] in WORDS

    def along(self, axis: int) -> tuple[int, int, Any, int]:
        """Return kernel, stride, padding and dilation along one axis."""
        return self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis]

    def shown(self) -> dict[str, Any]:
        """Return the arguments as users write them, by name.

        >>> Window((3,), (2,), (SAME,), (1,)).shown()
        {'kernel_size': (3,), 'stride': (2,), 'padding': 'same', 'dilation': (1,)}
        """
        kernel, stride = (None, None) if self.missing else (self.kernel, self.stride)
        padding = WORDS[cast(int, self.padding[0])] if self.same else self.padding
        return {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": self.dilation}


def no_window(rank: int) -> Window:
    """Return the window of ``kernel_size=None``."""
    return Window((NO_KERNEL,) * rank, (1,) * rank, (0,) * rank, (1,) * rank)


def sides(padding: Padding) -> tuple[int, int]:
    """Return the padded cells before and after a plane, unless they follow from the size."""
    return padding if isinstance(padding, tuple) else (padding, padding)


def from_sides(before: int, after: int, kernel: int) -> Padding:
    """Return the entry of a `Window` for these cells: one number where users may write one, so equal windows are equal.

    >>> from_sides(1, 1, 3), from_sides(2, 2, 3), from_sides(0, 1, 3)
    (1, (2, 2), (0, 1))
    """
    return before if before == after <= kernel // 2 else (before, after)


def span(sizes: Sequence[Any], window: Window) -> Any:
    """Return the distance from the first to the last cell of a window, in cells of the plane."""
    distance: Any = 0
    for size, kernel, dilation in zip(sizes, window.kernel, window.dilation, strict=True):
        distance = distance * size + (kernel - 1) * dilation
    return distance


def default_size(windows: Any, kernel: int, stride: int, padding: Padding, dilation: int) -> Any:
    """Return the default size of a plane along one axis; None if the number of windows is unknown.

    >>> default_size(3, 2, 2, 0, 1), default_size(3, 3, 2, (0, 1), 1), default_size(3, 3, 2, SAME, 1)
    (6, 6, 6)
    """
    if windows is None:
        return None
    if padding in WORDS:
        return windows * stride
    before, after = sides(padding)
    return (windows - 1) * stride - before - after + dilation * (kernel - 1) + 1


def padding_before(size: Any, windows: Any, kernel: int, stride: int, padding: Padding, dilation: int) -> Any:
    """Return the number of padded cells before a plane along one axis; None if it depends on an unknown size.

    >>> padding_before(5, 3, 3, 2, SAME, 1), padding_before(6, 3, 3, 2, SAME, 1)
    (1, 0)
    >>> padding_before(6, 3, 3, 2, SAME_LOWER, 1), padding_before(6, 3, 3, 2, (2, 0), 1)
    (1, 2)
    """
    if padding not in WORDS:
        return sides(padding)[0]
    larger = int(padding == SAME_LOWER)  # 1 rounds a half up
    span = dilation * (kernel - 1) + 1
    # The last window begins 1 to `stride` cells before the end of the plane.
    least, most = (max(span - stride, 0) + larger) // 2, (span - 1 + larger) // 2
    if least == most:
        return most
    if size is None or windows is None:
        return None
    reach = (windows - 1) * stride + span - size
    if span < stride:  # `reach` may be negative: this is max(reach, 0), for symbols and tensors, too
        reach = reach * (1 + reach // stride)
    return (reach + larger) // 2


def taps_inside(size: Any, windows: Any, kernel: int, stride: int, padding: Any, dilation: int) -> tuple[int, int]:
    """Return (first, end), the taps along one axis that may lie inside the plane; all taps if a size is unknown.

    Windows may be much larger than the plane, so a loop over taps must skip the others.

    >>> taps_inside(4, 1, 70000, 70000, 34998, 1), taps_inside(4, 4, 3, 1, 100, 100), taps_inside(9, 5, 3, 2, 1, 1)
    ((34998, 35002), (0, 2), (0, 3))
    """
    if not all(isinstance(entry, int) for entry in (size, windows, padding)):
        return 0, kernel
    first = max(0, padding - (windows - 1) * stride) // dilation
    return first, min(kernel, (padding + size - 1) // dilation + 1)


def covering(sizes: Sequence[Any], counts: Sequence[Any]) -> Window:
    """Return windows, as many as these along each axis, that cover a plane: those of a call without a window.

    Kernels then need no case of their own.  Each of these windows holds that of adaptive pooling; the two are the same
    where those have one size.  No kernel or stride is above `LARGEST`, so longer ones leave cells out: indices may name
    these, too.  Along an axis of unknown size, windows are longer than any that a backend compares with every cell.
    `torch.compile` would compile one program for each side of a branch on sizes, so there is none.

    >>> covering((6, 7, 2), (3, 3, 4))
    Window(kernel=(2, 3, 3), stride=(2, 2, 1), padding=(0, 0, 2), dilation=(1, 1, 1))
    """
    axes = []
    for size, count in zip(sizes, counts, strict=True):
        if type(size) is int and type(count) is int:
            stride, before = max(size // count, 1), max(count - size, 0)
            kernel = size + 2 * before - (count - 1) * stride
            axes.append((min(kernel, LARGEST), min(stride, LARGEST), min(before, LARGEST - 1), 1))
        else:
            axes.append((LARGEST, 1, 0, 1))
    return Window(*zip(*axes, strict=True))
