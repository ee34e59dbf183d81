"""`benchmarks/run.py`: wrong arguments, saved reports, output that cannot be written, and Ctrl-C."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from needs import require
from processes import REFUSED, buffering, interrupt, interrupts, outputs, posix, python, unwritable
from tree import BENCHMARKS

from unpool.bench.cases import Case
from unpool.bench.report import start

SCRIPT = BENCHMARKS / "run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python(str(SCRIPT), *arguments, first=SCRIPT.parent)  # it imports modules of its folder


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """Return the file of a report: two cases that took both peers 2 ms, and a peer that failed."""
    report = start([Case("unpool k2", "unpool"), Case("other", "pool")], threads=1)
    report["columns"] = ["unpool", "NumPy"]
    report["rounds"] = [
        [
            {"peer": peer, "case": case["name"], "column": column, "milliseconds": 2.0}
            for peer, column in (("unpool", "unpool"), ("numpy", "NumPy"))
            for case in report["cases"]
        ]
        + [{"peer": "torch", "case": "", "problem": "ended with 1"}]
    ]
    file = tmp_path / "saved.json"
    file.write_text(json.dumps(report))
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "argument --threads: must be an integer between 1 and 1024, got '0'"),
        (["--rounds", "few"], "argument --rounds: must be an integer between 1 and 1024, got 'few'"),
        (["--cases", "("], "argument --cases: must be a regular expression, got '('"),
        (["--peers", "abacus"], "argument --peers: invalid choice: 'abacus'"),
        (["--json", "missing/x.json"], "argument --json: must be a file that can be written, got 'missing/x.json'"),
        (["--from", "missing.json"], "argument --from: must be a file that --json wrote, got 'missing.json'"),
        (["--from", __file__], "argument --from: must be a file that --json wrote, got "),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_pattern_without_cases() -> None:
    result = run("--cases", "abacus")
    assert (result.returncode, result.stderr) == (1, "no case has a name that matches 'abacus'\n")


def test_a_picture_in_a_format_that_is_none() -> None:
    result = run("--plot", "picture.doc")
    assert result.returncode == 2
    assert "argument --plot: must end in one of ." in result.stderr
    assert not Path("picture.doc").exists()


def test_a_saved_report_is_shown_again(saved: str) -> None:
    text = run("--from", saved).stdout
    assert "| unpool k2 | 2.00   | 2.00 (1.00x) | -        |" in text
    assert "| other     | 2.00   | 2.00 (1.00x) | -        |" in text
    assert "torch, all cases: ended with 1" in text
    assert "No roofline" in text


@posix
@buffering
@outputs
def test_output_that_cannot_be_written(saved: str, output: str, unbuffered: str) -> None:
    arguments = output, str(SCRIPT), "--from", saved
    status, _, errors = unwritable(*arguments, first=SCRIPT.parent, PYTHONUNBUFFERED=unbuffered)
    assert (status, errors) == REFUSED[output]


def test_a_saved_report_is_drawn(saved: str, tmp_path: Path) -> None:
    require("matplotlib", "the program draws with it")
    assert run("--from", saved, "--plot", str(tmp_path / "x.png")).returncode == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [["--cases", "^unpool"], ["--quick"]])
def test_cases_of_a_saved_report(saved: str, arguments: list[str]) -> None:
    result = run("--from", saved, *arguments)
    assert result.returncode == 0, result.stderr
    assert "| unpool k2 |" in result.stdout
    assert "| other" not in result.stdout


def test_a_saved_report_is_not_measured(saved: str) -> None:
    result = run("--from", saved, "--rounds", "2")
    assert result.returncode == 2
    assert "argument --from: goes with --cases, --quick and --plot, for nothing is measured" in result.stderr


@posix
@interrupts
def test_interrupted_it_says_nothing_and_leaves_no_process(everyone: bool) -> None:
    said = "round 1: unpool\n"
    interrupt(str(SCRIPT), "--load", "--quick", line=said, everyone=everyone, first=SCRIPT.parent)
