"""Test the oldest and the newest version of each library that unpool's extras admit, and write them into a table.

    python tools/versions.py numpy jax dask            these libraries
    python tools/versions.py                           all of them: tens of gigabytes are downloaded

The oldest version is the lower bound in pyproject.toml; uv finds it, and the newest one, in virtual environments of
their own.  A row of docs/reliability.md is replaced if the tests of both versions pass, with what they printed last.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- versions: tools/versions.py fills the rows -->", "<!-- versions end -->"
# Interpreters of the oldest versions, and of the newest ones.
PYTHONS = {"lowest-direct": "3.11", "highest": "3.13"}


class Library(NamedTuple):
    # Of pyproject.toml; and pytest's arguments.
    extras: str
    tests: str
    variables: tuple[tuple[str, str], ...] = ()


CONTRACT = "--one-in 32 tests/contract"
LIBRARIES = {
    "numpy": Library("test", "--one-in 8 tests/contract tests/cpu"),
    "torch": Library("test,torch", f"--arrays torch {CONTRACT}"),
    "jax": Library("test,jax", f"--arrays jax {CONTRACT}"),
    "tensorflow": Library("test,tensorflow", f"--arrays tensorflow {CONTRACT}"),
    "dask": Library("test,dask", f"--arrays dask {CONTRACT}"),
    "keras": Library("test,keras,jax", "--one-in 8 tests/keras/test_layers.py", (("KERAS_BACKEND", "jax"),)),
    "onnx": Library("test,onnx", "tests/torch/test_onnx.py"),
    "matplotlib": Library("test,demo", "tests/commands"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=", ".join(LIBRARIES))
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table is")
    options = parser.parse_args()
    names = options.libraries or list(LIBRARIES)
    if unknown := set(names) - set(LIBRARIES):
        parser.error(f"no such library: {', '.join(unknown)}; choose from {', '.join(LIBRARIES)}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        run("uv", "build", "--quiet", "--wheel", "--out-dir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("*.whl")
        for name in names:
            found = [tested(Path(folder), wheel, name, resolution) for resolution in PYTHONS]
            if None in found:
                failed.append(name)
            else:
                write(options.page, f"| {name} | {' | '.join(map(str, found))} | {datetime.date.today()} |")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def tested(folder: Path, wheel: Path, name: str, resolution: str) -> str | None:
    """Install one version and run the tests; return the version and the number of tests, or None if one failed."""
    library = LIBRARIES[name]
    python = folder / f"{name}-{resolution}" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", PYTHONS[resolution], str(python.parents[1]))
    wanted = f"unpool[{library.extras}] @ {wheel.as_uri()}"
    run("uv", "pip", "install", "--quiet", "--python", str(python), "--resolution", resolution, wanted)
    version = output(python, "-c", f"from importlib.metadata import version; print(version({name!r}))").strip()
    # The installed package is tested: the working directory stays off the path.
    variables = {**dict(library.variables), "PYTHONSAFEPATH": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    lines = output(python, "-m", "pytest", "-q", *library.tests.split(), **variables)
    last = re.findall(r"\d+ (?:passed|failed|error)", lines)
    print(f"{name} {version}, Python {PYTHONS[resolution]}: {', '.join(last)}", flush=True)
    if len(last) != 1 or not last[0].endswith("passed"):
        print(lines[-4000:], flush=True)
        return None
    return f"{version}, Python {PYTHONS[resolution]}: {last[0]}"


def output(python: Path, *arguments: str, **variables: str) -> str:
    command = [str(python), *arguments]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False, capture_output=True, text=True)
    return result.stdout + result.stderr


def write(page: Path, row: str) -> None:
    """Put a row into the table, in the place of the one of the same library."""
    before, rest = page.read_text().split(f"{BEGIN}\n")
    table, after = rest.split(END)
    head, rows = table.splitlines()[:2], table.splitlines()[2:]
    name = row.split(" | ")[0]
    rows = sorted([*(other for other in rows if other.split(" | ")[0] != name), row])
    page.write_text("\n".join([f"{before}{BEGIN}", *head, *rows, f"{END}{after}"]))


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
