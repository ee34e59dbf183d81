"""Build an sdist and a wheel from it, and check both outside the source tree: ``check_wheel.py PROJECT FOLDER``.

The wheel must hold every source of the tree and nothing else.  Its metadata must render.  It may use only symbols
of the stable ABI.  It must work in an environment with NumPy alone.
"""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

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

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    compiled = {name for name in names if ".abi3." in name}
    modules = {name.replace(".pyx", "") for name in names if name.endswith(".pyx")}
    assert {name.partition(".abi3.")[0] for name in compiled} == modules, f"modules {modules}, compiled {compiled}"
    odd = names - compiled ^ sources(project)
    assert not odd, f"in the wheel or the tree alone: {odd}"

    bare = folder / "bare"
    venv.create(bare, clear=True, with_pip=True)
    python = bare / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-c", SMOKE, cwd=folder)
    run(python, "-m", "unpool", "info", cwd=folder)
    run(sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheel)


def sources(project: Path) -> set[str]:
    """Return the source files of every package in the tree, without built files, as paths in the wheel."""
    return {
        path.relative_to(root).as_posix()
        for root, packages in ((project, "unpool"), (project / "backends", "*"))
        for path in root.glob(f"{packages}/**/*")
        if path.is_file() and path.parent.name != "__pycache__" and path.suffix not in {".so", ".pyd"}
    }


def run(*command: object, cwd: Path | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    main()
