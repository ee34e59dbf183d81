"""Ways to run a function of tensors in TensorFlow: kernels, operations, graphs, and XLA."""

from functools import wraps
from unittest.mock import patch

import numpy as np
import pytest
import tensorflow as tf
from kinds import asserted
from unpool_backends.tensorflow import host

import unpool

# An input, and the results of its pooling.
X = np.random.default_rng(0).permutation(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).astype("float32")
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)


class Way:
    """One way: eager with the kernels, eager with TensorFlow's operations, in a graph, or compiled by XLA."""

    def __init__(self, name):
        self.name = name
        self.eager = name in ("kernels", "operations")
        self.reports = name != "xla"  # a bad index is an error; otherwise it is dropped

    def __call__(self, function, **options):
        """Return a function of tensors that runs `function` this way."""
        if self.name == "kernels":
            return function
        if self.name == "operations":
            return by_operations(function)
        return tf.function(function, autograph=False, jit_compile=self.name == "xla", **options)

    def error(self, call, *arguments):
        """Return the message of the error that a call raises: the contract's, or an assert op's."""
        with pytest.raises((IndexError, ValueError) if self.eager else tf.errors.InvalidArgumentError) as caught:
            call(*arguments)
        return str(caught.value) if self.eager else asserted(caught.value)


WAYS = ("kernels", "operations", "function", "xla")


def ways(*names):
    return pytest.mark.parametrize("way", [Way(name) for name in names], ids=names)


every_way = ways(*WAYS)
reporting_ways = ways("kernels", "operations", "function")


def by_operations(function):
    """Return a function that runs eagerly without the kernels, as on devices other than the CPU."""

    @wraps(function)
    def run(*arguments):
        with patch.object(host, "serves", lambda *tensors: False):
            return function(*arguments)

    return run


def tensors(*arrays):
    return [tf.constant(array) for array in arrays]


def error_of(call, *arguments, **named):
    """Return the message of the error that a call with NumPy arrays raises."""
    assert any(isinstance(argument, np.ndarray) for argument in arguments)
    with pytest.raises((IndexError, TypeError, ValueError)) as caught:
        call(*arguments, **named)
    return str(caught.value)
