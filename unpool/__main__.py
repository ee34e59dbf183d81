"""The command line, ``unpool`` or ``python -m unpool``, with the commands `info`, `demo` and `bench`.

A command is one parser in `_parser` and one function that takes the parsed arguments.  Modules that only one command
needs are imported inside it.  `STATUS` lists the exit statuses; the last two are silent.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import unpool
from unpool import registry
from unpool.extras import install_command

STATUS = """\
exit status:
  0    done
  1    something is missing, or the output cannot be written
  2    an argument is wrong, and nothing was done
  130  interrupted by Ctrl-C
  141  the reader of a pipe has ended, as in: unpool info | head -1
"""
# The endings of the pictures that Matplotlib draws here.
PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
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
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # argparse would print the usage of all commands
        options.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.version:
        print(f"unpool {unpool.__version__}")
    elif options.command is None:
        parser.print_help()
    else:
        options.command(options)


def info(options: argparse.Namespace) -> None:
    """Print the facts about this machine that a bug report needs."""
    from unpool.info import print_json, print_rows

    (print_json if options.json else print_rows)()


def demo(options: argparse.Namespace) -> None:
    """Run the demo, if Matplotlib is installed."""
    _check_kernels()
    with drawing("the demo"):
        from unpool.demo import run
        from unpool.demo.photo import default
    if options.image and options.output.exists() and options.output.samefile(options.image.file):
        options.error(f"argument -o/--output: {_own_input(options.output)}")
    write("-o/--output", options.output, run(options.image or default(), form(options.output)))
    print(f"\nPicture written to {options.output}")


def bench(options: argparse.Namespace) -> None:
    """Measure a few cases beside NumPy's recipes and, if it is installed, PyTorch."""
    from unpool.bench import run

    _check_kernels()
    if options.plot:
        with drawing("--plot"):
            from unpool.bench.plot import draw
    report, text = run(options.threads)
    try:
        show(text, report, options.json)
    finally:
        if options.plot:
            write("--plot", options.plot, draw(report, form(options.plot)))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="unpool" if Path(sys.argv[0]).stem == "unpool" else "python -m unpool",
        description="Max pooling with indices and its inverse, for every array framework.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=None, error=parser.error)
    parser.add_argument("--version", action="store_true", help="print the version of unpool, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    command = commands.add_parser(
        "info",
        help="print what is installed and which backends work",
        description="Print the versions, the machine, and which backends work, with the reason for each that does not. "
        "It imports every framework that is installed, which may take seconds.",
    )
    command.add_argument("--json", action="store_true", help="print it as JSON, to paste into a bug report")
    command.set_defaults(command=info, error=command.error)

    command = commands.add_parser(
        "demo",
        help="pool and unpool a picture, and draw what happens to it",
        description="Pool a picture twice, unpool it twice, print what was kept and how long it took, and draw each "
        "step. It needs Matplotlib.",
    )
    command.add_argument(
        "image",
        type=photo,
        nargs="?",
        metavar="IMAGE",
        help="picture that Pillow can decode; a large one is reduced (default: a photograph that Matplotlib brings)",
    )
    output = "unpool-demo.png"  # a string, so that argparse checks it like a given one
    command.add_argument(
        "-o",
        "--output",
        type=picture,
        default=output,
        metavar="FILE",
        help=f"picture to write, with one of the endings {', '.join(PICTURES)} (default: %(default)s)",
    )
    command.set_defaults(command=demo, error=command.error)

    command = commands.add_parser(
        "bench",
        help="time unpool beside NumPy's recipes, and PyTorch if it is installed",
        description="Time unpool beside NumPy's recipes, and PyTorch if it is installed, each in a process of its own. "
        "It takes up to a minute and 1 GB of memory. In the names of cases, k2 is a window of 2 x 2, and s2 a stride "
        "of 2. Each time has its spread. Lines below the table name reasons not to trust the times. The table is "
        "printed to standard output, and the progress to standard error.",
    )
    command.add_argument(
        "--threads", type=positive, metavar="N", help="of every contestant (default: the cores of this process)"
    )
    command.add_argument("--json", type=new_file, metavar="FILE", help="also write every figure to a file")
    command.add_argument(
        "--plot",
        type=picture,
        metavar="FILE",
        help=f"also draw the ratios, with Matplotlib, to a file with one of the endings {', '.join(PICTURES)}",
    )
    command.set_defaults(command=bench, error=command.error)
    return parser


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse would hide a failed write


def _check_kernels() -> None:
    """End the program with the reason, if the CPU backend does not work."""
    if reason := registry.why_not("cpu"):
        sys.exit(reason)


@contextmanager
def drawing(part: str) -> Iterator[None]:
    """End the program with the command that installs Matplotlib, if importing a part that draws lacks it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        sys.exit(f"{part} needs matplotlib, which is not installed: {install_command('demo')}")


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= MOST:
        raise _not_a_count(text)
    return number


def photo(text: str) -> Any:
    """Return the picture of a file, as the demo takes it."""
    with drawing("the demo"):
        from unpool.demo.photo import read
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def picture(text: str) -> Path:
    """Return the path of a picture that can be written, checked before the work."""
    if Path(text).suffix.lower() not in PICTURES:
        raise _unknown_ending(text)
    return new_file(text)


def form(file: Path) -> str:
    return file.suffix[1:].lower()


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
        raise _unwritable_file(file, error) from error


def write(argument: str, file: Path, content: bytes) -> None:
    """Write a file that an argument named, or end the program with a line that gives the reason."""
    try:
        file.write_bytes(content)
    except OSError as error:
        sys.exit(f"argument {argument}: {_unwritable_file(file, error)}")


def show(text: str, report: Mapping[str, Any], file: Path | None) -> None:
    """Print the text of a report and write the report to a file, even if printing fails."""
    try:
        print(text, flush=True)
    finally:
        if file:
            write("--json", file, f"{json.dumps(report, indent=1)}\n".encode())


# --- messages ---------------------------------------------------------------------------------------------------------


def _not_a_count(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"must be an integer between 1 and {MOST}, got {text!r}: pass a number in this range"
    )


def _unwritable_file(file: Path, error: OSError) -> argparse.ArgumentTypeError:
    reason, remedy = error.strerror or error, "pass another one"
    if isinstance(error, FileNotFoundError) and not file.parent.exists():
        reason, remedy = f"no folder {str(file.parent)!r}", "make the folder, or pass another file"
    return argparse.ArgumentTypeError(f"must be a file that can be written, got {str(file)!r} ({reason}): {remedy}")


def _own_input(file: Path) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"must be a different file from IMAGE, got {str(file)!r} for both: pass another name"
    )


def _unknown_ending(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"must end in one of {', '.join(PICTURES)}, got {text!r}: pass a name with the ending of a picture"
    )


if __name__ == "__main__":
    main()
