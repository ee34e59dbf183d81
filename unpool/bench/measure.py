"""Time the peers: `add_round` runs the process of each peer in turn, and `serve` is the body of such a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from unpool.bench.cases import Data, from_json, prepare
from unpool.bench.noise import used
from unpool.bench.peers import Call, Peer, unpool_calls
from unpool.bench.progress import progress
from unpool.bench.report import Report, conclude


def add_round(report: Report, peers: Mapping[str, Peer], seconds: float) -> None:
    """Run every peer once on every case, one peer after the other."""
    answers = []
    for name, peer in peers.items():
        if not all(map(find_spec, peer.needs)):
            report["missing"][name] = peer.install
            continue
        before = used()
        request = {"needs": peer.needs, "cases": report["cases"], "seconds": seconds}
        title = f"round {len(report['rounds']) + 1}: {', '.join(peer.columns)}"
        status, lines, errors = _answers(peer, request, report["threads"], title)
        report["processes"].append({"peer": name} | (used() - before)._asdict())
        versions, *lines = lines or ["{}"]
        report["versions"] |= json.loads(versions)
        report["columns"] += [column for column in peer.columns if column not in report["columns"]]
        answers += [{"peer": name} | json.loads(line) for line in lines]
        if status:
            last_line = errors.strip().rpartition("\n")[2]
            answers.append({"peer": name, "case": "", "problem": f"ended with {status}: {last_line}"})
    report["rounds"].append(answers)
    conclude(report)


def _answers(peer: Peer, request: Mapping[str, Any], threads: int, title: str) -> tuple[int, list[str], str]:
    """Run the process of a peer, and return its exit status, the lines of its output, and its errors."""
    # Pass the path of this process on, so that both import the same unpool; -P leaves the working directory out.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    # Files, so that the process never waits until one of several pipes is read.
    with TemporaryFile("w+") as questions, TemporaryFile("w+", errors="replace") as errors:
        json.dump(request, questions)
        questions.seek(0)
        with (
            progress(title, len(request["cases"])) as shown,
            subprocess.Popen(
                [sys.executable, "-P", "-c", peer.program],
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            lines: list[str] = []
            timed = set()
            try:
                for line in process.stdout or ():
                    if lines:  # the first one has the versions
                        timed.add(json.loads(line)["case"])
                        shown.done(len(timed))
                    lines.append(line)
                process.wait()
            except KeyboardInterrupt:
                process.kill()
                process.wait()  # `subprocess.run` does not wait, and would leave the process behind for a moment
                raise
        errors.seek(0)
        return process.returncode, lines, errors.read()


def serve(calls: Callable[[Data], Mapping[str, Call]]) -> None:
    """Run as the process of a peer: read a request, and write a line of JSON for each call that was timed."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print to standard output, which is for the answers alone
    print(json.dumps({name: sys.modules[name].__version__ for name in request["needs"]}), file=answers, flush=True)
    for case in map(from_json, request["cases"]):
        for answer in timings(calls, prepare(case), request["seconds"]):
            print(json.dumps({"case": case.name} | answer), file=answers, flush=True)


def timings(calls: Callable[[Data], Mapping[str, Call]], data: Data, seconds: float) -> Iterator[dict[str, Any]]:
    try:
        columns = calls(data)
    except Exception as error:
        yield {"column": "", "problem": _first_line(error)}
        return
    if calls is not unpool_calls and columns:
        # unpool's threads sleep again when its call is over, so they do not disturb the timings after it.
        expected = unpool_calls(data)["unpool"].run()
    for column, call in columns.items():
        try:
            if calls is not unpool_calls and not _same(call.arrays(call.run()), expected, rounded=data.case.sums):
                yield {"column": column, "problem": "has another result than unpool, and was not timed"}
                continue
            answer = {"column": column} | time_call(call.run, seconds)
        except Exception as error:
            answer = {"column": column, "problem": _first_line(error)}
        yield answer | ({"lacks": call.lacks} if call.lacks else {})


def _same(result: Any, expected: Any, rounded: bool) -> bool:
    if isinstance(expected, tuple):
        return len(result) == len(expected) and all(map(partial(_same, rounded=rounded), result, expected))
    if rounded:
        return result.shape == expected.shape and np.allclose(result, expected, rtol=1e-4, atol=1e-5)
    return np.array_equal(result, expected)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def time_call(call: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Time a call after warming up, and return the `summary` of its times; short calls are timed in batches."""
    now = time.perf_counter
    start, calls = now(), 0
    while calls < 3 and now() - start < seconds:
        call()
        calls += 1
    start = now()
    call()
    batch = max(1, round(1e-3 / (now() - start)))  # reading the clock itself takes a part of a microsecond
    times: list[float] = []
    while now() - start < seconds or len(times) < (5 if now() - start < 5 * seconds else 2):
        before = now()
        for _ in range(batch):
            call()
        times.append((now() - before) / batch)
    return summary(times)


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Return the median, the least and the quartiles of times in seconds, in ms."""
    first, median, third = (time * 1e3 for time in statistics.quantiles(times, n=4, method="inclusive"))
    return {"milliseconds": median, "fastest": min(times) * 1e3, "quartiles": [first, third]}
