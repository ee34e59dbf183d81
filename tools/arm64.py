"""Cross-compile the kernels for arm64, and run the fuzz and the contract's indices there, under qemu's user emulation.

    python tools/arm64.py --minutes 3

It needs Debian, and root to unpack Debian's Python for arm64 into a temporary folder.  The extension modules are
compiled here: they use the stable ABI, whose headers do not depend on the processor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from copies import copy_to, install, paths

PACKAGES = ("debootstrap", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static")
# Of Debian 12, which is what manylinux wheels for arm64 run on, too.
PYTHON, SUITE = "python3.11", "bookworm"
# Programs that start a second Python would start it without the emulator.
TESTS = ("tests/contract/test_indices.py", "tests/contract/test_window_format.py", "--one-in", "8")
WHEELS = ("numpy", "pytest", "hypothesis", "ml_dtypes", "sybil", "threadpoolctl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3, help="how long the fuzz runs")
    parser.add_argument("--seed", type=int, default=23, help="of the fuzz")
    options = parser.parse_args()
    install("qemu-aarch64-static", PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        copy, root, site = (Path(folder, name) for name in ("unpool", "root", "site"))
        copy_to(copy)
        unpack(root)
        get_wheels(site)
        for name in ("_kernels", "_memory"):
            compile_module(copy, site, name)
        fuzz = ["tests/fuzz", "--here", "--seconds", str(60 * options.minutes), "--seed", str(options.seed)]
        about = ["-m", "unpool", "info"]
        tests = ["-m", "pytest", "-q", *TESTS]
        failed = [run(copy, root, site, arguments) for arguments in (about, fuzz, tests)]
    sys.exit(any(failed))


def unpack(root: Path) -> None:
    """Unpack Debian's Python for arm64, and what it needs, without running a program of them."""
    wanted = f"--include={PYTHON},libgomp1"
    options = ["--arch=arm64", "--variant=minbase", "--download-only", wanted]
    subprocess.run(["debootstrap", *options, SUITE, str(root)], check=True, stdout=subprocess.DEVNULL)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)


def get_wheels(site: Path) -> None:
    platforms = [f"--platform=manylinux{version}_aarch64" for version in ("_2_28", "2014")]
    options = ["--only-binary=:all:", "--python-version=3.11", *platforms, f"--target={site}"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *options, *WHEELS]
    subprocess.run(command, check=True)


def compile_module(copy: Path, site: Path, name: str) -> None:
    """Compile an extension module as setup.py does, except that no program can look for OpenMP."""
    folder = Path("backends/unpool_backends/cpu")
    module = f"unpool_backends.cpu.{name}"
    source = folder / f"{name}.c"
    cython = [sys.executable, "-m", "cython", "-3", "-I", "backends", "--module-name", module]
    subprocess.run([*cython, str(folder / f"{name}.pyx"), "-o", str(source)], cwd=copy, check=True)
    includes = [sysconfig.get_path("include"), "backends/unpool_backends/include", str(site / "numpy/_core/include")]
    flags = ["-O3", "-g0", "-fwrapv", "-fPIC", "-shared", "-fopenmp", "-DNDEBUG", "-DPy_LIMITED_API=0x030B0000"]
    command = ["aarch64-linux-gnu-gcc", *flags, f"-I{folder}", *(f"-I{include}" for include in includes)]
    subprocess.run([*command, str(source), "-o", str(folder / f"{name}.abi3.so")], cwd=copy, check=True)


def run(copy: Path, root: Path, site: Path, arguments: list[str]) -> bool:
    """Run Python for arm64, and return True if it failed."""
    begin = time.monotonic()
    variables = {"PYTHONPATH": os.pathsep.join([paths(copy)["PYTHONPATH"], str(site)]), "OMP_WAIT_POLICY": "passive"}
    command = ["qemu-aarch64-static", "-L", str(root), str(root / "usr/bin" / PYTHON), *arguments]
    code = subprocess.run(command, cwd=copy, env=os.environ | variables, check=False).returncode
    how = "passed" if code == 0 else f"FAILED with {code}"
    print(f"arm64: {' '.join(arguments)}: {how} in {time.monotonic() - begin:.0f} s", flush=True)
    return code != 0


if __name__ == "__main__":
    main()
