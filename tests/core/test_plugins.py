"""An installed package adds a backend for its own arrays, and a bad plugin disturbs no other backend.

The package of the last tests is `gridarray`, a whole third-party plugin under tests/plugin, which tox installs.
"""

import abc
import subprocess
import sys
import types
from typing import Generic, TypeVar

import numpy as np
import pytest
from needs import require
from strangers import INDICES, POOLED, X, stranger

import unpool
from unpool import registry

# The smallest valid backend.
WHOLE = """
class Backend:
    def pool(self, *_):
        return "pooled", None
    scatter = gather = pool
BACKEND = Backend()
"""


def plugin(monkeypatch, folder, name, text=WHOLE, points="{0} = {0}:BACKEND", project=None):
    """Put a third-party backend on the path as an installer would: a module, and the metadata that declares it."""
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
    """Check that NumPy arrays, a good plugin and unknown arrays are treated as if there were no bad plugin."""
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
    """Check that every use of a bad plugin raises the reason, and that nothing else is disturbed."""
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
    """Install a good plugin beside the bad one, and return its name."""
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
    rule = f"backend {name!r} must have the name of the package that defines its arrays, which must not be a part of"
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
    """An older version in a later folder of the path is never imported, so its entry points do not count."""
    plugin(monkeypatch, tmp_path / "old", "acmeold", "raise SystemExit", f"{good} = {{0}}:BACKEND\nold = {{0}}", "same")
    plugin(monkeypatch, tmp_path / "new", "acmenew", WHOLE, "{0} = {0}:BACKEND", "same")
    assert_nothing_else_is_disturbed(good)
    assert "old" not in unpool.available()


def test_mixing_with_a_plugin_advises_nothing_that_cannot_be_written(monkeypatch, tmp_path):
    plugin(monkeypatch, tmp_path, "acmemixed")
    with pytest.raises(TypeError, match=r"got acmemixed\.Tensor and numpy\.ndarray") as caught:
        unpool.max_unpool2d(stranger("acmemixed", POOLED), INDICES, 2)
    assert "acmemixed(indices)" not in str(caught.value)


def test_numpy_arrays_are_constants_for_a_plugin_that_takes_them(monkeypatch, tmp_path, nothing_loaded):
    text = WHOLE.replace("class Backend:", "class Backend:\n    constants = True").replace('"pooled", None', "_[:2]")
    plugin(monkeypatch, tmp_path, "acmeconstants", text)
    theirs = stranger("acmeconstants", POOLED), stranger("acmeconstants", INDICES)
    for given in ((theirs[0], INDICES), (POOLED, theirs[1])):
        assert unpool.max_unpool2d(*given, 2) == given
        assert unpool.max_pool2d_backward(*given, X.shape, 2) == given
        with pytest.raises(ValueError, match="must be 'plane' for arrays of 'acmeconstants'"):
            unpool.max_unpool2d(*given, 2, index_format="window")
    with pytest.raises(TypeError, match="must be arrays of one library"):
        unpool.max_unpool2d(*theirs, 2, out=X)


# --- gridarray, a whole plugin --------------------------------------------------------------------------------------


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
    """Compares calls on NumPy arrays with the same calls on Grids."""

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
        """Call with both kinds of arrays, check that the results are equal, and return NumPy's."""
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
    """Importing unpool, calls on NumPy arrays and listing the names do not load it; using it does."""
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
