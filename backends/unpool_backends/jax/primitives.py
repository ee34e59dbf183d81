"""Primitives of JAX for pooling, scattering and gathering.

Scattering and gathering are linear in their first argument, and each other's transpose.  The tangents of pooling are
gathered at its indices.  So derivatives of every order, in both modes, are calls of these primitives.

The arrays of a primitive may have more leading axes than those of its Plan: `jax.vmap` adds one, so that one call
computes the whole batch.

    arrays with values on the CPU      the CPU kernels, at once (`host`)
    programs for the CPU               a call of the CPU kernels (`native`)
    other programs                     JAX's operations (`operations`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from unpool.lending import Lender
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool.sizes import spatial_axes
from unpool.tracing import remembered
from unpool.windows import LARGEST
from unpool_backends.jax import host, native, operations
from unpool_backends.jax.indices import in_mode, integer


def pool(input: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    """Return the values and the indices; None for the indices if the Plan has no dtype for them."""
    values, *indices = _POOL.bind(input, plan=plan)
    return values, indices[0] if indices else None


def scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    arrays = _varying_alike(values, _widened(indices, plan))
    return _SCATTER.bind(*arrays, plan=plan, duplicates=duplicates, own=False)


def gather(planes: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    arrays = _varying_alike(planes, _widened(indices, plan))
    return _GATHER.bind(*arrays, plan=plan, duplicates=duplicates, own=False)


def _widened(indices: Any, plan: Plan[Any]) -> Any:
    """Return indices that the kernels read: of 32 or 64 bits, and signed if they count more cells than int32 can.

    Taps are converted later (`native`, `operations`).
    """
    if plan.by_taps:
        return indices
    dtype = indices.dtype
    if dtype.itemsize < 4:
        return indices.astype("int32")
    far = not isinstance(plan.cells, int) or plan.cells > LARGEST
    return indices.astype(integer("int64")) if dtype == "uint32" and far else indices


# --- types ------------------------------------------------------------------------------------------------------------


def _pooled(arrays: Sequence[Any], plan: Plan[Any], dtype: Any = None) -> Any:
    """Return the type of the pooled side."""
    return _resized(arrays, plan.pooled[3 - len(plan.spatial) :], plan, dtype)


def _plane(arrays: Sequence[Any], plan: Plan[Any]) -> Any:
    """Return the type of the planes."""
    return _resized(arrays, plan.spatial, plan)


def _resized(arrays: Sequence[Any], spatial: Sequence[Any], plan: Plan[Any], dtype: Any = None) -> Any:
    """Return the type of a result: that of the first array, with these spatial sizes."""
    kind, sharding = arrays[0], _result_sharding(arrays, plan)
    axes = spatial_axes(kind.ndim, len(spatial), plan.channels_last)
    shape = (*kind.shape[: axes.start], *spatial, *kind.shape[axes.stop :])
    changes = {"sharding": sharding} if sharding else {}
    return kind.update(shape=shape, dtype=kind.dtype if dtype is None else dtype, weak_type=False, **changes)


def explicit_sharding(array: Any) -> Any:
    """Return the sharding of an array, or of a type, if explicit sharding makes it a part of the type, else None."""
    sharding = jax.typeof(array).sharding if isinstance(array, jax.Array) else array.sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None


def _result_sharding(arrays: Sequence[Any], plan: Plan[Any]) -> Any:
    """Return the explicit sharding of a result, or None: along the axes of any array, but not along spatial ones."""
    shardings = list(filter(None, map(explicit_sharding, arrays)))
    if not any(entry is not None for sharding in shardings for entry in sharding.spec):
        return None
    specs = [[*sharding.spec, *[None] * arrays[0].ndim][: arrays[0].ndim] for sharding in shardings]
    entries = [next(filter(None, along), None) for along in zip(*specs, strict=True)]
    entries[spatial_axes(len(entries), len(plan.spatial), plan.channels_last)] = [None] * len(plan.spatial)
    return NamedSharding(shardings[0].mesh, PartitionSpec(*entries))


def _sharded_as(kind: Any, array: Any) -> Any:
    """Return an array with the explicit sharding of a type, which may be sharded along the plane."""
    wanted, found = explicit_sharding(kind), explicit_sharding(array)
    return array if None in (wanted, found) or wanted == found else jax.sharding.reshard(array, wanted)


@remembered(maxsize=1024)
def _batched(plan: Plan[int], leading: tuple[int, ...]) -> Plan[int]:
    """Return the Plan of arrays with these leading axes."""
    samples = len(plan.plane_shape) - len(plan.spatial) - 1
    shapes = [(*leading, *shape[samples:]) for shape in (plan.pooled_shape, plan.plane_shape)]
    return replace(plan, batch=prod(leading), pooled_shape=shapes[0], plane_shape=shapes[1])


def _varying_alike(*arrays: Any) -> Sequence[Any]:
    """Inside `jax.shard_map`, let arrays vary along the same axes of the mesh, as JAX's own operations do."""
    varying = [_varying(array) for array in arrays]
    axes = frozenset().union(*varying)
    return [
        lax.pcast(array, tuple(axes - own), to="varying") if axes - own else array
        for array, own in zip(arrays, varying, strict=True)
    ]


