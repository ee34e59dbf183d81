"""`benchmarks/gpu.py` without a GPU: stand-ins compute on the CPU. Only the times of a device are untested."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
from gpu_stand_in import Event, gpu, numpy_peer, small
from needs import require
from processes import python
from tree import BENCHMARKS, ROOT

from unpool import arguments, plan, registry
from unpool.bench.cases import Case, prepare
from unpool.bench.peers import Peer
from unpool.bench.report import start

SCRIPT = BENCHMARKS / "gpu.py"
ON_CPU = ROOT / "tests" / "support" / "cuda_on_cpu"

EVERY = gpu.ALL
named = pytest.mark.parametrize("case", gpu.ALL, ids=lambda case: case.name)


def timed(peer, case: Case):
    return gpu.timed(peer, prepare(case), lambda: None, 0.0)


# --- cases ------------------------------------------------------------------------------------------------------------


def test_names_of_cases():
    names = [case.name for case in gpu.ALL]
    assert len(set(names)) == len(names)
    assert set(names) >= gpu.QUICK


@named
def test_a_case_makes_a_plan_and_knows_its_bytes(case):
    window = arguments.window(case.rank, *case.window, 1)
    shape = (case.shape[0], *case.spatial, case.shape[1]) if case.last else case.shape
    pool = plan.plan_pooling(shape, window, case.ceil, case.last, case.index_dtype)
    back = plan.plan_unpooling(pool.pooled_shape, window, case.spatial, case.last)
    assert back.plane_shape == pool.plane_shape == shape
    value, index = np.dtype(case.dtype).itemsize, np.dtype(case.index_dtype).itemsize
    plane, pooled = prod(shape), prod(pool.pooled_shape)
    if case.operation == "pool":
        assert gpu.traffic(case) == (plane * value, pooled * (value + index))
    elif case.operation != "unpool_backward":  # it depends on the indices: tested below
        assert gpu.traffic(case) == (pooled * (value + index), plane * value)


# --- the process of a peer --------------------------------------------------------------------------------------------


@named
def test_every_case_runs_on_a_stand_in(case):
    case = small(case)
    answer = timed(numpy_peer(), case)
    data = prepare(case)
    read, written = answer["bytes"]
    if case.operation == "unpool_backward":
        assert written == data.values.nbytes
        assert data.indices.nbytes < read <= data.indices.nbytes + data.plane.nbytes + 2 * 64  # in cache lines
    else:
        pooled = data.values.nbytes + data.indices.nbytes
        assert [read, written] == (
            [data.plane.nbytes, pooled] if case.operation == "pool" else [pooled, data.plane.nbytes]
        )
    first, third = answer["quartiles"]
    assert first <= answer["milliseconds"] <= third
    first, third = answer["call_quartiles"]
    assert first <= answer["call"] <= third
    assert answer["call"] >= answer["fastest_call"] > 0
    assert answer["passes"] >= gpu.FEWEST
    json.dumps(answer)


@pytest.fixture
def torch_on_the_cpu(monkeypatch):
    torch = require("torch", "the process of PyTorch needs it")
    properties = SimpleNamespace(name="CPU", L2_cache_size=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    enabled = torch.is_grad_enabled()
    yield gpu.PyTorch(torch, "cpu")
    torch.set_grad_enabled(enabled)


@named
def test_every_case_runs_in_pytorch(torch_on_the_cpu, case):
    answer = timed(torch_on_the_cpu, small(case))
    if case.operation == "pool_backward" and case.rank == 1:
        assert not answer
    elif case.overlaps and case.operation == "unpool_backward" and case.duplicates == "last":
        assert answer["problem"].startswith("has another result than unpool, and was not timed: ")
    else:
        assert answer["milliseconds"] > 0
        assert answer.get("lacks", "").startswith("int32 indices") == (case.index_dtype == "int32")


def test_copies_of_both(torch_on_the_cpu):
    for peer in (torch_on_the_cpu, numpy_peer()):
        state = gpu.state(peer, peer.copier())
        assert state["copy"] > 0
        json.dumps(state)


def test_sets_leave_the_cache():
    peer, case = numpy_peer(), Case("unpool", "unpool", (1, 2, 16, 16))
    moved = sum(gpu.traffic(case))
    for l2, sets, cached in [(moved, 4, False), (moved // 8, 2, False), (100 * moved, gpu.MOST_SETS, True)]:
        peer.l2 = l2
        answer = timed(peer, case)
        assert (answer["sets"], answer["cached"]) == (sets, cached)


@pytest.mark.parametrize("operation", ["pool", "unpool", "unpool_backward", "pool_backward"])
def test_a_wrong_result_stops(operation):
    def wrong(array):
        array = np.array(array)
        array.flat[5] += 1
        return array

    with pytest.raises(SystemExit, match=r"mine: not the CPU backend's result: .+ at \(0, 0, .+, 1 of \d+ differ$"):
        timed(numpy_peer(asnumpy=wrong), Case("mine", operation, (1, 2, 16, 16)))


def test_differences():
    one = np.array([[1.0, 0.0]], "float32")
    assert not gpu.difference(one, one, rounded=False)
    assert gpu.difference(-one, one, rounded=False) == "-1.0 at (0, 0) instead of 1.0, 2 of 2 differ"
    assert gpu.difference(np.array([[1.0, -0.0]], "float32"), one, rounded=False)  # the sign bit differs
    assert gpu.difference(one + np.float32(1e-6), one, rounded=False)
    assert not gpu.difference(one + np.float32(1e-6), one, rounded=True)
    assert gpu.difference(one + np.float32(1e-3), one, rounded=True)
    assert gpu.difference(one[0], one, rounded=False) == "the shape (2,) instead of (1, 2)"
    assert gpu.difference((one, one.astype("int64")), (one, one.astype("int32")), rounded=False) == ""
    assert "of 2 differ" in gpu.difference((one, one + 1), (one, one), rounded=False)


@pytest.mark.parametrize("late", [0, 2, 5, 10**9])
def test_more_copies_run_ahead_until_the_host_is_in_time(monkeypatch, late):
    monkeypatch.setattr(gpu, "MOST_COPIES", 64)
    asked, copies = iter(range(10**6)), []
    peer = numpy_peer()
    peer.passed = lambda event: next(asked) < late
    times, gaps = gpu.device_times(peer, [lambda: None] * 3, lambda: copies.append(1), 0.0)
    assert len(times) == gpu.FEWEST
    assert gaps == (late > 6)
    doublings = min(late, 6)
    assert len(copies) == 2**doublings - 1 + gpu.FEWEST * 2**doublings


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python(str(SCRIPT), *arguments, first=SCRIPT.parent)  # it imports modules of its folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--json", "missing/x.json"], "argument --json: must be a file that can be written, got 'missing/x.json'"),
        (["--from", "missing.json"], "argument --from: must be a file that --json wrote, got 'missing.json'"),
        (["--from", "{run}"], "argument --from: must be a file that --json of this program wrote"),
        (["--from", "{saved}", "--only", "x"], "argument --from: goes with --markdown alone, for nothing is measured"),
        (["--quick", "k2"], "unrecognized arguments: k2"),
    ],
)
def test_wrong_arguments(tmp_path, saved, arguments, said):
    of_run = tmp_path / "run.json"
    of_run.write_text(json.dumps(start([], threads=1)))
    result = run(*(argument.format(run=of_run, saved=saved) for argument in arguments))
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_gpu_it_says_so_and_does_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(ON_CPU)])  # its stand-in has devices
    file = tmp_path / "gpu.json"
    result = run("--json", str(file))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("There is no GPU to measure: ")
    assert result.stderr.count("\n") == 1
    assert not file.exists()


def report_of(*answers: dict) -> dict:
    """Return a report of two cases, on a device that copies 1000 GB/s."""
    state = {"case": "", "device": "Abacus", "l2": 50 * 2**20, "driver": "1.2", "clocks": "9 MHz and memory 8 MHz"}
    report = start([Case("unpool k2", "unpool"), Case("pool k2", "pool")], threads=1)
    report |= {"copied": 2**30, "columns": ["unpool", "PyTorch"]}
    report["versions"] |= {"CuPy": "14.2.0"}
    times = {
        "quartiles": [0.1, 0.3],
        "call_quartiles": [0.2, 0.3],
        "gaps": False,
        "cached": False,
        "bytes": [120_000_000, 60_000_000],
    }
    ours = {"peer": "unpool", "column": "unpool", "milliseconds": 0.2, "call": 0.25} | times
    torch = {"peer": "torch", "column": "PyTorch", "milliseconds": 0.4, "call": 0.5} | times
    report["rounds"] = [
        [{"peer": "unpool", "copy": 1000.0} | state, {"case": "unpool k2"} | ours],
        [{"peer": "torch", "copy": 990.0} | state, {"case": "unpool k2"} | torch],
        list(answers),
    ]
    return report


@pytest.fixture
def saved(tmp_path):
    file = tmp_path / "saved.json"
    file.write_text(json.dumps(report_of()))
    return str(file)


def test_a_saved_report_is_shown_again(saved):
    result = run("--from", saved)
    assert result.returncode == 0, result.stderr
    assert "Abacus, 50 MB of cache, driver 1.2; Python" in result.stdout
    assert "In unpool's process a copy of 1024 MB read and wrote 1000 GB/s, with processors at 9 MHz" in result.stdout
    ours, torch = result.stdout.splitlines()[-2:]
    assert ours.split() == ["unpool", "k2", "unpool", "200.0", "100.0", "-", "300.0", "900", "90%", "250.0"]
    assert torch.split() == ["unpool", "k2", "PyTorch", "400.0", "100.0", "-", "300.0", "450", "45%", "500.0"]


def test_its_tables(saved):
    result = run("--from", saved, "--markdown")
    assert result.returncode == 0, result.stderr
    tables = [line for line in result.stdout.splitlines() if line.startswith("| unpool k2 |")]
    assert tables == [
        "| unpool k2 | 0.200 ±50% | 0.400 ±25% (2.00x) | 90%       |",
        "| unpool k2 | 0.250 ±20% | 0.500 ±10% (2.00x) |",
    ]


def test_what_is_noted():
    slow = {"peer": "unpool", "column": "unpool", "case": "pool k2", "milliseconds": 0.2, "quartiles": [0.1, 0.3]}
    slow |= {"gaps": True, "cached": True, "bytes": [1, 1], "call": 1.0, "call_quartiles": [1.0, 1.0]}
    report = report_of(slow, {"peer": "torch", "case": "pool k2", "column": "PyTorch", "problem": "is wrong"})
    text = gpu.markdown(report)
    assert "| pool k2   | 0.200 ±50% | -                  | -         |" in text
    assert "The device had to wait for the host: unpool's pool k2." in text
    assert text.count("PyTorch, pool k2: is wrong") == 1
    assert "torch, pool k2: is wrong" in gpu.listing(report)
    assert "  gaps\n" in gpu.listing(report)


def test_a_report_without_a_device():
    report = start([Case("unpool k2", "unpool")], threads=1) | {"copied": 1, "columns": ["unpool"]}
    report["rounds"] = [[{"peer": "unpool", "case": "", "problem": "ended with 1: unpool k2 is wrong"}]]
    assert "no device answered" in gpu.heading(report)
    assert "unpool, all: ended with 1: unpool k2 is wrong" in gpu.listing(report)
    assert "unpool, all cases: ended with 1: unpool k2 is wrong" in gpu.markdown(report)


def stand_in(column: str, peer: str = "numpy_peer()") -> Peer:
    """Return a peer whose process has a stand-in for CuPy."""
    program = f"import gpu_stand_in as stand_in; stand_in.gpu.serve(stand_in.{peer})"
    return Peer(needs=("numpy",), install="", columns=(column,), program=program)


@pytest.fixture
def quick(monkeypatch):
    """Return a function that runs the command in this process, with stand-in peers and small cases."""
    cases = tuple(small(case) for case in gpu.ALL if case.name in {"unpool k2", "pool k2"})
    monkeypatch.setattr(gpu, "ALL", cases)
    monkeypatch.setattr(gpu, "SECONDS", 0.01)
    monkeypatch.setattr(registry, "why_not", lambda name: None)

    def call(*arguments: str, **peers: Peer) -> None:
        monkeypatch.setattr(gpu, "PEERS", peers)
        monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
        gpu.main()

    return call


def test_all_of_it(quick, tmp_path, capsys):
    file = tmp_path / "gpu.json"
    quick("--quick", "--json", str(file), unpool=stand_in("unpool"))
    shown = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert [answer["case"] for answer in report["rounds"][0]] == ["", "unpool k2", "pool k2", ""]
    assert report["versions"]["CUDA"] == "13.2"
    quick("--from", str(file), unpool=stand_in("unpool"))
    assert capsys.readouterr().out == shown
    quick("--only", "unpool", "--markdown", unpool=stand_in("unpool"))
    assert "| pool k2" not in capsys.readouterr().out


def test_a_pattern_without_cases(quick):
    with pytest.raises(SystemExit, match="no case has 'abacus' in its name"):
        quick("--only", "abacus")


def test_a_wrong_result_ends_it(quick, capsys):
    wrong = stand_in("unpool", "numpy_peer(asnumpy=lambda array: stand_in.np.array(array) + 1)")
    with pytest.raises(SystemExit) as stopped:
        quick("--markdown", unpool=wrong, torch=stand_in("PyTorch"))
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert "unpool, all cases: ended with 1: unpool k2: not the CPU backend's result: " in said.out
    assert "PyTorch" not in said.out + said.err  # its process was not started


def test_the_kernels_on_the_cpu(quick, request, monkeypatch, tmp_path):
    """Run unpool's process with the CUDA backend, and compare its results with the CPU backend's."""
    if not request.config.getoption("--cuda-on-cpu"):
        pytest.skip("only with --cuda-on-cpu")
    monkeypatch.setattr(gpu, "ALL", tuple(small(case, 20) for case in EVERY))
    file = tmp_path / "gpu.json"
    quick("--json", str(file), unpool=stand_in("unpool", "kernels_peer()"))
    report = json.loads(file.read_text())
    assert [answer["case"] for answer in gpu.answers(report, "milliseconds")] == [case.name for case in EVERY]
