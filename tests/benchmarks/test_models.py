"""`benchmarks/models.py` on small pictures: its checks pass, a wrong result is named, and its table is complete.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file with TensorFlow and PyTorch.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from needs import require, require_backend
from tree import BENCHMARKS, load

from unpool.bench.report import start

require("keras", "the benchmark measures its models")

from keras_ways import BACKEND, quiet, trains  # noqa: E402

models = load("models")
if BACKEND in models.BACKENDS:
    require_backend(BACKEND)
pytestmark = [quiet, trains]

SMALL = [replace(case, shape=(2, 3, 8, 12)) for case in models.CASES if case.name.startswith(BACKEND)]
PEERS = ("unpool", "UpSampling2D")


@pytest.mark.parametrize("name", PEERS)
def test_every_call_has_the_expected_result(name):
    found = list(models.timings(models.layers_of(name), SMALL, 0.0))
    assert [answer["case"] for answer in found] == [f"{BACKEND}: {call}" for call in models.CALLS], found
    for answer in found:
        assert answer.get("milliseconds", 0) > 0, answer
        assert answer["first"] > 0, answer
    assert found[-1]["jit_compile"] == (BACKEND == "jax")


@pytest.mark.parametrize("name", PEERS)
def test_another_result_is_named_and_not_timed(name):
    """Plant a bug in NumPy's unpooling, and one in its gradient."""

    def doubled(function):
        return lambda *arrays: 2 * function(*arrays)

    right = models.layers_of(name)
    wrong = right._replace(restored=doubled(right.restored), gradient=doubled(right.gradient))
    problems = {answer["case"]: answer.get("problem") for answer in models.timings(wrong, SMALL, 0.0)}
    message = "has another result than expected, and was not timed"
    for call in models.CALLS:
        expected = message if call in ("unpool", "layers, gradient", "model") else None
        assert problems[f"{BACKEND}: {call}"] == expected, call


def test_another_gradient_of_the_model_is_named(monkeypatch):
    gradient = models.gradient

    def doubled(function, at):
        slope = gradient(function, at)
        return lambda: [2 * tensor for tensor in slope()]

    monkeypatch.setattr(models, "gradient", doubled)
    problems = {
        answer["case"] for answer in models.timings(models.layers_of("unpool"), SMALL, 0.0) if "problem" in answer
    }
    assert problems == {f"{BACKEND}: {call}" for call in ("layers, gradient", "model, gradient", "train_on_batch")}


def test_numpy_pools_and_places():
    plane = np.array([[1, 5, 0, 0], [3, 2, 0, 4]]).reshape(1, 2, 4, 1)
    values, taps = models.maxima(plane)
    assert values.ravel().tolist() == [5, 4]
    assert taps.ravel().tolist() == [1, 3]
    assert models.place(values, taps)[0, ..., 0].tolist() == [[0, 5, 0, 0], [0, 0, 0, 4]]
    upstream = np.arange(8).reshape(plane.shape)
    assert models.gradient_of_placing(plane, upstream)[0, ..., 0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 7]]
    assert models.gradient_of_repeating(plane, upstream)[0, ..., 0].tolist() == [[0, 10, 0, 0], [0, 0, 0, 18]]


def test_the_table():
    report = start(models.CASES, threads=1)
    report["columns"] = list(PEERS)
    ours = {"case": "jax: train_on_batch", "column": "unpool", "milliseconds": 2.0, "first": 900.4, "jit_compile": True}
    report["rounds"] = [[ours, ours | {"column": "UpSampling2D", "milliseconds": 3.0, "first": 70.0}]]
    lines = [line.replace(" ", "") for line in models.markdown(report).splitlines()]
    assert lines[3] == "|case|unpool|UpSampling2D|first,unpool|first,UpSampling2D|"
    assert lines[5:] == ["|jax:train_on_batch|2.00|3.00(1.50x)|900|70|", "", 'jit_compile="auto"isTrueonjax.']


def test_all_of_it(monkeypatch, tmp_path, capsys):
    """Run the command on small pictures, with the process of one peer."""
    file, peer = tmp_path / "models.json", f"UpSampling2D, {BACKEND}"
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(models, "CASES", SMALL)
    monkeypatch.setattr(models, "QUICK", 0.01)
    monkeypatch.setattr(models, "PEERS", {peer: models.PEERS[peer]})
    monkeypatch.setattr(sys, "argv", ["models.py", "--quick", "--threads", "1", "--json", str(file)])
    models.main()
    text, report = capsys.readouterr().out, json.loads(file.read_text())
    assert f"; Python {report['versions']['Python']}, keras" in text
    assert f"| {BACKEND}: train_on_batch" in text
    assert [answer["case"] for answer in report["rounds"][0]] == [case.name for case in SMALL]
    assert all("milliseconds" in answer for answer in report["rounds"][0]), text
