"""The command line does what it says, in a process of its own as a user starts it."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needs import require
from processes import interrupt, interrupts, posix, python

import unpool
from unpool import bench
from unpool.bench.cases import Case, Data, prepare
from unpool.bench.measure import add_round, timings
from unpool.bench.peers import PEERS, Call, Peer
from unpool.bench.report import medians, start, table


def main(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "unpool", *arguments, first=first)


def rows(text: str) -> dict[str, str]:
    """The rows of two columns, which two or more spaces divide."""
    pairs = (line.strip().partition("  ") for line in text.splitlines())
    return {name: value.strip() for name, divider, value in pairs if divider}


def test_import_leaves_the_command_line_alone() -> None:
    result = python(
        "-c", "import sys, unpool; print(*{'argparse', 'matplotlib', 'unpool.demo', 'unpool.bench'} & set(sys.modules))"
    )
    assert result.stdout.strip() == "", result.stderr


def test_no_command_prints_help() -> None:
    result = main()
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m unpool")
    assert "info" in result.stdout
    assert "demo" in result.stdout
    assert "bench" in result.stdout


def test_unknown_command() -> None:
    result = main("bore")
    assert result.returncode == 2
    assert "bore" in result.stderr
    assert "Traceback" not in result.stderr


class TestInfo:
    def test_says_what_is_installed(self) -> None:
        result = main("info")
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["unpool"] == unpool.__version__
        assert found["NumPy"] == np.__version__
        assert found["Python"].startswith(platform.python_version())
        assert found["cores"].split(",")[0] == str(os.cpu_count())
        assert found["cpu"] == f"yes (numpy {np.__version__})"
        assert all(len(line) < 80 or " " not in line.strip() for line in result.stdout.splitlines())

    def test_says_which_openmp_was_built(self) -> None:
        from unpool_cpu import max_threads, openmp

        found = rows(main("info").stdout)["OpenMP"]
        if openmp():
            assert f"({openmp()}), {max_threads()} thread" in found
        else:
            assert found.startswith("none")

    def test_gives_the_reason_of_a_backend_that_does_not_load(self, tmp_path: Path) -> None:
        broken = tmp_path / "unpool_cpu.py"
        broken.write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
        result = main("info", first=tmp_path)
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["cpu"].startswith("no: backend 'cpu' does not load: OSError: libgomp.so.1")
        assert found["OpenMP"].startswith("unknown")
        assert found["unpool"] == unpool.__version__


class TestDemo:
    def test_prints_facts_and_draws_them(self, tmp_path: Path) -> None:
        require("matplotlib", "the demo draws with it")
        output = tmp_path / "demo.png"
        result = main("demo", "--output", str(output))
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["photograph"] == found["unpooled twice"] == "(1, 431, 359, 3)"
        assert found["pooled once"] == found["unpooled once"] == "(1, 215, 179, 3)"
        assert found["pooled twice"] == "(1, 107, 89, 3)"
        assert found["values kept"] == "28,569 of 464,187, 6.15%"
        for fact in ("kept are bit for bit the original", "all others are zero", "results are equal"):
            assert found[fact] == "yes"
        assert found["max_unpool2d"].endswith(" ms")
        assert found["the same with numpy.put_along_axis"].endswith(" times as long")
        assert f"Picture written to {output}" in result.stdout

        data = output.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert struct.unpack(">II", data[16:24]) == (1600, 1102)
        assert len(data) > 200_000  # a photograph, and not an empty sheet

    @pytest.mark.parametrize("name", ["missing/demo.png", "."])
    def test_output_that_cannot_be_written(self, tmp_path: Path, name: str) -> None:
        require("matplotlib", "the demo draws with it")
        output = tmp_path / name
        result = main("demo", "--output", str(output))
        assert result.returncode == 1
        assert result.stderr.startswith("`--output` must be a file that can be written, got ")
        assert repr(str(output)) in result.stderr
        assert "Traceback" not in result.stderr

    def test_without_matplotlib_names_the_extra(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('hidden', name='matplotlib')")
        output = tmp_path / "demo.png"
        result = main("demo", "--output", str(output), first=tmp_path)
        assert result.returncode == 1
        assert result.stderr.startswith("matplotlib is not installed")
        assert 'pip install "unpool[demo]"' in result.stderr
        assert "Traceback" not in result.stderr
        assert not output.exists()

    def test_matplotlib_that_is_broken_is_not_called_missing(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text(
            "raise ModuleNotFoundError('No module named kiwisolver', name='kiwisolver')"
        )
        result = main("demo", "--output", str(tmp_path / "demo.png"), first=tmp_path)
        assert "kiwisolver" in result.stderr
        assert "unpool[demo]" not in result.stderr


# Everything that the recipes tell apart: ranks, layouts, padding, a size that must be given, overlaps and sums.
SMALL = (
    Case("usual", "pool", (2, 3, 6, 8)),
    Case("ceil", "pool", (2, 3, 5, 7), ceil=True),
    Case("padded", "pool", (1, 2, 4, 6, 7), kernel=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
    Case("padded, last", "pool", (2, 3, 9, 7), 3, 2, 1, data_format="channels_last", index_dtype="int32"),
    Case("back", "unpool", (2, 3, 5, 7), ceil=True),
    Case("back, out", "unpool", (2, 3, 6, 8), out=True),
    Case("back, last", "unpool", (2, 3, 7, 9), 3, 2, data_format="channels_last"),
    Case("back, row", "unpool", (2, 3, 31), 15),
    Case("back, sum", "unpool", (2, 3, 20), 10, 5, duplicates="sum"),
    Case("gradient", "unpool_backward", (2, 3, 6, 8)),
    Case("gradient, last", "unpool_backward", (2, 3, 6, 8), duplicates="sum", data_format="channels_last"),
    Case("gradient of pool", "pool_backward", (2, 3, 7, 9), kernel=3, stride=2),
    Case("half", "unpool", (2, 3, 6, 8), dtype="float16"),
)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    report = start(SMALL, threads=1)
    add_round(report, PEERS, seconds=0)
    return report


class TestBench:
    def test_every_peer_has_the_results_of_unpool(self, report: dict[str, Any]) -> None:
        """Each was compared in its process; NumPy's recipes know every case, PyTorch the most."""
        assert [answer for answer in report["rounds"][0] if "problem" in answer] == []
        found = medians(report)
        assert list(found) == [case.name for case in SMALL]
        assert all(row["unpool"] > 0 and row["NumPy"] > 0 for row in found.values())
        assert ("torch" in report["missing"]) == (find_spec("torch") is None)

    def test_the_table_has_a_row_for_each_case(self, report: dict[str, Any]) -> None:
        lines = table(report, more={"usual": "77%"}).splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
        assert cells[0] == ["case", *report["columns"], "more"]
        assert [row[0] for row in cells[2:]] == [case.name for case in SMALL]
        assert [row[-1] for row in cells[2:]] == ["77%", *["-"] * (len(SMALL) - 1)]

    def test_ratios_are_of_medians_over_the_rounds(self) -> None:
        report = start(SMALL[:1], threads=1)
        report["columns"] = ["unpool", "PyTorch"]
        for ours, theirs in ((1.0, 4.0), (2.0, 500.0), (3.0, 9.0)):
            report["rounds"].append(
                [
                    {"peer": "unpool", "case": "usual", "column": "unpool", "milliseconds": ours},
                    {"peer": "torch", "case": "usual", "column": "PyTorch", "milliseconds": theirs, "lacks": "`out=`"},
                ]
            )
        report["missing"] = {"numpy": "numpy"}
        report["others"] = [[0.1, 10.0], [2.5, 5.0]]
        text = table(report)
        assert "| usual | 2.00   | 9.00 (4.50x)* |" in text
        assert "\\* PyTorch has no `out=`." in text
        assert "numpy is not installed: pip install numpy" in text
        assert "other programs kept up to 0.5 cores busy" in text

    def test_a_wrong_result_is_not_timed(self) -> None:
        def wrong(data: Data) -> dict[str, Call]:
            return {"wrong": Call(lambda: np.zeros_like(data.plane))}

        (answer,) = timings(wrong, prepare(SMALL[5]), seconds=0)
        assert answer == {"column": "wrong", "problem": "has another result than unpool, and was not timed"}

    def test_a_peer_that_dies_is_a_line_below_the_table(self) -> None:
        report = start(SMALL[:1], threads=1)
        dying = Peer(("numpy",), "numpy", ("Dying",), "raise SystemExit('no more memory')")
        add_round(report, {"dying": dying}, seconds=0)
        assert "dying, all cases: ended with 1: no more memory" in table(report)

    def test_prints_a_table_and_writes_what_it_is_of(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from unpool.__main__ import main

        monkeypatch.setattr(bench, "CASES", SMALL[:2])
        monkeypatch.setattr(bench, "PEERS", {name: PEERS[name] for name in ("unpool", "numpy")})
        monkeypatch.setattr(bench, "SECONDS", 0)
        main(["bench", "--threads", "1", "--json", str(tmp_path / "bench.json")])
        report = json.loads((tmp_path / "bench.json").read_text())
        assert report["threads"] == 1
        assert report["versions"]["unpool"] == unpool.__version__
        assert table(report) == capsys.readouterr().out.strip()

    @pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5"])
    def test_threads_that_are_none(self, threads: str) -> None:
        result = main("bench", f"--threads={threads}")
        assert result.returncode == 2
        assert f"argument --threads: must be an integer of at least 1, got {threads!r}" in result.stderr

    def test_a_file_that_cannot_be_written_is_told_before_measuring(self, tmp_path: Path) -> None:
        result = main("bench", "--json", str(tmp_path / "missing" / "bench.json"))
        assert result.returncode == 2
        assert "argument --json: must be a file that can be written, got" in result.stderr
        assert not (tmp_path / "missing").exists()

    def test_a_file_that_nothing_is_written_to_is_not_left_behind(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept.json"
        kept.write_text("{}")
        for file in (tmp_path / "new.json", kept):
            assert main("bench", "--json", str(file), "--threads", "0").returncode == 2
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("kept.json", "{}")]

    def test_a_peer_that_is_missing_is_named_with_what_installs_it(self) -> None:
        report = start(SMALL[:1], threads=1)
        add_round(report, {"absent": Peer(("no_such_module",), "no-such-package", ("Absent",), "")}, seconds=0)
        assert report["columns"] == []
        assert table(report).endswith("absent is not installed: pip install no-such-package")

    def test_help_says_what_is_done(self) -> None:
        result = main("bench", "--help")
        assert result.returncode == 0
        assert "NumPy's recipes" in result.stdout

    @posix
    @interrupts
    def test_interrupted_it_says_nothing_and_leaves_no_process(self, everyone: bool) -> None:
        interrupt("-m", "unpool", "bench", line="round 1: unpool\n", everyone=everyone)
