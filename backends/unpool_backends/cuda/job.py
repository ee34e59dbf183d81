"""Cut a call into launches, blocks and ranges: from a `Plan` to the arguments of each launch.

This module computes with integers alone, without arrays or CUDA.  `_job_type` is `struct Job` of job.cuh, field by
field.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from unpool.plan import Plan
from unpool.protocol import Duplicates

# Threads of a thread block: for single windows, for a block of windows, and at most for a range of cells.
THREADS = 256
BLOCK_THREADS = 128
MOST_THREADS = 1024
# Windows whose indices a thread reads at once, as in job.cuh.
EACH = 4
# Elements from which kernels count with 64 bits.
WIDE = 2**31
# Bytes of cells of a block of windows, at most and at least: many fit a multiprocessor, and each is worth its launch.
STAGE = 16 << 10
LEAST_STAGE = 2 << 10
# Bytes of shared memory of a range that reads near windows only; several fit a multiprocessor.
NEAR = 32 << 10
# Thread blocks per multiprocessor: those that loop over tasks, and the least number that blocks of windows are cut for.
BLOCKS_EACH = 16
LEAST_BLOCKS_EACH = 4
# Sides of squares that have kernels of their own, in which the compiler unrolls the loops over cells.
SIDES = (2, 3)
# Bytes of a memory sector, which is read as a whole: the indices of a few neighbouring channels.
SECTOR = 32
# Windows that may reach a cell, at most, for the cell to be compared with all of them.  By a count of 55 instructions
# for a window and a tile, an H200 then needs 1.5 ms for 100 million cells.  Ranges took 0.9 ms with one window for four
# cells, and take longer with more windows.
MOST_WINDOWS_PER_CELL = 64
# A tile of cells: bytes of a row, which a thread writes at once; most cells; threads of a thread block.
UNIT = 16
TILE = 16
TILE_THREADS = 128
# Threads that a multiprocessor should get before a tile has more than one row.
LEAST_THREADS_EACH = 2048


class Device(NamedTuple):
    """The limits of a device that cuts depend on."""

    processors: int
    shared: int  # bytes of shared memory that a thread block may opt in to


class Launch(NamedTuple):
    """A kernel with its launch parameters, except the arrays."""

    kernel: str
    grid: int
    threads: int
    shared: int
    job: np.ndarray[Any, np.dtype[Any]]
    # The same as raw bytes, because CuPy inspects an argument's dtype, which takes 70 us with so many fields.
    argument: np.ndarray[Any, np.dtype[np.void]]


class Work(NamedTuple):
    """The launches of a call, in their order."""

    wide: bool
    side: int  # the side of squares that kernels may assume, or 0
    strips: int  # the number of strips that kernels may mark to be redone
    launches: tuple[Launch, ...]


@lru_cache(maxsize=1024)
def pool(plan: Plan[int]) -> Work:
    cut = _Cut(plan, 0, 0)
    return Work(cut.wide, cut.window_side, 0, (cut.launch("unpool_pool", _parts(cut.elements, THREADS), THREADS, 0),))


@lru_cache(maxsize=1024)
def scatter(plan: Plan[int], itemsize: int, index_size: int, duplicates: Duplicates, device: Device) -> Work:
    """Cut a scatter: by blocks where windows share no cell, by cells where few windows share one, else by ranges."""
    cut = _Cut(plan, itemsize, index_size)
    slot = cut.count_size + (itemsize if duplicates == "sum" else 0)
    blocks = cut.blocks(device)
    first = blocks or cut.cells(duplicates, device)
    if first is None:
        launches = cut.ranges("unpool_scatter_ranges", slot, device)
    else:
        launches = (first, *cut.redo("unpool_scatter_ranges", slot, device))
    in_runs = blocks is None or int(blocks.job["pieces"]) > 1
    return Work(cut.wide, 0 if in_runs else cut.side, cut.marks, launches)


@lru_cache(maxsize=1024)
def gather(plan: Plan[int], itemsize: int, index_size: int, duplicates: Duplicates, device: Device) -> Work:
    """Cut a gather: window by window, but by ranges where many windows share a cell and a later one hides a value."""
    cut = _Cut(plan, itemsize, index_size)
    kernel = "unpool_gather_windows" if cut.apart or duplicates == "sum" else "unpool_gather_overlap"
    windows = cut.launch(kernel, _parts(cut.elements, THREADS * EACH), THREADS, 0)
    if duplicates == "sum":
        launches: tuple[Launch, ...] = (windows,)
    elif cut.apart or cut.windows_per_cell <= MOST_WINDOWS_PER_CELL:
        launches = (windows, *cut.redo("unpool_gather_ranges", cut.count_size, device))
    else:
        launches = cut.ranges("unpool_gather_ranges", cut.count_size, device)
    return Work(cut.wide, cut.side, cut.marks, launches)


def _parts(whole: int, each: int) -> int:
    """Return the number of parts that a whole is cut into; the last part may be smaller."""
    return -(-whole // each)


def _job_type(count: str) -> np.dtype[Any]:
    """Return the dtype of `struct Job`, which counts with 32 or 64 bits."""
    size, divisor = f"i{count[1:]}", np.dtype([(name, count) for name in ("divisor", "factor", "shift")])
    return np.dtype(
        [
            *[(name, size, 3) for name in ("pooled", "plane", "kernel", "stride", "padding", "dilation")],
            *[(name, count) for name in ("outer", "windows", "cells", "taps", "step", "elements")],
            *[(name, divisor, 3) for name in ("by_pooled", "by_plane", "by_kernel", "by_stride")],
            *[(name, divisor) for name in ("by_windows", "by_step")],
            *[(name, count) for name in ("strips_each", "strip_shift")],
            *[(name, count) for name in ("planes_each", "rows_each", "columns_each", "row_blocks", "pieces", "units")],
            *[(name, divisor) for name in ("by_row_blocks", "by_pieces", "by_units")],
            *[(name, count) for name in ("cells_each", "ranges", "tasks", "redo", "near")],
        ]
    )


_JOBS = {False: _job_type("u4"), True: _job_type("u8")}


class _Cut:
    """The sizes of a call, and the methods that cut it."""

    def __init__(self, plan: Plan[int], itemsize: int, index_size: int) -> None:
        self.plan = plan
        self.itemsize = itemsize
        self.step = plan.channels if plan.channels_last else 1
        self.outer = plan.batch if plan.channels_last else plan.batch * plan.channels
        self.elements = self.outer * plan.windows * self.step
        self.apart = all((k - 1) * d < s for k, s, d in zip(plan.kernel, plan.stride, plan.dilation, strict=True))
        along = zip(plan.pooled, plan.kernel, plan.stride, plan.dilation, strict=True)
        self.windows_per_cell = math.prod(min(n, _parts((k - 1) * d + 1, s)) for n, k, s, d in along)
        self.taps = plan.taps if plan.by_taps else 0
        counts = self.elements, self.outer * plan.cells * self.step, self.taps
        self.wide = max(*counts, *map(self._farthest, range(3))) >= WIDE
        self.count_size = 8 if self.wide else 4
        # The side of the squares of cells that windows own, if no edge of the plane cuts one: its corner then gives
        # all cells of a square.  Kernels number rows through all slices, so slices must have no row left over.
        side = plan.stride[2] if self.apart and plan.stride[2] in SIDES else 0
        whole = all(plan.plane[axis] >= plan.pooled[axis] * side for axis in (1, 2))
        whole &= plan.plane[0] == 1 or plan.plane[1] == plan.pooled[1] * side
        whole &= not plan.by_taps or plan.kernel == plan.stride  # the cells of taps then depend on the side alone
        self.side = side if whole and plan.stride == (1, side, side) and not any(plan.padding) else 0
        # The side of windows that are squares, if all of them lie inside the plane.
        side = plan.kernel[2] if plan.kernel[2] in SIDES else 0
        whole = not any(plan.padding) and plan.dilation == (1, 1, 1)
        whole &= all(
            (plan.pooled[axis] - 1) * plan.stride[axis] + plan.kernel[axis] <= plan.plane[axis] for axis in range(3)
        )
        self.window_side = side if whole and plan.kernel == (1, side, side) else 0
        # A strip has as many channels as share a sector, or the next power of two if there are fewer.
        self.shift = 0
        while index_size << self.shift < SECTOR and 1 << self.shift < self.step:
            self.shift += 1
        self.strips_each = _parts(self.step, 1 << self.shift)
        self.strips = self.outer * self.strips_each
        self.marks = 0 if plan.by_taps else self.strips  # a tap lies in its own window

    def _farthest(self, axis: int) -> int:
        """Return the largest coordinate that a kernel may compute along an axis.

        A thread may compute those of some windows or cells past the end before it compares them with the end.
        """
        plan = self.plan
        window = plan.pooled[axis] * plan.stride[axis] + (plan.kernel[axis] - 1) * plan.dilation[axis]
        before = plan.padding[axis]  # negative where the first window starts inside the plane
        return max(window - min(before, 0), plan.plane[axis] + max(before, 0) + plan.stride[axis]) + 2 * UNIT

    def launch(self, kernel: str, grid: int, threads: int, shared: int, **fields: int) -> Launch:
        plan, job = self.plan, np.zeros((), _JOBS[self.wide])
        for name in ("pooled", "plane", "kernel", "stride", "padding", "dilation"):
            job[name] = getattr(plan, name)
        job["outer"], job["windows"], job["cells"], job["taps"] = self.outer, plan.windows, plan.cells, self.taps
        job["step"], job["elements"] = self.step, self.elements
        job["strips_each"], job["strip_shift"] = self.strips_each, self.shift
        for name in ("pooled", "plane", "kernel", "stride"):
            for axis, value in enumerate(getattr(plan, name)):
                job[f"by_{name}"][axis] = self._divisor(value)
        job["by_windows"], job["by_step"] = self._divisor(plan.windows), self._divisor(self.step)
        for name, value in fields.items():
            job[name] = value
            if f"by_{name}" in _JOBS[self.wide].fields:  # type: ignore[operator]
                job[f"by_{name}"] = self._divisor(value)
        return Launch(kernel, grid, threads, shared, job, job.view(f"V{job.nbytes}"))

    def _divisor(self, divisor: int) -> tuple[int, int, int]:
        """Return the fields of `struct Divisor`, which is exact for numbers of one bit less than its fields have.

        Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (1994).
        """
        shift, bits = (divisor - 1).bit_length(), 8 * self.count_size
        return divisor, ((1 << bits) * ((1 << shift) - divisor)) // divisor + 1, shift

    # --- blocks -------------------------------------------------------------------------------------------------------

    def blocks(self, device: Device) -> Launch | None:
        """Cut into blocks of windows whose cells fit a stage; return None if windows share cells or are too large."""
        if not self.apart:
            return None
        plan = self.plan
        total = self.outer * plan.cells * self.step * self.itemsize
        stage = max(LEAST_STAGE, min(STAGE, total // (device.processors * LEAST_BLOCKS_EACH)))
        planes = min(self.outer, (stage - 16) // (plan.cells * self.step * self.itemsize))
        if planes:
            return self._block_launch(_parts(self.outer, planes), 1, planes * plan.cells, planes_each=planes)
        deep, columns = self._cells(0, 1), plan.pooled[2]
        rows = self._most(1, stage, lambda rows: deep * self._run(self._cells(1, rows) * plan.plane[2]))
        if not rows:
            runs = deep * self._cells(1, 1)
            columns = max(1, self._most(2, stage, lambda columns: runs * self._run(self._cells(2, columns))))
            rows = 1
        pieces, row_blocks = _parts(plan.pooled[2], columns), _parts(plan.pooled[1], rows)
        if pieces == 1:
            runs, cells = deep, self._cells(1, rows) * plan.plane[2]
        else:
            cells = self._cells(2, columns)
        if runs * self._run(cells) > device.shared:
            return None
        grid = self.outer * plan.pooled[0] * row_blocks * pieces
        if grid >= 2**31:  # more than a launch may have; CuPy truncates the number
            return None
        each = {"rows_each": rows, "columns_each": columns, "row_blocks": row_blocks, "pieces": pieces}
        return self._block_launch(grid, runs, cells, **each)

    def _block_launch(self, grid: int, runs: int, cells: int, **each: int) -> Launch:
        units = self._run(cells) // 16
        return self.launch("unpool_scatter_blocks", grid, BLOCK_THREADS, runs * units * 16, units=units, **each)

    def _run(self, cells: int) -> int:
        """Return the bytes of a run of cells, which may begin anywhere in its first unit of 16 bytes."""
        return (cells * self.step * self.itemsize + 15 + 15) // 16 * 16

    def _cells(self, axis: int, windows: int) -> int:
        """Return the most cells that this many windows own along an axis.

        The first ones also own the cells before the first window, and the last ones the cells left over.
        """
        plan = self.plan
        size, stride, before = plan.plane[axis], plan.stride[axis], (plan.pooled[axis] - 1) // windows * windows
        first = windows * stride + max(-plan.padding[axis], 0)
        return min(size, max(first, size - (before * stride - plan.padding[axis] if before else 0)))

    def _most(self, axis: int, stage: int, bytes_of: Any) -> int:
        """Return the largest number of windows along an axis whose cells fit a stage."""
        low, high = 0, self.plan.pooled[axis]
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if bytes_of(middle) <= stage else (low, middle - 1)
        while low and bytes_of(low) > stage:  # the cells left over for the last windows do not grow evenly
            low -= 1
        return low

    # --- cells --------------------------------------------------------------------------------------------------------

    def cells(self, duplicates: Duplicates, device: Device) -> Launch | None:
        """Cut into tiles of cells; return None if too many windows reach a cell."""
        if self.windows_per_cell > MOST_WINDOWS_PER_CELL:
            return None
        plane, length = self.plan.plane, UNIT // self.itemsize
        # With channels first, rows may begin anywhere in 16 bytes.  Then each row has tiles of its own.
        shifted = self.step == 1 and plane[2] % length
        units = _parts(plane[2] + (length - 1 if shifted else 0), length)
        each = self.outer * plane[0] * units * self.step
        most = 1 if shifted else min(TILE // length, plane[1])
        rows = max(1, min(most, each * plane[1] // (device.processors * LEAST_THREADS_EACH)))
        row_blocks = _parts(plane[1], rows)
        tasks = each * row_blocks
        grid = _parts(tasks, TILE_THREADS)
        shared = TILE_THREADS * rows * length * (self.itemsize if duplicates == "sum" else self.count_size)
        if shared > device.shared or grid >= 2**31:  # more than a launch may have
            return None
        fields = {"units": units, "rows_each": rows, "row_blocks": row_blocks, "tasks": tasks}
        return self.launch("unpool_scatter_cells", grid, TILE_THREADS, shared, **fields)

    # --- ranges -------------------------------------------------------------------------------------------------------

    def ranges(self, kernel: str, slot: int, device: Device) -> tuple[Launch, ...]:
        """Cut into ranges of near windows, then redo marked strips; or cut into one range per strip, if it fits."""
        near = self._range_launch(kernel, slot, min(NEAR, device.shared), device, near=1)
        if int(near.job["ranges"]) == 1:
            return (self._range_launch(kernel, slot, min(NEAR, device.shared), device),)
        return (near, *self.redo(kernel, slot, device))

    def redo(self, kernel: str, slot: int, device: Device) -> tuple[Launch, ...]:
        """Cut marked strips into ranges as large as possible, since each range reads all windows of its strip.

        There is no such launch if no strip can be marked.
        """
        return () if self.plan.by_taps else (self._range_launch(kernel, slot, device.shared, device, redo=1),)

    def _range_launch(self, kernel: str, slot: int, shared: int, device: Device, **how: int) -> Launch:
        plan, lanes = self.plan, 1 << self.shift
        most = shared // (slot * lanes) // 16 * 16  # the sums behind the claims lie at a multiple of 16 bytes
        each = min(max(16, most), _parts(plan.cells, 16) * 16)
        ranges = _parts(plan.cells, each)
        tasks = self.strips * ranges
        work = max(min(each, plan.cells), plan.windows if ranges == 1 else 0) * lanes
        threads = min(MOST_THREADS, max(32, _parts(work, 32) * 32))
        size = each * slot * lanes
        # A redo usually has no marked strip, so it starts only as many thread blocks as the device runs at once.
        blocks = max(1, min(BLOCKS_EACH, device.shared // size)) if how.get("redo") else BLOCKS_EACH
        grid = min(tasks, device.processors * blocks)
        return self.launch(kernel, grid, threads, size, cells_each=each, ranges=ranges, tasks=tasks, **how)
