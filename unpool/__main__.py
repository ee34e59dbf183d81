"""The command line, ``python -m unpool``: what is installed, a demo to look at, and how fast it is.

A subcommand is one parser in `_parser` and one function that takes the parsed arguments.  What only one of them needs
is imported inside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import unpool
from unpool.backends import BUILT_IN

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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return
    try:
        options.command(options)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says that Ctrl-C ended a program, and no traceback


def info(options: argparse.Namespace) -> None:
    """Print what a bug report should say of this machine."""
    _row("unpool", unpool.__version__)
    _row("Python", f"{platform.python_version()} ({platform.python_implementation()})")
    _row("NumPy", np.__version__)
    _row("platform", platform.platform())
    _row("cores", _cores())
    sys.stdout.flush()  # what comes next imports every framework there is, which may take long or crash
    reasons = unpool.available()
    _row("OpenMP", _openmp() if reasons["cpu"] is None else "unknown, because the CPU backend does not load")
    print("\nbackends")
    for name, reason in reasons.items():
        _row(f"  {name}", f"yes{_version(name)}" if reason is None else f"no: {reason}")


def demo(options: argparse.Namespace) -> None:
    """Run the demo, if there is something to draw with."""
    try:
        from unpool.demo import run
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        sys.exit('matplotlib is not installed, which the demo draws with: pip install "unpool[demo]"')
    run(options.output)


def bench(options: argparse.Namespace) -> None:
    """Measure a few cases beside NumPy's recipes and, if it is installed, PyTorch."""
    from unpool.bench import run

    run(options.threads, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unpool", description="Max pooling with indices and its inverse, for every array framework."
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser("info", help="say what is installed and which backends work, for a bug report")
    command.set_defaults(command=info)

    command = commands.add_parser("demo", help="pool and unpool a photograph, and draw what happens to it")
    output = Path("unpool-demo.png")
    command.add_argument(
        "--output", type=Path, default=output, metavar="FILE", help="PNG to write (default: %(default)s)"
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


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def new_file(text: str) -> Path:
    """See that a file can be written, so that measuring for minutes is not in vain; what is not there stays so."""
    there = os.path.lexists(text)
    try:
        with Path(text).open("a"):
            pass
        if not there:
            Path(text).unlink()
        return Path(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be a file that can be written, got {text!r} ({error.strerror or error})"
        ) from error


def _row(name: str, value: str) -> None:
    """Print a name and its value in two columns; what does not fit goes on below its own column."""
    lines = textwrap.wrap(value, 65, break_long_words=False, break_on_hyphens=False)
    print(f"{name:<14}" + f"\n{'':14}".join(lines))


def _cores() -> str:
    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return f"{cores}" if usable == cores else f"{cores}, {usable} of them for this process"


def _openmp() -> str:
    import unpool_cpu

    release = unpool_cpu.openmp()
    if release == 0:
        return "none: the CPU kernels run on one thread"
    threads = unpool_cpu.max_threads()
    return f"{OPENMP.get(release, 'release')} ({release}), {threads} thread{'s' if threads > 1 else ''}"


def _version(backend: str) -> str:
    """The version of the framework that a backend computes with, as far as it tells."""
    framework = BUILT_IN[backend].framework if backend in BUILT_IN else backend
    module: Any = sys.modules.get(framework)
    version = getattr(module, "__version__", None)
    return f" ({framework} {version})" if version else ""


if __name__ == "__main__":
    main()
