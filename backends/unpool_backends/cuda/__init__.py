"""The backend for CuPy arrays: CUDA kernels, on the device and the current stream of its arrays.

This module allocates and words errors; `job.py` cuts a call into launches, `kernels.cu` computes.  All three primitives
are called with shapes, dtypes and arguments that `unpool` has checked.

To report what a kernel found in the indices is to wait for it.  Where nobody may wait, because of ``validate=False`` or
because a graph is being captured, a bad index is dropped: its value is written nowhere, and its gradient is zero.
Compiling is nothing to do within a capture either: make a call like it before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import cupy
import numpy as np

from unpool import errors, findings
from unpool.dtypes import name
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool_backends.cuda import job, kernels, messages
from unpool_backends.cuda.availability import fault

__all__ = ["BACKEND", "CUDA", "QUIET"]

# What a launch may use of shared memory without asking.
_SHARED = 48 << 10
# A graph reads and writes what its calls had when they were captured, whenever it is launched: none of it may be freed.
_captured: list[Any] = []


class CUDA:
    """The three primitives of `unpool.protocol.Backend` on CuPy arrays.

    If it is `quiet`, a call with a bad or repeated index returns None and raises nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def fault(self) -> errors.BackendUnavailableError | None:
        """Return the error that says why this machine cannot compute on CuPy arrays now, or None."""
        return fault()

    def pool(self, input: Any, plan: Plan[int], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        values, indices = out or (None, None)
        first = "out" if indices is None else "out[0]"
        _check_arrays(("input", input), (first, values), ("out[1]", indices))
        with _on(input.device):
            cells = _ready(input)
            values = _output(first, values, plan.pooled_shape, cells.dtype, cells)
            if indices is not None or plan.index_dtype is not None:
                indices = _output("out[1]", indices, plan.pooled_shape, plan.index_dtype, cells, values)
            if plan.batch:
                index_size = 8 if indices is None else indices.itemsize
                work = job.pool(plan)
                variant = kernels.options("pool", name(cells.dtype), index_size, work.wide, work.side)
                _launch(work, variant, (cells, values, np.uintp(0) if indices is None else indices))
        return values, indices

    def scatter(self, values: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, out: Any) -> Any:
        _check_arrays((plan.values, values), ("indices", indices), ("out", out))
        with _on(values.device):
            _check_capture(duplicates)
            pooled, wanted = _ready(values), _ready_indices(indices)
            planes = _output("out", out, plan.plane_shape, pooled.dtype, pooled, wanted)
            if plan.batch:
                kind = name(pooled.dtype) if duplicates == "sum" else f"word{pooled.itemsize}"
                work = job.scatter(plan, pooled.itemsize, wanted.itemsize, duplicates, _device())
                how = work.wide, work.side, duplicates, plan.validate == "windows"
                variant = kernels.options("scatter", kind, wanted.itemsize, *how)
                status = _new_status(work)
                _launch(work, variant, (pooled, wanted, planes, status))
                found = _found(status, plan, duplicates)
                if max(found) >= 0:
                    if self._quiet:
                        return None
                    raise findings.error(*found, indices, wanted, plan, touched=out is not None)
        return planes

    def gather(self, grad: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, out: Any) -> Any:
        _check_arrays(("grad_output", grad), ("indices", indices), ("out", out))
        with _on(grad.device):
            _check_capture(duplicates)
            planes, wanted = _ready(grad), _ready_indices(indices)
            values = _output("out", out, plan.pooled_shape, planes.dtype, planes, wanted)
            if plan.batch:
                work = job.gather(plan, planes.itemsize, wanted.itemsize, duplicates, _device())
                kind = f"word{planes.itemsize}"
                how = work.wide, work.side, duplicates, plan.validate == "windows"
                variant = kernels.options("gather", kind, wanted.itemsize, *how)
                status = _new_status(work)
                _launch(work, variant, (planes, wanted, values, status))
                found = _found(status, plan, duplicates)
                if max(found) >= 0:
                    if self._quiet:
                        return None
                    raise findings.error(*found, indices, wanted, plan, touched=out is not None)
        return values


BACKEND = CUDA()
QUIET = CUDA(quiet=True)


# --- arrays -----------------------------------------------------------------------------------------------------------


def _check_arrays(*arrays: tuple[str, Any]) -> None:
    """Refuse arrays on several devices, and views in a byte order which CuPy lets be made, but not be computed with."""
    device = arrays[0][1].device.id
    for argument, array in arrays:
        if array is None:
            continue
        if array.device.id != device:
            raise messages.wrong_device(argument, array.device.id, device)
        if not array.dtype.isnative:
            raise messages.foreign_byte_order(argument, array.dtype.str)


def _is_usable(array: Any) -> bool:
    """Whether kernels can read and write an array as it lies: C-contiguous, at a multiple of its elements' size."""
    return bool(array.flags.c_contiguous) and array.data.ptr % array.itemsize == 0


def _ready(array: Any) -> Any:
    """Return the array as kernels read it; itself if it is that."""
    if _is_usable(array):
        return array
    # By bytes if they must: elements at odd addresses are a fault.  CuPy copies bfloat16 as the words that they are.
    odd = any(place % array.itemsize for place in (array.data.ptr, *array.strides))
    size = 1 if odd else 2 if array.dtype.kind == "V" else 0
    if not size:
        return _kept(cupy.ascontiguousarray(array))
    shape, strides = (*array.shape, array.itemsize // size), (*array.strides, size)
    parts = _kept(cupy.ndarray(shape, f"u{size}", array.data, strides).copy())
    return parts.view(array.dtype).reshape(array.shape)


def _ready_indices(indices: Any) -> Any:
    """Return int32 and int64 as they are, and other integers as int64."""
    ready = _ready(indices)
    if ready.dtype.kind == "i" and ready.itemsize >= 4:
        return ready
    # Unsigned: from 2**63 on these turn negative, which is as far out of range.
    return ready.view(np.int64) if ready.itemsize == 8 else _kept(ready.astype(np.int64))


def _output(argument: str, out: Any, shape: tuple[int, ...], dtype: Any, *others: Any) -> Any:
    """Return `out` if it can be written to while the others are read, or a new array where there is none."""
    if out is None:
        return cupy.empty(shape, dtype)
    if not _is_usable(out):
        raise errors.unusable_out(argument)
    if any(_overlap(out, array) for array in others):
        raise errors.overlapping_out(argument)
    return out


def _overlap(one: Any, other: Any) -> bool:
    """Whether two contiguous arrays share memory; CuPy sees it only where one allocation of its own holds both."""
    return (
        bool(one.data.ptr < other.data.ptr + other.nbytes and other.data.ptr < one.data.ptr + one.nbytes)
        and min(one.nbytes, other.nbytes) > 0
    )


def _kept(array: Any) -> Any:
    """Return an array that was made for this call; a graph that is being captured will use it again."""
    if _capturing():
        _captured.append(array)
    return array


# --- launches ---------------------------------------------------------------------------------------------------------


@contextmanager
def _on(device: Any) -> Iterator[None]:
    """Make a device the current one, and say why if CUDA fails because of the machine."""
    try:
        with device:
            yield
    except RuntimeError as error:  # CUDA's are, and those of a library that is not found
        reason = fault()
        if reason is None:
            raise
        raise reason from error


def _device() -> job.Device:
    """Return what the current device has."""
    return _device_of(cupy.cuda.Device().id)


@cache
def _device_of(number: int) -> job.Device:
    attributes = cupy.cuda.Device(number).attributes
    return job.Device(attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"])


def _capturing() -> bool:
    """Return whether the current stream is being captured into a graph, where nothing may wait."""
    return bool(cupy.cuda.get_current_stream().is_capturing())


def _check_capture(duplicates: Duplicates) -> None:
    if duplicates == "error" and _capturing():
        raise messages.cannot_wait()


def _new_status(work: job.Work) -> Any:
    """Return a `Status` and its strips: nothing found."""
    status = _kept(cupy.empty(24 + work.strips, np.uint8))
    status.data.memset_async(255, status.nbytes)
    return status


def _launch(work: job.Work, variant: tuple[str, ...], arrays: tuple[Any, ...]) -> None:
    for launch in work.launches:
        kernel = kernels.kernel(launch.kernel, variant)
        if launch.shared > _SHARED:
            # The kernel's for all threads: as much as there is, or another call would take this one's away.
            kernel.max_dynamic_shared_size_bytes = _device().shared
        kernel((launch.grid,), (launch.threads,), (*arrays, launch.argument), shared_mem=launch.shared)


def _found(status: Any, plan: Plan[int], duplicates: Duplicates) -> tuple[int, int]:
    """Return the flat positions of a bad and of a repeated index; -1 for none, and where the host must not wait."""
    if _capturing() or not (plan.validate or duplicates == "error"):
        return -1, -1
    bad, repeated = status[:16].view(np.int64).get().tolist()
    return bad, repeated
