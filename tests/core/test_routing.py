"""An array's type decides its backend; an array is never moved or converted; a missing backend names its remedy."""

import re
import subprocess
import sys
from importlib import import_module, invalidate_caches
from types import ModuleType

import numpy as np
import pytest
import unpool_backends
from strangers import INDICES, POOLED, X, stranger

import unpool
from unpool import backends, registry
from unpool.extras import install_command


@pytest.fixture
def cuda(monkeypatch, nothing_loaded, tmp_path):
    """Return a function that replaces the module `unpool_backends.cuda` by a source; None makes it missing."""

    def install(text):
        if text is None:
            monkeypatch.setitem(sys.modules, "unpool_backends.cuda", None)
        else:
            monkeypatch.delitem(sys.modules, "unpool_backends.cuda", raising=False)
            (tmp_path / "cuda.py").write_text(text)
            monkeypatch.setattr(unpool_backends, "__path__", [str(tmp_path), *unpool_backends.__path__])
            invalidate_caches()

    yield install
    sys.modules.pop("unpool_backends.cuda", None)


# --- which backend --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formats", [("plane",), None])
def test_a_backend_gets_only_the_formats_that_it_lists(monkeypatch, formats):
    """A backend that was written before there were taps would take them for positions in the plane."""
    cls = type(backends.route(["input"], [X]))
    if formats is None:
        monkeypatch.delattr(cls, "index_formats")
    else:
        monkeypatch.setattr(cls, "index_formats", formats)
    text = "`index_format` must be 'plane' for arrays of 'cpu', whose backend lists no other in `index_formats`, got "
    named = {"index_format": "window"}
    for call in (
        lambda: unpool.max_pool2d(X, 2, **named),
        lambda: unpool.max_unpool2d(POOLED, INDICES, 2, **named),
        lambda: unpool.max_unpool2d_backward(X, INDICES, 2, **named),
        lambda: unpool.max_pool2d_backward(POOLED, INDICES, X.shape, 2, **named),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            call()
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2), POOLED)


def test_numpy_arrays_go_to_the_cpu():
    assert type(backends.route(["input"], [X])).__module__ == "unpool_backends.cpu"
    assert backends.route(["input"], [X], "cpu") is backends.route(["input"], [X])
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2, backend="cpu"), POOLED)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("cupy", "cuda"),
        ("cupy._core.core", "cuda"),
        ("tensorflow.python.framework.ops", "tensorflow"),
        ("torch", "torch"),
        ("jax", "jax"),
        ("jaxlib._jax", "jax"),
        ("dask.array.core", "dask"),
    ],
)
def test_a_type_is_known_by_the_package_that_defines_it(monkeypatch, module, name):
    loaded = object()
    monkeypatch.setattr(registry, "LOADED", {name: loaded})
    assert backends.route(["input"], [stranger(module)]) is loaded
    assert backends.route(["input"], [stranger(module)], name) is loaded


def test_a_package_is_not_known_by_the_beginning_of_its_name():
    with pytest.raises(TypeError, match=r"got torchvision\.Tensor"):
        unpool.max_pool2d(stranger("torchvision"), 2)


def test_subclasses_go_where_their_base_goes(monkeypatch):
    loaded = object()
    monkeypatch.setattr(registry, "LOADED", {"torch": loaded})
    parameter = type("Parameter", (type(stranger("torch")),), {"__module__": "somebody"})()
    assert backends.route(["input"], [parameter]) is loaded


class Picture(np.ndarray):
    """A user's subclass of NumPy's array."""


def as_picture(array, folder):
    return array.view(Picture)


def as_memmap(array, folder):
    mapped = np.memmap(folder / str(id(array)), array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


@pytest.mark.parametrize("make", [as_picture, as_memmap])
def test_subclasses_of_numpy_arrays_come_back_as_plain_ones(make, tmp_path):
    x, pooled, indices = (make(array, tmp_path) for array in (X, POOLED, INDICES))
    assert type(x) is not np.ndarray
    results = [
        (unpool.max_pool2d(x, 2), POOLED),
        *zip(unpool.max_pool2d(x, 2, return_indices=True), (POOLED, INDICES), strict=True),
        (unpool.max_unpool2d(pooled, indices, 2), unpool.max_unpool2d(POOLED, INDICES, 2)),
        (unpool.max_pool2d_backward(pooled, indices, (4, 4), 2), unpool.max_unpool2d(POOLED, INDICES, 2)),
        (unpool.max_unpool2d_backward(x, indices, 2), POOLED),
    ]
    for result, expected in results:
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, expected)


def test_out_comes_back_as_it_is():
    out = np.empty(X.shape, X.dtype).view(Picture)
    assert unpool.max_unpool2d(POOLED, INDICES, 2, out=out) is out


