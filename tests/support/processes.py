"""Run programs in new processes, as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer

import pytest


def environment(first: Path | None = None) -> dict[str, str]:
    """Return the environment of this process, with its import path. `first` precedes the path."""
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in ([first] if first else []) + sys.path if entry)
    return os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def python(*arguments: str, first: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(first),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


@contextmanager
def waiting(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that waits for lines, and end it with the context, or after half an hour.

    Its stdout has what it writes to stderr, too: a pipe that is not read would stop it.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    limit = Timer(1800, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def read_until(line: str, process: subprocess.Popen[str]) -> None:
    """Read what a program writes until this line, and fail with all of it if the program ends before."""
    assert process.stdout
    before = []
    for written in process.stdout:
        if written.endswith(f"{line}\n"):
            return
        before.append(written)
    pytest.fail(f"the program ended before it wrote {line!r}:\n{''.join(before)}")


def unwritable(
    output: str, *arguments: str, stream: str = "stdout", first: Path | None = None, **more: str
) -> tuple[int, str, str]:
    """Run a program whose stream is a full disk, a pipe without a reader, or closed; return status and streams."""
    number = {"stdout": 1, "stderr": 2}[stream]
    target = None
    if output == "a full disk":
        target = os.open("/dev/full", os.O_WRONLY)
    elif output == "a pipe":
        reader, target = os.pipe()
        os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, *arguments],
            env=environment(first) | more,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: target},  # type: ignore[call-overload]
            preexec_fn=(lambda: os.close(number)) if output == "closed" else None,
            encoding="utf-8",
            timeout=300,
        )
    finally:
        if target is not None:
            os.close(target)
    return result.returncode, result.stdout or "", result.stderr or ""


def on_terminal(*arguments: str, columns: int) -> tuple[int, str]:
    """Run a program whose stderr is a terminal, and return its exit status and what it wrote there."""
    import pty  # Windows has none

    terminal, stderr = pty.openpty()
    shown = bytearray()
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=environment() | {"COLUMNS": str(columns)},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    ) as process:
        os.close(stderr)
        with suppress(OSError):  # Linux raises at the end, and macOS returns nothing
            while data := os.read(terminal, 1024):
                shown += data
    os.close(terminal)
    return process.returncode, shown.decode()


def printed(program: str, **variables: str) -> list[str]:
    """Run a program that prints to stdout alone, and return its words."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout.split()


def interrupt(*arguments: str, line: str, everyone: bool, first: Path | None = None) -> None:
    """Send SIGINT after a line of stderr. The program and its children must end soon, without more output.

    A terminal sends SIGINT to `everyone`, the children of the program included. Otherwise the program alone gets it.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(first),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, like a terminal's foreground job
    )
    assert process.stderr
    try:
        assert line in iter(process.stderr.readline, "")
        time.sleep(0.5)  # time to start its children
        os.killpg(process.pid, signal.SIGINT) if everyone else process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
        assert ended(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ended(group: int) -> bool:
    """Return whether a process group ends within half a minute: a busy system removes killed processes late."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


# The parameters of tests that interrupt a program.
interrupts = pytest.mark.parametrize("everyone", [True, False], ids=["Ctrl-C", "the program alone"])
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals, pipes and links")
full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
# The parameters of tests with unwritable output. Python fails at the first `print`, or when it flushes a buffer.
outputs = pytest.mark.parametrize(
    "output", [pytest.param("a full disk", marks=full_disk), "a pipe", "closed"], ids=lambda output: output.split()[-1]
)
buffering = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
# The exit status and stderr of a program with each of these outputs.
REFUSED = {
    "a full disk": (
        1,
        "standard output must be writable, got 'No space left on device': redirect it to where there is room\n",
    ),
    "a pipe": (141, ""),
    "closed": (1, "standard output must be open, got a closed one: redirect it to a file, or to /dev/null\n"),
}
