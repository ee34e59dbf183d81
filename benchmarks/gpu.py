"""Compare unpool on CuPy arrays with PyTorch on the same GPU, and with the GPU's own copy.

    python benchmarks/gpu.py [--quick] [--only SUBSTRING] [--markdown] [--json FILE] [--from FILE]

unpool and PyTorch run in turn, each in its own process, on the arrays of `unpool.bench.cases`.  Before a case is timed,
its result is compared with the CPU backend's, bit for bit.  If unpool's result differs, the program ends with status 1.
If PyTorch's result differs, PyTorch is not timed; sums may differ by rounding.  Each case has two times:

device  The time between two events.  unpool writes into arrays that it is given, and does not wait for the check of the
        indices.  PyTorch returns new arrays from its caching allocator.  Copies of a large buffer run first, so all
        calls are queued before the first one starts, and the device never waits for the host.  The calls cycle through
        several sets of arrays, so that the cache holds no data of the next call.
call    Wall-clock time of a plain call, with new arrays, checked indices and the wait for its end.

A copy is timed like a case, before and after the cases; it shows the memory bandwidth.  A case's share is its bandwidth
divided by the copy's.  Its bandwidth is the bytes that it must read and write, divided by its time on the device.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
from cases import GRADIENT, HALF, LAST, NARROW, POOL, POOL3, POOL_BACK, SUM, UNPOOL, USERS, Case, twin
from roofline import traffic
from run import saved

import unpool
from unpool import arguments, backends, plan, registry
from unpool.__main__ import as_program, new_file, show
from unpool.bench.cases import Data, from_json, prepare
from unpool.bench.measure import add_round, time_call
from unpool.bench.peers import Call, Peer, torch_calls, unpool_calls
from unpool.bench.report import Report, start, table, usable_cores

SECONDS = 0.15  # for each of the two times of a case, in each process
FEWEST = 5  # passes
COPY = 2**30  # bytes of the buffer that is copied
MOST_COPIES = 64  # ahead of the calls, some 45 ms on an H100
MOST_SETS = 64  # the launch queue holds about a thousand launches, and a call may need several
CACHES = 4  # size of all sets together, in second-level caches

LARGE = {"shape": (32, 64, 224, 224)}
OVERLAP, DENSE = {"kernel": 3, "stride": 2}, {"kernel": 3, "stride": 1}

# Neighbouring cases share their arrays where possible: making them takes longer than measuring.
ALL = (
    *(replace(case, **LARGE) for case in (UNPOOL, GRADIENT, SUM, POOL, POOL_BACK)),
    *(
        twin(case, **changes)
        for changes in (
            LARGE | HALF,
            LARGE | NARROW,
            LARGE | LAST,
            {"suffix": "225 x 225", "shape": (32, 64, 225, 225)},  # rows are not aligned
            {"suffix": "(32, 512, 7, 7)", "shape": (32, 512, 14, 14)},
            {"suffix": "(16, 512, 14, 14)", "shape": (16, 512, 28, 28)},
            {"suffix": "(1, 1, 4096, 4096)", "shape": (1, 1, 8192, 8192)},
        )
        for case in (UNPOOL, SUM, POOL)
    ),
    twin(UNPOOL, "(1, 1, 2, 2)", shape=(1, 1, 4, 4)),
    Case("unpool k3 s2", "unpool", **LARGE, **OVERLAP),
    Case("unpool k3 s2, sum", "unpool", **LARGE, **OVERLAP, duplicates="sum"),
    Case("unpool k3 s2, 225 x 225", "unpool", shape=(32, 64, 225, 225), **OVERLAP),  # tiles have one row
    Case("gradient of unpool k3 s2, last", "unpool_backward", **LARGE, **OVERLAP),
    Case("gradient of unpool k3 s2, sum", "unpool_backward", **LARGE, **OVERLAP, duplicates="sum"),
    replace(POOL3, **LARGE),
    Case("gradient of pool k3 s2", "pool_backward", **LARGE, **OVERLAP),
    twin(POOL3, **LARGE, **LAST),
    Case("unpool k3 s1", "unpool", **LARGE, **DENSE),
    Case("unpool k7 s1", "unpool", **LARGE, kernel=7, stride=1),  # by cells, with 49 windows for each
    Case("unpool k9 s1", "unpool", **LARGE, kernel=9, stride=1),  # by ranges
    Case("pool k3 s1", "pool", **LARGE, **DENSE),
    Case("gradient of pool k3 s1", "pool_backward", **LARGE, **DENSE),
    *USERS,
)
QUICK = {
    "unpool k2",
    "gradient of unpool, last",
    "gradient of unpool, sum",
    "pool k2",
    "gradient of pool k2",
    "unpool k2, (32, 512, 7, 7)",
    "unpool k2, (1, 1, 2, 2)",
    "unpool k3 s2",
    "pool k3 s2",
}
PEERS = {
    "unpool": Peer(
        needs=("cupy",),
        install='".[cuda]"',
        columns=("unpool",),
        program="import cupy, gpu; gpu.serve(gpu.CuPy(cupy))",
    ),
    "torch": Peer(
        needs=("torch",),
        install="torch",
        columns=("PyTorch",),
        program="import torch, gpu; gpu.serve(gpu.PyTorch(torch))",
    ),
}


# --- the command ------------------------------------------------------------------------------------------------------


def main() -> None:
    options = parse()
    report = options.saved or measure(options)
    tables = markdown(report) if options.markdown else listing(report)
    show(f"{heading(report)}\n\n{tables}", report, options.json)
    if any(answer["peer"] == "unpool" for answer in answers(report, "problem")):
        sys.exit(1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="only a case of each kind: less than a minute")
    add("--only", default="", metavar="SUBSTRING", help="only the cases with SUBSTRING in their name")
    add("--markdown", action="store_true", help="print the tables of docs/performance.md")
    add("--json", type=new_file, metavar="FILE", help="write every figure to a file")
    add("--from", type=saved, metavar="FILE", dest="saved", help="measure nothing: show a file that --json wrote")
    options = parser.parse_args()
    if options.saved and (options.quick or options.only or options.json):
        parser.error("argument --from: goes with --markdown alone, for nothing is measured")
    if options.saved and not options.saved.get("copied"):
        parser.error("argument --from: must be a file that --json of this program wrote")
    return options


def measure(options: argparse.Namespace) -> Report:
    if reason := registry.why_not("cuda"):
        sys.exit(f"There is no GPU to measure: {reason}")
    cases = [case for case in ALL if options.only in case.name and (case.name in QUICK or not options.quick)]
    report = start(cases or sys.exit(f"no case has {options.only!r} in its name"), usable_cores())
    report["copied"] = COPY
    for name, peer in PEERS.items():
        add_round(report, {name: peer}, SECONDS)
        if any(not answer["case"] for answer in answers(report, "problem")):
            break  # unpool's process ended early
    return report


# --- the process of a peer --------------------------------------------------------------------------------------------


class CuPy:
    """Run unpool on CuPy arrays; `cupy` is an argument, so that tests can pass a stand-in."""

    column = "unpool"

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        runtime = cupy.cuda.runtime
        properties, version = runtime.getDeviceProperties(runtime.getDevice()), runtime.runtimeGetVersion()
        self.name, self.l2 = properties["name"].decode(), properties["l2CacheSize"]
        self.versions = {
            "unpool": unpool.__version__,
            "CuPy": cupy.__version__,
            "CUDA": f"{version // 1000}.{version % 1000 // 10}",
        }

    def calls(self, data: Data, filled: Any) -> tuple[Call, ...]:
        """Return the call to time by events, into copies of `filled`, and the call to time by the clock."""
        put, get = self.cupy.asarray, partial(each, self.cupy.asnumpy)
        there = Data(data.case, put(data.plane), put(data.values), put(data.indices))
        return Call(into(there, each(put, filled)), get), Call(unpool_calls(there)["unpool"].run, get)

    def copier(self) -> Callable[[], object]:
        source = self.cupy.asarray(np.arange(COPY // 8))  # zeros may be copied faster than numbers
        return partial(self.cupy.copyto, self.cupy.empty_like(source), source)

    def mark(self) -> Any:
        event = self.cupy.cuda.Event()
        event.record()
        return event

    def passed(self, event: Any) -> bool:
        return bool(event.done)

    def milliseconds(self, begin: Any, end: Any) -> float:
        return float(self.cupy.cuda.get_elapsed_time(begin, end))

    def wait(self) -> None:
        self.cupy.cuda.Device().synchronize()


class PyTorch:
    """Run PyTorch's own operations on a device of PyTorch."""

    column = "PyTorch"

    def __init__(self, torch: Any, device: str = "cuda") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            sys.exit("this PyTorch finds no GPU")
        self.torch, self.device = torch, device
        torch.set_grad_enabled(False)
        properties = torch.cuda.get_device_properties(device)
        self.name, self.l2 = properties.name, properties.L2_cache_size
        self.versions = {"PyTorch": torch.__version__}

    def calls(self, data: Data, filled: Any) -> tuple[Call, ...]:
        """Return the call to time, twice; an empty tuple if PyTorch has no such operation."""
        torch = self.torch
        # The part of `torch` that `torch_calls` uses, with tensors on the device.
        there = SimpleNamespace(
            nn=torch.nn,
            ops=torch.ops,
            zeros=partial(torch.zeros, device=self.device),
            from_numpy=lambda array: torch.from_numpy(array).to(self.device),
        )
        return tuple(
            Call(call.run, lambda result, arrays=call.arrays: arrays(each(torch.Tensor.cpu, result)), call.lacks)
            for call in torch_calls(there, data).values()
            for _ in range(2)
        )

    def copier(self) -> Callable[[], object]:
        source = self.torch.arange(COPY // 8, device=self.device)
        return partial(self.torch.empty_like(source).copy_, source)

    def mark(self) -> Any:
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def passed(self, event: Any) -> bool:
        return bool(event.query())

    def milliseconds(self, begin: Any, end: Any) -> float:
        return float(begin.elapsed_time(end))

    def wait(self) -> None:
        self.torch.cuda.synchronize()


def each(function: Callable[[Any], Any], arrays: Any) -> Any:
    return tuple(map(function, arrays)) if isinstance(arrays, tuple) else function(arrays)


def into(data: Data, out: Any) -> Callable[[], Any]:
    """Return the backend's call on a Plan with ``validate=False``, which does not wait.

    Not every public function has `validate`.
    """
    case, plane, values, indices = data
    backend, window = backends.route(("input",), (plane,)), arguments.window(case.rank, *case.window, 1)
    if case.operation == "pool":
        call = plan.plan_pooling(plane.shape, window, case.ceil, case.last, case.index_dtype)
        return partial(backend.pool, plane, call, out)
    call = plan.plan_unpooling(values.shape, window, case.spatial, case.last, False)
    if case.operation == "unpool_backward":
        return partial(backend.gather, plane, indices, call, case.duplicates, out)
    duplicates = "sum" if case.operation == "pool_backward" else case.duplicates
    return partial(backend.scatter, values, indices, call, duplicates, out)


def serve(peer: CuPy | PyTorch) -> None:
    """Answer the request of `add_round`: a line of JSON per case, and the device's state before and after them."""
    request = json.load(sys.stdin)
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print to stdout
    say = partial(print, file=said, flush=True)
    say(json.dumps(peer.versions))
    copy = peer.copier()
    say(json.dumps(state(peer, copy)))
    for case in map(from_json, request["cases"]):
        try:
            answer = timed(peer, prepare(case), copy, request["seconds"])
        except Exception as error:
            answer = {"problem": f"{type(error).__name__}: {error}".partition("\n")[0]}
        if answer:
            say(json.dumps({"case": case.name, "column": peer.column} | answer))
    say(json.dumps(state(peer, copy)))


def state(peer: CuPy | PyTorch, copy: Callable[[], object]) -> dict[str, Any]:
    """Time the copy, and read the clocks right after it, while they are those of a working device."""
    times, _ = device_times(peer, [copy], copy, SECONDS)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, check=True, capture_output=True, text=True, timeout=20).stdout
        driver, processors, memory = said.splitlines()[0].split(", ")
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        driver = processors = memory = "unknown"
    return {
        "case": "",
        "device": peer.name,
        "driver": driver,
        "clocks": f"{processors} and memory {memory}",
        "l2": peer.l2,
        "copy": 2 * COPY / statistics.median(times) / 1e6,
    }