def _varying(array: Any) -> frozenset[Any]:
    kind = getattr(jax.typeof(array), "mat", None)
    return getattr(kind, "varying", frozenset())


# --- calls on arrays with values --------------------------------------------------------------------------------------


def _run(primitive: Primitive, lend: Callable[..., Any], *given: Any, plan: Plan[Any], **rest: Any) -> Any:
    """Call the kernels on arrays in the memory of the CPU.

    Compile a program for other arrays, and where the kernels found a bad index that is to be dropped.
    """
    # Constants of a trace are arrays of NumPy.  `jnp.asarray` would compile a program for each shape.
    arrays = [one if isinstance(one, jax.Array) else in_mode(jax.device_put, one) for one in given]
    if host.serves(*arrays):
        if arrays[0].ndim != len(plan.plane_shape):
            plan = _batched(plan, arrays[0].shape[: arrays[0].ndim - len(plan.spatial) - 1])
        found = lend(host.lender(plan), *arrays, plan, **rest)
        if found is not None:
            return found
    return in_mode(partial(xla.apply_primitive, primitive), *arrays, plan=plan, **rest)


def _lend_pool(lender: Lender, input: Any, plan: Plan[int]) -> list[Any]:
    values, indices = lender.pool(input, plan)
    return [values] if indices is None else [values, indices]


def _lend_scatter(lender: Lender, values: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, own: bool) -> Any:
    return lender.scatter(values, indices, plan, duplicates)


def _lend_gather(lender: Lender, planes: Any, indices: Any, plan: Plan[int], duplicates: Duplicates, own: bool) -> Any:
    return lender.gather(planes, indices, plan, duplicates)


# --- programs ---------------------------------------------------------------------------------------------------------


def _lower(primitive: Primitive, kernel: int, operation: Callable[..., Any]) -> None:
    """Register a kernel as the lowering for the CPU, and an operation as the one for all other platforms."""

    def by_operations(*arrays: Any, plan: Plan[Any], **rest: Any) -> Any:
        def call(*arrays: Any, **options: Any) -> Any:
            mapped = partial(operation, **options)
            for _ in range(arrays[0].ndim - len(plan.plane_shape)):
                mapped = jax.vmap(mapped)
            return mapped(*arrays)

        sharding = _result_sharding(arrays, plan)
        if sharding is not None:
            # Under explicit sharding, run inside `auto_axes` and fix only the result's sharding.
            kinds = zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True)
            explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
            call = jax.sharding.auto_axes(call, axes=explicit, out_sharding=sharding)
        return in_mode(call, *arrays, plan=plan, **rest)

    lowered = mlir.lower_fun(by_operations, multiple_results=primitive.multiple_results)

    def on_cpu(context: Any, *operands: Any, **params: Any) -> Any:
        if native.serves(context):
            return native.call(context, kernel, *operands, **params)
        return lowered(context, *operands, **params)

    mlir.register_lowering(primitive, lowered)
    mlir.register_lowering(primitive, on_cpu, platform="cpu")


