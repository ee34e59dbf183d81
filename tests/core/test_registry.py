"""An array finds its backend by its type, strangers enter by the same door, and what is missing says how to get it.

Two kinds of strangers serve here: classes made on the spot that claim to come from a framework, and `gridarray`, a
whole third-party package under tests/plugin, which tox installs.
"""

import abc
import subprocess
import sys
import types
from importlib import import_module, invalidate_caches
from types import ModuleType
from typing import Generic, TypeVar

import numpy as np
import pytest
import unpool_backends
from needs import require

import unpool
from unpool import backends, registry

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)


def stranger(module, like=X):
    """An object of shape and dtype whose type says that it was defined in `module`."""
    return type("Tensor", (), {"__module__": module, "shape": like.shape, "dtype": like.dtype})()


@pytest.fixture
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(registry, "LOADED", {})


@pytest.fixture
def cuda(monkeypatch, nothing_loaded, tmp_path):
    """Replace the module `unpool_backends.cuda` by the text given; None stands for a module that is not there."""

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


# A backend of the least that serves.
WHOLE = """
class Backend:
    def pool(self, *_):
        return "pooled", None
    scatter = gather = pool
BACKEND = Backend()
"""


def plugin(monkeypatch, folder, name, text=WHOLE, points="{0} = {0}:BACKEND", project=None):
    """Put a third-party backend on the path, as an installer would leave it: a module, and what declares it."""
    folder = folder / (project or name)
    info = folder / f"{project or name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project or name}\nVersion: 1.0\n")
    lines = f"[unpool.backends]\n{points.format(name)}\n"
    (info / "entry_points.txt").write_bytes(lines.encode("latin1"))
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)
    return info


# --- which backend --------------------------------------------------------------------------------------------------


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


# --- what is not there ----------------------------------------------------------------------------------------------


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


def test_a_source_tree_that_was_not_built_says_so():
    """Run beside `unpool/`, without `backends/` on the path."""
    script = (
        "import sys; sys.modules['unpool_backends.cpu'] = None\n"  # what import makes of None is a missing module
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
    """Asking takes time and starts what cannot be forked; an array proves that its framework works."""
    cuda("class BACKEND:\n    def fault():\n        raise AssertionError('asked')")
    assert backends.route(["input"], [stranger("cupy")]).__name__ == "BACKEND"


def test_a_backend_without_a_fault_is_available(cuda):
    cuda("BACKEND = 'loaded'")
    assert unpool.available()["cuda"] is None


# --- third parties --------------------------------------------------------------------------------------------------


def test_a_plugin_serves_its_own_arrays(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "acmearray")
    assert unpool.max_pool2d(stranger("acmearray.core"), 2) == "pooled"
    assert unpool.max_pool2d(stranger("acmearray.core"), 2, backend="acmearray") == "pooled"
    assert unpool.available()["acmearray"] is None
    with pytest.raises(ValueError, match=r"'acmearray'.*, got 'acme'"):
        unpool.max_pool2d(X, 2, backend="acme")


def test_a_plugin_for_numpy_arrays_can_be_asked_for_by_name(monkeypatch, tmp_path, nothing_loaded):
    plugin(monkeypatch, tmp_path, "acmenumpy")
    assert unpool.max_pool2d(X, 2, backend="acmenumpy") == "pooled"
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2), POOLED)


def test_a_plugin_may_be_a_module(monkeypatch, tmp_path, nothing_loaded):
    text = "def pool(*_):\n    return 'pooled', None\nscatter = gather = pool"
    plugin(monkeypatch, tmp_path, "acmemodule", text, "{0} = {0}")
    assert unpool.available()["acmemodule"] is None
    assert unpool.max_pool2d(stranger("acmemodule"), 2) == "pooled"


# --- bad plugins ----------------------------------------------------------------------------------------------------


def assert_nothing_else_is_disturbed(good):
    """See that NumPy arrays, a good plugin, and what nobody knows are served as if there were no bad plugin."""
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2), POOLED)
    np.testing.assert_array_equal(unpool.max_pool2d(X, 2, backend="cpu"), POOLED)
    assert unpool.max_pool2d(stranger(good), 2) == "pooled"
    reasons = unpool.available()
    assert (reasons["cpu"], reasons[good]) == (None, None)
    with pytest.raises(ValueError, match=rf"must be one of .*'{good}'.*, got 'nobody'"):
        unpool.max_pool2d(X, 2, backend="nobody")
    generic = types.new_class("Array", (Generic[TypeVar("T")], abc.ABC), {}, lambda body: body.update(vars(Unknown)))
    for array in (Unknown(), generic(), stranger("__main__")):
        with pytest.raises(TypeError, match="must be an array of a library that unpool knows"):
            unpool.max_pool2d(array, 2)


