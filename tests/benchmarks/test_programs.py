"""`benchmarks/programs.py` on small shapes: its peers return the results of unpool."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from needs import require, require_backend
from tree import load

from unpool.bench.cases import prepare
from unpool.bench.measure import timings

programs = load("programs")
EVERY = [replace(case, shape=(2, 3, 9, 11) if case.overlaps else (2, 3, 8, 10)) for case in programs.CASES]
COLUMNS = {
    ("torch", True): ["unpool, PyTorch"],
    ("torch", False): ["torch.nn.functional"],
    ("jax", True): ["unpool, JAX, jit", "unpool, JAX, eager"],
    ("jax", False): ["recipe, JAX, jit"],
}


@pytest.mark.parametrize(("framework", "ours"), COLUMNS)
@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_every_peer_has_the_result_of_unpool(case, framework, ours):
    module = require(framework, "the benchmark measures its arrays")
    require_backend(framework)
    if framework == "jax":
        module.config.update("jax_enable_x64", True)
    calls = partial({"torch": programs.of_torch, "jax": programs.of_jax}[framework], module, ours)
    found = list(timings(calls, prepare(case), 0.0))
    assert [answer["column"] for answer in found] == COLUMNS[framework, ours], found
    assert all(answer.get("milliseconds", 0) > 0 for answer in found), found
