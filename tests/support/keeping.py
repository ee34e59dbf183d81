"""Results of compilers, kept between runs in one folder.

UNPOOL_TEST_CACHE names the folder; the default is a folder of this user in the system's folder for temporary files.  A
result is kept under a hash of everything that it depends on, so none is ever out of date.
"""

import hashlib
import os
import tempfile
from pathlib import Path


def folder(name):
    """Return the subfolder of this name, made if it is missing."""
    chosen = os.environ.get("UNPOOL_TEST_CACHE")
    user = os.getuid() if hasattr(os, "getuid") else ""
    path = (Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"unpool_tests_{user}") / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def keep(name, parts, suffix, make):
    """Return the path of a file that `make(path)` wrote in this or an earlier run, for the same strings `parts`."""
    path = folder(name) / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}{suffix}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
            built = Path(unfinished) / path.name
            make(built)
            built.replace(path)  # in one step, because another process may be about to read it
    return path
