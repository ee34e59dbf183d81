"""The peers: functions from the `Data` of a case to the calls to time, and the process that each of them runs in."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import unpool
from unpool.bench.cases import Array, Case, Data, Size


class Call(NamedTuple):
    """The call to time, the conversion of its result to unpool's arrays, and the part of the case that it lacks."""

    run: Callable[[], Any]
    arrays: Callable[[Any], Any] = lambda result: result
    lacks: str = ""


def unpool_calls(data: Data) -> dict[str, Call]:
    case, plane, values, indices = data
    options: dict[str, Any] = {"data_format": case.data_format} if case.last else {}
    if case.duplicates != "last":
        options["duplicates"] = case.duplicates
    if case.out:
        options["out"] = np.empty_like(plane)
    function = getattr(unpool, f"max_{case.operation.replace('pool', f'pool{case.rank}d')}")
    # Leave defaults out, as users do: checking them takes a measurable part of a tiny call.
    window: tuple[Size | None, ...] = (case.kernel, case.stride, case.padding)
    if case.stride is None and case.padding == 0:
        window = (case.kernel,)
    if case.operation == "pool":
        options |= {"index_dtype": case.index_dtype, "ceil_mode": case.ceil, "return_indices": True}
        return {"unpool": Call(partial(function, plane, *window, **options))}
    if case.operation == "unpool":
        if case.output_size:
            options["output_size"] = case.output_size
        return {"unpool": Call(partial(function, values, indices, *window, **options))}
    if case.operation == "pool_backward":
        return {"unpool": Call(partial(function, values, indices, case.spatial, *window, **options))}
    return {"unpool": Call(partial(function, plane, indices, *window, **options))}


def numpy_calls(data: Data) -> dict[str, Call]:
    """Return the common recipes in NumPy; `out=` is zeroed and written into, and sums use `np.add.at`."""
    case, plane, values, indices = data
    step, corners = data.positions()
    out = np.empty_like(plane) if case.out else None

    def scatter() -> Array:
        if out is None:
            result = np.zeros(plane.shape, plane.dtype)
        else:
            result = out
            result.fill(0)
        where = indices * step + corners
        if case.sums:
            np.add.at(result.reshape(-1), where, values)
        else:
            result.reshape(-1)[where] = values
        return result

    def gather() -> Array:
        batch, channels = case.shape[:2]
        flat = (batch, -1, channels) if case.last else (batch, channels, -1)
        taken = np.take_along_axis(plane.reshape(flat), indices.reshape(flat), flat.index(-1))
        return taken.reshape(indices.shape)

    if case.operation == "pool":
        return {"NumPy": Call(partial(numpy_pool, case, plane))}
    return {"NumPy": Call(gather if case.operation == "unpool_backward" else scatter)}


def numpy_pool(case: Case, plane: Array) -> tuple[Array, Array]:
    """Pool by `argmax` over the windows of `sliding_window_view`."""
    kernel, stride, padding = case.window
    first = 1 if case.last else 2
    axes = tuple(range(first, first + case.rank))
    around, every = [(0, 0)] * plane.ndim, [slice(None)] * plane.ndim
    for axis, count, k, step, pad in zip(axes, case.pooled, kernel, stride, padding, strict=True):
        around[axis] = (pad, max(0, (count - 1) * step + k - pad - plane.shape[axis]))
        every[axis] = slice(0, (count - 1) * step + 1, step)
    if any(map(any, around)):
        plane = np.pad(plane, around, constant_values=-np.inf)
    windows = sliding_window_view(plane, kernel, axes)[tuple(every)]
    windows = windows.reshape(*windows.shape[: -case.rank], -1)
    offset = windows.argmax(-1)
    values = np.take_along_axis(windows, offset[..., np.newaxis], -1)[..., 0]
    indices = np.zeros((1,) * plane.ndim, case.index_dtype)
    inside = np.unravel_index(offset, kernel)
    for axis, part, size, step, pad in zip(axes, inside, case.spatial, stride, padding, strict=True):
        corner = np.arange(offset.shape[axis], dtype=case.index_dtype) * step - pad
        indices = indices * size + (part + np.expand_dims(corner, tuple(a for a in range(offset.ndim) if a != axis)))
    return values, indices


def torch_peer(torch: Any) -> Callable[[Data], dict[str, Call]]:
    torch.set_grad_enabled(False)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return partial(torch_calls, torch)


def torch_calls(torch: Any, data: Data) -> dict[str, Call]:
    """Return PyTorch's calls; gradients and `out=` use the operators that its autograd and `functional` call."""
    case, functional, rank = data.case, torch.nn.functional, data.case.rank

    def tensor(array: Array) -> Any:
        # Moving the last axis to place 1 gives PyTorch's channels_last memory format.
        return torch.from_numpy(array).movedim(-1, 1) if case.last else torch.from_numpy(array)

    def arrays(result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(map(arrays, result))
        return (result.movedim(1, -1) if case.last else result).numpy()

    plane, values, indices = tensor(data.plane), tensor(data.values), tensor(data.indices)
    lacks = "" if case.index_dtype == "int64" else f"{case.index_dtype} indices (here int64)"
    indices, window = indices.long(), (case.kernel, case.stride, case.padding)
    run: Callable[[], Any]
    if case.operation == "pool":
        pool = getattr(functional, f"max_pool{rank}d")
        run = partial(pool, plane, *window, ceil_mode=case.ceil, return_indices=True)
    elif case.operation == "pool_backward":
        if rank == 1:
            return {}
        backward = getattr(torch.ops.aten, f"max_pool{rank}d_with_indices_backward")
        run = partial(backward, values, plane, *case.window, (1,) * rank, case.ceil, indices)
    elif case.operation == "unpool_backward":
        if case.duplicates == "last":  # the two are equal here, where no index repeats
            lacks = 'gradient of "last" (here that of "sum", a gather)'
        run = lambda: plane.flatten(2).gather(2, indices.flatten(2)).view(indices.shape)  # noqa: E731
    elif case.sums:

        def run() -> Any:
            planes = torch.zeros(case.shape).flatten(2)
            return planes.scatter_add_(2, indices.flatten(2), values.flatten(2)).view(case.shape)

    elif case.out:
        if rank != 2:
            return {}
        # `functional.max_unpool2d` has no `out=`; the operator that it calls has.
        run = partial(torch.ops.aten.max_unpool2d.out, values, indices, case.spatial, out=torch.empty_like(plane))
    else:
        run = partial(getattr(functional, f"max_unpool{rank}d"), values, indices, *window, case.output_size)
    return {"PyTorch": Call(run, arrays, lacks)}


class Peer(NamedTuple):
    """A process: the modules it needs, the packages for `pip install`, the columns it fills, and its program."""

    needs: tuple[str, ...]
    install: str
    columns: tuple[str, ...]
    program: str


PEERS = {
    "unpool": Peer(
        needs=("unpool",),
        install="unpool",
        columns=("unpool",),
        program="from unpool.bench import measure, peers; measure.serve(peers.unpool_calls)",
    ),
    "torch": Peer(
        needs=("torch",),
        install="torch",
        columns=("PyTorch",),
        program="import torch; from unpool.bench import measure, peers; measure.serve(peers.torch_peer(torch))",
    ),
    "numpy": Peer(
        needs=("numpy",),
        install="numpy",
        columns=("NumPy",),
        program="from unpool.bench import measure, peers; measure.serve(peers.numpy_calls)",
    ),
}
