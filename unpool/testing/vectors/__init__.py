"""Problems and their answers as JSON files, for tests of unpooling in any language; README.md describes the format.

The answers come from the oracle, not from a backend.  `tools/write_vectors.py` of the project writes the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import unpool
from unpool.testing.arrays import Array

OPERATIONS = ("max_pool", "max_unpool", "max_unpool_backward", "max_pool_backward", "take_along_plane")


class Vector(NamedTuple):
    """A call, and its results or the error that it must raise."""

    operation: str
    name: str
    rank: int
    arguments: dict[str, Any]
    inputs: dict[str, Array]
    outputs: dict[str, Array] | None
    error: dict[str, Any] | None

    @property
    def function(self) -> Callable[..., Any]:
        """Return the public function of unpool that makes the call."""
        stem, backward, _ = self.operation.partition("_backward")
        name = self.operation if self.operation == "take_along_plane" else f"{stem}{self.rank}d{backward}"
        function: Callable[..., Any] = getattr(unpool, name)
        return function

    @property
    def keywords(self) -> dict[str, Any]:
        """Return the arguments of that function, besides arrays."""
        padding = self.arguments.get("padding")
        pairs = {"padding": tuple(map(tuple, padding))} if isinstance(padding, list) else {}
        return self.arguments | pairs | ({"return_indices": True} if self.operation == "max_pool" else {})


def read(operation: str) -> list[Vector]:
    """Return the vectors of an operation.

    >>> vector = read("max_unpool")[0]
    >>> vector.name, vector.arguments["kernel_size"], vector.inputs["indices"].dtype.name
    ('row, plane, last', [2], 'int32')
    """
    cases = json.loads(files(__name__).joinpath(f"{operation}.json").read_text("utf-8"))
    return [
        Vector(
            operation,
            case["name"],
            case["spatial_dimensions"],
            case["arguments"],
            {name: array(entry) for name, entry in case["inputs"].items()},
            {name: array(entry) for name, entry in case["outputs"].items()} if "outputs" in case else None,
            case.get("error"),
        )
        for case in cases
    ]


def array(entry: dict[str, Any]) -> Array:
    """Return the array that an entry of a file describes.

    >>> array({"dtype": "int16", "shape": [1, 2], "data": "0100ffff"}).tolist()
    [[1, -1]]
    """
    dtype = np.dtype(ml_dtypes.bfloat16 if entry["dtype"] == "bfloat16" else entry["dtype"])
    stored = np.frombuffer(bytes.fromhex(entry["data"]), word(dtype))
    found: Array = stored.astype(stored.dtype.newbyteorder("=")).view(dtype).reshape(entry["shape"])
    return found


def word(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a little-endian dtype for the bytes of another: complex, or an unsigned integer, which keeps all bits."""
    return dtype.newbyteorder("<") if dtype.kind == "c" else np.dtype(f"<u{dtype.itemsize}")
