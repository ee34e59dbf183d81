"""Check what `python -m build` made in DIST, an sdist and a wheel of it: ``check_wheel.py PROJECT FOLDER DIST``.

The sdist must hold what git tracks, and the wheel every source of the packages, and nothing else.  Their metadata must
render.  The wheel may use only symbols of the stable ABI.  It must work in an environment with NumPy alone.  Tests must
pass in the unpacked sdist.  All of this is tried in FOLDER, outside the source tree.
"""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

SMOKE = """
import doctest, sys, unpool
from unpool.functional import gradients, pooling, unpooling
assert not any(doctest.testmod(module).failed for module in (unpool, gradients, pooling, unpooling))
extra = {name.partition(".")[0] for name in sys.modules} & {"pytest", "ml_dtypes", "matplotlib", "torch"}
assert not extra, extra
try:
    import unpool.testing
except ModuleNotFoundError as error:
    assert "hypothesis>=" in str(error), error
else:
    raise AssertionError("unpool.testing works without its extra")
"""
# Of an sdist, beside what git tracks.
WRITTEN = {"PKG-INFO", "setup.cfg"}
# Tests that read many files of the repository, of setup.py, and of a part of the contract.
TESTS = (
    *(f"tests/core/test_{name}.py" for name in ("documentation", "extras", "packaging", "reliability", "setup")),
    "unpool.testing.contract.test_indices",
)
REQUIRED = "cpu,Cython,gridarray,setuptools"


def main() -> None:
    project, folder, dist = (Path(argument).resolve() for argument in sys.argv[1:])
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    toplevel = ("--toplevel", "unpool,unpool_backends")
    run(sys.executable, "-m", "check_wheel_contents", "--no-config", *toplevel, wheel)
    run(sys.executable, "-m", "abi3audit", "--strict", wheel)

    names = contents(wheel)
    compiled = {name for name in names if ".abi3." in name}
    modules = {name.replace(".pyx", "") for name in names if name.endswith(".pyx")}
    assert {name.partition(".abi3.")[0] for name in compiled} == modules, f"modules {modules}, compiled {compiled}"
    same("the wheel", names - compiled, sources(project))
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
        archive.extractall(folder, filter="data")
    same("the sdist", {name for name in files if ".egg-info/" not in name}, tracked(project) | WRITTEN)

    python = environment(folder / "bare")
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-c", SMOKE, cwd=folder)
    run(python, "-m", "unpool", "info", cwd=folder)
    run(python.with_name("unpool"), "info", "--json", cwd=folder)

    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    python = environment(folder / "tests")
    backend = tomllib.loads((unpacked / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[test]", unpacked / "tests" / "plugin", *backend)
    # -P: the installed package is tested, and not the one in the working directory.
    pytest = (python, "-P", "-m", "pytest", "-q", "--one-in", "8", "--pyargs")
    run(*pytest, *TESTS, cwd=unpacked, UNPOOL_REQUIRE=REQUIRED)


def same(archive: str, found: set[str], expected: set[str]) -> None:
    assert found == expected, f"in {archive} alone: {found - expected}; missing there: {expected - found}"


def contents(wheel: Path) -> set[str]:
    """Return the files of a wheel, without its metadata."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def sources(project: Path) -> set[str]:
    """Return the source files of every package in the tree, as they are named in a wheel."""
    return {
        name.removeprefix("backends/") for name in tracked(project) if name.startswith(("unpool/", "backends/unpool_"))
    }


def tracked(project: Path) -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=project, check=True, capture_output=True, text=True)
    return set(listed.stdout.splitlines())


def environment(folder: Path) -> Path:
    """Make a virtual environment, and return its interpreter."""
    venv.create(folder, clear=True, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def run(*command: object, cwd: Path | None = None, **variables: str) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=os.environ | variables)


if __name__ == "__main__":
    main()
