"""The private names of TensorFlow that this backend uses; its other files import them from here."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unpool_backends.private_names import Names

NAMES = Names()

_in_xla: Any = NAMES.find(
    "tensorflow.python.ops.control_flow_util.GraphOrParentsInXlaContext",
    use="Test that TensorFlow traces for XLA, which drops asserts but does not compile the text of an error.",
    breaks="Programs of XLA with a check of an index or a size: TensorFlow raises for the operation `AsString`.",
    instead="Every graph is traced as one that is not for XLA. Known sizes and `validate=False` leave no check in it.",
)


def in_xla() -> bool:
    """Return True while TensorFlow traces for XLA; False if the name is missing."""
    return _in_xla is not None and bool(_in_xla(tf.compat.v1.get_default_graph()))
