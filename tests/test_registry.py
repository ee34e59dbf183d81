"""An array finds its backend by its type, strangers enter by the same door, and what is missing says how to get it.

Two kinds of strangers serve here: classes made on the spot that claim to come from a framework, and `gridarray`, a
whole third-party package under tests/plugin, which tox installs.
"""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from needs import require

import unpool
from unpool import backends, errors

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)


def stranger(module, like=X):
    """An object of shape and dtype whose type says that it was defined in `module`."""
    return type("Tensor", (), {"__module__": module, "shape": like.shape, "dtype": like.dtype})()


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(backends, "_loaded", {})


@pytest.fixture
def cuda(monkeypatch, nothing_loaded, tmp_path):
    """Let the module `unpool_cuda` be the text given, whatever is installed; None for a module that is not there."""

    def install(text):
        if text is None:
            monkeypatch.setitem(sys.modules, "unpool_cuda", None)
        else:
            monkeypatch.delitem(sys.modules, "unpool_cuda", raising=False)
            (tmp_path / "unpool_cuda.py").write_text(text)
            monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("unpool_cuda", None)


def plugin(monkeypatch, folder, name, text):
    """Put a third-party backend on the path, as an installer would leave it; each test takes a name of its own."""
    (folder / f"{name}.py").write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unpool.backends]\n{name} = {name}:BACKEND\n")
    monkeypatch.syspath_prepend(folder)


# --- which backend --------------------------------------------------------------------------------------------------


def test_numpy_arrays_go_to_the_cpu():
    assert type(backends.route(["input"], [X])).__module__ == "unpool_cpu"
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
    monkeypatch.setattr(backends, "_loaded", {name: loaded})
    assert backends.route(["input"], [stranger(module)]) is loaded
    assert backends.route(["input"], [stranger(module)], name) is loaded


def test_a_package_is_not_known_by_the_beginning_of_its_name():
    with pytest.raises(TypeError, match=r"got torchvision\.Tensor"):
        unpool.max_pool2d(stranger("torchvision"), 2)


def test_subclasses_go_where_their_base_goes(monkeypatch):
    loaded = object()
    monkeypatch.setattr(backends, "_loaded", {"torch": loaded})
    parameter = type("Parameter", (type(stranger("torch")),), {"__module__": "somebody"})()
    assert backends.route(["input"], [parameter]) is loaded


class Picture(np.ndarray):
    """A user's own kind of NumPy array."""


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
        ("dask", "dask.array.asarray(input)"),
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
    for known in backends.BUILT_IN:
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
    with pytest.raises(TypeError, match=r"or an array that follows the array API .* got jax\.Tensor"):
        backends.namespace("indices", array)
    type(array).__array_namespace__ = lambda self: "theirs"
    assert backends.namespace("indices", array) == "theirs"


# --- what is not there ----------------------------------------------------------------------------------------------


def test_unavailable_is_an_import_error():
    assert issubclass(unpool.BackendUnavailableError, ImportError)


def test_a_missing_backend_says_what_to_do(cuda):
    cuda(None)
    with pytest.raises(unpool.BackendUnavailableError) as caught:
        unpool.max_pool2d(stranger("cupy"), 2)
    assert str(caught.value) == (
        "backend 'cuda' (package unpool_cuda) is not installed: this version of unpool does not have it; pass NumPy "
        "arrays, for example numpy.asarray(input)"
    )


