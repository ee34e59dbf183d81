"""Use unpool's layers in Equinox and Flax: a small SegNet in each learns to draw a picture's edges.

    pip install ".[jax]" equinox flax && python examples/jax_layers.py

Neither library has max pooling with indices, nor max unpooling.  These layers have no parameters, so `unpool.MaxPool2d`
and `unpool.MaxUnpool2d` work as they are: in Equinox as static fields, in Flax as attributes.  JAX's transformations
trace through them.
"""

from __future__ import annotations

import equinox
import flax.linen
import jax
import jax.numpy as jnp

import unpool

STEPS = 60


class EquinoxSegNet(equinox.Module):
    """Pool once with indices and unpool again.

    Takes one sample (C, H, W), as Equinox's layers do; `jax.vmap` maps it over a batch.
    """

    before: equinox.nn.Conv2d
    after: equinox.nn.Conv2d
    pool: unpool.MaxPool2d = equinox.field(static=True)
    unpool: unpool.MaxUnpool2d = equinox.field(static=True)

    def __init__(self, channels: int, key: jax.Array) -> None:
        one, other = jax.random.split(key)
        self.before = equinox.nn.Conv2d(1, channels, 3, padding=1, key=one)
        self.after = equinox.nn.Conv2d(channels, 1, 3, padding=1, key=other)
        self.pool, self.unpool = unpool.MaxPool2d(2, return_indices=True), unpool.MaxUnpool2d(2)

    def __call__(self, x: jax.Array) -> jax.Array:
        features = jax.nn.relu(self.before(x))
        values, indices = self.pool(features)
        return self.after(self.unpool(values, indices, output_size=features.shape))


class FlaxSegNet(flax.linen.Module):
    """Do the same for a batch with channels last, the layout of Flax."""

    channels: int
    pool: unpool.MaxPool2d = unpool.MaxPool2d(2, return_indices=True, data_format="channels_last")
    unpool: unpool.MaxUnpool2d = unpool.MaxUnpool2d(2, data_format="channels_last")

    @flax.linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = jax.nn.relu(flax.linen.Conv(self.channels, (3, 3))(x))
        values, indices = self.pool(features)
        return flax.linen.Conv(1, (3, 3))(self.unpool(values, indices, output_size=features.shape))


def pictures(count: int = 8, size: int = 33) -> tuple[jax.Array, jax.Array]:
    """Return pictures of discs of growing size, and of their edges; both are (N, 1, H, W)."""
    row, column = jnp.mgrid[:size, :size] - size // 2
    radius = jnp.linspace(4, size / 2 - 2, count)[:, None, None]
    disc = (jnp.hypot(row, column) < radius).astype("float32")[:, None]
    inner = (jnp.hypot(row, column) < radius - 1.5).astype("float32")[:, None]
    return disc, disc - inner


def train(loss, parameters, rate: float = 0.1) -> list[float]:
    """Train by gradient descent; return the losses."""

    @jax.jit
    def step(parameters):
        value, slopes = jax.value_and_grad(loss)(parameters)
        return value, jax.tree.map(lambda parameter, slope: parameter - rate * slope, parameters, slopes)

    losses = []
    for _ in range(STEPS):
        value, parameters = step(parameters)
        losses.append(float(value))
    return losses


def equinox_losses() -> list[float]:
    x, wanted = pictures()
    parameters, rest = equinox.partition(EquinoxSegNet(8, jax.random.key(0)), equinox.is_array)

    def loss(parameters):
        return jnp.mean((jax.vmap(equinox.combine(parameters, rest))(x) - wanted) ** 2)

    return train(loss, parameters)


def flax_losses() -> list[float]:
    x, wanted = (jnp.moveaxis(array, 1, -1) for array in pictures())
    model = FlaxSegNet(8)

    def loss(parameters):
        return jnp.mean((model.apply(parameters, x) - wanted) ** 2)

    return train(loss, model.init(jax.random.key(0), x))


if __name__ == "__main__":
    for name, losses in (("Equinox", equinox_losses()), ("Flax", flax_losses())):
        print(f"{name}: mean squared error {losses[0]:.3f} at first, {losses[-1]:.3f} after {STEPS} steps")