class Unknown:
    shape, dtype = X.shape, X.dtype


def assert_passed_over(name, reason, good, arrays=True):
    """See that a bad plugin is named wherever it is asked for."""
    assert unpool.available()[name].startswith(reason)
    calls = [lambda: unpool.max_pool2d(X, 2, backend=name)]
    if arrays:
        calls.append(lambda: unpool.max_pool2d(stranger(name), 2))
    for call in calls:
        with pytest.raises(unpool.BackendUnavailableError) as caught:
            call()
        assert str(caught.value).startswith(reason)
    assert_nothing_else_is_disturbed(good)


@pytest.fixture
def good(monkeypatch, tmp_path, nothing_loaded):
    """A plugin that stands beside the bad one."""
    plugin(monkeypatch, tmp_path, "acmegood")
    return "acmegood"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no licence found')", "RuntimeError: no licence found. "),
        ("import sys; sys.exit(7)", "SystemExit: 7. "),
        ("import sys; sys.exit()", "SystemExit. "),
        ("raise GeneratorExit", "GeneratorExit. "),
        ("class Own(BaseException): pass\nraise Own('mine')", "Own: mine. "),
        ("class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute", "Mute. "),
        ("error = ValueError('a page\\nof advice')\nraise error from error", "ValueError: a page\nof advice. "),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'. "),
        ("def", "SyntaxError: invalid syntax"),
        ("OTHER = 1", "AttributeError: module 'acmebroken' has no attribute 'BACKEND'. "),
        ("def __getattr__(name): raise SystemExit(name)", "SystemExit: "),
        (
            "class Lazy:\n    def __getattr__(self, name): raise SystemExit(name)\nBACKEND = Lazy()",
            "SystemExit: pool. ",
        ),
        (
            "class Liar:\n    __class__ = property(lambda self: 1 / 0)\nBACKEND = Liar()",
            "ZeroDivisionError: division by zero. ",
        ),
    ],
)
def test_a_plugin_that_does_not_load_is_passed_over(monkeypatch, tmp_path, good, text, reason):
    plugin(monkeypatch, tmp_path, "acmebroken", text)
    assert_passed_over("acmebroken", f"backend 'acmebroken' does not load: {reason}", good)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("BACKEND = None", "got 'acmenone:BACKEND' of type NoneType without pool, scatter, gather: "),
        ("BACKEND = 'cpu'", "got 'acmenone:BACKEND' of type str without pool, scatter, gather: "),
        (f"{WHOLE}\nBACKEND.gather = 1", "got 'acmenone:BACKEND' of type acmenone.Backend without gather: "),
        (f"{WHOLE}\ndel Backend.scatter", "got 'acmenone:BACKEND' of type acmenone.Backend without scatter: "),
        (f"{WHOLE}\nBACKEND = Backend", "got the class 'acmenone:BACKEND': let the entry point name an instance"),
    ],
)
def test_an_object_that_is_no_backend_is_passed_over(monkeypatch, tmp_path, good, text, got):
    plugin(monkeypatch, tmp_path, "acmenone", text)
    rule = "backend 'acmenone' must be an object with the methods of unpool.Backend, "
    assert_passed_over("acmenone", rule + got, good)


