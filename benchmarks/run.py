"""unpool beside its peers and beside the machine's memory, as a Markdown table.

    python benchmarks/run.py [--quick] [--rounds 3] [--threads N] [--cases PATTERN] [--peers ...] [--load]
                             [--json FILE] [--plot FILE] [--from FILE]

Every round runs a process of each peer, one after the other, with the same number of threads; a figure is the median
over the rounds of each process's median.  Before a peer is timed, its result is compared with unpool's on the same
arrays.  Peers that are not installed are named, with what installs them; all of them are in the extra `bench`.

A peer is a file in `peers/` with a function from the arrays of a case to what to time, and a line in `PEERS` below.
unpool, PyTorch and NumPy are in `unpool/bench/`, because `python -m unpool bench` has them too.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import roofline
from cases import ALL, QUICK

from unpool.__main__ import new_file, positive
from unpool.bench.measure import add_round
from unpool.bench.peers import PEERS as OURS
from unpool.bench.peers import Peer
from unpool.bench.report import Report, start, table, usable_cores

SECONDS = 1.0  # a call, in each process
PEERS = {
    "unpool": OURS["unpool"],
    "torch": OURS["torch"],
    "onnxruntime": Peer(
        needs=("onnxruntime", "onnx"),
        install="onnxruntime onnx",
        columns=("ONNX Runtime",),
        program="from peers.onnxruntime import calls; from unpool.bench.measure import serve; serve(calls)",
    ),
    "tensorflow": Peer(
        needs=("tensorflow",),
        install="tensorflow",
        columns=("TensorFlow", "TensorFlow XLA"),
        program="from peers.tensorflow import calls; from unpool.bench.measure import serve; serve(calls)",
    ),
    "numpy": OURS["numpy"],
}


def main() -> None:
    options = parse()
    if options.plot:
        from plot import draw  # now: after minutes of measuring is no time to miss Matplotlib
    if options.saved:
        report = json.loads(options.saved.read_text())
    else:
        report = measure(options)
    shares = {case: f"{share:.0%}" for case, share in roofline.shares(report).items()}
    print(table(report, roofline=shares))
    print(roofline.says(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        draw(report, options.plot)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="only the cases that the design makes promises about")
    add("--cases", type=re.compile, default=re.compile(""), metavar="PATTERN", help="only those whose name matches")
    add("--rounds", type=positive, default=3, metavar="N")
    add("--threads", type=positive, default=usable_cores(), metavar="N", help="of every peer (default: the cores)")
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="besides unpool")
    add("--load", action="store_true", help="keep one core busy with something else meanwhile")
    add("--json", type=new_file, metavar="FILE", help="write every run to a file")
    add("--plot", type=new_file, metavar="FILE", help="draw the ratios (with Matplotlib)")
    add("--from", type=Path, metavar="FILE", dest="saved", help="measure nothing: take what --json wrote")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> Report:
    cases = [case for case in (QUICK if options.quick else ALL) if options.cases.search(case.name)]
    if not cases:
        sys.exit(f"no case has a name that matches {options.cases.pattern!r}")
    peers = {name: peer for name, peer in PEERS.items() if name in options.peers or name == "unpool"}
    report = start(cases, options.threads)
    report["bandwidths"] = []
    if options.load:
        report["load"] = ", with one core kept busy by another program"
    with tempfile.TemporaryDirectory() as folder, busy_core() if options.load else nullcontext():
        stream = roofline.stream(folder)
        for _ in range(options.rounds):
            report["bandwidths"] += stream(options.threads)
            add_round(report, peers, SECONDS)
        report["bandwidths"] += stream(options.threads)
    # Last, for it makes arrays with unpool, whose threads would be in the way of the others.
    report["traffic"] = {case.name: roofline.traffic(case) for case in cases}
    return report


@contextmanager
def busy_core() -> Iterator[None]:
    """Run an endless loop meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
