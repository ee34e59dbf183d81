"""Programs in processes of their own, as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


def environment(first: Path | None = None) -> dict[str, str]:
    """This process's, with its import path, which `first` precedes."""
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in ([first] if first else []) + sys.path if entry)
    return os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def python(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(first),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def interrupt(*arguments: str, line: str, everyone: bool, first: Path | None = None) -> None:
    """Send Ctrl-C's signal after a line of stderr; all must be over soon, with nothing more said.

    A terminal sends it to `everyone`, the program's own processes included; others to the program alone.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(first),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal's foreground job is one
    )
    assert process.stderr
    try:
        assert line in iter(process.stderr.readline, "")
        time.sleep(0.5)  # for what it starts next
        os.killpg(process.pid, signal.SIGINT) if everyone else process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# How a test is called that interrupts a program.
interrupts = pytest.mark.parametrize("everyone", [True, False], ids=["Ctrl-C", "the program alone"])
posix = pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C is no signal to a group of processes")
