"""`benchmarks/tensors.py` on small shapes: its peers return the results of unpool, and its table is complete."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from functools import partial

import pytest
from needs import require, require_backend
from tree import BENCHMARKS, load

from unpool.bench.cases import Case, prepare
from unpool.bench.measure import timings
from unpool.bench.report import start

tf = require("tensorflow", "the benchmark measures its tensors")
require_backend("tensorflow")

tensors = load("tensors")
EVERY = [replace(case, shape=(2, 3, 9, 11) if case.overlaps else (2, 3, 8, 10)) for case in tensors.CASES]


def answers(name: str, case: Case) -> list[dict]:
    """Return the answers of a peer's process for a case."""
    said = timings(partial(tensors.calls, tf, name), prepare(case), 0.0)
    return [{"peer": name, "case": case.name} | answer for answer in said]


@pytest.mark.parametrize("name", tensors.WORKERS)
@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_every_peer_has_the_result_of_unpool(case, name):
    found = answers(name, case)
    if name == "unpool" or (name == "tf.nn.max_pool_with_argmax") == (case.operation == "pool"):
        modes = [mode for mode in tensors.MODES if "argmax" not in name or "jit" not in mode]  # XLA has no kernel
    else:
        modes = []
    assert [answer["column"] for answer in found] == [f"{name}, {mode}" for mode in modes]
    for answer in found:
        assert answer["milliseconds"] > 0, answer


def test_a_step_goes_forward_in_a_graph_too():
    """A step returns the planes of its forward pass, so that a graph does not prune them."""
    case = next(case for case in EVERY if case.operation == "unpool_backward")
    for call in tensors.calls(tf, "tf.scatter_nd", prepare(case)).values():
        planes, gradient = call.run()
        assert planes.shape == (2, 8, 10, 3)
        assert gradient.shape == (2, 4, 5, 3)


def test_another_result_is_named_and_not_timed():
    overlapping = Case("overlapping", "unpool", (2, 3, 9, 11), 3, 2, data_format="channels_last")
    report = start([overlapping], threads=1)
    report["rounds"] = [answers("unpool", overlapping) + answers("tf.scatter_nd", overlapping)]
    text = tensors.markdown(report)
    assert "| overlapping: unpool |" in text
    assert "| overlapping: tf.scatter_nd" not in text
    assert "tf.scatter_nd, eager, overlapping: has another result than unpool, and was not timed" in text


def test_the_table():
    report = start([Case("pool k2", "pool"), Case("unpool k2", "unpool")], threads=1)
    times = {"unpool, eager": 2.0, "tf.nn.max_pool_with_argmax, eager": 5.0, "unpool, jit_compile=True": 10.0}
    report["rounds"] = [[{"case": "pool k2", "column": name, "milliseconds": time} for name, time in times.items()]]
    lines = [line.replace(" ", "") for line in tensors.markdown(report).splitlines()]
    assert lines[3] == "|case|eager|tf.function|jit_compile=True|"
    assert lines[5:] == ["|poolk2:unpool|2.0|-|10.0|", "|poolk2:tf.nn.max_pool_with_argmax|5.0(2.50x)|-|-|"]


def test_all_of_it(monkeypatch, tmp_path, capsys):
    """Run the command on a small case, with the process of one peer."""
    file = tmp_path / "tensors.json"
    for name in tensors.KEEPING:
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it afterwards
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(tensors, "CASES", EVERY[:1])
    monkeypatch.setattr(tensors, "QUICK", 0.01)
    monkeypatch.setattr(tensors, "PEERS", {"unpool": tensors.PEERS["unpool"]})
    monkeypatch.setattr(sys, "argv", ["tensors.py", "--quick", "--threads", "1", "--keep-memory", "--json", str(file)])
    tensors.main()
    text, report = capsys.readouterr().out, json.loads(file.read_text())
    assert "1 threads, with freed memory kept; Python" in text
    assert f"tensorflow {tf.__version__}" in text
    assert "| unpool k2: unpool |" in text
    assert report["cases"] == json.loads(json.dumps([asdict(EVERY[0])]))
    assert [answer["column"] for answer in report["rounds"][0]] == [f"unpool, {mode}" for mode in tensors.MODES]
