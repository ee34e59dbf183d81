"""Each command of `python -m unpool` does what its help says, in a process of its own."""

from __future__ import annotations

import argparse
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
from processes import REFUSED, buffering, full_disk, interrupt, interrupts, outputs, posix, python, unwritable

import unpool
from unpool import bench
from unpool.__main__ import new_file, positive
from unpool.bench.cases import Case, Data, prepare
from unpool.bench.measure import add_round, timings
from unpool.bench.peers import PEERS, Call, Peer
from unpool.bench.report import medians, start, table


def main(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "unpool", *arguments, first=first)


def rows(text: str) -> dict[str, str]:
    """Return the rows of two columns, which two or more spaces separate, as a dictionary."""
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


# The command without cases; with them it takes half a minute.
WITHOUT_CASES = """
import sys
from unpool import __main__, bench
bench.CASES, bench.PEERS = (), {}
__main__.main(["bench", *sys.argv[1:]])
"""
BENCH = ("-c", WITHOUT_CASES)


@posix
class TestOutput:
    """Output that cannot be written ends every command as it ends a Unix tool, without a traceback."""

    @buffering
    @outputs
    @pytest.mark.parametrize(
        "command", ["info", "demo", "bench", "", "--help", "info --help", "demo --help", "bench --help"]
    )
    def test_standard_output(self, command: str, output: str, unbuffered: str, tmp_path: Path) -> None:
        arguments = BENCH if command == "bench" else ("-m", "unpool", *command.split())
        if command == "demo":
            require("matplotlib", "the demo draws with it")
            arguments += ("--output", str(tmp_path / "demo.png"))
        status, _, errors = unwritable(output, *arguments, PYTHONUNBUFFERED=unbuffered)
        assert (status, errors) == REFUSED[output]

    @buffering
    @outputs
    def test_standard_error(self, output: str, unbuffered: str) -> None:
        """The exit status alone says that the arguments are wrong."""
        for arguments in (("bore",), ("bench", "--threads", "0")):
            found = unwritable(output, "-m", "unpool", *arguments, stream="stderr", PYTHONUNBUFFERED=unbuffered)
            assert found == (2, "", "")

    @buffering
    @outputs
    def test_standard_error_of_a_command_that_works(self, output: str, unbuffered: str) -> None:
        found = unwritable(output, "-m", "unpool", "info", stream="stderr", PYTHONUNBUFFERED=unbuffered)
        assert (found[0], rows(found[1])["unpool"]) == (0, unpool.__version__)

    @buffering
    @outputs
    def test_a_report_is_saved_where_its_table_cannot_be_shown(
        self, output: str, unbuffered: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "bench.json"
        status, _, errors = unwritable(output, *BENCH, "--json", str(file), PYTHONUNBUFFERED=unbuffered)
        assert (status, errors) == REFUSED[output]
        assert file.exists() == (output != "closed")  # a closed output is reported before measuring

    def test_what_the_encoding_lacks_is_escaped(self) -> None:
        """Errors of plugins and names of files may hold any character."""
        program = "from unpool.__main__ import as_program; as_program(lambda: print('\\xe9\\udcff'))"
        result = unwritable("", "-c", program, stream="stderr", PYTHONIOENCODING="ascii")
        assert result == (0, "\\xe9\\udcff\n", "")

    def test_other_errors_keep_their_traceback(self) -> None:
        result = python("-c", "from unpool.__main__ import as_program; as_program(lambda: open('no/such/file'))")
        assert result.returncode == 1
        assert "Traceback" in result.stderr


@full_disk
class TestFullDisk:
    """A file on a full disk can be opened, but not written."""

    def test_of_the_picture(self) -> None:
        require("matplotlib", "the demo draws with it")
        result = main("demo", "--output", "/dev/full")
        assert result.returncode == 1
        assert "results are equal" in result.stdout
        assert "Picture written" not in result.stdout
        assert result.stderr == (
            "argument --output: must be a file that can be written, got '/dev/full' (No space left on device): pass "
            "another one\n"
        )

    def test_of_the_report(self) -> None:
        result = python(*BENCH, "--json", "/dev/full")
        assert result.returncode == 1
        assert "| case |" in result.stdout  # the table is printed all the same
        assert result.stderr == (
            "argument --json: must be a file that can be written, got '/dev/full' (No space left on device): pass "
            "another one\n"
        )


@posix
class TestNewFile:
    def test_what_is_not_there_stays_so(self, tmp_path: Path) -> None:
        (tmp_path / "link.json").symlink_to(tmp_path / "absent.json")
        for name in ("new.json", "link.json"):
            assert new_file(str(tmp_path / name)) == tmp_path / name
        assert [file.name for file in tmp_path.iterdir()] == ["link.json"]
        assert (tmp_path / "link.json").is_symlink()

    def test_what_is_there_is_kept(self, tmp_path: Path) -> None:
        kept = tmp_path / "kept.json"
        kept.write_text("{}")
        new_file(str(kept))
        assert kept.read_text() == "{}"

    def test_a_pipe_is_not_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Closing the pipe again would tell its reader that the file has ended."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
        assert new_file(str(pipe)) == pipe

    @pytest.mark.parametrize("name", ["", ".", "missing/x.json", "kept.json/x.json", "loop", "x" * 999])
    def test_what_cannot_be_written(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("kept.json").touch()
        Path("loop").symlink_to("loop")
        with pytest.raises(
            argparse.ArgumentTypeError, match=r"must be a file that can be written, got .*: pass another"
        ):
            new_file(name)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.json", "loop"]


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
        from unpool_backends.cpu import max_threads, openmp

        found = rows(main("info").stdout)["OpenMP"]
        if openmp():
            assert f"({openmp()}), {max_threads()} thread" in found
        else:
            assert found.startswith("none")

    def test_gives_the_reason_of_a_backend_that_does_not_load(self, tmp_path: Path) -> None:
        broken = tmp_path / "unpool_backends" / "cpu.py"
        broken.parent.mkdir()
        (broken.parent / "__init__.py").touch()
        broken.write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
        result = main("info", first=tmp_path)
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["cpu"].startswith("no: backend 'cpu' does not load: OSError: libgomp.so.1")
        assert found["OpenMP"].startswith("unknown")
        assert found["unpool"] == unpool.__version__

    def test_passes_over_bad_plugins(self, tmp_path: Path) -> None:
        texts = {
            "acmeexit": "import sys; sys.exit(7)",
            "acmelazy": "pool = scatter = gather = print\ndef __getattr__(name): raise SystemExit(name)",
            "acmethief": "",
        }
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
            (tmp_path / f"{name}-1.0.dist-info").mkdir()
            (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Name: {name}\n")
            point = f"{'cpu' if name == 'acmethief' else name} = {name}"
            (tmp_path / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[unpool.backends]\n{point}\n")
        result = main("info", first=tmp_path)
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["cpu"] == f"yes (numpy {np.__version__})"
        assert found["acmeexit"].startswith("no: backend 'acmeexit' does not load: SystemExit: 7")
        assert found["acmelazy"].startswith("no: backend 'acmelazy' does not load: SystemExit: fault")
        assert "\n  cpu (acmethief)\n              no: backend 'cpu' must have the name" in result.stdout


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
        assert len(data) > 200_000  # a photograph; an empty page is smaller

    @pytest.mark.parametrize("name", ["missing/demo.png", "."])
    def test_a_file_that_cannot_be_written_is_told_before_the_work(self, tmp_path: Path, name: str) -> None:
        output = tmp_path / name
        result = main("demo", "--output", str(output))
        assert (result.returncode, result.stdout) == (2, "")
        assert f"argument --output: must be a file that can be written, got {str(output)!r}" in result.stderr
        assert "Traceback" not in result.stderr

    def test_the_default_file_is_checked_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "unpool-demo.png").mkdir()
        monkeypatch.chdir(tmp_path)
        result = main("demo")
        assert (result.returncode, result.stdout) == (2, "")
        assert "argument --output: must be a file that can be written, got 'unpool-demo.png'" in result.stderr

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
