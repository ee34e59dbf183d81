"""Rules that are checked at run time: an eager call raises the error, and a graph gets an assert of the same text.

`unpool.errors` builds the text from numbers, which a graph does not have while it is traced.  So the text is built from
marks, and the graph replaces them by digits when a rule is broken.  XLA drops asserts, and cannot compile the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unpool.sizes import Demand, Problem
from unpool_backends.tensorflow import private


class Asserts(Demand):
    """Demands on sizes that may be tensors."""

    def __init__(self) -> None:
        self._rules: list[tuple[Any, Problem]] = []

    def __call__(self, right: Any, problem: Problem) -> None:
        if _decided(right, problem):
            return
        self._rules.append((right, problem))

    def checks(self) -> list[Any]:
        """Return the tensors that a graph must run first, for `after`."""
        return _asserted(self._rules)

    def equal(self, one: Any, other: Any) -> Any:
        return equal(one, other)

    def larger(self, one: Any, other: Any) -> Any:
        return larger(one, other)

    def smaller(self, one: Any, other: Any) -> Any:
        return min(one, other) if known(one, other) else tf.minimum(tf.cast(one, tf.int64), tf.cast(other, tf.int64))

    def one_if(self, condition: Any) -> Any:
        return int(condition) if known(condition) else tf.cast(condition, tf.int64)

    def none(self, count: Any, wrong: Callable[[Any], Any]) -> Any:
        return ~tf.reduce_any(wrong(tf.range(tf.maximum(tf.cast(count, tf.int64), 0), dtype=tf.int64)))


def require(right: Any, problem: Problem) -> list[Any]:
    """Demand that a condition holds; return the tensors that a graph must run first, for `after`."""
    return [] if _decided(right, problem) else _asserted([(right, problem)])


def _decided(right: Any, problem: Problem) -> bool:
    """Raise if a condition is known to be broken; return True if a graph needs no assert for it."""
    if isinstance(right, bool) or tf.executing_eagerly():
        if not right:
            raise problem(int)
        return True
    return compiles()


def _asserted(rules: list[tuple[Any, Problem]]) -> list[Any]:
    """Return a tensor, in a list, that fails with the message of the first broken rule."""
    if not rules:
        return []

    def fail() -> Any:
        done: list[Any] = []
        for right, problem in rules:
            with tf.control_dependencies(done):
                done = [tf.debugging.Assert(right, [_text(problem)])]
        with tf.control_dependencies(done):
            return tf.constant(True)

    # One branch for all rules: with one each, tracing a call with unknown sizes took 284 ms instead of 249.
    every = tf.reduce_all(tf.stack([right for right, _ in rules])) if len(rules) > 1 else rules[0][0]
    return [tf.cond(every, lambda: tf.constant(True), fail)]


def after(checks: list[Any], tensor: Any) -> Any:
    """Return the tensor, to be computed after the checks."""
    if not checks:
        return tensor
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def compiles() -> bool:
    """Return True if the graph that is traced now is for XLA."""
    return private.in_xla()


def known(*sizes: Any) -> bool:
    """Return True if all sizes are numbers, and none is a tensor."""
    return not any(isinstance(size, tf.Tensor) for size in sizes)


def equal(one: Any, other: Any) -> Any:
    """Compare values: in a TensorFlow 1 graph, `==` compares objects."""
    return one == other if known(one, other) else tf.equal(tf.cast(one, tf.int64), tf.cast(other, tf.int64))


def larger(one: Any, other: Any) -> Any:
    return max(one, other) if known(one, other) else tf.maximum(tf.cast(one, tf.int64), tf.cast(other, tf.int64))


class _Mark:
    """A number that is known only at run time; its text is a mark with its position in a list of tensors."""

    def __init__(self, tensor: Any, tensors: list[Any]) -> None:
        self.tensor, self.tensors = tensor, tensors

    def __repr__(self) -> str:
        self.tensors.append(self.tensor)
        return f"\0{len(self.tensors) - 1}\0"

    def __mul__(self, other: Any) -> _Mark:
        return _Mark(self.tensor * tf.cast(getattr(other, "tensor", other), self.tensor.dtype), self.tensors)

    __rmul__ = __mul__

    def __sub__(self, other: int) -> _Mark:
        return _Mark(self.tensor - other, self.tensors)


def _text(problem: Problem) -> Any:
    """Return the message of a problem as a tensor."""
    tensors: list[Any] = []

    def mark(number: Any) -> Any:
        return _Mark(number, tensors) if isinstance(number, tf.Tensor) else int(number)

    parts = re.split("\0(\\d+)\0", str(problem(mark)))
    written = [tf.strings.as_string(tensors[int(part)]) if i % 2 else part for i, part in enumerate(parts)]
    return tf.strings.join(written)
