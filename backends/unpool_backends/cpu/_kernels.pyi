from typing import Any

from unpool.plan import Plan
from unpool.protocol import Duplicates

__all__ = [
    "gather",
    "max_threads",
    "openmp",
    "pool",
    "rebase",
    "scatter",
    "stay_serial",
    "unpool_run_1",
    "xla_unpool_1",
]

# Capsules: the function of include/unpool.h, and the handler of cpu/xla.h.
unpool_run_1: Any
xla_unpool_1: Any

def scatter(
    values: Any,
    indices: Any,
    plane: Any,
    plan: Plan[int],
    dtype: str,
    duplicates: Duplicates,
    zeroed: bool,
    streamed: bool,
    threads: int,
) -> tuple[int, int] | None: ...
def gather(
    plane: Any, indices: Any, values: Any, plan: Plan[int], dtype: str, duplicates: Duplicates, threads: int
) -> tuple[int, int] | None: ...
def pool(plane: Any, values: Any, indices: Any, plan: Plan[int], dtype: str, threads: int) -> None: ...
def openmp() -> int: ...
def max_threads() -> int: ...
def stay_serial() -> None: ...
def rebase(
    given: Any, to: Any, plane: tuple[int, ...], new_plane: tuple[int, ...], origin: tuple[int, ...]
) -> None: ...