def test_a_source_tree_that_was_not_built_says_so():
    """Run beside `unpool/`, without `backends/` on the path."""
    script = (
        "import sys; sys.modules['unpool_cpu'] = None\n"  # what import makes of None is a missing module
        "import unpool; print(unpool.available()['cpu'])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install ." in result.stdout


def test_a_missing_framework_names_the_extra(cuda):
    cuda("raise ModuleNotFoundError(\"No module named 'cupy'\", name='cupy')")
    with pytest.raises(unpool.BackendUnavailableError) as caught:
        unpool.max_pool2d(stranger("cupy"), 2)
    assert str(caught.value) == ("cupy is not installed, which backend 'cuda' needs: pip install \"unpool[cuda]\"")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise OSError('cannot make ~/.cupy')", "OSError: cannot make ~/.cupy"),
        ("raise ImportError('libcudart.so.13: cannot open')", "ImportError: libcudart.so.13: cannot open"),
        ("import a_part_of_cupy", "ModuleNotFoundError: No module named 'a_part_of_cupy'"),
        ("BACKENDS = 1", "AttributeError: module 'unpool_cuda' has no attribute 'BACKEND'"),
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
    assert list(reasons)[: len(backends.BUILT_IN)] == list(backends.BUILT_IN)
    assert reasons["cpu"] is None
    assert reasons["cuda"] is not None
    for name, reason in reasons.items():
        if reason is not None:
            assert repr(name) in reason
            assert any(remedy in reason for remedy in ("pip install", "pass NumPy arrays", "Reinstall"))


def test_available_asks_a_backend_for_its_fault_every_time(cuda, monkeypatch):
    cuda("BACKEND, answers = 'loaded', []\ndef fault():\n    return answers.pop(0)")
    answers = import_module("unpool_cuda").answers
    answers += [errors.no_device(None), None, errors.no_device("")]
    assert unpool.available()["cuda"] == str(errors.no_device(None))
    assert unpool.available()["cuda"] is None
    assert unpool.available()["cuda"] == str(errors.no_device(""))


def test_a_backend_is_not_asked_for_its_fault_before_a_call(cuda):
    """Asking takes time and starts what cannot be forked; an array proves that its framework works."""
    cuda("BACKEND = 'loaded'\ndef fault():\n    raise AssertionError('asked')")
    assert backends.route(["input"], [stranger("cupy")]) == "loaded"


def test_a_backend_without_a_fault_is_available(cuda):
    cuda("BACKEND = 'loaded'")
    assert unpool.available()["cuda"] is None


# --- third parties --------------------------------------------------------------------------------------------------


def test_a_plugin_serves_its_own_arrays(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "acmearray", "class BACKEND:\n    pool = staticmethod(lambda *_: ('pooled', None))")
    assert unpool.max_pool2d(stranger("acmearray.core"), 2) == "pooled"
    assert unpool.max_pool2d(stranger("acmearray.core"), 2, backend="acmearray") == "pooled"
    assert unpool.available()["acmearray"] is None
    with pytest.raises(ValueError, match=r"'acmearray'.*, got 'acme'"):
        unpool.max_pool2d(X, 2, backend="acme")


def test_a_plugin_for_numpy_arrays_can_be_asked_for_by_name(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "acmenumpy", "class BACKEND:\n    pool = staticmethod(lambda *_: ('pooled', None))")
    assert unpool.max_pool2d(X, 2, backend="acmenumpy") == "pooled"
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2), POOLED)


def test_a_plugin_cannot_take_a_built_in_place(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "numpy_thief", "BACKEND = None")
    points = tmp_path / "numpy_thief-1.0.dist-info" / "entry_points.txt"
    points.write_text("[unpool.backends]\nnumpy = numpy_thief:BACKEND\ncpu = numpy_thief:BACKEND\n")
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2), POOLED)
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2, backend="cpu"), POOLED)


def test_a_broken_plugin_shows_the_reason(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "acmebroken", "raise RuntimeError('no licence found')")
    expected = "backend 'acmebroken' does not load: RuntimeError: no licence found"
    for call in (
        lambda: unpool.max_pool2d(stranger("acmebroken"), 2),
        lambda: unpool.max_pool2d(X, 2, backend="acmebroken"),
    ):
        with pytest.raises(unpool.BackendUnavailableError) as caught:
            call()
        assert str(caught.value).startswith(expected)
    assert unpool.available()["acmebroken"].startswith(expected)


def test_mixing_with_a_plugin_advises_nothing_that_cannot_be_written(monkeypatch, tmp_path):
    plugin(monkeypatch, tmp_path, "acmemixed", "BACKEND = None")
    with pytest.raises(TypeError, match=r"got acmemixed\.Tensor and numpy\.ndarray") as caught:
        unpool.max_unpool2d(stranger("acmemixed", POOLED), INDICES, 2)
    assert "acmemixed(indices)" not in str(caught.value)


# --- the whole of one -----------------------------------------------------------------------------------------------


@pytest.fixture
def gridarray():
    return require("gridarray", "pip install ./tests/plugin")


WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 1, "dilation": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2},
]


