"""Run the command line in processes of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from processes import python


def main(*arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-m", "unpool", *arguments, first=first)


def rows(text: str) -> dict[str, str]:
    """Return the rows of two columns, which two or more spaces separate, as a dictionary."""
    pairs = (line.strip().partition("  ") for line in text.splitlines())
    return {name: value.strip() for name, divider, value in pairs if divider}
