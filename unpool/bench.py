"""The benchmark of the command line: unpool beside NumPy's recipes and PyTorch, on this machine.

`benchmarks/run.py` adds cases, peers and the memory roofline to what is here.  A `Case` is what to compute; a peer is a
function from the `Data` of a case to what there is to time; every peer runs in a process of its own, in turn, with the
same number of threads, so that no two pools of threads meet.  Nothing here imports a framework: PyTorch's own process
does, and hands it over.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import unpool

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Size: TypeAlias = "int | tuple[int, ...]"
Report: TypeAlias = "dict[str, Any]"  # what a JSON file holds: dicts, lists, strings and numbers


# --- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One computation.  `shape` is that of the array which is pooled, or was: (N, C, *spatial) in both data formats."""

    name: str
    operation: str  # "pool", "unpool", "pool_backward" or "unpool_backward"
    shape: tuple[int, ...] = (8, 64, 224, 224)
    kernel: Size = 2
    stride: Size | None = None
    padding: Size = 0
    ceil: bool = False
    dtype: str = "float32"
    index_dtype: str = "int64"
    data_format: str = "channels_first"
    duplicates: str = "last"
    out: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape) - 2

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[2:]

    @property
    def last(self) -> bool:
        return self.data_format == "channels_last"

    @property
    def window(self) -> tuple[tuple[int, ...], ...]:
        """Kernel, stride and padding, an entry per axis."""
        sizes = (self.kernel, self.kernel if self.stride is None else self.stride, self.padding)
        return tuple((size,) * self.rank if isinstance(size, int) else tuple(size) for size in sizes)

    @property
    def overlaps(self) -> bool:
        kernel, stride, _ = self.window
        return any(size > step for size, step in zip(kernel, stride, strict=True))

    @property
    def sums(self) -> bool:
        """Whether values are added up, in an order of each peer's own."""
        return self.overlaps and (self.operation == "pool_backward" or self.duplicates == "sum")

    @property
    def pooled(self) -> tuple[int, ...]:
        """The spatial sizes after pooling."""
        axes = zip(self.spatial, *self.window, strict=True)
        return tuple((size + 2 * pad - k + (step - 1) * self.ceil) // step + 1 for size, k, step, pad in axes)

    @property
    def output_size(self) -> tuple[int, ...] | None:
        """What unpooling has to be told: nothing where the size is the default."""
        axes = zip(self.pooled, *self.window, strict=True)
        default = tuple((count - 1) * step - 2 * pad + k for count, k, step, pad in axes)
        return None if default == self.spatial else self.spatial


# Each stands for one of the things to know; the design's figures are of these shapes.
CASES = (
    Case("unpool k2", "unpool"),
    Case("unpool k2, out=", "unpool", out=True),
    Case("unpool k2, channels last", "unpool", data_format="channels_last"),
    Case("unpool k2, (1, 1, 2, 2)", "unpool", (1, 1, 4, 4)),
    Case("gradient of unpool, sum", "unpool_backward", duplicates="sum"),
    Case("pool k2", "pool"),
    Case("pool k3 s2", "pool", kernel=3, stride=2),
)


def from_json(entries: Mapping[str, Any]) -> Case:
    """Return the case that `asdict` made the entries of; JSON has lists for its tuples."""
    plain: dict[str, Any] = {
        name: tuple(entry) if isinstance(entry, list) else entry for name, entry in entries.items()
    }
    return Case(**plain)


class Data(NamedTuple):
    """The arrays of a case.  The gradient of unpooling is `plane`, that of pooling is `values`."""

    case: Case
    plane: Array
    values: Array
    indices: Array

    def positions(self) -> tuple[int, Array]:
        """Return (step, corners): a value belongs at ``indices * step + corners`` of the flat array of planes."""
        batch, channels = self.case.shape[:2]
        cells, ones = prod(self.case.spatial), (1,) * self.case.rank
        if self.case.last:
            return channels, np.arange(batch).reshape(batch, *ones, 1) * (cells * channels) + np.arange(channels)
        return 1, np.arange(batch * channels).reshape(batch, channels, *ones) * cells


def prepare(case: Case) -> Data:
    """Make the arrays of a case: the same ones in every process."""
    return _prepare(replace(case, name="", operation="pool", duplicates="last", out=False))._replace(case=case)


@lru_cache(maxsize=1)  # neighbours often differ in the operation alone
def _prepare(case: Case) -> Data:
    batch, channels, *spatial = case.shape
    shape = (batch, *spatial, channels) if case.last else case.shape
    plane = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(case.dtype, copy=False)
    pool = getattr(unpool, f"max_pool{case.rank}d")
    options = {"data_format": case.data_format, "index_dtype": case.index_dtype}
    values, indices = pool(plane, case.kernel, case.stride, case.padding, 1, case.ceil, True, **options)
    return Data(case, plane, values, indices)


# --- peers ------------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """What is timed, how its result is made the arrays that unpool returns, and what of the case it goes without."""

    run: Callable[[], Any]
    arrays: Callable[[Any], Any] = lambda result: result
    lacks: str = ""


def unpool_calls(data: Data) -> dict[str, Call]:
    case, plane, values, indices = data
    options: dict[str, Any] = {"data_format": case.data_format} if case.last else {}
    if case.duplicates != "last":
        options["duplicates"] = case.duplicates
    if case.out:
        options["out"] = np.empty_like(plane)
    function = getattr(unpool, f"max_{case.operation.replace('pool', f'pool{case.rank}d')}")
    # A call as people write it: what is left out is not looked at, which a tiny call can tell.
    window: tuple[Size | None, ...] = (case.kernel, case.stride, case.padding)
    if case.stride is None and case.padding == 0:
        window = (case.kernel,)
    if case.operation == "pool":
        options |= {"index_dtype": case.index_dtype, "ceil_mode": case.ceil, "return_indices": True}
        return {"unpool": Call(partial(function, plane, *window, **options))}
    if case.operation == "unpool":
        if case.output_size:
            options["output_size"] = case.output_size
        return {"unpool": Call(partial(function, values, indices, *window, **options))}
    if case.operation == "pool_backward":
        return {"unpool": Call(partial(function, values, indices, case.spatial, *window, **options))}
    return {"unpool": Call(partial(function, plane, indices, *window, **options))}


def numpy_calls(data: Data) -> dict[str, Call]:
    """What people paste; `out=` is zeroed and written into, and sums use `np.add.at`."""
    case, plane, values, indices = data
    step, corners = data.positions()
    out = np.empty_like(plane) if case.out else None

    def scatter() -> Array:
        if out is None:
            result = np.zeros(plane.shape, plane.dtype)
        else:
            result = out
            result.fill(0)
        where = indices * step + corners
        if case.sums:
            np.add.at(result.reshape(-1), where, values)
        else:
            result.reshape(-1)[where] = values
        return result

    def gather() -> Array:
        batch, channels = case.shape[:2]
        flat = (batch, -1, channels) if case.last else (batch, channels, -1)
        taken = np.take_along_axis(plane.reshape(flat), indices.reshape(flat), flat.index(-1))
        return taken.reshape(indices.shape)

    if case.operation == "pool":
        return {"NumPy": Call(partial(numpy_pool, case, plane))}
    return {"NumPy": Call(gather if case.operation == "unpool_backward" else scatter)}


def numpy_pool(case: Case, plane: Array) -> tuple[Array, Array]:
    """Pool by `argmax` over windows laid out side by side."""
    kernel, stride, padding = case.window
    first = 1 if case.last else 2
    axes = tuple(range(first, first + case.rank))
    around, every = [(0, 0)] * plane.ndim, [slice(None)] * plane.ndim
    for axis, count, k, step, pad in zip(axes, case.pooled, kernel, stride, padding, strict=True):
        around[axis] = (pad, max(0, (count - 1) * step + k - pad - plane.shape[axis]))
        every[axis] = slice(0, (count - 1) * step + 1, step)
    if any(map(any, around)):
        plane = np.pad(plane, around, constant_values=-np.inf)
    windows = sliding_window_view(plane, kernel, axes)[tuple(every)]
    windows = windows.reshape(*windows.shape[: -case.rank], -1)
    offset = windows.argmax(-1)
    values = np.take_along_axis(windows, offset[..., np.newaxis], -1)[..., 0]
    indices = np.zeros((1,) * plane.ndim, case.index_dtype)
    inside = np.unravel_index(offset, kernel)
    for axis, part, size, step, pad in zip(axes, inside, case.spatial, stride, padding, strict=True):
        corner = np.arange(offset.shape[axis], dtype=case.index_dtype) * step - pad
        indices = indices * size + (part + np.expand_dims(corner, [a for a in range(offset.ndim) if a != axis]))
    return values, indices


def torch_peer(torch: Any) -> Callable[[Data], dict[str, Call]]:
    torch.set_grad_enabled(False)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return partial(torch_calls, torch)


def torch_calls(torch: Any, data: Data) -> dict[str, Call]:
    """What `torch` has; what it does in a gradient, or into a given array, is what its own autograd and `out=` do."""
    case, functional, rank = data.case, torch.nn.functional, data.case.rank

    def tensor(array: Array) -> Any:
        # The last axis moved to the front of the others is PyTorch's channels_last memory format.
        return torch.from_numpy(array).movedim(-1, 1) if case.last else torch.from_numpy(array)

    def arrays(result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(map(arrays, result))
        return (result.movedim(1, -1) if case.last else result).numpy()

    plane, values, indices = tensor(data.plane), tensor(data.values), tensor(data.indices)
    lacks = "" if case.index_dtype == "int64" else f"{case.index_dtype} indices (here int64)"
    indices, window = indices.long(), (case.kernel, case.stride, case.padding)
    run: Callable[[], Any]
    if case.operation == "pool":
        pool = getattr(functional, f"max_pool{rank}d")
        run = partial(pool, plane, *window, ceil_mode=case.ceil, return_indices=True)
    elif case.operation == "pool_backward":
        if rank == 1:
            return {}
        backward = getattr(torch.ops.aten, f"max_pool{rank}d_with_indices_backward")
        run = partial(backward, values, plane, *case.window, (1,) * rank, case.ceil, indices)
    elif case.operation == "unpool_backward":
        if case.duplicates == "last":  # where no index repeats, as here, the two are equal
            lacks = 'gradient of "last" (here that of "sum", a gather)'
        run = lambda: plane.flatten(2).gather(2, indices.flatten(2)).view(indices.shape)  # noqa: E731
    elif case.sums:
        run = lambda: torch.zeros(case.shape).flatten(2).scatter_add_(2, indices.flatten(2), values.flatten(2))  # noqa: E731
    elif case.out:
        if rank != 2:
            return {}
        # Not in `functional`, but it is what a caller who looks for it finds.
        run = partial(torch.ops.aten.max_unpool2d.out, values, indices, case.spatial, out=torch.empty_like(plane))
    else:
        run = partial(getattr(functional, f"max_unpool{rank}d"), values, indices, *window, case.output_size)
    return {"PyTorch": Call(run, arrays, lacks)}


class Peer(NamedTuple):
    """A process: the modules it needs, what installs them, the columns it fills, and its program."""

    needs: tuple[str, ...]
    install: str
    columns: tuple[str, ...]
    program: str


PEERS = {
    "unpool": Peer(
        needs=("unpool",),
        install="unpool",
        columns=("unpool",),
        program="from unpool.bench import serve, unpool_calls; serve(unpool_calls)",
    ),
    "torch": Peer(
        needs=("torch",),
        install="torch",
        columns=("PyTorch",),
        program="import torch; from unpool.bench import serve, torch_peer; serve(torch_peer(torch))",
    ),
    "numpy": Peer(
        needs=("numpy",),
        install="numpy",
        columns=("NumPy",),
        program="from unpool.bench import serve, numpy_calls; serve(numpy_calls)",
    ),
}


# --- measuring --------------------------------------------------------------------------------------------------------


def milliseconds(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Median and least time of a call after warming up; short calls are timed many at a time."""
    now = time.perf_counter
    start, calls = now(), 0
    while calls < 3 and now() - start < seconds:
        call()
        calls += 1
    start = now()
    call()
    batch = max(1, round(1e-3 / (now() - start)))  # the clock itself takes a part of a microsecond
    times: list[float] = []
    while now() - start < seconds or len(times) < (5 if now() - start < 5 * seconds else 2):
        before = now()
        for _ in range(batch):
            call()
        times.append((now() - before) / batch)
    return statistics.median(times) * 1e3, min(times) * 1e3


def serve(calls: Callable[[Data], Mapping[str, Call]]) -> None:
    """Be the process of a peer: read a request, and answer with a line of JSON for each thing that was timed."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks talk
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
        # unpool's threads sleep again when its call is over, and stay out of what is timed after it.
        expected = unpool_calls(data)["unpool"].run()
    for column, call in columns.items():
        try:
            if calls is not unpool_calls and not _same(call.arrays(call.run()), expected, rounded=data.case.sums):
                yield {"column": column, "problem": "has another result than unpool, and was not timed"}
                continue
            median, fastest = milliseconds(call.run, seconds)
            answer = {"column": column, "milliseconds": median, "fastest": fastest}
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


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(cases: Collection[Case], threads: int) -> Report:
    """Return a report without runs."""
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"architecture": platform.machine(), "processor": model, "cores": usable_cores()},
        "system": platform.platform(),
        "threads": threads,
        "versions": {"Python": platform.python_version()},
        "missing": {},
        "columns": [],
        "cases": [asdict(case) for case in cases],
        "rounds": [],
        "others": [],  # seconds of processors that other programs used during each process, and seconds that it took
    }


def add_round(report: Report, peers: Mapping[str, Peer], seconds: float) -> None:
    """Run every peer once on every case, one peer after the other."""
    answers = []
    for name, peer in peers.items():
        if not all(map(find_spec, peer.needs)):
            report["missing"][name] = peer.install
            continue
        print(f"round {len(report['rounds']) + 1}: {', '.join(peer.columns)}", file=sys.stderr, flush=True)
        before = _others()
        request = {"needs": peer.needs, "cases": report["cases"], "seconds": seconds}
        # The path of this process, so that both have the same unpool; -P leaves the working directory out.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        process = subprocess.run(
            [sys.executable, "-P", "-c", peer.program],
            env=os.environ | {"OMP_NUM_THREADS": str(report["threads"]), "PYTHONPATH": path},
            input=json.dumps(request),
            capture_output=True,
            text=True,
        )
        report["others"].append([now - then for now, then in zip(_others(), before, strict=True)])
        versions, *lines = process.stdout.splitlines() or ["{}"]
        report["versions"] |= json.loads(versions)
        report["columns"] += [column for column in peer.columns if column not in report["columns"]]
        answers += [{"peer": name} | json.loads(line) for line in lines]
        if process.returncode:
            said = process.stderr.strip().rpartition("\n")[2]
            answers.append({"peer": name, "case": "", "problem": f"ended with {process.returncode}: {said}"})
    report["rounds"].append(answers)