# --- backend= -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "conversion"),
    [
        ("cuda", "cupy.asarray(input)"),
        ("tensorflow", "tensorflow.convert_to_tensor(input)"),
        ("torch", "torch.as_tensor(input)"),
        ("jax", "jax.numpy.asarray(input)"),
        ("dask", "dask.array.from_array(input)"),
    ],
)
def test_a_backend_of_another_library_is_refused_with_the_conversion(name, conversion):
    with pytest.raises(TypeError) as caught:
        unpool.max_pool2d(X, 2, backend=name)
    assert f"backend='{name}'" in str(caught.value)
    assert f"pass {conversion}" in str(caught.value)


def test_a_backend_never_moves_an_array():
    with pytest.raises(TypeError, match=r"backend='cpu' serves, got torch\.Tensor: pass numpy\.asarray\(input\)"):
        unpool.max_pool2d(stranger("torch"), 2, backend="cpu")


@pytest.mark.parametrize("name", ["cpus", "CPU", "numpy", "", 0])
def test_an_unknown_backend_lists_the_names(name):
    with pytest.raises(ValueError, match="`backend` must be one of") as caught:
        unpool.max_pool2d(X, 2, backend=name)
    assert f"got {name!r}" in str(caught.value)
    for known in registry.BUILT_IN:
        assert repr(known) in str(caught.value)


# --- mixing ---------------------------------------------------------------------------------------------------------


def test_two_kinds_in_one_call_are_refused_with_the_conversion():
    tensor = stranger("torch", POOLED)
    calls = {
        "numpy.asarray(indices)": lambda: unpool.max_unpool2d(POOLED, stranger("torch", INDICES), 2),
        "torch.as_tensor(indices)": lambda: unpool.max_unpool2d(tensor, INDICES, 2),
        "cupy.asarray(indices)": lambda: unpool.max_unpool2d_backward(
            stranger("cupy", X), stranger("torch", INDICES), 2
        ),
    }
    for conversion, call in calls.items():
        with pytest.raises(TypeError, match="must be arrays of one library") as caught:
            call()
        assert str(caught.value).endswith(f"pass {conversion}")


@pytest.mark.parametrize("module", ["jax", "tensorflow"])
def test_a_numpy_array_may_be_a_constant(monkeypatch, module):
    loaded = object()
    monkeypatch.setattr(registry, "LOADED", {module: loaded})
    values, indices = stranger(module, POOLED), stranger(module, INDICES)
    names = ["input", "indices", "out"]
    for given in ((values, INDICES), (POOLED, indices), (POOLED.view(Picture), indices)):
        assert backends.route(names, given) is loaded
        assert backends.route(names, given, module) is loaded
    assert backends.route([*names[:2], "output_size"], [POOLED, INDICES, stranger(module)]) is loaded
    with pytest.raises(
        TypeError, match=rf"`indices` must be .* backend='cpu' serves, got {module}\.Tensor: pass numpy"
    ):
        backends.route(names, [POOLED, indices], "cpu")
    with pytest.raises(
        TypeError, match=rf"`indices` and `out` must be .*, got {module}\.Tensor and numpy\.ndarray: pass an"
    ):
        backends.route(names, [POOLED, indices, X])
    with pytest.raises(
        TypeError, match=rf"`input` and `out` must be .*, got numpy\.ndarray and {module}\.Tensor: pass an"
    ):
        backends.route(names, [POOLED, INDICES, stranger(module)])
    other = stranger("torch", INDICES)
    with pytest.raises(
        TypeError, match=rf"`indices` and `output_size` must be .*, got {module}\.Tensor and torch\.Tensor"
    ):
        backends.route([*names[:2], "output_size"], [POOLED, indices, other])


def test_out_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"`input` and `out` must be arrays of one library"):
        unpool.max_unpool2d(POOLED, INDICES, 2, out=stranger("cupy", X))
    with pytest.raises(TypeError, match=r"`input` and `out\[1\]` must be arrays of one library"):
        unpool.max_pool2d(X, 2, return_indices=True, out=(np.empty_like(POOLED), stranger("cupy", INDICES)))


def test_an_array_that_would_convert_itself_is_not_asked_to(cuda):
    class Tempting:
        shape, dtype = POOLED.shape, POOLED.dtype

        def __array__(self, *args, **kwargs):
            raise AssertionError("copied silently")

        __dlpack__ = __array__

    Tempting.__module__ = "cupy"
    cuda(None)
    with pytest.raises(TypeError, match="must be arrays of one library"):
        unpool.max_unpool2d(Tempting(), INDICES, 2)
    with pytest.raises(unpool.BackendUnavailableError):
        unpool.max_pool2d(Tempting(), 2)


# --- the array API --------------------------------------------------------------------------------------------------


def test_numpy_and_cupy_arrays_do_without_naming_their_namespace(monkeypatch):
    cupy = ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert backends.namespace("indices", stranger("cupy")) is cupy
    assert backends.namespace("indices", X) is np


