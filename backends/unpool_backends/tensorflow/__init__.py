"""The backend for TensorFlow tensors: differentiable to any order, eagerly, in graphs, and compiled by XLA.

There are two ways to compute.  Eager tensors in the memory of the CPU go to the CPU kernels and come back without a
copy (`host`).  All other tensors are computed by TensorFlow's own operations (`operations`).  These work on every
device, with sizes that are known only at run time, in saved models, and under XLA.

A bad index is an IndexError in an eager call.  In a graph, an assert op raises an `InvalidArgumentError` of the same
text.  XLA drops asserts.  Under XLA, and with ``validate=False``, a bad index is dropped: its value is written nowhere,
and its gradient is zero.

A NumPy array beside a tensor is a constant, in a graph a constant of the graph.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tensorflow as tf

from unpool import errors
from unpool.plan import INDEX_FORMATS, Plan
from unpool.protocol import Duplicates
from unpool.sizes import spatial_axes
from unpool.tracing import remembered
from unpool_backends.tensorflow import host, operations
from unpool_backends.tensorflow.arithmetic import Arithmetic
from unpool_backends.tensorflow.inputs import dense
from unpool_backends.tensorflow.sizes import settled

__all__ = ["BACKEND", "TensorFlow"]


class TensorFlow:
    """The three primitives of `unpool.protocol.Backend` on TensorFlow tensors."""

    arithmetic = Arithmetic
    index_formats = INDEX_FORMATS
    constants = True

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        _check_out(out)
        cells = dense("input", input)
        unpooling = _unvalidated(plan)  # pooling's own indices are good
        given = None
        if plan.cells is None:
            axes = spatial_axes(len(plan.plane_shape), len(plan.spatial), plan.channels_last)
            given = tuple(tf.unstack(tf.shape(cells, tf.int64)[axes]))

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def pooled(cells: Any) -> tuple[Any, Any]:
            if host.serves(cells):
                values, indices = host.pool(cells, plan)
            else:
                values, indices = operations.pool(cells, plan)

            def gradient(upstream: Any, _: Any = None) -> Any:
                if host.serves(upstream, indices):
                    return _scatter(upstream, indices, unpooling, "sum")
                # In a graph, TensorFlow itself must differentiate this gradient.  A custom gradient inside of another
                # would use tensors of a graph that is gone when the second derivative is traced.
                return operations.scatter(upstream, indices, unpooling, "sum", given, own=True)[0]

            return (values, indices), gradient

        values, indices = pooled(cells)
        if plan.index_dtype is None:
            return values, None
        return values, tf.stop_gradient(indices)

    def scatter(
        self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any, given: Any = None
    ) -> Any:
        _check_out(out)
        plan, given = settled(plan, given)
        return _scatter(dense(plan.values, values), dense("indices", indices), plan, duplicates, given)

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        _check_out(out)
        return _gather(dense(plan.sized_by, grad), dense("indices", indices), plan, duplicates)


BACKEND = TensorFlow()


def _check_out(out: Any) -> None:
    if out is not None:
        raise errors.fixed_arrays("out", "TensorFlow")


@remembered(maxsize=1024)
def _unvalidated(plan: Plan[Any]) -> Plan[Any]:
    return replace(plan, validate=False)


def _scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, given: Any = None) -> Any:
    """Unpool, with the gradient that belongs to `duplicates`."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def unpooled(values: Any) -> tuple[Any, Any]:
        if host.serves(values, indices):
            planes = host.scatter(values, indices, plan, duplicates)
            if planes is not None:
                # An eager gradient calls the kernel, too, which no tape records.  So `_gather` has its own gradient.
                return planes, lambda upstream: _gather(upstream, indices, plan, duplicates)
        planes, adjoint = operations.scatter(values, indices, plan, duplicates, given)
        return planes, adjoint

    return unpooled(values)


def _gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    """Take values out of planes, with the gradient that belongs to `duplicates`."""
    if not host.serves(grad, indices):
        return operations.gather(grad, indices, plan, duplicates)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def taken(grad: Any) -> tuple[Any, Any]:
        values = host.gather(grad, indices, plan, duplicates)
        if values is None:
            values = operations.gather(grad, indices, plan, duplicates)
        return values, lambda upstream: _scatter(upstream, indices, plan, duplicates)

    return taken(grad)