def _others() -> tuple[float, float]:
    """Seconds of processors used by all but the processes started here, since some time; 0 where nothing tells."""
    ours = os.times()
    try:
        ticks = [int(text) for text in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    except OSError:
        return 0.0, ours.elapsed
    # Without the 4th and 5th, idle time; with the 8th, what the host of a virtual machine gave to others.
    used = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return used - ours.children_user - ours.children_system, ours.elapsed


# --- the table --------------------------------------------------------------------------------------------------------


def medians(report: Report) -> dict[str, dict[str, float]]:
    """Milliseconds by case and column: the medians over the rounds."""
    found: dict[str, dict[str, list[float]]] = {case["name"]: {} for case in report["cases"]}
    for answers in report["rounds"]:
        for answer in answers:
            if "milliseconds" in answer:
                found[answer["case"]].setdefault(answer["column"], []).append(answer["milliseconds"])
    return {case: {name: statistics.median(times) for name, times in row.items()} for case, row in found.items()}


def table(report: Report, **more: Mapping[str, str]) -> str:
    """Return the report in Markdown, with a column more for each mapping from the names of cases."""
    lacks = {
        (answer["case"], answer["column"]): answer["lacks"]
        for answers in report["rounds"]
        for answer in answers
        if "lacks" in answer
    }
    rows = [["case", *report["columns"], *more]]
    for case, times in medians(report).items():
        ours = times.get("unpool")
        cells = []
        for column in report["columns"]:
            cell = _digits(times[column]) if column in times else "-"
            if column in times and ours and column != "unpool":
                cell += f" ({_digits(times[column] / ours)}x)"
            cells.append(cell + "*" * ((case, column) in lacks))
        rows.append([case, *cells, *(column.get(case, "-") for column in more.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]

    machine, versions = report["machine"], report["versions"]
    rounds = len(report["rounds"])
    head = (
        f"{report['date'][:10]}, {machine['processor'] or machine['architecture']}, {machine['cores']} cores, "
        f"{report['threads']} threads{report.get('load', '')}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}.\n"
        f"Milliseconds, medians of {rounds} process{'es' * (rounds > 1)}; in parentheses, times as long as unpool."
    )
    foot = [f"\\* {column} has no {what}." for column, what in sorted({(c, what) for (_, c), what in lacks.items()})]
    foot += sorted(
        {
            f"{answer.get('column') or answer['peer']}, {answer['case'] or 'all cases'}: {answer['problem']}"
            for answers in report["rounds"]
            for answer in answers
            if "problem" in answer
        }
    )
    cores = max((used / seconds for used, seconds in report["others"] if seconds), default=0.0)
    if cores > 0.1:
        foot.append(f"Not quiet: other programs kept up to {cores:.1f} cores busy meanwhile.")
    foot += [f"{name} is not installed: pip install {install}" for name, install in report["missing"].items()]
    return "\n".join([head, "", *lines, *[""] * bool(foot), *foot])


def _digits(number: float) -> str:
    """Return a number with three digits that count."""
    return f"{number:.0f}" if number >= 100 else f"{number:#.3g}"


SECONDS = 0.3  # a call of the short form


def run(threads: int | None, file: Path | None) -> None:
    """Measure and print the short form, and write the report to a file."""
    report = start(CASES, threads or usable_cores())
    add_round(report, PEERS, SECONDS)
    print(table(report))
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")
