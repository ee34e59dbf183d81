"""The backend for CuPy arrays: CUDA kernels on the arrays' device and its current stream.

This module allocates results and raises errors, `job.py` cuts a call into launches, and `kernels.cu` computes.
`unpool` has already checked the shapes, dtypes and arguments.

The host must wait for a kernel to report a bad index.  With ``validate=False``, and while a graph is captured, it does
not wait, and a bad index is dropped: its value is written nowhere, and its gradient is zero.  A capture must not
compile a kernel either, so make the same call once before.
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
from unpool.plan import INDEX_FORMATS, Plan
from unpool.protocol import Duplicates
from unpool_backends.cuda import job, kernels, messages
from unpool_backends.cuda.availability import fault

__all__ = ["BACKEND", "CUDA", "QUIET"]

# Bytes of shared memory that a launch may use unless the kernel's attribute allows more.
_SHARED = 48 << 10
# The arrays of captured calls.  A graph uses their memory at each launch, so they are never freed.
_captured: list[Any] = []


class CUDA:
    """The three primitives of `unpool.protocol.Backend` on CuPy arrays.

    If `quiet`, a call with a bad or repeated index returns None and raises nothing.
    """

    index_formats = INDEX_FORMATS

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
                # Without indices, the format does not matter, so all calls share one variant.
                index_size, by_taps = (8, False) if indices is None else (indices.itemsize, plan.by_taps)
                work = job.pool(plan)
                how = index_size, work.wide, work.side
                variant = kernels.options("pool", name(cells.dtype), *how, by_taps=by_taps)
                _launch(work, variant, (cells, values, np.uintp(0) if indices is None else indices))
        return values, indices

    def scatter(self, values: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, out: Any) -> Any:
        _check_arrays((plan.values, values), ("indices", indices), ("out", out))
        with _on(values.device):
            _check_capture(duplicates)
            pooled, wanted = _ready(values), _ready_indices(indices, plan)
            planes = _output("out", out, plan.plane_shape, pooled.dtype, pooled, wanted)
            if plan.batch:
                kind = name(pooled.dtype) if duplicates == "sum" else f"word{pooled.itemsize}"
                work = job.scatter(plan, pooled.itemsize, wanted.itemsize, duplicates, _device())
                variant = _variant("scatter", kind, wanted, work, plan, duplicates)
                status = _new_status(work)
                _launch(work, variant, (pooled, wanted, planes, status))
                found = _found(status, plan, duplicates)
                if max(found) >= 0:
                    if self._quiet:
                        return None
                    raise findings.error(*found, indices, wanted, plan, touched=out is not None)
        return planes

    def gather(self, grad: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, out: Any) -> Any:
        _check_arrays((plan.sized_by, grad), ("indices", indices), ("out", out))
        with _on(grad.device):
            _check_capture(duplicates)
            planes, wanted = _ready(grad), _ready_indices(indices, plan)
            values = _output("out", out, plan.pooled_shape, planes.dtype, planes, wanted)
            if plan.batch:
                work = job.gather(plan, planes.itemsize, wanted.itemsize, duplicates, _device())
                kind = f"word{planes.itemsize}"
                variant = _variant("gather", kind, wanted, work, plan, duplicates)
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
    """Refuse arrays on several devices, and views in a foreign byte order, which CuPy can make but not compute on."""
    device = arrays[0][1].device.id
    for argument, array in arrays:
        if array is None:
            continue
        if array.device.id != device:
            raise messages.wrong_device(argument, array.device.id, device)
        if not array.dtype.isnative:
            raise messages.foreign_byte_order(argument, array.dtype.str)


def _is_usable(array: Any) -> bool:
    """Return True if kernels can use an array without a copy: it is C-contiguous, and its elements are aligned."""
    return bool(array.flags.c_contiguous) and array.data.ptr % array.itemsize == 0


def _ready(array: Any) -> Any:
    """Return an array that kernels can use, copied only if necessary."""
    if _is_usable(array):
        return array
    # Misaligned elements are copied as bytes, since loading one is a fault.  bfloat16 is copied as 16-bit words.
    odd = any(place % array.itemsize for place in (array.data.ptr, *array.strides))
    size = 1 if odd else 2 if array.dtype.kind == "V" else 0
    if not size:
        return _kept(cupy.ascontiguousarray(array))
    shape, strides = (*array.shape, array.itemsize // size), (*array.strides, size)
    parts = _kept(cupy.ndarray(shape, f"u{size}", array.data, strides).copy())
    return parts.view(array.dtype).reshape(array.shape)


def _ready_indices(indices: Any, plan: Plan[int]) -> Any:
    """Return indices ready for kernels: int32, int64 and small taps stay as they are, other integers become int64."""
    ready = _ready(indices)
    if ready.dtype.kind == "i" and ready.itemsize >= 4:
        return ready
    if plan.by_taps and ready.dtype.kind == "u" and ready.itemsize <= 2:
        return ready
    # uint64 values from 2**63 on turn negative here, so they stay out of range.
    return ready.view(np.int64) if ready.itemsize == 8 else _kept(ready.astype(np.int64))


def _output(argument: str, out: Any, shape: tuple[int, ...], dtype: Any, *others: Any) -> Any:
    """Return `out` if kernels can write to it while they read the others; return a new array if it is None."""
    if out is None:
        return cupy.empty(shape, dtype)
    if not _is_usable(out):
        raise errors.unusable_out(argument)
    if any(_overlap(out, array) for array in others):
        raise errors.overlapping_out(argument)
    return out


def _overlap(one: Any, other: Any) -> bool:
    """Return True if two contiguous arrays share memory; CuPy's own test is right only within one allocation."""
    return (
        bool(one.data.ptr < other.data.ptr + other.nbytes and other.data.ptr < one.data.ptr + one.nbytes)
        and min(one.nbytes, other.nbytes) > 0
    )