class Kinds:
    """NumPy arrays and Grids side by side through every public function."""

    def __init__(self, gridarray, rank, channels_last, unbatched):
        self.grid_type = gridarray.Grid
        self.rank = rank
        generator = np.random.default_rng(rank)
        shape = (3, *(7, 6, 5)[:rank]) if not channels_last else (*(7, 6, 5)[:rank], 3)
        # Few values, so that maxima repeat.
        self.x = generator.integers(0, 9, shape if unbatched else (2, *shape)).astype("float32")
        self.data_format = "channels_last" if channels_last else "channels_first"

    def grid(self, array):
        return self.grid_type(array.ravel().tolist(), array.shape, array.dtype.name)

    def agree(self, function, *arrays, **named):
        """Call with both kinds, make sure that the results are equal, and return NumPy's."""
        call = getattr(unpool, function.format(self.rank))
        expected = call(*arrays, **named, data_format=self.data_format)
        found = call(*map(self.grid, arrays), **named, data_format=self.data_format)
        if isinstance(expected, tuple):
            pairs = zip(found, expected, strict=True)
        else:
            pairs = [(found, expected)]
        for grid, array in pairs:
            assert type(grid) is self.grid_type
            assert (grid.shape, grid.dtype) == (array.shape, array.dtype.name)
            assert grid.cells == array.ravel().tolist()
        return expected


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("unbatched", [False, True], ids=["batch", "unbatched"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_third_party_backend_equals_numpy(gridarray, rank, channels_last, unbatched, window):
    kinds = Kinds(gridarray, rank, channels_last, unbatched)
    x = kinds.x
    for ceil_mode in (False, True):
        pooled, indices = kinds.agree("max_pool{}d", x, **window, ceil_mode=ceil_mode, return_indices=True)
        kinds.agree("max_pool{}d", x, **window, ceil_mode=ceil_mode)
        kinds.agree("max_pool{}d_backward", pooled, indices, input_size=x.shape, **window)
        for duplicates in ("last", "sum"):
            kinds.agree("max_unpool{}d", pooled, indices, **window, output_size=x.shape, duplicates=duplicates)
            kinds.agree("max_unpool{}d_backward", x, indices, **window, duplicates=duplicates)


def test_a_third_party_backend_gets_backend_out_and_index_dtype(gridarray):
    kinds = Kinds(gridarray, 2, False, False)
    kinds.agree("max_pool{}d", kinds.x, kernel_size=2, return_indices=True, index_dtype="int32")
    x, pooled, indices = map(kinds.grid, (X, POOLED, INDICES))
    out = gridarray.Grid([7] * X.size, X.shape, "float32")
    assert unpool.max_unpool2d(pooled, indices, 2, out=out, backend="gridarray") is out
    assert out.cells == unpool.max_unpool2d(POOLED, INDICES, 2).ravel().tolist()
    pair = gridarray.Grid([7] * 4, POOLED.shape, "float32"), gridarray.Grid([7] * 4, POOLED.shape, "int64")
    found = unpool.max_pool2d(x, 2, return_indices=True, out=pair, backend="gridarray")
    assert all(given is returned for given, returned in zip(pair, found, strict=True))
    assert pair[1].cells == INDICES.ravel().tolist()


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_a_third_party_backend_words_errors_as_numpy_does(gridarray, data_format):
    kinds = Kinds(gridarray, 2, False, False)
    wrong = INDICES.copy()
    wrong.flat[2] = 99
    repeated = INDICES.copy()
    repeated.flat[3] = repeated.flat[1]
    for indices, error, rule in (
        (wrong, IndexError, "= 99 is out of range"),
        (repeated, ValueError, "must not repeat"),
    ):
        texts = []
        for array in (lambda value: value, kinds.grid):
            values, places = POOLED, indices
            if data_format == "channels_last":
                values, places = POOLED.reshape(1, 2, 2, 1), indices.reshape(1, 2, 2, 1)
            with pytest.raises(error, match=rule) as caught:
                unpool.max_unpool2d(array(values), array(places), 2, duplicates="error", data_format=data_format)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]


def test_a_third_party_backend_refuses_other_kinds(gridarray):
    grid = gridarray.Grid(POOLED.ravel().tolist(), POOLED.shape, "float32")
    with pytest.raises(TypeError, match=r"got gridarray\.Grid: pass numpy\.asarray\(input\)"):
        unpool.max_pool2d(grid, 2, backend="cpu")
    with pytest.raises(TypeError, match=r"got gridarray\.Grid and numpy\.ndarray"):
        unpool.max_unpool2d(grid, INDICES, 2)


def test_a_third_party_backend_is_loaded_only_when_needed(gridarray):
    """In a process of its own: not by importing unpool, nor by a call on NumPy arrays, but by its name."""
    script = """
import sys
import numpy as np
import unpool
unpool.max_pool2d(np.ones((1, 1, 2, 2)), 2)
assert "gridarray" not in sys.modules
try:
    unpool.max_pool2d(np.ones((1, 1, 2, 2)), 2, backend="nobody")
except ValueError as error:
    assert "'gridarray'" in str(error), error
assert "gridarray" not in sys.modules, "loaded to list its name"
assert unpool.available()["gridarray"] is None
assert "gridarray" in sys.modules
from gridarray import Grid
assert unpool.max_pool2d(Grid([1, 2, 3, 4], (1, 1, 2, 2), "int64"), 2).cells == [4]
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
