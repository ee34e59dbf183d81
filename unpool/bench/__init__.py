"""The benchmark of the command line: unpool beside NumPy's recipes and PyTorch, on this machine.

`benchmarks/run.py` adds cases, peers and the memory roofline.  A `Case` describes a computation.  A peer is a function
from the `Data` of a case to the calls to time.  Peers run one after the other, each in a process of its own with the
same number of threads, so that thread pools never compete.  Nothing here imports a framework: PyTorch's own process
imports it, and passes the module in.
"""

from __future__ import annotations

from unpool.bench.cases import CASES
from unpool.bench.measure import add_round
from unpool.bench.peers import PEERS
from unpool.bench.report import Report, start, table, usable_cores

SECONDS = 0.3  # spent on timing each call


def run(threads: int | None) -> tuple[Report, str]:
    """Measure the cases of the command line; return the report and its table."""
    report = start(CASES, threads or usable_cores())
    add_round(report, PEERS, SECONDS)
    return report, table(report)
