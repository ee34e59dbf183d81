"""Compile the kernels, each variant at its first use on a device; CuPy caches them in memory and on disk.

A variant takes some tenths of a second to compile, once per machine.  `CUPY_CACHE_DIR` is the directory of the cache.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import cupy

_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
# The kinds of kinds.cuh: dtypes for values that are added or compared, words for values that are only moved.
_NAMES = {
    **{name: name.capitalize() for name in ("bool", "float16", "float32", "float64", "complex64", "complex128")},
    **{f"int{bits}": f"Int{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UInt{bits}" for bits in (8, 16, 32, 64)},
    **{f"word{size}": f"Word{size}" for size in (1, 2, 4, 8, 16)},
    "bfloat16": "BFloat16",
}
# The packages of included files: half precision shares the arithmetic of the CPU, bit for bit.
_PACKAGES = {"numbers.h": "unpool_backends.include"}


@cache
def source(name: str = "kernels.cu") -> str:
    """Return a file of CUDA C++ with its includes expanded, since the key of CuPy's cache covers no other file."""
    return expand(files(_PACKAGES.get(name, "unpool_backends.cuda")).joinpath(name).read_text(encoding="utf-8"))


def expand(text: str) -> str:
    return _INCLUDE.sub(lambda found: source(found[1]), text)


@lru_cache(maxsize=1024)
def options(
    operation: str,
    kind: str,
    index_size: int,
    wide: bool,
    side: int,
    duplicates: str = "last",
    confined: bool = False,
    by_taps: bool = False,
) -> tuple[str, ...]:
    """Return the compiler's options for a variant, as kernels.cu lists them."""
    defined = [operation.upper(), f"KIND={_NAMES[kind]}", f"INDEX=Index{8 * index_size}", f"WIDE={int(wide)}"]
    defined += [f"DUPLICATES={duplicates.upper()}"] + ([f"SIDE={side}"] if side else [])
    defined += ["CONFINED=1"] if confined else []
    defined += ["BY_TAPS=1"] if by_taps else []
    return ("-std=c++17", *(f"-D{name}" for name in defined))


@lru_cache(maxsize=1024)
def kernel(name: str, variant: tuple[str, ...]) -> Any:
    """Return a kernel, which is compiled when it is first called on a device."""
    return cupy.RawModule(code=source(), options=variant).get_function(name)
