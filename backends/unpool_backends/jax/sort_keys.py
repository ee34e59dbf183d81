"""Sort keys: integers that `>` compares in pooling's order of values, also on devices that flush denormals.

XLA may round denormals to zero, and every comparison with NaN is false.  So floats are compared by their bits.  The
keys of negative floats count down from zero, which makes -0.0 and 0.0 equal.  Every NaN lies above infinity.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def keys(values: Any) -> Any:
    """Return the sort keys of values."""
    if values.dtype == bool:
        return values.astype("uint8")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    word = np.dtype(f"int{8 * values.dtype.itemsize}")
    wide = np.promote_types(word, np.int32)  # the dtype to compute in
    limits, infinity = np.iinfo(word), _infinity(values.dtype)
    bits = lax.bitcast_convert_type(values, word).astype(wide)
    keys = jnp.where(bits < 0, limits.min - bits, bits)
    return jnp.where(keys < -infinity, jnp.asarray(limits.max, wide), keys)


def unordered(keys: Any, dtype: Any) -> Any:
    """Return a mask of the keys of NaN."""
    return keys > _infinity(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.zeros_like(keys, bool)


def _infinity(dtype: Any) -> int:
    return int(np.asarray(np.inf, dtype).view(f"int{8 * dtype.itemsize}"))
