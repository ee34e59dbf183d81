"""Rules that only a run can check: the contract's error where a call is eager, in a graph an assert op of that text.

The text is built by `unpool.errors` from numbers that a graph does not have yet, so they write marks instead, and the
graph puts their digits there when the rule was broken.  XLA drops asserts, and could not write the text either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unpool import errors
from unpool.arrays import Number
from unpool_backends.tensorflow import private


def require(right: Any, problem: Callable[[Number], Exception]) -> list[Any]:
    """Demand that a condition holds; return what a graph has to run first, which `after` takes.

    `problem` says what is wrong; it is given the function that turns a tensor into the number to be shown.
    """
    if isinstance(right, bool) or tf.executing_eagerly():
        if not right:
            raise problem(int)
        return []
    if compiles():
        return []

    def fail() -> Any:
        with tf.control_dependencies([tf.debugging.Assert(tf.constant(False), [_text(problem)])]):
            return tf.constant(True)

    return [tf.cond(right, lambda: tf.constant(True), fail)]


def after(checks: list[Any], tensor: Any) -> Any:
    """Return the tensor, which is there only when the checks have passed."""
    if not checks:
        return tensor
    with tf.control_dependencies(checks):
        return tf.identity(tensor)


def compiles() -> bool:
    """Whether what is traced now is for XLA: TensorFlow has no public word for it."""
    return private.in_xla()


class _Mark:
    """A number that only a run will know: it writes its place in a list of tensors, and counts as numbers do."""

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


def _text(problem: Callable[[Number], Exception]) -> Any:
    """Write the message of a problem as a tensor."""
    tensors: list[Any] = []

    def mark(number: Any) -> Any:
        return _Mark(number, tensors) if isinstance(number, tf.Tensor) else int(number)

    parts = re.split("\0(\\d+)\0", str(problem(mark)))
    written = [tf.strings.as_string(tensors[int(part)]) if i % 2 else part for i, part in enumerate(parts)]
    # What follows an article may be known only now.
    return tf.strings.regex_replace(tf.strings.join(written), f" a (({errors.AN})( x |-cell))", r" an \1")
