"""Settings and counters of the stand-in. The real CuPy has no module of this name.

A test changes a setting by ``monkeypatch.setattr(cupy.cuda_on_cpu, "order", "descending")``, and an entry of
`attributes` by ``monkeypatch.setitem``.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

ORDERS = ("ascending", "descending", "shuffled")

order = "rotating"
"""The order of threads and blocks: one of ORDERS, or "rotating" for the next one at each launch of a kernel.

A thread runs until it waits at a barrier. In the shuffled order it also stops before some memory accesses.
"""

seed = 0
"""The seed of the next shuffled launch, which adds 1 to it."""

patience = 2**32
"""The number of memory accesses and barriers after which a launch fails as endless."""

device_count = 2

attributes = {
    "MaxSharedMemoryPerBlock": 48 << 10,
    "MaxSharedMemoryPerBlockOptin": 64 << 10,
    "MultiProcessorCount": 4,
    "WarpSize": 32,
}
"""The attributes of every device."""

capturing = False
"""Whether streams report that they capture a graph. Waits for the device then raise RuntimeError, as in CUDA."""

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
"""The last launches, the newest at the end."""


class KernelError(RuntimeError):
    """A kernel had undefined behaviour, or an error that destroys the context of a GPU."""


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