def test_ctrl_c_is_no_fault_of_a_plugin(monkeypatch, tmp_path, good):
    plugin(monkeypatch, tmp_path, "acmeslow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        unpool.available()


@pytest.mark.parametrize(
    "line", ["{0}", "{0} =", "{0}: {0}:BACKEND", "{0} = :BACKEND", "{0} = {0}:", "{0} = {0} BACKEND"]
)
def test_a_malformed_entry_point_is_passed_over(monkeypatch, tmp_path, good, line):
    plugin(monkeypatch, tmp_path, "acmebad", WHOLE, line + "\nacmesame = {0}:BACKEND")
    name = line.format("acmebad").partition(" =")[0]
    rule = f"backend {name!r} must be declared by an entry point <package> = <module>:<object>, got '"
    assert_passed_over(name, rule, good, arrays=name == "acmebad")
    assert unpool.available()[name].endswith(" in the distribution 'acmebad': correct it, or uninstall acmebad")
    assert unpool.available()["acmesame"] is None
    with pytest.raises(ValueError, match=r"one of (?!.*'acmebad')") as caught:
        unpool.max_pool2d(X, 2, backend="nobody")
    assert "'acmesame'" in str(caught.value)


@pytest.mark.parametrize(
    "points",
    [
        "\n[console_scripts]\nacme",
        "acmelatin = \xe9\xff:BACKEND",
        "# acme\n; acme",
        "",
    ],
    ids=ascii,
)
def test_a_file_that_importlib_fails_on_disturbs_nothing(monkeypatch, tmp_path, good, points):
    plugin(monkeypatch, tmp_path, "acmeother", WHOLE, points)
    assert_nothing_else_is_disturbed(good)
    reasons = {name: reason for name, reason in unpool.available().items() if "acme" in name and name != good}
    assert list(reasons) == (["acmelatin"] if "latin" in points else [])
    assert all("must be declared by an entry point" in reason for reason in reasons.values())


def test_a_distribution_without_a_name_is_served(monkeypatch, tmp_path, good):
    info = plugin(monkeypatch, tmp_path, "acmenameless")
    (info / "METADATA").unlink()
    assert unpool.max_pool2d(stranger("acmenameless"), 2) == "pooled"
    (info / "entry_points.txt").write_text("[unpool.backends]\nacmenameless =\n")
    assert "in the distribution 'unknown'" in unpool.available()["acmenameless"]


@pytest.mark.parametrize(
    "name", ["builtins", "abc", "typing", "collections", "__main__", "__mp_main__", "", "numpy", "cupy", "jaxlib"]
)
def test_a_name_that_no_plugin_may_have_is_passed_over(monkeypatch, tmp_path, good, name):
    plugin(monkeypatch, tmp_path, "acmethief", WHOLE, f"{name} = acmethief:BACKEND")
    rule = f"backend {name!r} must have the name of the package that defines its arrays, other than"
    assert_passed_over(name, rule, good, arrays=False)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_plugin_cannot_take_a_built_in_place(monkeypatch, tmp_path, good, name):
    before = unpool.available()
    plugin(monkeypatch, tmp_path, "acmethief", WHOLE, f"{name} = acmethief:BACKEND")
    assert_nothing_else_is_disturbed(good)
    after = unpool.available()
    assert "must have the name of the package" in after.pop(f"{name} (acmethief)")
    assert after == before


def test_two_plugins_of_one_name_are_both_passed_over(monkeypatch, tmp_path, good):
    """The order of folders on the path, or of files in one, must not decide which of them computes."""
    for project in ("acme-one", "acme-two"):
        module = project.replace("-", "_")
        plugin(monkeypatch, tmp_path, module, WHOLE, "acmetwice = {0}:BACKEND", project)
    reason = (
        "backend 'acmetwice' must be declared by one distribution, got 'acme_one:BACKEND' in the distribution "
        "'acme-one' and 'acme_two:BACKEND' in the distribution 'acme-two': uninstall all but one"
    )
    assert_passed_over("acmetwice", reason, good)


def test_a_malformed_rival_changes_nothing(monkeypatch, tmp_path, good):
    plugin(monkeypatch, tmp_path, "acmerival", WHOLE, f"{good} =")
    assert_nothing_else_is_disturbed(good)
    assert "in the distribution 'acmerival'" in unpool.available()[f"{good} (acmerival)"]


def test_a_distribution_that_is_shadowed_is_no_rival(monkeypatch, tmp_path, good):
    """An older version, in a folder that comes later on the path, imports nothing either."""
    plugin(monkeypatch, tmp_path / "old", "acmeold", "raise SystemExit", f"{good} = {{0}}:BACKEND\nold = {{0}}", "same")
    plugin(monkeypatch, tmp_path / "new", "acmenew", WHOLE, "{0} = {0}:BACKEND", "same")
    assert_nothing_else_is_disturbed(good)
    assert "old" not in unpool.available()


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
