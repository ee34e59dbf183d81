"""Install the wheel and the sdist into empty environments on each Python, and run the command `unpool` there.

    python tools/check_installs.py
    python tools/check_installs.py --wheel unpool.whl        install this wheel, and build none

A Python that is not on the path is left out.  Beside NumPy alone, `unpool demo` must end with the command that installs
Matplotlib, which is run then; there is no demo where Matplotlib has no wheel.  A Python without the GIL gets a wheel of
its own, from the sdist.  pip takes the newest NumPy that has a wheel: the newest of all has none for 3.13 without the
GIL.  The last line names the Pythons and what worked; tools/reliability.py writes it into its table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15", "3.13t")
VERSION = "import platform, sysconfig as s; print(platform.python_version(), s.get_config_var('Py_GIL_DISABLED'))"
FACTS = ("kept are bit for bit the original", "all others are zero", "results are equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="the wheel to install; by default, one is built")
    given = parser.parse_args().wheel
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = given.resolve() if given else built(sys.executable, ROOT, folder / "abi3")
        os.chdir(folder)  # no folder of the project is on the path
        python = environment(sys.executable, folder / "builder")
        pip(python, "install", "build")
        run(python, "-m", "build", "--sdist", "--outdir", folder, ROOT)
        (sdist,) = folder.glob("*.tar.gz")
        print("| Python | archive | info | demo | installed in |\n|---|---|---|---|---|", flush=True)
        for version in PYTHONS:
            if python := shutil.which(f"python{version}"):
                ours = built(python, sdist, folder / version) if version.endswith("t") else wheel
                for archive in (ours, sdist):
                    rows.append(checked(python, archive))
                    print(f"| {' | '.join(rows[-1])} |", flush=True)
    pythons, without = (", ".join(dict.fromkeys(row[0] for row in rows if row[3] != demo)) for demo in ("", "yes"))
    print(f"wheel and sdist on Python {pythons}: info and demo{without and f', no wheel of Matplotlib on {without}'}")


def checked(python: str, archive: Path) -> tuple[str, ...]:
    """Install an archive into an environment of a Python, and return the row of the table."""
    with tempfile.TemporaryDirectory() as name:
        inside = environment(python, Path(name))
        version, unlocked = run(inside, "-c", VERSION).split()
        start = time.monotonic()
        pip(inside, "install", archive)
        seconds = time.monotonic() - start
        packages = {package["name"] for package in json.loads(pip(inside, "list", "--format=json"))}
        assert packages == {"numpy", "unpool"}, packages

        unpool = inside.with_name("unpool")
        for program in ((unpool,), (inside, "-m", "unpool")):
            assert run(*program, "--version").strip() == re.match(r"unpool-[\d.]*\d", archive.name)[0].replace("-", " ")
        facts = json.loads(run(unpool, "info", "--json"))
        assert facts["backends"].pop("cpu")["works"], facts
        assert all("is not installed" in found["reason"] for found in facts["backends"].values()), facts
        assert f"yes (numpy {facts['NumPy']})" in run(unpool, "info")
        picture = Path(name, "demo.png")
        message = run(unpool, "demo", "-o", picture, status=1)
        assert message.startswith("the demo needs matplotlib, which is not installed: "), message
        command = shlex.split(message.partition(": pip ")[2])
        problem = pip(inside, *command, "--only-binary", ":all:", status=None)
        demo = (
            "no wheel of Matplotlib" if re.search("No matching distribution|ResolutionImpossible", problem) else "yes"
        )
        if demo == "yes":
            text = run(unpool, "demo", "-o", picture)
            assert all(re.search(rf"{fact} +yes\n", text) for fact in FACTS), text
            assert picture.read_bytes().startswith(b"\x89PNG")
    kind = "wheel" if archive.suffix == ".whl" else "sdist"
    return version + "t" * (unlocked == "1"), kind, "yes", demo, f"{seconds:.0f} s"


def built(python: str, source: Path, folder: Path) -> Path:
    """Build a wheel of a folder or an sdist for a Python, and return it."""
    inside = environment(python, folder / "python")
    pip(inside, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(python: str, folder: Path) -> Path:
    """Make a virtual environment without pip, and return its interpreter."""
    run(python, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def pip(inside: Path, *arguments: object, status: int | None = 0) -> str:
    """Run the pip of this Python in an environment."""
    return run(sys.executable, "-m", "pip", "--python", inside, *arguments, status=status)


def run(*command: object, status: int | None = 0) -> str:
    """Run a command and return what it printed; end this program if its exit status is another one."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": variables | {"PIP_PREFER_BINARY": "1"}}
    result = subprocess.run([str(part) for part in command], text=True, check=False, **pipes)
    if status is not None and result.returncode != status:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout[-8000:]}")
    return result.stdout


if __name__ == "__main__":
    main()
