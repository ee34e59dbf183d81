"""The command line, ``python -m unpool``, with the commands `info`, `demo` and `bench`.

A command is one parser in `_parser` and one function that takes the parsed arguments.  Modules that only one command
needs are imported inside it.

Exit status: 0; 1 if something is missing or cannot be written; 2 for wrong arguments; 130 after Ctrl-C; 141 if the
reader of a pipe has ended, as in ``python -m unpool info | head -1``.  The last two are silent.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import unpool
from unpool.registry import BUILT_IN

# OpenMP names its releases by date; compilers report the dates.
OPENMP = {
    200203: "2.0",
    200805: "3.0",
    201107: "3.1",
    201307: "4.0",
    201511: "4.5",
    201811: "5.0",
    202011: "5.1",
    202111: "5.2",
    202411: "6.0",
}
MOST = 1024  # threads or rounds: with far more, OpenMP and PyTorch fail with messages of their own
# The errors of writing to an open file.
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main(arguments: Sequence[str] | None = None) -> None:
    as_program(lambda: _run(arguments))


def as_program(body: Callable[[], object]) -> None:
    """Run the body of a program, and exit as Unix tools do after Ctrl-C and if the output cannot be written."""
    if sys.stderr is None:  # closed: the next file to be opened would get its descriptor, and C code's errors in it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    status = _status(body)
    if not isinstance(status, int):
        with suppress(OSError):
            print(status, file=sys.stderr)
        status = 1
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:  # Python would flush again at exit, and change the exit status
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if status:
        sys.exit(status)


def _status(body: Callable[[], object]) -> int | str:
    """Run the body of a program, and return its exit status, or the error to print for an exit status of 1."""
    if sys.stdout is None:
        return "standard output must be open, got a closed one: redirect it to a file, or to /dev/null"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names and plugins' errors may hold any character
    try:
        try:
            body()
        finally:
            sys.stdout.flush()
    except SystemExit as error:
        return 0 if error.code is None else error.code
    except KeyboardInterrupt:
        return 128 + 2  # SIGINT
    except BrokenPipeError:
        return 128 + 13  # SIGPIPE, which Windows does not have
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        return f"standard output must be writable, got {error.strerror!r}: redirect it to where there is room"
    return 0


def _run(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
    else:
        options.command(options)


def info(options: argparse.Namespace) -> None:
    """Print the facts about this machine that a bug report needs."""
    _row("unpool", unpool.__version__)
    _row("Python", f"{platform.python_version()} ({platform.python_implementation()})")
    _row("NumPy", np.__version__)
    _row("platform", platform.platform())
    _row("cores", _cores())
    sys.stdout.flush()  # the next line imports every framework, which may take long or crash
    reasons = unpool.available()
    _row("OpenMP", _openmp() if reasons["cpu"] is None else "unknown, because the CPU backend does not load")
    print("\nbackends")
    for name, reason in reasons.items():
        _row(f"  {name}", f"yes{_version(name)}" if reason is None else f"no: {reason}")


def demo(options: argparse.Namespace) -> None:
    """Run the demo, if Matplotlib is installed."""
    try:
        from unpool.demo import run
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        sys.exit('matplotlib is not installed, which the demo draws with: pip install "unpool[demo]"')
    write("--output", options.output, run())
    print(f"\nPicture written to {options.output}")


def bench(options: argparse.Namespace) -> None:
    """Measure a few cases beside NumPy's recipes and, if it is installed, PyTorch."""
    from unpool.bench import run

    report, text = run(options.threads)
    show(text, report, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m unpool", description="Max pooling with indices and its inverse, for every array framework."
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser("info", help="say what is installed and which backends work, for a bug report")
    command.set_defaults(command=info)

    command = commands.add_parser("demo", help="pool and unpool a photograph, and draw what happens to it")
    output = "unpool-demo.png"  # a string, so that argparse checks it like a given one
    command.add_argument(
        "--output", type=new_file, default=output, metavar="FILE", help="PNG to write (default: %(default)s)"
    )
    command.set_defaults(command=demo)

    command = commands.add_parser(
        "bench",
        help="time unpool beside NumPy's recipes, and PyTorch if it is installed",
        description="Time unpool beside NumPy's recipes, and PyTorch if it is installed, each in a process of its own. "
        "It takes half a minute and 1 GB of memory, and says so if other programs kept the machine busy meanwhile.",
    )
    command.add_argument(
        "--threads", type=positive, metavar="N", help="of every contestant (default: the cores of this process)"
    )
    command.add_argument("--json", type=new_file, metavar="FILE", help="also write every figure to a file")
    command.set_defaults(command=bench)
    return parser


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse would hide a failed write


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"must be an integer between 1 and {MOST}, got {text!r}")
    return number


def new_file(text: str) -> Path:
    """Return the path of a file that can be written, checked before minutes of measuring; leave no new file behind."""
    file = Path(text)
    try:
        if not file.exists():
            target = Path(os.path.realpath(file))  # a link may lead to a missing file
            target.touch(exist_ok=False)
            target.unlink()
        elif file.is_file() or file.is_dir():  # opening and closing a pipe would end its reader
            file.open("a").close()
        return file
    except OSError as error:
        raise argparse.ArgumentTypeError(_unwritable(file, error)) from error


def write(argument: str, file: Path, content: bytes) -> None:
    """Write a file that an argument named, or end the program with a line that gives the reason."""
    try:
        file.write_bytes(content)
    except OSError as error:
        sys.exit(f"argument {argument}: {_unwritable(file, error)}")


def show(text: str, report: Mapping[str, Any], file: Path | None) -> None:
    """Print the text of a report and write the report to a file, even if printing fails."""
    try:
        print(text, flush=True)
    finally:
        if file:
            write("--json", file, f"{json.dumps(report, indent=1)}\n".encode())


def _unwritable(file: Path, error: OSError) -> str:
    return f"must be a file that can be written, got {str(file)!r} ({error.strerror or error}): pass another one"


def _row(name: str, value: str) -> None:
    """Print a name and its value in two columns; a long value is wrapped inside its column."""
    lines = textwrap.wrap(value, 65, break_long_words=False, break_on_hyphens=False)
    below = f"\n{'':14}"
    print((f"{name:<14}" if len(name) < 13 else f"{name}{below}") + below.join(lines))


def _cores() -> str:
    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return f"{cores}" if usable == cores else f"{cores}, {usable} of them for this process"


def _openmp() -> str:
    import unpool_backends.cpu

    release = unpool_backends.cpu.openmp()
    if release == 0:
        return "none: the CPU kernels run on one thread"
    threads = unpool_backends.cpu.max_threads()
    return f"{OPENMP.get(release, 'release')} ({release}), {threads} thread{'s' if threads > 1 else ''}"


def _version(backend: str) -> str:
    """Return the name and version of a backend's framework in parentheses; empty if it has no version."""
    framework = BUILT_IN[backend].framework if backend in BUILT_IN else backend
    try:
        version = getattr(sys.modules.get(framework), "__version__", None)
    except (Exception, SystemExit):  # from a `__getattr__` that the module defines
        version = None
    return f" ({framework} {version})" if isinstance(version, str) else ""


if __name__ == "__main__":
    main()
