"""The demo of the command line: a picture is pooled twice, and its maxima are put back where they were.

`photo` reads the picture, and `figure` draws the result.  Both levels have odd sizes, so the size to restore does not
follow from the pooled size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import unpool
from unpool.demo.figure import Levels, draw
from unpool.demo.photo import Photo, size

Array = np.ndarray[Any, np.dtype[Any]]

POOL = unpool.MaxPool2d(2, return_indices=True, data_format="channels_last")
UNPOOL = unpool.MaxUnpool2d(2, data_format="channels_last")


def run(photo: Photo, form: str) -> bytes:
    """Pool and unpool a photograph, print the results, and return their picture as a file of the format `form`."""
    cells = photo.cells[np.newaxis]
    once, first = POOL(cells)
    twice, second = POOL(once)
    halfway = UNPOOL(twice, second, output_size=once.shape)
    restored = UNPOOL(halfway, first, output_size=cells.shape)

    print(f"{photo.title}\nA channels-last batch {cells.shape} of {cells.dtype}; kernel 2, stride 2\n")
    _row("picture, width x height", size(cells))
    _row("pooled once", size(once))
    _row("pooled twice", size(twice))
    _row("unpooled once", size(halfway))
    _row("unpooled twice", size(restored))

    # Unpooling moves any dtype: True in place of each value marks the cells that were kept, black ones too.
    marks = UNPOOL(np.ones_like(twice, dtype=bool), second, output_size=once.shape)
    kept = UNPOOL(marks, first, output_size=cells.shape)
    print()
    _row("values kept", f"{kept.sum():,} of {kept.size:,}, {kept.mean():.2%}")
    _row("kept are bit for bit the original", _yes(np.array_equal(restored[kept], cells[kept])))
    _row("all others are zero", _yes(not restored[~kept].any()))

    _print_times(np.repeat(cells, 8, axis=0))
    return draw(photo, Levels(cells, once, twice, restored, first, second), form)


def plain_unpool(values: Array, indices: Array, shape: Sequence[int]) -> Array:
    """Unpool a channels-last batch with NumPy alone."""
    batch, height, width, channels = shape
    planes = np.zeros((batch, height * width, channels), values.dtype)
    flat = (batch, -1, channels)
    np.put_along_axis(planes, indices.reshape(flat), values.reshape(flat), axis=1)
    return planes.reshape(shape)


def _print_times(batch: Array) -> None:
    values, indices = POOL(batch)
    pool = _milliseconds(lambda: POOL(batch))
    ours = _milliseconds(lambda: UNPOOL(values, indices, batch.shape))
    plain = _milliseconds(lambda: plain_unpool(values, indices, batch.shape))
    same = np.array_equal(UNPOOL(values, indices, batch.shape), plain_unpool(values, indices, batch.shape))
    print(f"\nMedian time of a call on {len(batch)} such pictures\n")
    _row("max_pool2d with indices", f"{pool:7.3f} ms")
    _row("max_unpool2d", f"{ours:7.3f} ms")
    _row("the same with numpy.put_along_axis", f"{plain:7.3f} ms, {plain / ours:.1f} times as long")
    _row("results are equal", _yes(same))


def _milliseconds(call: Callable[[], object], warm_up: int = 3, runs: int = 15) -> float:
    times = []
    for _ in range(warm_up + runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:]) * 1e3


def _row(name: str, value: object) -> None:
    print(f"  {name:<36}{value}")


def _yes(fact: bool) -> str:
    return "yes" if fact else "NO"
