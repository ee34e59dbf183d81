"""`unpool bench` times what has equal results, shows its progress, and writes what it found."""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import main
from needs import require
from processes import (
    full_disk,
    interrupt,
    interrupts,
    on_terminal,
    outputs,
    posix,
    python,
    unwritable,
)

import unpool
from unpool import bench
from unpool.__main__ import positive
from unpool.bench.cases import Case, Data, prepare
from unpool.bench.measure import add_round, timings
from unpool.bench.peers import PEERS, Call, Peer
from unpool.bench.report import medians, start, table
from unpool.extras import install_command

pytestmark = pytest.mark.once  # a benchmark does not depend on the Python

# The command with one small case, beside NumPy alone.
ONE_CASE = """
import sys
from unpool import __main__, bench
from unpool.bench.cases import Case
bench.CASES, bench.SECONDS = (Case("one", "unpool", (1, 1, 4, 4)),), 0
bench.PEERS = {name: bench.PEERS[name] for name in ("unpool", "numpy")}
__main__.main(["bench", *sys.argv[1:]])
"""
BENCH_OF_ONE = ("-c", ONE_CASE)

# One case for each branch of NumPy's recipes: ranks, layouts, padding, a required size, overlaps and sums.
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
        """Each peer compares in its own process. NumPy's recipes cover every case, and PyTorch most of them."""
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
        report["warnings"] = ["Not quiet: other programs ran."]
        text = table(report)
        assert "| usual | 2.00   | 9.00 (4.50x)* |" in text
        assert "\\* PyTorch has no `out=`." in text
        assert "numpy is not installed: pip install numpy" in text
        assert "Not quiet: other programs ran." in text

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
        assert {case: list(row) for case, row in report["figures"].items()} == {
            case.name: ["unpool", "NumPy"] for case in SMALL[:2]
        }
        for row in report["figures"].values():
            assert all(figure["milliseconds"] > 0 and figure["spread"] >= 0 for figure in row.values())
        assert table(report) == capsys.readouterr().out.strip()

    def test_draws_a_picture_beside_its_table(self, tmp_path: Path) -> None:
        require("matplotlib", "the plot is drawn with it")
        for name, start_ in (("x.png", b"\x89PNG"), ("x.svg", b"<?xml")):
            result = python(*BENCH_OF_ONE, "--plot", str(tmp_path / name), "--json", str(tmp_path / "x.json"))
            assert result.returncode == 0, result.stderr
            assert (tmp_path / name).read_bytes().startswith(start_)
            assert table(json.loads((tmp_path / "x.json").read_text())) == result.stdout.strip()

    @posix
    def test_a_picture_is_drawn_where_the_table_cannot_be_shown(self, tmp_path: Path) -> None:
        require("matplotlib", "the plot is drawn with it")
        status, _, errors = unwritable("a pipe", *BENCH_OF_ONE, "--plot", str(tmp_path / "x.png"))
        assert (status, errors) == (141, "round 1: unpool\nround 1: NumPy\n")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

    def test_a_picture_needs_matplotlib_before_measuring(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('hidden', name='matplotlib')")
        result = main("bench", "--plot", str(tmp_path / "x.png"), first=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        command = install_command("demo")
        assert result.stderr == f"--plot needs matplotlib, which is not installed: {command}\n"
        result = main("bench", "--plot", str(tmp_path / "x.doc"))
        assert (result.returncode, result.stdout) == (2, "")
        assert "argument --plot: must end in one of .png, .svg, .pdf, .jpg, .jpeg, got" in result.stderr

    def test_progress_in_a_file_is_a_line_for_each_peer(self) -> None:
        result = python(*BENCH_OF_ONE)
        assert result.stderr == "round 1: unpool\nround 1: NumPy\n"
        assert "round" not in result.stdout

    @posix
    def test_progress_on_a_terminal_is_one_line(self) -> None:
        status, shown = on_terminal(*BENCH_OF_ONE, columns=30)
        assert status == 0
        assert "\n" not in shown
        parts = [part.rstrip() for part in shown.split("\r")]
        assert [part for part in parts if part] == [
            f"round 1: {peer}: {done} of 1 cases" for peer in ("unpool", "NumPy") for done in (0, 1)
        ]
        assert all(len(part) < 30 for part in shown.split("\r"))
        assert shown.endswith(f"\r{' ' * 29}\r")

    @posix
    @outputs
    def test_progress_that_cannot_be_shown_is_left_out(self, output: str) -> None:
        status, text, _ = unwritable(output, *BENCH_OF_ONE, stream="stderr")
        assert status == 0
        assert "| one " in text

    @full_disk
    def test_a_plot_on_a_full_disk(self, tmp_path: Path) -> None:
        require("matplotlib", "the plot is drawn with it")
        full_picture = tmp_path / "full.png"
        full_picture.symlink_to("/dev/full")
        result = python(*BENCH_OF_ONE, "--plot", str(full_picture))
        assert result.returncode == 1
        assert "| case " in result.stdout
        assert f"argument --plot: must be a file that can be written, got {str(full_picture)!r}" in result.stderr

    @pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", "1025", "9" * 20])
    def test_threads_that_are_none(self, threads: str) -> None:
        result = main("bench", f"--threads={threads}")
        assert result.returncode == 2
        assert f"argument --threads: must be an integer between 1 and 1024, got {threads!r}" in result.stderr

    @pytest.mark.parametrize(
        "text", ["", " ", "\u00b2", "\u2460", "1_0", "+1", "0x1", "1e2", "0" * 9, "9" * 5000, "-0"]
    )
    def test_other_numbers_that_are_none(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match="must be an integer between 1 and 1024, got "):
            positive(text)

    def test_numbers(self) -> None:
        found = [positive(text) for text in ("1", "1024", "007", "\u0663")]  # any script has digits
        assert found == [1, 1024, 7, 3]

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
