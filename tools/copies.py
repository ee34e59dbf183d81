"""Temporary copies of the repository, whose kernels are compiled in another way, and the compilers for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


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


def paths(copy: Path) -> dict[str, str]:
    """Return the variables with which programs import a copy and the helpers of its tests."""
    return {"PYTHONPATH": os.pathsep.join(str(copy / name) for name in (".", "backends", "tests/support"))}


def install(program: str, packages: tuple[str, ...]) -> None:
    """Install Debian's packages if a program is missing."""
    if shutil.which(program):
        return
    if not shutil.which("apt-get"):
        sys.exit(f"There is no {program}: install what Debian has in the packages {' '.join(packages)}.")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-qq", "--no-install-recommends", *packages], check=True)
