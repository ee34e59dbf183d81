"""The memory of large results on the CPU, which unpool keeps for later results, and how to give it back.

The system takes longer to zero new pages than unpool takes to compute.  So a result of 32 MiB or more may get the
memory of an earlier result that is gone.  At most four blocks of at most 256 MiB are kept, on Linux alone.  The system
may take their pages at any time, but counts them as resident until it does.
"""

from __future__ import annotations


def release_memory() -> int:
    """Unmap the memory that is kept now, and return its size in bytes; later results are kept again.

    >>> freed = release_memory()
    >>> release_memory()
    0
    """
    import unpool_backends.cpu

    return unpool_backends.cpu.release_memory()


def keep_memory(keep: bool) -> bool:
    """Choose whether this process keeps the memory of large results, and return the choice until now, at first True.

    Call ``keep_memory(False)`` where a supervisor acts on resident memory, as Dask's and Ray's do with their workers.
    It unmaps what is kept, too.  Large results take longer from then on.

    >>> before = keep_memory(False)
    >>> keep_memory(before)
    False
    """
    import unpool_backends.cpu

    return unpool_backends.cpu.keep_memory(keep)
