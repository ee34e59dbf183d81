"""The facts about this machine that a bug report needs, as text and as JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import textwrap
from contextlib import redirect_stdout
from importlib import metadata
from typing import Any

import numpy as np

import unpool
from unpool.loading import version_of
from unpool.registry import BUILT_IN

# OpenMP names its releases by date; compilers report the dates.
OPENMP = {
    200203: "2.0",
    200805: "3.0",
    201107: "3.1",
    201307: "4.0",
    201511: "4.5",
    201811: "5.0",
    202011: "5.1",
    202111: "5.2",
    202411: "6.0",
}


def print_rows() -> None:
    """Print the facts in two columns."""
    for name, fact in machine().items():
        _row(name, str(fact))
    sys.stdout.flush()  # the next line imports every framework, which may take long or crash
    found = backends()
    _row("OpenMP", _openmp() if found["cpu"]["works"] else "unknown, because the CPU backend does not work")
    print("\nbackends")
    for name, facts in found.items():
        version = f" ({facts['framework']} {facts['version']})" if facts["version"] else ""
        _row(f"  {name}", f"yes{version}" if facts["works"] else f"no{version}: {facts['reason']}")


def print_json() -> None:
    """Print the facts as an object of JSON; what a framework prints at its import goes to standard error."""
    with redirect_stdout(sys.stderr):
        found = backends()
        openmp = _openmp() if found["cpu"]["works"] else None
    print(json.dumps({**machine(), "OpenMP": openmp, "backends": found}, indent=1))


def machine() -> dict[str, str]:
    return {
        "unpool": unpool.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "NumPy": np.__version__,
        "Keras": _keras(),
        "platform": platform.platform(),
        "cores": _cores(),
    }


def backends() -> dict[str, dict[str, Any]]:
    """Return for each backend if it works, the reason if it does not, and its framework and version, if imported."""
    found = {}
    for name, reason in unpool.available().items():
        framework = BUILT_IN[name].framework if name in BUILT_IN else name
        version = version_of(framework)
        found[name] = {"works": reason is None, "framework": framework, "version": version, "reason": reason}
    return found


def _row(name: str, value: str) -> None:
    """Print a name and its value in two columns; a long value is wrapped inside its column."""
    width = max(20, min(65, shutil.get_terminal_size().columns - 15))
    lines = textwrap.wrap(value, width, break_long_words=False, break_on_hyphens=False)
    below = f"\n{'':14}"
    print((f"{name:<14}" if len(name) < 13 else f"{name}{below}") + below.join(lines))


def _cores() -> str:
    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return f"{cores}" if usable == cores else f"{cores}, {usable} of them for this process"


def _keras() -> str:
    """Return the version of Keras, which is no backend, without importing it."""
    try:
        return metadata.version("keras")
    except metadata.PackageNotFoundError:
        return "not installed"


def _openmp() -> str:
    import unpool_backends.cpu

    release = unpool_backends.cpu.openmp()
    if release == 0:
        return "none: the CPU kernels run on one thread"
    threads = unpool_backends.cpu.max_threads()
    return f"{OPENMP.get(release, 'release')} ({release}), {threads} thread{'s' if threads > 1 else ''}"
