"""Numbers that compare as pooling wants values to: by `>` of integers, on every device, however it treats denormals.

XLA may take denormals for zero, and NaN compares with nothing.  So floats are compared by their bits: those of negative
ones count down from zero, which makes -0.0 and 0.0 equal, and every NaN lies above infinity.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def keys(values: Any) -> Any:
    """Return integers that are in the order of values."""
    if values.dtype == bool:
        return values.astype("uint8")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    word = np.dtype(f"int{8 * values.dtype.itemsize}")
    wide = np.promote_types(word, np.int32)  # to compute in
    limits, infinity = np.iinfo(word), _infinity(values.dtype)
    bits = lax.bitcast_convert_type(values, word).astype(wide)
    keys = jnp.where(bits < 0, limits.min - bits, bits)
    return jnp.where(keys < -infinity, jnp.asarray(limits.max, wide), keys)


def unordered(keys: Any, dtype: Any) -> Any:
    """Return whether keys are those of NaN."""
    return keys > _infinity(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.zeros_like(keys, bool)


def _infinity(dtype: Any) -> int:
    return int(np.asarray(np.inf, dtype).view(f"int{8 * dtype.itemsize}"))
