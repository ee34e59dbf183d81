"""The command line: its help, its exit statuses, output that cannot be written, and the demo of the default picture."""

from __future__ import annotations

import argparse
import os
import re
import struct
import tomllib
from pathlib import Path

import pytest
from command import main, rows
from needs import require
from processes import (
    REFUSED,
    buffering,
    full_disk,
    outputs,
    posix,
    python,
    unwritable,
)
from tree import ROOT

import unpool
from unpool.__main__ import new_file


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


@pytest.mark.parametrize("name", ["unpool", "unpool.exe", "__main__.py", "-c"])
def test_the_program_has_the_name_it_was_called_by(name: str) -> None:
    """pip makes the script `unpool` of the entry point; its first argument is its path."""
    program = f"import sys; sys.argv = ['bin/{name}', *sys.argv[1:]]; from unpool.__main__ import main; main()"
    called = "unpool" if name.startswith("unpool") else "python -m unpool"
    for arguments in ((), ("--help",), ("info", "--help"), ("demo", "--help"), ("bench", "--help")):
        result = python("-c", program, *arguments)
        assert result.returncode == 0
        assert result.stdout.startswith(f"usage: {called} {arguments[0] if len(arguments) > 1 else '[-h]'}")
    assert f"\n{called}: error: " in python("-c", program, "bore").stderr


def test_the_script_is_declared() -> None:
    pyproject = ROOT / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["scripts"] == {"unpool": "unpool.__main__:main"}


def test_version() -> None:
    result = main("--version")
    assert (result.returncode, result.stdout) == (0, f"unpool {unpool.__version__}\n")


def test_help_lists_each_exit_status() -> None:
    """The tests of this file reach each of them."""
    listed = main("--help").stdout.partition("exit status:\n")[2]
    assert [line.split()[0] for line in listed.splitlines()] == ["0", "1", "2", "130", "141"]


def test_help_describes_each_option() -> None:
    # Python 3.13 names the value once.
    options = {
        "info": ["--json"],
        "demo": ["IMAGE", "-o( FILE)?, --output FILE"],
        "bench": ["--json FILE", "--plot FILE"],
    }
    for command, expected in options.items():
        text = " ".join(main(command, "--help").stdout.split())
        assert f"usage: python -m unpool {command} [-h]" in text
        assert all(re.search(option, text) for option in expected)


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

COMMANDS = ["info", "info --json", "demo", "bench", "", "--version"]
COMMANDS += [f"{command} --help".strip() for command in ("", "info", "demo", "bench")]


@posix
class TestOutput:
    """Output that cannot be written ends every command as it ends a Unix tool, without a traceback."""

    @pytest.mark.one_in(3)  # a case starts a process, and there are 60
    @buffering
    @outputs
    @pytest.mark.parametrize(
        "command",
        [
            "info",
            "info --json",
            "demo",
            "bench",
            "",
            "--version",
            "--help",
            "info --help",
            "demo --help",
            "bench --help",
        ],
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

    @pytest.fixture
    def full_picture(self, tmp_path: Path) -> Path:
        """Return a file with the ending of a picture."""
        file = tmp_path / "full.png"
        file.symlink_to("/dev/full")
        return file

    def test_of_the_picture(self, full_picture: Path) -> None:
        require("matplotlib", "the demo draws with it")
        result = main("demo", "--output", str(full_picture))
        assert result.returncode == 1
        assert "results are equal" in result.stdout
        assert "Picture written" not in result.stdout
        assert result.stderr == (
            f"argument -o/--output: must be a file that can be written, got {str(full_picture)!r} (No space left on "
            f"device): pass another one\n"
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

    def test_a_folder_that_is_missing_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "missing" / "x.json"
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            new_file(str(file))
        assert str(caught.value) == (
            f"must be a file that can be written, got {str(file)!r} (no folder {str(file.parent)!r}): make the folder, "
            f"or pass another file"
        )
        assert not file.parent.exists()

    @pytest.mark.parametrize("name", ["", ".", "missing/x.json", "kept.json/x.json", "loop", "x" * 999])
    def test_what_cannot_be_written(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("kept.json").touch()
        Path("loop").symlink_to("loop")
        with pytest.raises(
            argparse.ArgumentTypeError, match=r"must be a file that can be written, got .*: .*pass another"
        ):
            new_file(name)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["kept.json", "loop"]


@pytest.mark.parametrize("command", ["info", "demo", "bench"])
def test_an_unknown_argument_shows_the_usage_of_its_command(command: str) -> None:
    result = main(command, "--quick")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"unpool {command} [-h]" in result.stderr
    assert f"unpool {command}: error: unrecognized arguments: --quick\n" in result.stderr


def test_an_unknown_argument_without_a_command_shows_the_usage_of_all() -> None:
    result = main("--quick")
    assert (result.returncode, result.stdout) == (2, "")
    assert "COMMAND" in result.stderr
    assert "unpool: error: unrecognized arguments: --quick\n" in result.stderr


class TestDemo:
    def test_prints_facts_and_draws_them(self, tmp_path: Path) -> None:
        require("matplotlib", "the demo draws with it")
        output = tmp_path / "demo.png"
        result = main("demo", "--output", str(output))
        assert result.returncode == 0, result.stderr
        found = rows(result.stdout)
        assert found["picture, width x height"] == found["unpooled twice"] == "359 x 431"
        assert found["pooled once"] == found["unpooled once"] == "179 x 215"
        assert found["pooled twice"] == "89 x 107"
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

    @pytest.mark.parametrize("name", ["missing/demo.png", "folder.png"])
    def test_a_file_that_cannot_be_written_is_told_before_the_work(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder.png").mkdir()
        output = tmp_path / name
        result = main("demo", "--output", str(output))
        assert (result.returncode, result.stdout) == (2, "")
        assert f"argument -o/--output: must be a file that can be written, got {str(output)!r}" in result.stderr
        assert "Traceback" not in result.stderr

    def test_the_default_file_is_checked_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "unpool-demo.png").mkdir()
        monkeypatch.chdir(tmp_path)
        result = main("demo")
        assert (result.returncode, result.stdout) == (2, "")
        assert "argument -o/--output: must be a file that can be written, got 'unpool-demo.png'" in result.stderr

    def test_without_matplotlib_names_its_command(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('hidden', name='matplotlib')")
        output = tmp_path / "demo.png"
        result = main("demo", "--output", str(output), first=tmp_path)
        assert result.returncode == 1
        assert result.stderr.startswith("the demo needs matplotlib, which is not installed: pip install")
        assert 'pip install "matplotlib>=' in result.stderr
        assert "Traceback" not in result.stderr
        assert not output.exists()

    def test_without_matplotlib_no_picture_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('hidden', name='matplotlib')")
        result = main("demo", str(tmp_path / "missing.png"), first=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("the demo needs matplotlib, which is not installed: pip install")

    def test_matplotlib_that_is_broken_is_not_called_missing(self, tmp_path: Path) -> None:
        (tmp_path / "matplotlib.py").write_text(
            "raise ModuleNotFoundError('No module named kiwisolver', name='kiwisolver')"
        )
        result = main("demo", "--output", str(tmp_path / "demo.png"), first=tmp_path)
        assert "kiwisolver" in result.stderr
        assert "pip install" not in result.stderr
