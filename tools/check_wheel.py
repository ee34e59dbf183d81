"""Check a wheel, and an sdist built here, outside the source tree: ``check_wheel.py PROJECT FOLDER``.

Both must hold every source of the tree and nothing else, so a wheel of the sdist is the same.  Their metadata must
render.  The wheel may use only symbols of the stable ABI.  It must work in an environment with NumPy alone.

TOX_PACKAGE names the wheel; tox sets it.
"""

import os
import subprocess
import sys
import tarfile
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
    assert "unpool[test]" in str(error), error
else:
    raise AssertionError("unpool.testing works without its extra")
"""
# Of an sdist, beside the packages.
FILES = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}


def main() -> None:
    project, folder, wheel = (Path(argument).resolve() for argument in (*sys.argv[1:], os.environ["TOX_PACKAGE"]))
    dist = folder / "dist"
    for old in dist.glob("*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--sdist", "--outdir", dist, project)
    (sdist,) = dist.iterdir()
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    run(sys.executable, "-m", "abi3audit", "--strict", wheel)

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    compiled = {name for name in names if ".abi3." in name}
    modules = {name.replace(".pyx", "") for name in names if name.endswith(".pyx")}
    assert {name.partition(".abi3.")[0] for name in compiled} == modules, f"modules {modules}, compiled {compiled}"
    same("the wheel", names - compiled, sources(project))
    with tarfile.open(sdist) as archive:
        files = {
            name.partition("/")[2] for name, member in zip(archive.getnames(), archive, strict=True) if member.isfile()
        }
    same("the sdist", {name for name in files if ".egg-info/" not in name}, sources(project, "backends/") | FILES)

    bare = folder / "bare"
    venv.create(bare, clear=True, with_pip=True)
    scripts = bare / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-c", SMOKE, cwd=folder)
    run(python, "-m", "unpool", "info", cwd=folder)
    run(scripts / "unpool", "info", "--json", cwd=folder)


def same(archive: str, found: set[str], expected: set[str]) -> None:
    assert found == expected, f"in {archive} alone: {found - expected}; missing there: {expected - found}"


def sources(project: Path, backends: str = "") -> set[str]:
    """Return the source files of every package in the tree, without built files; paths of backends get a prefix."""
    return {
        prefix + path.relative_to(root).as_posix()
        for root, packages, prefix in ((project, "unpool", ""), (project / "backends", "*", backends))
        for path in root.glob(f"{packages}/**/*")
        if path.is_file() and path.parent.name != "__pycache__" and path.suffix not in {".so", ".pyd"}
    }


def run(*command: object, cwd: Path | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    main()
