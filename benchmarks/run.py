"""Compare unpool with its peers and with the machine's memory bandwidth, in a Markdown table.

    python benchmarks/run.py [--quick] [--rounds 3] [--threads N] [--cases PATTERN] [--peers ...] [--load]
                             [--json FILE] [--plot FILE] [--from FILE]

Every round runs one process per peer, one after the other, with the same number of threads.  A figure is the median,
over the rounds, of each process's median.  Before a peer is timed, its result is compared with unpool's on the same
arrays.  The report names peers that are not installed, with the command that installs them; the extra `bench` has all.

A peer is a file in `peers/` and a line in `PEERS` below.  The file has a function that takes the arrays of a case and
returns the calls to time.  unpool, PyTorch and NumPy are in `unpool/bench/`, since `python -m unpool bench` uses them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import roofline
from cases import ALL, QUICK

from unpool.__main__ import as_program, drawing, form, new_file, picture, positive, show, write
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
        with drawing("--plot"):
            from unpool.bench.plot import draw
    report = shown(options) if options.saved else measure(options)
    shares = {case: f"{share:.0%}" for case, share in roofline.shares(report).items()}
    show(f"{table(report, roofline=shares)}\n{roofline.says(report)}", report, options.json)
    if options.plot:
        write("--plot", options.plot, draw(report, form(options.plot)))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="only the cases with a target for their speed")
    add("--cases", type=pattern, default="", metavar="PATTERN", help="only the cases whose name matches")
    add("--rounds", type=positive, metavar="N", help="(default: 3)")
    add("--threads", type=positive, metavar="N", help="threads per peer (default: the cores)")
    names = ", ".join(name for name in PEERS if name != "unpool")
    add("--peers", nargs="+", choices=PEERS, metavar="PEER", help=f"some of {names} (default: all installed)")
    add("--load", action="store_true", help="keep one core busy with another program meanwhile")
    add("--json", type=new_file, metavar="FILE", help="write every run to a file")
    add("--plot", type=picture, metavar="FILE", help="draw the ratios (with Matplotlib)")
    add("--from", type=saved, metavar="FILE", dest="saved", help="measure nothing: show a file that --json wrote")
    options = parser.parse_args()
    if options.saved and (options.rounds or options.threads or options.peers or options.load or options.json):
        parser.error("argument --from: goes with --cases, --quick and --plot, for nothing is measured")
    for name in options.peers or ():
        if not all(map(find_spec, PEERS[name].needs)):
            parser.error(f"argument --peers: {name} is not installed: pip install {PEERS[name].install}")
    return options


def pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"must be a regular expression, got {text!r} ({error})") from error


def saved(text: str) -> Report:
    try:
        report = json.loads(Path(text).read_text())
        if isinstance(report, dict) and start((), 1).keys() <= report.keys():
            return report
        why = "it holds something else"
    except (OSError, ValueError) as error:
        why = str(error)
    raise argparse.ArgumentTypeError(f"must be a file that --json wrote, got {text!r} ({why})")


def chosen(options: argparse.Namespace, names: Iterable[str]) -> set[str]:
    """Return the names of cases that the options select."""
    quick = {case.name for case in QUICK}
    found = {name for name in names if options.cases.search(name) and (name in quick or not options.quick)}
    return found or sys.exit(f"no case has a name that matches {options.cases.pattern!r}")


def shown(options: argparse.Namespace) -> Report:
    """Return the part of a saved report that the options select."""
    report = options.saved
    names = chosen(options, (case["name"] for case in report["cases"]))
    report["cases"] = [case for case in report["cases"] if case["name"] in names]
    # The case of a problem with the whole process is "".
    report["rounds"] = [
        [answer for answer in answers if answer["case"] in {"", *names}] for answers in report["rounds"]
    ]
    return report


def measure(options: argparse.Namespace) -> Report:
    names = chosen(options, (case.name for case in ALL))
    cases = [case for case in ALL if case.name in names]
    peers = {name: peer for name, peer in PEERS.items() if name in (options.peers or PEERS) or name == "unpool"}
    report = start(cases, options.threads or usable_cores())
    threads = report["threads"]
    report["bandwidths"] = []
    if options.load:
        report["load"] = ", with one core kept busy by another program"
    with tempfile.TemporaryDirectory() as folder, busy_core() if options.load else nullcontext():
        stream = roofline.stream(folder)
        for _ in range(options.rounds or 3):
            report["bandwidths"] += stream(threads)
            add_round(report, peers, SECONDS)
        report["bandwidths"] += stream(threads)
    # Last, since it makes arrays with unpool, whose idle threads spin and would slow down the peers.
    report["traffic"] = {case.name: roofline.traffic(case) for case in cases}
    return report


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with a loop, which ends when this process ends in any way, and is silent at Ctrl-C."""
    loop = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    process = subprocess.Popen([sys.executable, "-c", loop], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    as_program(main)
