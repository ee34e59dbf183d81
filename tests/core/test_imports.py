"""Importing unpool imports only NumPy, and a call on one library's arrays imports no other library."""

import ast
import graphlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import unpool_backends

import unpool
from unpool.extras import install_command

FRAMEWORKS = ("tensorflow", "torch", "jax", "jaxlib", "cupy", "dask", "keras")
# These are no frameworks, but importing them would slow down every `import unpool`.
EXPENSIVE = ("matplotlib", "scipy", "importlib.metadata", "unpool_backends")


def imported(script):
    """Run a script in a new process, and return the modules that it imports in addition to NumPy's."""
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
    """Return the packages of modules, without the standard library and the modules that Cython creates."""
    names = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    return {name for name in names if not name.startswith(("cython_runtime", "_cython_"))}


def test_importing_unpool_imports_nothing_else():
    modules = imported("import unpool")
    assert "unpool.functional" in modules
    assert "unpool.testing" not in modules
    assert not modules & {*FRAMEWORKS, *EXPENSIVE}
    assert packages(modules) == {"unpool"}


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_parts_are_imported_when_they_are_used(name):
    """Listing or comparing attributes imports none."""
    used = f"import unpool; dir(unpool); hasattr(unpool, 'tensors'); {{}}; assert unpool.{name}.__name__"
    if importlib.util.find_spec(name):
        modules = imported(used.format(f"assert 'unpool.{name}' not in sys.modules"))
        assert f"unpool.{name}" in modules
    text = f"unpool.{name} needs {name}, which is not installed: {install_command(name)}"
    imported(f"""
import unpool
sys.modules[{name!r}] = None  # as if it were not installed
assert not hasattr(unpool, {name!r})
try:
    unpool.{name}
except AttributeError as error:
    assert str(error) == {text!r}, error
""")


@pytest.mark.parametrize("part", ["arrays", "plugin", "strategies"])
def test_the_suite_names_its_extra(part):
    text = f"unpool.testing needs hypothesis, ml_dtypes, which is not installed: {install_command('test')}"
    imported(f"""
sys.modules["hypothesis"] = sys.modules["ml_dtypes"] = None  # as if they were not installed
try:
    import unpool.testing.{part}
except ModuleNotFoundError as error:
    assert str(error) == {text!r}, error
else:
    raise AssertionError("the missing packages are not reported")
""")


def test_other_attributes_are_missing():
    with pytest.raises(AttributeError, match="module 'unpool' has no attribute 'max_pool4d'"):
        _ = unpool.max_pool4d


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
    """A wrong call raises its error even if the backend is missing."""
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


# --- the structure of the sources -------------------------------------------------------------------------------------

ROOT = Path(unpool.__file__).parent
SOURCES = {
    ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for package in (ROOT, Path(unpool_backends.__file__).parent)
    for path in package.rglob("*.py")
}
# These modules exist to import a framework.
ABOUT_A_FRAMEWORK = ("unpool.keras", "unpool.torch")
CORE = {
    name: path
    for name, path in SOURCES.items()
    if path.is_relative_to(ROOT) and not f"{name}.".startswith(tuple(f"{about}." for about in ABOUT_A_FRAMEWORK))
}


def imports(path):
    """Return the modules that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in SOURCES else node.module for part in parts}
    return found


def test_the_scans_have_something_to_scan():
    assert {"unpool", "unpool.sizes", "unpool.bench.peers", "unpool.testing.contract.test_indices"} <= set(CORE)
    assert {"unpool.torch", "unpool.keras.pooling", "unpool_backends.jax.host"} <= set(SOURCES) - set(CORE)
    assert "unpool_backends.torch" in imports(SOURCES["unpool.registry"])


def test_no_module_imports_in_a_circle():
    """An import inside a function counts too."""
    # A package imports its compiled modules from itself, which is no circle.
    graph = {name: imports(path) & set(SOURCES) - {name} for name, path in SOURCES.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(SOURCES)


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter({"unpool": {"unpool.torch"}, "unpool.torch": {"unpool"}}).static_order())


@pytest.mark.parametrize("name", CORE)
def test_no_source_imports_a_framework(name):
    """An import inside a function counts too. Backends import frameworks, and the core does not."""
    assert not {module.partition(".")[0] for module in imports(CORE[name])} & set(FRAMEWORKS)


# The table of backends, the words of arguments and conventions, the test for tracing, the versions that `info` prints,
# and peers of the benchmark.
MAY_NAME = ("registry", "arguments", "conventions", "tracing", "info", "bench.peers", "bench.plot", "__main__")
MAY_NAME_A_FRAMEWORK = {f"unpool.{name}" for name in MAY_NAME}
NAMED = re.compile(r"\b(tensorflow|tf|torch|pytorch|jax|jaxlib|cupy|keras|dask)\b", re.IGNORECASE)
# This advice calls conventions by the names of their libraries.
OF_CONVENTIONS = "if TensorFlow, ONNX or Chainer made the indices, convert them by unpool.convert_indices"


@pytest.mark.parametrize("name", sorted(set(CORE) - MAY_NAME_A_FRAMEWORK))
def test_the_core_names_no_framework(name):
    """Identifiers and strings name none. Docstrings and comments may."""
    tree = ast.parse(CORE[name].read_text(encoding="utf-8"))
    documented = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    docstrings = {id(node.body[0].value) for node in documented if isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        parts = [getattr(node, field, None) for field in ("id", "attr", "arg", "value")]
        for part in parts if id(node) not in docstrings else ():
            if isinstance(part, str):
                assert not NAMED.search(part.replace(OF_CONVENTIONS, "")), f"line {node.lineno}: {part}"


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"unpool.tracing"}))
def test_what_depends_on_sizes_is_cached_by_remembered(name):
    """A function whose arguments may be symbols is cached by `unpool.tracing.remembered`, which never keeps symbols."""
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            cached = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
            assert not cached & {"lru_cache", "cache", "functools.lru_cache"} or name in KNOWN_SIZES, node.name


# Sizes are always integers here, or the cached function takes no sizes.
KNOWN_SIZES = {
    "unpool.bench.cases",
    *(name for name in SOURCES if name.startswith("unpool.testing.")),
    "unpool_backends.cuda",
    "unpool_backends.cuda.job",
    "unpool_backends.cuda.kernels",
    "unpool_backends.dask.chunks",
    "unpool_backends.jax.host",
    "unpool_backends.jax.native",
    "unpool_backends.torch.memory",
}
