"""The bits of bfloat16 values.  XLA moves bfloat16 as float32, which sets a bit of signalling NaNs."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax


def changes(values: Any) -> bool:
    """Return True if XLA may change the bits of values that it moves."""
    return bool(values.dtype == jnp.bfloat16)


def to_bits(values: Any) -> Any:
    """Return integers with the bits of bfloat16 values; return other values unchanged."""
    return lax.bitcast_convert_type(values, np.uint16) if changes(values) else values


def from_bits(bits: Any, dtype: Any) -> Any:
    """Return the values of this dtype that `to_bits` had."""
    return bits if bits.dtype == dtype else lax.bitcast_convert_type(bits, dtype)