def _map(primitive: Primitive) -> None:
    """Register the rule of `jax.vmap`: the mapped axis becomes the first one."""

    def rule(arrays: Sequence[Any], axes: Sequence[Any], **params: Any) -> tuple[Any, Any]:
        size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
        moved = [
            jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        found = primitive.bind(*moved, **params)
        return found, [0] * len(found) if primitive.multiple_results else 0

    batching.primitive_batchers[primitive] = rule


def _primitive(
    name: str, kernel: int, lend: Callable[..., Any], operation: Callable[..., Any], shapes: Callable[..., Any]
) -> Primitive:
    primitive = Primitive(f"unpool_{name}")
    primitive.multiple_results = name == "pool"
    primitive.def_impl(partial(_run, primitive, lend))
    primitive.def_abstract_eval(shapes)
    _lower(primitive, kernel, operation)
    _map(primitive)
    return primitive


def _pool_shapes(input: Any, *, plan: Plan[Any]) -> list[Any]:
    dtypes = [input.dtype] if plan.index_dtype is None else [input.dtype, jnp.dtype(plan.index_dtype)]
    return [_pooled([input], plan, dtype) for dtype in dtypes]


def _scatter_shape(values: Any, indices: Any, *, plan: Plan[Any], **rest: Any) -> Any:
    return _plane([values, indices], plan)


def _gather_shape(planes: Any, indices: Any, *, plan: Plan[Any], **rest: Any) -> Any:
    return _pooled([planes, indices], plan)


_POOL = _primitive("pool", native.POOL, _lend_pool, operations.pool, _pool_shapes)
_SCATTER = _primitive("scatter", native.SCATTER, _lend_scatter, operations.scatter, _scatter_shape)
_GATHER = _primitive("gather", native.GATHER, _lend_gather, operations.gather, _gather_shape)

# --- derivatives ------------------------------------------------------------------------------------------------------


def _no_tangent(array: Any) -> Any:
    return ad.Zero(jax.typeof(array).to_tangent_aval())


def _differentiate_pool(primals: Any, tangents: Any, *, plan: Plan[Any]) -> Any:
    tangent = tangents[0]
    if isinstance(tangent, ad.Zero):
        found = _POOL.bind(*primals, plan=plan)
        return found, [_no_tangent(array) for array in found]
    indexed = _kept(plan) if plan.index_dtype is None else plan
    values, indices = _POOL.bind(*primals, plan=indexed)
    slopes = _GATHER.bind(tangent, indices, plan=indexed, duplicates="sum", own=True)
    if plan.index_dtype is None:
        return [values], [slopes]
    return [values, indices], [slopes, _no_tangent(indices)]


def _kept(plan: Plan[Any]) -> Plan[Any]:
    """Return the Plan of the indices that a derivative keeps if the caller wants none.

    Taps that are bytes take the least memory.  Kernels convert larger taps, so larger windows keep positions.
    """
    if plan.taps_fit_byte:
        return replace(plan, index_format="window", index_dtype="uint8")
    narrow = isinstance(plan.cells, int) and plan.cells <= LARGEST
    return replace(plan, index_format="plane", index_dtype="int32" if narrow else "int64")


def _linear(primitive: Primitive, transposed: Primitive) -> None:
    """Register the derivatives of a primitive that is linear in its first argument."""

    def tangents(primals: Any, tangents: Any, **params: Any) -> Any:
        found = primitive.bind(*primals, **params)
        zero = isinstance(tangents[0], ad.Zero)
        return found, _no_tangent(found) if zero else primitive.bind(tangents[0], primals[1], **params)

    def transpose(cotangent: Any, given: Any, indices: Any, **params: Any) -> Any:
        if isinstance(cotangent, ad.Zero):
            return ad.Zero(given.aval), None
        return _sharded_as(given.aval, transposed.bind(cotangent, indices, **params)), None

    ad.primitive_jvps[primitive] = tangents
    ad.primitive_transposes[primitive] = transpose


ad.primitive_jvps[_POOL] = _differentiate_pool
_linear(_SCATTER, _GATHER)
_linear(_GATHER, _SCATTER)
