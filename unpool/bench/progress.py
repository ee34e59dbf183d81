"""Say on standard error how far a benchmark is: on one line of a terminal, which is overwritten, or on plain lines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Progress:
    """The progress of one peer; lines that cannot be written are left out."""

    def __init__(self, peer: str, cases: int) -> None:
        self.peer = peer
        self.cases = cases
        self._terminal = sys.stderr.isatty()
        if self._terminal:
            self.done(0)
        else:
            _write(f"{peer}\n")

    def done(self, cases: int) -> None:
        """Overwrite the line of a terminal with the number of cases that were timed."""
        self._line(f"{self.peer}: {cases} of {self.cases} cases")

    def clear(self) -> None:
        self._line("")

    def _line(self, text: str) -> None:
        if self._terminal:
            room = shutil.get_terminal_size().columns - 1  # a full line would start the next one
            _write(f"\r{text[:room]:<{room}}" + "\r" * (not text))


@contextmanager
def progress(peer: str, cases: int) -> Iterator[Progress]:
    """Show the progress of a peer, and clear its line at the end, also after Ctrl-C."""
    shown = Progress(peer, cases)
    try:
        yield shown
    finally:
        shown.clear()


def _write(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