def _kept(array: Any) -> Any:
    """Return an array that was made for this call.  During a capture, keep it alive for the launches of the graph."""
    if _capturing():
        _captured.append(array)
    return array


# --- launches ---------------------------------------------------------------------------------------------------------


@contextmanager
def _on(device: Any) -> Iterator[None]:
    """Make a device the current one.  If CUDA fails because of the machine, raise the error that gives the reason."""
    try:
        with device:
            yield
    except RuntimeError as error:  # the base class of CUDA's errors and of a missing library's
        reason = fault()
        if reason is None:
            raise
        raise reason from error


def _device() -> job.Device:
    """Return the limits of the current device."""
    return _device_of(cupy.cuda.Device().id)


@cache
def _device_of(number: int) -> job.Device:
    attributes = cupy.cuda.Device(number).attributes
    return job.Device(attributes["MultiProcessorCount"], attributes["MaxSharedMemoryPerBlockOptin"])


def _capturing() -> bool:
    """Return True if the current stream is being captured into a graph, where the host must not wait."""
    return bool(cupy.cuda.get_current_stream().is_capturing())


def _check_capture(duplicates: Duplicates) -> None:
    if duplicates == "error" and _capturing():
        raise messages.cannot_wait()


def _new_status(work: job.Work) -> Any:
    """Return a `Status` with its strips: no index found, no strip marked."""
    status = _kept(cupy.empty(24 + work.strips, np.uint8))
    status.data.memset_async(255, status.nbytes)
    return status


def _variant(
    operation: str, kind: str, indices: Any, work: job.Work, plan: Plan[int], duplicates: Duplicates
) -> tuple[str, ...]:
    """Return the compiler's options for the kernels of a scatter or gather."""
    confined = plan.validate == "windows" and not plan.by_taps  # a tap always lies in its own window
    how = indices.itemsize, work.wide, work.side, duplicates, confined, plan.by_taps
    return kernels.options(operation, kind, *how)


def _launch(work: job.Work, variant: tuple[str, ...], arrays: tuple[Any, ...]) -> None:
    for launch in work.launches:
        kernel = kernels.kernel(launch.kernel, variant)
        if launch.shared > _SHARED:
            # All host threads share this attribute of a kernel.  A call that set less would lower another call's limit.
            kernel.max_dynamic_shared_size_bytes = _device().shared
        kernel((launch.grid,), (launch.threads,), (*arrays, launch.argument), shared_mem=launch.shared)


def _found(status: Any, plan: Plan[int], duplicates: Duplicates) -> tuple[int, int]:
    """Return the flat positions of the first bad and repeated index; -1 for none, or if the host must not wait."""
    if _capturing() or not (plan.validate or duplicates == "error"):
        return -1, -1
    bad, repeated = status[:16].view(np.int64).get().tolist()
    return bad, repeated
