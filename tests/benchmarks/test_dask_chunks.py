"""`benchmarks/dask_chunks.py` on tiny chunks: its tables are complete."""

from __future__ import annotations

import sys

import pytest
from needs import require, require_backend
from tree import load

import unpool

require("dask", "the benchmark measures its arrays")
require_backend("dask")

dask_chunks = load("dask_chunks")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(dask_chunks, "MANY", 3)
    monkeypatch.setattr(dask_chunks, "FEWER", 2)
    monkeypatch.setattr(dask_chunks, "max_threads", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["dask_chunks.py", "--quick", "--rounds", "1", "--side", "8"])
    yield
    unpool.keep_memory(True)


def test_the_tables(capsys):
    dask_chunks.main()
    head, first, second = capsys.readouterr().out.split("\n\n")
    assert "chunks of 8 x 8; 1 rounds." in head
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    assert rows[0] == ["chunks, window, index format", "NumPy ms", "Dask ms", "ratio", "tasks"]
    names = [f"{operation}: {layout.name}" for layout in dask_chunks.LAYOUTS for operation in ("pool", "unpool")]
    assert [name for name, *_ in rows[2:]] == names
    for _, *times, tasks in rows[2:]:
        assert all(float(time) >= 0 for time in times)
        assert float(tasks) >= 2
    many = [layout.name for layout in dask_chunks.LAYOUTS if layout.chunks == "rows and columns"]
    assert [line.split("|")[1].strip() for line in second.splitlines()[2:]] == many


def test_several_threads_are_refused(monkeypatch):
    monkeypatch.setattr(dask_chunks, "max_threads", lambda: 2)
    with pytest.raises(SystemExit, match="set OMP_NUM_THREADS=1"):
        dask_chunks.main()