def test_other_arrays_name_their_namespace():
    array = stranger("jax")
    with pytest.raises(TypeError, match=r"or one that follows the array API, got jax\.Tensor"):
        backends.namespace("indices", array)
    type(array).__array_namespace__ = lambda self: "theirs"
    assert backends.namespace("indices", array) == "theirs"


# --- missing and broken backends ------------------------------------------------------------------------------------


def test_unavailable_is_an_import_error():
    assert issubclass(unpool.BackendUnavailableError, ImportError)


def test_a_missing_backend_says_what_to_do(cuda):
    cuda(None)
    with pytest.raises(unpool.BackendUnavailableError) as caught:
        unpool.max_pool2d(stranger("cupy"), 2)
    assert str(caught.value) == (
        "backend 'cuda' (package unpool_backends.cuda) is not installed: this version of unpool does not have it; "
        "pass NumPy arrays, for example numpy.asarray(input)"
    )


MISSING = """
import sys
class Nowhere:
    def find_spec(name, path=None, target=None):
        if name == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nowhere)
import unpool
print(*map(unpool.available().get, {names}), sep="\\n")
"""


@pytest.mark.parametrize(
    ("package", "names"), [("unpool_backends", list(registry.BUILT_IN)), ("unpool_backends.cpu", ["cpu"])]
)
def test_a_source_tree_that_was_not_built_says_so(package, names):
    """As where NumPy is installed, and Python starts in the checkout."""
    script = MISSING.format(package=package, names=names)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    advice = f"(package {package}) is not installed: build it, in the folder that holds pyproject.toml, with: pip"
    assert result.stdout.splitlines() == [f"backend {name!r} {advice} install ." for name in names]


def test_a_missing_framework_names_its_packages(cuda):
    cuda("raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')")
    with pytest.raises(unpool.BackendUnavailableError) as caught:
        unpool.max_pool2d(stranger("cupy"), 2)
    assert str(caught.value) == f"backend 'cuda' needs cupy, which is not installed: {install_command('cuda')}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise OSError('cannot make ~/.cupy')", "OSError: cannot make ~/.cupy"),
        ("raise ImportError('libcudart.so.13: cannot open')", "ImportError: libcudart.so.13: cannot open"),
        ("import a_part_of_cupy", "ModuleNotFoundError: No module named 'a_part_of_cupy'"),
        ("BACKENDS = 1", "AttributeError: module 'unpool_backends.cuda' has no attribute 'BACKEND'"),
        ("raise SystemExit('no driver')", "SystemExit: no driver"),
    ],
)
def test_a_broken_backend_shows_the_reason(cuda, text, reason):
    cuda(text)
    with pytest.raises(unpool.BackendUnavailableError) as caught:
        unpool.max_pool2d(stranger("cupy"), 2)
    assert str(caught.value).startswith(f"backend 'cuda' does not load: {reason}")
    assert caught.value.__cause__ is not None


def test_a_failure_is_not_remembered(cuda):
    cuda(None)
    with pytest.raises(unpool.BackendUnavailableError):
        backends.route(["input"], [stranger("cupy")])
    cuda("BACKEND = 'repaired'")
    assert backends.route(["input"], [stranger("cupy")]) == "repaired"


def test_available_tells_every_name_and_a_remedy(cuda):
    cuda(None)
    reasons = unpool.available()
    assert list(reasons)[: len(registry.BUILT_IN)] == list(registry.BUILT_IN)
    assert reasons["cpu"] is None
    assert reasons["cuda"] is not None
    for name, reason in reasons.items():
        if reason is not None:
            assert repr(name) in reason
            assert any(remedy in reason for remedy in ("pip install", "pass NumPy arrays", "Reinstall"))


def test_available_asks_a_backend_for_its_fault_every_time(cuda, monkeypatch):
    cuda("class BACKEND:\n    answers = []\n    def fault():\n        return BACKEND.answers.pop(0)")
    answers = import_module("unpool_backends.cuda").BACKEND.answers
    answers += [unpool.BackendUnavailableError("no device"), None, unpool.BackendUnavailableError("no driver")]
    assert unpool.available()["cuda"] == "no device"
    assert unpool.available()["cuda"] is None
    assert unpool.available()["cuda"] == "no driver"


def test_a_fault_that_raises_is_a_reason(cuda):
    cuda("class BACKEND:\n    def fault():\n        raise SystemExit('no driver')")
    assert unpool.available()["cuda"].startswith("backend 'cuda' does not load: SystemExit: no driver")


def test_a_backend_is_not_asked_for_its_fault_before_a_call(cuda):
    """`fault` takes time and may start CUDA, which breaks in a fork. An array proves that its framework works."""
    cuda("class BACKEND:\n    def fault():\n        raise AssertionError('asked')")
    assert backends.route(["input"], [stranger("cupy")]).__name__ == "BACKEND"


def test_a_backend_without_a_fault_is_available(cuda):
    cuda("BACKEND = 'loaded'")
    assert unpool.available()["cuda"] is None
