"""Test the oldest and the newest version of a library that pyproject.toml admits.

    python tools/versions.py jax
    python tools/versions.py jax --wheel unpool.whl      test this wheel, and build none

The oldest version is the lower bound in pyproject.toml, on the oldest Python that it admits, which must be on the path.
The newest one is pip's choice for the Python that runs this program.  Both are installed into temporary environments.
The last line names the versions and what their tests printed; tools/reliability.py writes it into its table.
LIBRARIES names the tests: those that use the library, or a share of them that takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTRACT = "pytest -q --pyargs --one-in 32 unpool.testing.contract"


class Library(NamedTuple):
    tests: str  # the arguments of Python after -m
    extras: str = "test"
    beside: tuple[str, ...] = ()  # pinned as in tox.ini
    keras: str = "jax"  # the backend of Keras


TORCH = "torch==2.13.0"
THREADS = "tests/cpu/test_threads.py tests/cpu/test_bands.py tests/cpu/test_blocks.py tests/cpu/test_taps.py"
LIBRARIES = {
    "numpy": Library(f"{CONTRACT} tests/cpu"),
    "tensorflow": Library(f"{CONTRACT} --arrays tensorflow tests/tensorflow", "test,tensorflow", keras="tensorflow"),
    "torch": Library(f"{CONTRACT} --arrays torch tests/torch", "test,torch"),
    "jax": Library(f"{CONTRACT} --arrays jax,jax-jit tests/jax", "test,jax"),
    "dask": Library(f"{CONTRACT} --arrays dask tests/dask", "test,dask"),
    "keras": Library("pytest -q --one-in 32 tests/keras", "test,keras,jax"),
    "onnx": Library("pytest -q tests/torch/test_onnx.py", "test,onnx", (TORCH, "onnxruntime==1.32.0")),
    "onnxscript": Library("pytest -q tests/torch/test_onnx.py", "test,onnx", (TORCH, "onnxruntime==1.32.0")),
    "onnxruntime": Library("pytest -q tests/torch/test_onnx.py", "test,onnx", (TORCH,)),
    "ml_dtypes": Library(CONTRACT),
    "matplotlib": Library("pytest -q tests/commands", "test,demo"),
    "pytest": Library(f"{CONTRACT} tests/core/test_suite.py tests/core/test_selection.py"),
    "hypothesis": Library(f"{CONTRACT} tests/core/test_strategies.py"),
    "sybil": Library("pytest -q tests/core/test_documentation.py"),
    "threadpoolctl": Library(f"pytest -q --one-in 8 {THREADS}"),
    "mypy": Library("mypy", "dev"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tools/versions.py", description=str(__doc__).partition("\n")[0])
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("--wheel", type=Path, help="the wheel to test; by default, one is built")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if (wheel := options.wheel) is None:
            run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT))
            (wheel,) = Path(folder).glob("*.whl")
        oldest = tested(options.library, f"=={lower_bound(options.library)}", oldest_python(), wheel.resolve())
        newest = tested(options.library, "", sys.executable, wheel.resolve())
    print(f"{oldest}; {newest}")


def lower_bound(library: str) -> str:
    """Return the lower bound of a library, which must be the same wherever pyproject.toml names the library."""
    texts = [*PROJECT["dependencies"], *(text for texts in PROJECT["optional-dependencies"].values() for text in texts)]
    named = [found for found in map(Requirement, texts) if canonicalize_name(found.name) == canonicalize_name(library)]
    (bound,) = {part.version for found in named for part in found.specifier if part.operator == ">="}
    return bound


def oldest_python() -> str:
    return "python" + PROJECT["requires-python"].removeprefix(">=")


def tested(library: str, version: str, python: str, wheel: Path) -> str:
    """Install one version beside the wheel and run its tests; return the version and the tests' last line."""
    tests, extras, beside, keras = LIBRARIES[library]
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", "--without-pip", folder)
        inside = str(Path(folder, "bin", "python"))
        # In one call, so that pip must agree with itself.
        pip = (sys.executable, "-m", "pip", "--python", inside)
        run(*pip, "install", "--quiet", f"{wheel}[{extras}]", f"{library}{version}", *beside)
        code = f"import platform, importlib.metadata as m; print(m.version({library!r}), platform.python_version())"
        name = " on Python ".join(run(inside, "-c", code).split())
        print(f"{library} {name}", flush=True)
        # The installed package is tested: the working directory stays off the path.  A skip of what is promised fails.
        variables = {"PYTHONSAFEPATH": "1", "UNPOOL_REQUIRE": f"cpu,{library}", "KERAS_BACKEND": keras}
        if version:
            # Beside newer libraries, an old one may use what they deprecate.
            variables["PYTEST_ADDOPTS"] = "-W default::DeprecationWarning"
        result = run(inside, "-m", *tests.split(), **variables).rstrip().splitlines()[-1]
    # Without the seconds of pytest.
    return f"{name}: {re.sub(r' in [0-9.]+s.*', '', result)}"


def run(*command: str, **variables: str) -> str:
    """Run a command in the project's folder, and return what it printed; end this program if it fails."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False, text=True, **pipes)
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout[-8000:]}")
    return result.stdout


if __name__ == "__main__":
    main()
