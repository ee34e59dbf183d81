"""The benchmark of the command line: unpool beside NumPy's recipes and PyTorch, on this machine.

`benchmarks/run.py` adds cases, peers and the memory roofline to what is here.  A `Case` is what to compute; a peer is a
function from the `Data` of a case to what there is to time; every peer runs in a process of its own, in turn, with the
same number of threads, so that no two pools of threads meet.  Nothing here imports a framework: PyTorch's own process
does, and hands it over.
"""

from __future__ import annotations

from unpool.bench.cases import CASES
from unpool.bench.measure import add_round
from unpool.bench.peers import PEERS
from unpool.bench.report import Report, start, table, usable_cores

SECONDS = 0.3  # a call of the short form


def run(threads: int | None) -> tuple[Report, str]:
    """Measure the short form, and return its report and the table of it."""
    report = start(CASES, threads or usable_cores())
    add_round(report, PEERS, SECONDS)
    return report, table(report)
