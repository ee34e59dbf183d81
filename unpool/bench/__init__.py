"""The benchmark of the command line: unpool beside NumPy's recipes and PyTorch, on this machine.

`benchmarks/run.py` adds cases, peers and the memory roofline to what is here.  A `Case` is what to compute; a peer is a
function from the `Data` of a case to what there is to time; every peer runs in a process of its own, in turn, with the
same number of threads, so that no two pools of threads meet.  Nothing here imports a framework: PyTorch's own process
does, and hands it over.
"""

from __future__ import annotations

import json
from pathlib import Path

from unpool.bench.cases import CASES
from unpool.bench.measure import add_round
from unpool.bench.peers import PEERS
from unpool.bench.report import start, table, usable_cores

SECONDS = 0.3  # a call of the short form


def run(threads: int | None, file: Path | None) -> None:
    """Measure and print the short form, and write the report to a file."""
    report = start(CASES, threads or usable_cores())
    add_round(report, PEERS, SECONDS)
    print(table(report))
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")
