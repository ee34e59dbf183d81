"""Builds an sdist, and a wheel from it, and checks both away from the source tree: ``check_wheel.py PROJECT FOLDER``.

What the wheel holds, that its metadata renders, that its symbols are those of the stable ABI, and that it works in an
environment which has NumPy and nothing else.
"""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

EXPECTED = {
    "unpool/__init__.py",
    "unpool/py.typed",
    "unpool_cpu/__init__.py",
    "unpool_cpu/_kernels.pyi",
    "unpool_cpu/_kernels.pyx",
    "unpool_cpu/numbers.h",
    "unpool_cpu/pooling.pxi",
    "unpool_cpu/py.typed",
}
SMOKE = """
import doctest, sys, unpool, unpool.functional
assert doctest.testmod(unpool).failed == doctest.testmod(unpool.functional).failed == 0
extra = {name.partition(".")[0] for name in sys.modules} & {"pytest", "ml_dtypes", "matplotlib", "torch"}
assert not extra, extra
"""


def main() -> None:
    project, folder = (Path(argument).resolve() for argument in sys.argv[1:])
    dist = folder / "dist"
    for old in dist.glob("*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", dist, project)
    (wheel,) = dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    run(sys.executable, "-m", "abi3audit", "--strict", wheel)

    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= EXPECTED, f"missing from the wheel: {EXPECTED - names}"
    assert any(name.startswith("unpool_cpu/_kernels.abi3.") for name in names), "no compiled kernels in the wheel"
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"unpool", "unpool_cpu"}, f"top-level packages of the wheel: {packages}"

    bare = folder / "bare"
    venv.create(bare, clear=True, with_pip=True)
    python = bare / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-c", SMOKE, cwd=folder)
    run(python, "-m", "unpool", "info", cwd=folder)
    run(sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel)


def run(*command: object, cwd: Path | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    main()
