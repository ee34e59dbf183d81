"""Gradients of a loss by each backend of Keras, eager and compiled."""

import keras
import pytest

BACKEND = keras.backend.backend()
# Keras converts PyTorch's tensors through an `__array__` without a `copy` argument, which NumPy 2 deprecates.
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
WAYS = {"tensorflow": ("eager", "graph", "compiled"), "jax": ("eager", "compiled"), "torch": ("eager",)}
# Keras neither differentiates nor trains on its NumPy backend.
trains = pytest.mark.skipif(BACKEND not in WAYS, reason="Keras does not train on this backend")


def every_way(test):
    return trains(pytest.mark.parametrize("way", WAYS.get(BACKEND, ("eager",)))(test))


def gradient(loss, x, way):
    """Return the gradient of a loss at `x`, computed by the backend of Keras."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def call(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = loss(x)
            return tape.gradient(total, x)

        return (call if way == "eager" else tf.function(call, jit_compile=way == "compiled"))(tf.constant(x))
    if BACKEND == "jax":
        import jax

        call = jax.grad(loss)
        return (call if way == "eager" else jax.jit(call))(x)
    import torch

    x = torch.tensor(x, requires_grad=True)
    return torch.autograd.grad(loss(x), x)[0]
