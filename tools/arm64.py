"""Cross-compile the kernels for arm64, and run the fuzz and the contract's indices there, under qemu's user emulation.

    python tools/arm64.py                  on Debian, as root
    python tools/arm64.py --seconds 600    further arguments are those of tests/fuzz

Debian's Python for arm64 is unpacked into a temporary folder, with wheels for arm64 beside it.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from copies import ROOT, build, copy_to, fuzz_and_test, install, last_line, paths

PACKAGES = ("debootstrap", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static")
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
SUITE, PYTHON = "bookworm", "python3.11"
# The first of these folders that a wheel names is taken.
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux2014_aarch64")
ABOUT = """
import platform, numpy, unpool_backends.cpu
assert platform.machine() == "aarch64" and unpool_backends.cpu.openmp()
print(f"{platform.machine()}, Python {platform.python_version()}, NumPy {numpy.__version__}")
"""
# In this process, and tests that start none: a program that starts another one would do so without the emulator.
FUZZ = ("--here", "--seconds", "180")
TESTS = ("--one-in", "8", *(f"unpool/testing/contract/test_{name}.py" for name in ("indices", "window_format")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _, fuzz = parser.parse_known_args()
    install(EMULATOR, PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        copy, root, wheels = (Path(folder, name) for name in ("unpool", "root", "wheels"))
        unpack_python(root)
        unpack_wheels(wheels)
        emulator = [EMULATOR, "-L", str(root)]
        copy_to(copy)
        build(copy, **compiler(root, wheels), CROSSCOMPILING_EMULATOR=shlex.join(emulator))
        python, variables = [*emulator, str(root / "usr/bin" / PYTHON)], paths(copy, wheels)
        about = last_line([*python, "-c", ABOUT], copy, **variables)
        found = fuzz_and_test(python, copy, [*FUZZ, *fuzz], TESTS, OMP_WAIT_POLICY="passive", **variables)
    print(f"{about}: {'; '.join(found)}")


def unpack_python(root: Path) -> None:
    """Unpack Debian's packages for arm64, without running a program of them."""
    wanted = f"--include={PYTHON},lib{PYTHON}-dev,libgomp1,libstdc++6"
    options = ["--arch=arm64", "--variant=minbase", "--download-only", wanted]
    subprocess.run(["debootstrap", *options, SUITE, str(root)], check=True, stdout=subprocess.DEVNULL)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)


def unpack_wheels(folder: Path) -> None:
    """Unpack the wheels of what unpool and its tests need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    platforms = [f"--platform={name}" for name in PLATFORMS]
    options = ["--quiet", "--only-binary=:all:", "--python-version=3.11", *platforms, f"--target={folder}"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *needed], check=True)


def compiler(root: Path, wheels: Path) -> dict[str, str]:
    """Return the variables with which setup.py compiles for arm64, with the headers of its Python and NumPy."""
    first = f"-I{root}/usr/include/{PYTHON} -I{wheels}/numpy/_core/include"
    # -isystem: our memory.h has the name of a header of the system.
    return {"CC": COMPILER, "LDSHARED": f"{COMPILER} -shared", "CFLAGS": f"{first} -isystem {root}/usr/include"}


if __name__ == "__main__":
    main()
