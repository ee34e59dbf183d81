"""Control the memory of large results on the CPU, which unpool keeps for later results.

The system takes longer to zero new pages than unpool takes to compute.  So a result of 32 MiB or more may reuse the
memory of an earlier, freed result.  At most four blocks of at most 256 MiB each are kept, on Linux alone.  The system
may take their pages at any time, but counts them as resident until it does.
"""

from __future__ import annotations


def release_memory() -> int:
    """Unmap the memory that is kept now, and return its size in bytes; memory of later results is kept again.

    >>> freed = release_memory()
    >>> release_memory()
    0
    """
    import unpool_backends.cpu

    return unpool_backends.cpu.release_memory()


def keep_memory(keep: bool) -> bool:
    """Set whether this process keeps the memory of large results; return the previous setting, at first True.

    Call ``keep_memory(False)`` where a supervisor acts on resident memory, as Dask's and Ray's do with their workers.
    It also unmaps the memory that is kept now.  Large results take longer from then on.

    >>> before = keep_memory(False)
    >>> keep_memory(before)
    False
    """
    import unpool_backends.cpu

    return unpool_backends.cpu.keep_memory(keep)
