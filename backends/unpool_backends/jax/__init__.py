"""The backend for JAX arrays.  It supports tracing, both modes of differentiation, mapping, sharding and export.

A call checks what its arrays allow, and calls one of three primitives of JAX (`primitives`).  Arrays with values in the
memory of the CPU go to the CPU kernels, without a copy (`host`).  Programs for the CPU call the same kernels
(`native`).  JAX's own operations compute everything else (`operations`).

If indices have values, a bad index raises an IndexError, even while the other array is traced.  In programs that call
the kernels, it is a run-time error.  Elsewhere, and with ``validate=False``, it is dropped: its value is written
nowhere, and its gradient is zero.  Where indices are not checked, ``duplicates="error"`` acts like ``"last"``.

A NumPy array beside an array of JAX is a constant, which has values in every program.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unpool import errors, findings
from unpool.plan import INDEX_FORMATS, Plan
from unpool.protocol import Duplicates
from unpool.sizes import Demand, demand_size
from unpool.tracing import remembered
from unpool_backends.jax import host, operations, primitives
from unpool_backends.jax.arithmetic import Arithmetic
from unpool_backends.jax.indices import check_room, in_mode, integer

__all__ = ["BACKEND", "JAX"]


class JAX:
    """The three primitives of `unpool.protocol.Backend` on JAX arrays."""

    arithmetic = Arithmetic
    index_formats = INDEX_FORMATS
    constants = True

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        _check_out(out)
        served = host.serves(input)
        if plan.index_dtype is not None or not served:
            _check_room("input", plan)
        if plan.index_dtype is not None:
            if plan.by_taps:
                check_room("kernel_size", plan.taps, plan.taps)
            plan = _indexed(plan, integer(plan.index_dtype).name)
        call = primitives.pool if served else partial(in_mode, primitives.pool)
        return call(input, plan=plan)

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        _check_out(out)
        values, indices = _constant(values), _constant_indices(indices)
        call = _checked(primitives.scatter, plan.values, values, indices, plan, duplicates)
        return call(values, indices, plan=plan, duplicates=duplicates)

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        _check_out(out)
        grad, indices = _constant(grad), _constant_indices(indices)
        call = _checked(primitives.gather, plan.sized_by, grad, indices, plan, duplicates)
        return call(grad, indices, plan=plan, duplicates=duplicates)


BACKEND = JAX()


@remembered(maxsize=1024)
def _indexed(plan: Plan[Any], index_dtype: str) -> Plan[Any]:
    return replace(plan, index_dtype=index_dtype)


def _constant(array: Any) -> Any:
    """Turn a NumPy array into an array of JAX, which has values also while a program is traced; return other arrays."""
    if not isinstance(array, np.ndarray):
        return array
    # A copy, since the user may write into the memory later.  JAX refuses other byte orders.
    native = np.array(array, array.dtype.newbyteorder("="))
    with jax.ensure_compile_time_eval():
        return jax.device_put(native)  # `jnp.array` would compile a program for each shape


def _constant_indices(indices: Any) -> Any:
    """Turn NumPy indices into an array of JAX: of 64 bits in every mode, since 2**32 + 3 must not become 3."""
    if not isinstance(indices, np.ndarray):
        return indices
    with jax.enable_x64(True):
        return _constant(indices)


def _checked(primitive: Any, argument: str, given: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    """Make the checks that the CPU kernels do not; return the function to call."""
    # Kernels check indices at once, except for repeated ones beside others that are dropped.
    checked = bool(plan.validate) or duplicates != "error"
    if checked and host.serves(given, indices):
        return primitive
    _check_devices(argument, given, indices)
    _check_room("indices", plan)
    _check_sizes(plan)
    if not (checked and host.serves(_differentiated(given), indices)):
        _check_values(indices, plan, duplicates)
    return partial(in_mode, primitive)


def _differentiated(array: Any) -> Any:
    """Return the array with values that only differentiation traces, or the array itself."""
    inner = array
    while isinstance(inner, jax.core.Tracer) and hasattr(inner, "primal"):
        inner = inner.primal
    return inner


def _check_out(out: Any) -> None:
    if out is not None:
        raise errors.fixed_arrays("out", "JAX")


def _check_room(argument: str, plan: Plan[Any]) -> None:
    """Refuse planes if JAX's integers cannot count their cells, and one more per window, for dropped values."""
    if isinstance(plan.cells, int) and isinstance(plan.windows, int):
        check_room(argument, plan.cells, plan.cells + plan.windows)


class _Symbols(Demand):
    """Demands on symbols.  JAX decides them, or names the constraint to add when it cannot."""

    def larger(self, one: Any, other: Any) -> Any:
        return other  # a symbol is a size of 1 or more


def _check_sizes(plan: Plan[Any]) -> None:
    """Apply the rule of sizes to symbols."""
    sizes, pooled = plan.spatial, plan.pooled[-len(plan.spatial) :]
    for axis, (size, windows) in enumerate(zip(sizes, pooled, strict=True)):
        if not (isinstance(size, int) and isinstance(windows, int)):
            demand_size(axis, windows, size, plan.window, sizes, plan.sized_by, _Symbols())


def _check_devices(argument: str, given: Any, indices: Any) -> None:
    """Refuse arrays that are committed to different devices; an uncommitted array moves to the other one's device."""
    if not host.has_values(given) or not host.has_values(indices) or not (given.committed and indices.committed):
        return
    devices, others = given.sharding.device_set, indices.sharding.device_set
    if devices != others:
        raise errors.devices_differ(
            "indices",
            _device_names(others),
            argument,
            _device_names(devices),
            f"jax.device_put(indices, {argument}.sharding)",
        )


def _device_names(devices: Any) -> str:
    return ", ".join(sorted(map(str, devices)))


def _check_values(indices: Any, plan: Plan[Any], duplicates: Duplicates) -> None:
    """Raise for a bad or repeated index, where indices have values and the call reports them."""
    if not host.has_values(indices) or not (plan.validate or duplicates == "error") or not indices.size:
        return
    if not indices.is_fully_addressable:  # shards of other processes cannot be read
        return
    with jax.ensure_compile_time_eval():
        if primitives.explicit_sharding(indices):  # a scalar result of `flaws` cannot have it
            indices = jnp.asarray(np.asarray(indices))
        flaws = partial(operations.flaws, plan=plan, duplicates=duplicates)
        bad, repeated = map(int, in_mode(flaws, indices))
        if max(bad, repeated) >= 0:
            numbers = np.asarray(indices)
            raise findings.error(bad, repeated, numbers, numbers, plan, touched=False)
