"""The command line does what it says, in a process of its own as a user starts it."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import require

import unpool


def python(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with this one's import path, which `first` precedes."""
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in ([first] if first else []) + sys.path if entry)
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def main(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "unpool", *arguments, first=first)


def rows(text: str) -> dict[str, str]:
    """The rows of two columns, which two or more spaces divide."""
    pairs = (line.strip().partition("  ") for line in text.splitlines())
    return {name: value.strip() for name, divider, value in pairs if divider}


def test_import_leaves_the_command_line_alone() -> None:
    result = python("-c", "import sys, unpool; print(*{'argparse', 'matplotlib', 'unpool.demo'} & set(sys.modules))")
    assert result.stdout.strip() == "", result.stderr


def test_no_command_prints_help() -> None:
    result = main()
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m unpool")
    assert "info" in result.stdout
    assert "demo" in result.stdout


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
