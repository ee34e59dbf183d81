"""Temporary copies of the repository, whose kernels are compiled in another way, and the programs that run in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def install(program: str, packages: tuple[str, ...]) -> None:
    """Install those of Debian's packages that are missing.  Exit where another system lacks their program."""
    if shutil.which("apt-get"):
        if subprocess.run(["dpkg", "--status", *packages], check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(["apt-get", "install", "-qq", "--no-install-recommends", *packages], check=True)
    elif not shutil.which(program):
        sys.exit(f"There is no {program}: install what Debian has in the packages {' '.join(packages)}.")


def copy_to(copy: Path) -> None:
    """Copy the files that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def build(copy: Path, **variables: str) -> None:
    """Compile the kernels in a copy; the variables of the environment name a compiler and its flags."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=copy, env=os.environ | variables, check=True, stdout=subprocess.DEVNULL)


def paths(copy: Path, *more: Path) -> dict[str, str]:
    """Return the variables with which programs import a copy, the helpers of its tests, and what other folders hold."""
    folders = [*(copy / name for name in (".", "backends", "tests/support")), *more]
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}


def fuzz_and_test(
    python: list[str], copy: Path, fuzz: Iterable[str], tests: Iterable[str], **variables: str
) -> tuple[str, str]:
    """Run the fuzz and tests in a copy, and return the last line of each.  Exit if one fails."""
    found = last_line([*python, "tests/fuzz", *fuzz], copy, **variables)
    return found, last_line([*python, "-m", "pytest", "-q", *tests], copy, **variables)


def last_line(command: list[str], copy: Path, **variables: str) -> str:
    """Run a command in a copy, print what it prints, and return its last line.  Exit if it fails."""
    line = ""
    with subprocess.Popen(command, cwd=copy, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return line.strip()
