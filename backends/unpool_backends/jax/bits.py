"""The bits of floating-point values.

XLA moves bfloat16 as float32, which sets a bit of signalling NaNs, and a sum with zero changes -0.0.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def selected(values: Any) -> Any:
    """Return values whose bits XLA keeps when it selects them: integers for bfloat16, which costs the others time."""
    return to_bits(values) if values.dtype == jnp.bfloat16 else values


def to_bits(values: Any) -> Any:
    """Return integers with the bits of floating-point values; return other values unchanged."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    return lax.bitcast_convert_type(values, np.dtype(f"uint{8 * values.dtype.itemsize}"))


def from_bits(bits: Any, dtype: Any) -> Any:
    """Return the values of this dtype that `to_bits` had."""
    return bits if bits.dtype == dtype else lax.bitcast_convert_type(bits, dtype)