def timed(peer: CuPy | PyTorch, data: Data, copy: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Compare the results of a case with the CPU backend's, and time it; return {} if the peer lacks the operation."""
    case, moved = data.case, traffic(data.case)
    expected = unpool_calls(data)["unpool"].run()
    needed = math.ceil(CACHES * peer.l2 / sum(moved))
    filled = each(lambda array: np.full_like(array, 113), expected)  # a call must overwrite every element
    sets = [peer.calls(data, filled) for _ in range(max(2, min(needed, MOST_SETS)))]
    if not sets[0]:
        return {}
    is_unpool = peer.column == "unpool"
    for call in sets[0]:
        if wrong := difference(call.arrays(call.run()), expected, rounded=case.sums and not is_unpool):
            if is_unpool:
                sys.exit(f"{case.name}: not the CPU backend's result: {wrong}")
            return {"problem": f"has another result than unpool, and was not timed: {wrong}"}
    lacks = sets[0][0].lacks
    queued, plain = ([call.run for call in calls] for calls in zip(*sets, strict=True))
    times, gaps = device_times(peer, queued, copy, seconds)
    first, median, third = statistics.quantiles(times, n=4)
    turn = cycle(plain)

    def waited() -> None:
        next(turn)()
        peer.wait()

    call = time_call(waited, seconds)
    return {
        "milliseconds": median,
        "quartiles": [first, third],
        "passes": len(times),
        "gaps": gaps,
        "sets": len(sets),
        "cached": len(sets) < needed,
        "bytes": moved,
        "call": call["milliseconds"],
        "call_quartiles": call["quartiles"],
        "fastest_call": call["fastest"],
    } | ({"lacks": lacks} if lacks else {})


def difference(found: Any, expected: Any, rounded: bool) -> str:
    """Describe the first difference of arrays or pairs of arrays; return "" if there is none.

    Arrays differ by a bit, or by more than rounding if `rounded`.
    """
    if isinstance(expected, tuple):
        pairs = zip(found, expected, strict=True)
        return next(filter(None, (difference(*pair, rounded) for pair in pairs)), "")
    found = found.astype(expected.dtype, copy=False)  # PyTorch's indices are int64
    if found.shape != expected.shape:
        return f"the shape {found.shape} instead of {expected.shape}"
    bits = f"u{expected.itemsize}"
    differs = found.view(bits) != expected.view(bits)
    if rounded and differs.any():
        differs &= ~np.isclose(found, expected, rtol=1e-4, atol=1e-5)
    if not differs.any():
        return ""
    at = tuple(map(int, np.unravel_index(differs.argmax(), differs.shape)))
    return f"{found[at]} at {at} instead of {expected[at]}, {np.count_nonzero(differs)} of {differs.size} differ"


def device_times(
    peer: CuPy | PyTorch, runs: Sequence[Callable[[], object]], copy: Callable[[], object], seconds: float
) -> tuple[list[float], bool]:
    """Return milliseconds per call for each pass over `runs`, and whether the device had to wait for the host."""
    kept = [run() for run in runs]  # results stay alive during the others, so that no new array reuses their memory
    peer.wait()
    times: list[float] = []
    copies, gaps, since = 1, False, time.perf_counter()
    while time.perf_counter() - since < seconds or len(times) < FEWEST:
        for _ in range(copies):
            copy()
        begin = peer.mark()
        for place, run in enumerate(runs):
            kept[place] = run()
        end = peer.mark()
        late = peer.passed(begin)  # the device passed `begin` before the host had queued all calls
        peer.wait()
        if late and copies < MOST_COPIES:
            copies *= 2
            continue
        gaps |= late
        times.append(peer.milliseconds(begin, end) / len(runs))
    return times, gaps


# --- the report -------------------------------------------------------------------------------------------------------


def answers(report: Report, entry: str) -> Iterator[dict[str, Any]]:
    """Iterate over the answers that have the key `entry`."""
    return (answer for answers in report["rounds"] for answer in answers if entry in answer)


def ours(report: Report) -> dict[str, dict[str, Any]]:
    return {answer["case"]: answer for answer in answers(report, "bytes") if answer["peer"] == "unpool"}


def copy_speed(report: Report) -> float:
    """Return the GB/s that a copy read and wrote in unpool's process."""
    return statistics.median([state["copy"] for state in answers(report, "copy") if state["peer"] == "unpool"] or [0.0])


def rate(answer: dict[str, Any]) -> float:
    """Return the bandwidth of a case in GB/s: the bytes it must read and write, divided by its time."""
    return float(sum(answer["bytes"]) / answer["milliseconds"] / 1e6)


def share(report: Report, answer: dict[str, Any]) -> str:
    """Return a case's share of the copy's bandwidth; "-" if its arrays stay in the cache."""
    return "-" if answer["cached"] else f"{rate(answer) / copy_speed(report):.0%}"


def heading(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    states = list(answers(report, "copy"))
    device = "no device answered"
    if states:
        device = "{device}, {l2:.0f} MB of cache, driver {driver}".format(**states[0] | {"l2": states[0]["l2"] / 2**20})
    copied = f"a copy of {report['copied'] / 2**20:.0f} MB read and wrote"
    lines = [
        f"In {state['peer']}'s process {copied} {state['copy']:.0f} GB/s, with processors at {state['clocks']}."
        for state in states
    ]
    if ours(report):
        lines.append("unpool's results were those of its CPU backend, bit for bit.")
    return "\n".join([f"{report['date'][:10]}, {device}; {versions}.", *lines])


def listing(report: Report) -> str:
    """Return a line for each case, with the quartiles of the device's times, for a terminal."""
    width = max(len(case["name"]) for case in report["cases"])
    lines = [f"{'case':{width}}  {'column':8}{'device us':>10} {'quartiles':>21} {'GB/s':>7}  copy   call us"]
    for answer in answers(report, "milliseconds"):
        microseconds = [1e3 * time for time in (answer["milliseconds"], *answer["quartiles"], answer["call"])]
        device, first, third, call = (f"{time:.1f}" for time in microseconds)
        lines.append(
            f"{answer['case']:{width}}  {answer['column']:8}{device:>10} {f'{first} - {third}':>21} "
            f"{rate(answer):7.0f} {share(report, answer):>5} {call:>9}" + "  gaps" * answer["gaps"]
        )
    lines += [
        f"{answer['peer']}, {answer['case'] or 'all'}: {answer['problem']}" for answer in answers(report, "problem")
    ]
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Return the table of the device's times with its notes, and the table of the calls."""
    shares = {case: share(report, answer) for case, answer in ours(report).items()}
    called = [
        [
            answer | {"milliseconds": answer["call"], "quartiles": answer["call_quartiles"]}
            for answer in answers(report, "call")
        ]
    ]
    gaps = sorted({f"{answer['column']}'s {answer['case']}" for answer in answers(report, "gaps") if answer["gaps"]})
    device = (
        "Milliseconds on the device, of a call into given arrays without a wait; in parentheses, times as long as "
        "unpool.\n*Of a copy* is unpool's share of a copy's bandwidth."
    )
    clock = "Wall-clock milliseconds of a plain call with new arrays and checked indices, and the wait for its end."
    calls = body(report | {"rounds": called, "warnings": [], "missing": {}})
    waits = [f"The device had to wait for the host: {', '.join(gaps)}."] if gaps else []
    return "\n\n".join([device, body(report, **{"of a copy": shares}), *waits, clock, calls])


def body(report: Report, **more: dict[str, str]) -> str:
    """Return the table without its head, which describes the CPU."""
    return table(report, **more).partition("\n\n")[2]


if __name__ == "__main__":
    as_program(main)
