"""Comparisons of results: bit for bit, up to NaNs, up to denormals, and of the memory around a result."""

from __future__ import annotations

import math
from collections.abc import Iterable

import ml_dtypes
import numpy as np
import numpy.typing as npt

from unpool.testing.arrays import Array, Arrays, NumPyArrays


def assert_same_bits(actual: Array, expected: Array) -> None:
    """Assert equal shapes, dtypes and bytes: -0.0 is not 0.0, and a NaN keeps its payload."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    differ = np.any(_bytes(actual) != _bytes(expected), axis=-1)
    if differ.any():
        shown = [
            f"[{', '.join(map(str, at))}]: got {actual[tuple(at)]!r}, expected {expected[tuple(at)]!r}"
            for at in np.argwhere(differ)[:5]
        ]
        raise AssertionError("\n".join([f"{differ.sum()} of {differ.size} elements differ in their bits:", *shown]))


def assert_same_numbers(actual: Array, expected: Array) -> None:
    """Assert equal bits, but take all NaNs for equal: the payload of a sum of NaNs depends on the processor."""
    assert_same_bits(_one_nan(actual), _one_nan(expected))


def assert_same_sums(kind: Arrays, actual: Array, expected: Array) -> None:
    """Assert equal numbers. If the kind does not round as NumPy does, sums may differ by a few denormals.

    The threads of TensorFlow flush denormals to zero.
    """
    if not kind.rounds and actual.shape == expected.shape and actual.dtype == expected.dtype:
        parts = [array.reshape(-1).view(array.real.dtype) for array in map(_one_nan, (actual, expected))]
        if parts[0].dtype.kind not in "biu":
            tiny = 4 * ml_dtypes.finfo(parts[0].dtype).smallest_normal
            one, other = (part.astype("float64") for part in parts)
            with np.errstate(invalid="ignore"):
                flushed = abs(one - other) <= float(tiny)
            actual = np.where(flushed, parts[1], parts[0]).view(actual.dtype).reshape(actual.shape)
    assert_same_numbers(actual, expected)


def at(position: Iterable[int]) -> str:
    """Name a position as messages do."""
    return f"indices[{', '.join(map(str, position))}]"


class Guarded:
    """An array in the middle of a buffer that is filled with a pattern. `intact` tests whether the rest still is.

    `shift` moves the array off a cache line by so many elements. A kernel that writes several elements at a time then
    meets every remainder.
    """

    PATTERN = 0xA5
    GUARD = 4096

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, shift: int = 0, kind: Arrays | None = None
    ) -> None:
        self.kind = kind or NumPyArrays()
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self.buffer = self.kind.asarray(np.full(size + 2 * self.GUARD + 128, self.PATTERN, np.uint8))
        self.start = self.GUARD + -self.kind.address(self.buffer) % 64 + shift * self.kind.alignment(dtype)
        self.stop = self.start + size
        self.array = self.kind.typed(self.buffer[self.start : self.stop], dtype).reshape(shape)

    def written(self) -> Array:
        """Return the array as a NumPy array."""
        return self.kind.tonumpy(self.array)

    def intact(self) -> bool:
        """Return whether the memory around the array still has the pattern."""
        buffer = self.kind.tonumpy(self.buffer)
        return bool(np.all(buffer[: self.start] == self.PATTERN) and np.all(buffer[self.stop :] == self.PATTERN))


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(*array.shape, array.dtype.itemsize)


def _one_nan(array: Array) -> Array:
    if array.dtype.kind in "biu":
        return array
    parts = np.array(array, order="C").reshape(-1)
    parts = parts.view(parts.real.dtype)  # real and imaginary parts; a real number is one part
    with np.errstate(invalid="ignore"):  # a signalling NaN warns
        parts[parts != parts] = np.nan
    return parts.view(array.dtype).reshape(array.shape)
