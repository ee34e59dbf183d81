"""The knobs and counters of the stand-in, in the one place that the real CuPy does not have.

A test sets them by ``monkeypatch.setattr(cupy.cuda_on_cpu, "order", "descending")``, or by ``setitem`` in `attributes`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

ORDERS = ("ascending", "descending", "shuffled")

order = "rotating"
"""One of ORDERS, in which threads and blocks run; "rotating" takes the next one for each launch of a kernel.

In the first two a thread runs until it has to wait; a shuffled one also stops before some of its accesses to memory.
"""

seed = 0
"""Of the next launch that is shuffled, which adds one."""

patience = 2**32
"""Accesses to memory and barriers after which a launch is taken for endless."""

device_count = 2

attributes = {
    "MaxSharedMemoryPerBlock": 48 << 10,
    "MaxSharedMemoryPerBlockOptin": 64 << 10,
    "MultiProcessorCount": 4,
    "WarpSize": 32,
}
"""Of every device."""

capturing = False
"""Whether streams say that they capture a graph: what waits for the device then raises RuntimeError, as CUDA does."""

synchronised: Counter[str] = Counter()
"""How often the host waited for the device, by "get", "item", "__int__", "synchronize" and the like."""


class Launch(NamedTuple):
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_mem: int
    device: int
    stream: int
    order: str
    seed: int | None


launches: deque[Launch] = deque(maxlen=1000)
"""The last ones, the newest at the end."""


class KernelError(RuntimeError):
    """A kernel did what costs a GPU its context, or is undefined."""


_launched: Counter[str] = Counter()


def next_order(kernel):
    """Return the order and the seed of a launch."""
    global seed
    chosen = ORDERS[_launched[kernel] % len(ORDERS)] if order == "rotating" else order
    _launched[kernel] += 1
    if chosen != "shuffled":
        return chosen, None
    seed += 1
    return chosen, seed - 1
