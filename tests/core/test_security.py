"""SECURITY.md: the tests that it names exist, and the sources have nothing that runs code from data."""

import ast
import re

import pytest
from tree import ROOT

SOURCES = sorted([*(ROOT / "unpool").rglob("*.py"), *(ROOT / "backends").rglob("*.py")])
RUN_DATA = {"eval", "exec", "pickle", "marshal", "shelve", "dill", "cloudpickle"}


def test_the_tests_that_it_names_exist():
    named = re.findall(
        r"`((?:tests|unpool/testing)/[\w/.]+?)(?:::(\w+))?`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    )
    assert len(named) > 15
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_code_from_data(path):
    used = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            used.add(node.id)
        if isinstance(node, ast.Import):
            used.update(alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            used.add(node.module.partition(".")[0])
    assert not used & RUN_DATA
