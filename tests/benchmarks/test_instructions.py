"""`benchmarks/instructions.py` compares counts with the record. The tox env `perf` tests the counting."""

import json
import re

import pytest
from tree import load

instructions = load("instructions")


def report(compiler="GCC 12", **counts):
    return {"toolchain": {"architecture": "x86_64", "compiler": compiler}, "counts": counts}


@pytest.mark.parametrize(
    ("now", "status", "said"),
    [
        ({"put": 100, "take": 10}, 0, ["no case changed"]),
        ({"put": 104.9, "take": 9.51}, 0, ["no case changed"]),
        ({"put": 105.1, "take": 10}, 1, ["put: grew by 5.1%, from 100 to 105.1; to accept it, run .* --update"]),
        ({"put": 94, "take": 10}, 0, ["put: faster: record it; 6.0%, from 100 to 94"]),
        ({"put": 94, "take": 11}, 1, ["take: grew by 10.0%", "put: faster: record it"]),
        ({"put": 100}, 1, ["take: in the record, but no case; .* --update"]),
        ({"put": 100, "take": 10, "pool": 1}, 1, ["pool: not in the record; .* --update"]),
    ],
)
def test_a_report_is_held_against_the_record(now, status, said):
    found, lines = instructions.compare(report(**now), report(put=100, take=10))
    assert found == status
    assert len(lines) == len(said)
    for line, pattern in zip(lines, said, strict=True):
        assert re.match(pattern, line), line


def test_another_compiler_is_compared_with_nothing():
    found, lines = instructions.compare(report("clang 14", put=200, pool=1), report(put=100))
    assert (found, lines) == (0, ["nothing compared: clang 14, recorded with GCC 12"])


def test_the_record_has_every_case():
    """Compare the names of cases, without valgrind."""
    assert json.loads(instructions.RECORD.read_text())["counts"].keys() == instructions.cases().keys()
