"""Importing unpool costs NumPy alone, and a call on one library's arrays imports no other library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unpool

FRAMEWORKS = ("tensorflow", "torch", "jax", "jaxlib", "cupy", "keras")
# Not frameworks, but paid for by everybody if imported at the start.
EXPENSIVE = ("matplotlib", "scipy", "importlib.metadata", "unpool_backends")


def imported(script):
    """Run a script in a process of its own; return the modules that it imported which NumPy alone does not."""
    program = f"""
import sys
import numpy
before = set(sys.modules)
{script}
print("\\n".join(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def packages(modules):
    """The packages of modules, without the standard library and the modules that compiled Cython makes up."""
    names = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    return {name for name in names if not name.startswith(("cython_runtime", "_cython_"))}


def test_importing_unpool_imports_nothing_else():
    modules = imported("import unpool")
    assert "unpool.functional" in modules
    assert not modules & {*FRAMEWORKS, *EXPENSIVE}
    assert packages(modules) == {"unpool"}


CALLS = """
import unpool
x = numpy.ones((1, 1, 4, 4), "float32")
values, indices = unpool.max_pool2d(x, 2, return_indices=True)
unpool.max_unpool2d(values, indices, 2)
unpool.max_pool2d_backward(values, indices, (4, 4), 2)
unpool.max_unpool2d_backward(x, indices, 2)
unpool.convert_indices(indices, "plane", "onnx", output_size=x.shape)
unpool.MaxUnpool2d(2)(*unpool.MaxPool2d(2, return_indices=True, backend="cpu")(x))
try:
    unpool.max_pool2d([1], 2)
except TypeError:
    pass
"""


def test_calls_on_numpy_arrays_import_the_cpu_backend_and_nothing_else():
    modules = imported(CALLS)
    assert "unpool_backends.cpu" in modules
    assert not modules & {*FRAMEWORKS, *EXPENSIVE} - {"unpool_backends"}
    assert packages(modules) - {"numpy"} == {"unpool", "unpool_backends"}


def test_checks_come_before_a_backend_is_imported():
    """A wrong call is told so even where the backend is missing."""
    modules = imported("""
import unpool
try:
    unpool.max_pool2d(numpy.ones((1, 1, 4, 4)), 5)
except ValueError:
    pass
""")
    assert "unpool_backends.cpu" not in modules


def test_entry_points_are_read_only_for_strangers():
    modules = imported("""
import unpool
try:
    unpool.max_pool2d(type("Array", (), {"shape": (1, 1, 4, 4), "dtype": "float32"})(), 2)
except TypeError:
    pass
""")
    assert "importlib.metadata" in modules
    assert not modules & set(FRAMEWORKS)


# What importing a framework is the whole purpose of.
ABOUT_A_FRAMEWORK = ("keras", "torch.py")
ROOT = Path(unpool.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in ABOUT_A_FRAMEWORK]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_imports_a_framework(path):
    """Not even inside a function: arrays bring their own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module.partition(".")[0])
    assert not found & set(FRAMEWORKS)


def test_the_scan_above_has_something_to_scan():
    names = {path.relative_to(ROOT).as_posix() for path in FILES}
    assert {"__init__.py", "functional.py", "plan.py", "errors.py", "backends.py", "bench/peers.py"} <= names
