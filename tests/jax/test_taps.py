"""Taps of windows as indices, on JAX's arrays: derivatives, transformations, errors, and the programs that use them.

unpool.testing.contract has the contract, through the fixture `backend`.
"""

import re

import numpy as np
import pytest
from far_windows import FAR, far
from kinds import JAXOperationsArrays, kernel_message
from needs import require, require_backend

import unpool
from unpool.testing import oracle
from unpool.testing.cases import POOLINGS, whole
from unpool.testing.compare import assert_same_bits

jax = require("jax", "the tests of its arrays need it")
require_backend("jax")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

seldom = pytest.mark.one_in(4)  # a case compiles programs, for seconds

WINDOW = {"index_format": "window"}
X = np.random.default_rng(0).permutation(2 * 3 * 9 * 7).reshape(2, 3, 9, 7).astype("float64")
KERNELS = "unpool_1"
# Windows that overlap, that overlap too much for the window path, and that lie apart.
SMALL = {
    "overlap and padding": POOLINGS["overlap and padding"],
    "wide padding": POOLINGS["wide padding"],
    "row, gaps": POOLINGS["row, gaps"],
}


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _freed():
    yield
    jax.clear_caches()


both = pytest.mark.usefixtures("_programs")


def there_and_back(x, index_format="window", duplicates="last", index_dtype=None):
    options = {"index_format": index_format}
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True, index_dtype=index_dtype, **options)
    size = {"output_size": x.shape}
    return unpool.max_unpool2d(values * values, indices, 3, 2, 1, duplicates=duplicates, **size, **options)


# --- derivatives and transformations ----------------------------------------------------------------------------------


@seldom
@both
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_derivatives(case, duplicates):
    x = whole("float64", case.shape((1, 2), "channels_first"))
    _, indices = case.pool(x, "channels_first")
    taps = jnp.array(oracle.taps(indices, *case, channels_last=False).astype("uint8"))
    values = jnp.array(whole("float64", indices.shape))
    up, down = case.function("max_unpool"), case.function("max_unpool_backward")
    named = case.window | WINDOW | {"duplicates": duplicates}

    def unpooled(values):
        return up(jnp.asarray(values), taps, **named, output_size=case.size)

    def taken(planes):
        return down(jnp.asarray(planes), taps, **named) ** 2

    for call, given in ((unpooled, values), (taken, jnp.array(x))):
        check_grads(jax.jit(call), (given,), order=2, modes=["fwd", "rev"])
    grad = whole("float64", x.shape)
    expected = down(grad, indices, **case.window, duplicates=duplicates)
    np.testing.assert_array_equal(jax.jit(lambda v, g: jax.vjp(unpooled, v)[1](g)[0])(values, grad), expected)


@both
@pytest.mark.parametrize("return_indices", [False, True])
def test_derivatives_of_pooling(return_indices):
    """Inputs differ by 1 or more, far more than the step of 1e-3."""

    def call(x):
        found = unpool.max_pool2d(jnp.asarray(x), 3, 2, 1, return_indices=return_indices, **WINDOW)
        return found[0] if return_indices else found

    x = jnp.array(X[:1])
    check_grads(jax.jit(call), (x,), order=2, modes=["fwd", "rev"], eps=1e-3)
    grad = whole("float64", call(x).shape)
    _, indices = unpool.max_pool2d(X[:1], 3, 2, 1, return_indices=True)
    expected = unpool.max_pool2d_backward(grad, indices, (9, 7), 3, 2, 1)
    np.testing.assert_array_equal(jax.jit(lambda x, g: jax.vjp(call, x)[1](g)[0])(x, grad), expected)


@seldom
@both
@pytest.mark.parametrize("index_dtype", [None, "uint16", "int64"])
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_mapped(duplicates, index_dtype):
    def call(x):
        return there_and_back(x, "window", duplicates, index_dtype)

    expected = there_and_back(X, "plane", duplicates)
    slopes = jax.grad(lambda x: there_and_back(x, "plane", duplicates).sum())(jnp.array(X))
    for transform in (lambda f: f, jax.jit):
        mapped = transform(jax.vmap(lambda x: call(x[:, None])[:, 0], 1, 1))
        np.testing.assert_array_equal(mapped(jnp.array(X)), expected)
        np.testing.assert_array_equal(
            transform(jax.grad(lambda x, mapped=mapped: mapped(x).sum()))(jnp.array(X)), slopes
        )


@both
@pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("name", [name for name, (_, pooled) in FAR.items() if pooled is None])
def test_windows_far_larger_than_the_plane(name, wide):
    """Their taps are counted by 64 bits where 32 do not hold them, or are refused."""
    window, _ = FAR[name]
    _, (x, values, _) = far(*FAR[name])
    back = {key: entry for key, entry in window.items() if key != "ceil_mode"} | WINDOW

    def call(x, values, grad):
        found, taps = unpool.max_pool2d(x, **window, **WINDOW, return_indices=True)
        planes = unpool.max_unpool2d(values, taps, **back, output_size=(4, 5))
        return found, taps, planes, unpool.max_unpool2d_backward(grad, taps, **back)

    expected = call(x, values, x)
    with jax.enable_x64(wide):
        given = [jnp.array(array) for array in (x, values, x)]
        if expected[1].dtype == "int64" and not wide:
            with pytest.raises(ValueError, match="`kernel_size` needs JAX's 64-bit mode"):
                jax.jit(call)(*given)
            return
        for actual, wanted in zip(jax.jit(call)(*given), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted)


@pytest.mark.whole  # a program of a kind that no other test compiles
@both
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("window", [{"kernel_size": 9, "stride": 4, "padding": 4}, {"kernel_size": 3, "padding": 1}])
def test_padding_is_never_chosen(window, dtype):
    """The least value of a dtype, in every cell, is larger than none."""
    least = -np.inf if dtype == "float32" else np.iinfo(dtype).min
    x = np.full((1, 1, 8, 8), least, dtype)
    options = window | WINDOW | {"return_indices": True}
    for actual, expected in zip(
        jax.jit(lambda x: unpool.max_pool2d(x, **options))(x), unpool.max_pool2d(x, **options), strict=True
    ):
        assert_same_bits(np.asarray(actual), expected)


@both
@pytest.mark.parametrize(("kernel", "kept"), [(2, "uint8"), (3, "uint8"), (16, "uint8"), (17, "int32")])
def test_a_gradient_of_pooling_keeps_bytes(kernel, kept):
    """A byte numbers the taps of windows of up to 256."""
    x = jnp.array(np.random.default_rng(0).permutation(2 * 34 * 35).reshape(1, 2, 34, 35).astype("float64"))
    _, indices = unpool.max_pool2d(np.asarray(x), kernel, return_indices=True)
    grad = whole("float64", indices.shape)

    def pooled(x):
        return unpool.max_pool2d(x, kernel)

    for call in (lambda x: jax.vjp(pooled, x), jax.jit(lambda x: jax.vjp(pooled, x))):
        values, pullback = call(x)
        assert [(array.dtype, array.shape) for array in jax.tree.leaves(pullback)] == [(kept, values.shape)]
        np.testing.assert_array_equal(
            pullback(jnp.array(grad))[0], unpool.max_pool2d_backward(grad, indices, (34, 35), kernel)
        )


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index_dtype", [None, "uint16", "int32"])
def test_a_program_for_the_cpu_calls_the_kernels(index_dtype):
    """Pooling, unpooling and both gradients: taps in bytes as they are, others after a conversion."""

    def call(x):
        return jax.vjp(lambda x: there_and_back(x, index_dtype=index_dtype), x)[1](x)

    traced = jax.jit(call).trace(jnp.array(X))
    text = traced.lower().as_text()
    assert len(re.findall(rf"custom_call @{KERNELS}\b", text)) == 3  # the result of unpooling is not used
    assert KERNELS not in traced.lower(lowering_platforms=("cuda",)).as_text()
    if index_dtype is None:
        assert "ui8" in next(line for line in text.splitlines() if KERNELS in line)


def compiled(call, *arguments):
    """Return the text of a program for the CPU that does not call the kernels."""
    with JAXOperationsArrays.without_kernels():
        return jax.jit(call).lower(*arguments).compile().as_text()


@pytest.mark.parametrize(
    ("window", "gathers"),
    [((2, 2), False), ((3, 3), False), ((2, 1), True), ((2, 2, 1), True), ((4, 4), True)],
    ids=["k2", "k3", "overlap", "padding", "many taps"],
)
def test_a_gradient_selects_among_few_taps(window, gathers):
    """It gathers the cells of more taps, of windows that overlap, and beside padding.  A bad tap has no gradient."""
    taps = unpool.max_pool2d(X, *window, return_indices=True, **WINDOW)[1]
    grad = whole("float64", X.shape)

    def call(grad, taps):
        return unpool.max_unpool2d_backward(grad, taps, *window, validate=False, **WINDOW)

    most = window[0] ** 2
    for dtype, bad in [("uint8", 0), ("uint8", most), ("uint8", 254), ("uint8", 255), ("int16", -1), ("int16", 256)]:
        taps = taps.astype(dtype)
        taps[0, 0, 1, 0] = bad
        expected = call(jnp.array(grad), jnp.array(taps))  # by the kernels
        with JAXOperationsArrays.without_kernels():
            np.testing.assert_array_equal(jax.jit(call)(grad, taps), expected)
    assert (" gather(" in compiled(call, grad, taps)) == gathers


def test_a_program_copies_no_pooled_arrays():
    """XLA copies what a branch returns unchanged."""
    assert " copy(" not in compiled(lambda x: unpool.max_pool2d(x, 2, return_indices=True, **WINDOW), X)


def test_nothing_is_computed_again_for_every_cell():
    """On the CPU, a condition keeps XLA from computing the values within the loop over the cells."""

    def call(values, taps):
        return unpool.max_unpool2d(jnp.exp(values), taps, 2, **WINDOW)

    values, taps = unpool.max_pool2d(X, 2, return_indices=True, **WINDOW)
    text = compiled(call, values, taps)
    branches = text.partition("ENTRY")[0].split("\n\n")
    assert " conditional(" in text
    assert not any(" exponential(" in branch and " compare(" in branch for branch in branches)
    elsewhere = jax.jit(call).trace(values, taps).lower(lowering_platforms=("cuda",)).as_text()
    assert "optimization_barrier" not in elsewhere


@pytest.mark.parametrize("axes", [None, "n, c, 9, 7", "n, 3, h, w"])
def test_export(axes):
    require("flatbuffers", "JAX writes exported programs with it")
    from jax import export

    def call(x):
        return there_and_back(x), jax.grad(lambda x: there_and_back(x).sum())(x)

    shape = jnp.array(X)
    if axes is not None:
        constraints = ("h >= 3", "w >= 3") if "h" in axes else ()
        (shape,) = export.symbolic_args_specs((shape,), (axes,), constraints=constraints)
    exported = export.export(jax.jit(call))(shape)
    assert KERNELS not in exported.mlir_module()
    for x in (X, X[:, :, :4, 1:]) if axes and "h" in axes else (X,):
        planes, slopes = exported.call(jnp.array(x))
        np.testing.assert_array_equal(planes, there_and_back(x, "plane"))
        np.testing.assert_array_equal(slopes, 2 * np.where(planes != 0, x, 0))


# --- errors -----------------------------------------------------------------------------------------------------------

VALUES = np.ones((1, 1, 1, 2), "float32")


def unpooled(values, taps, **options):
    return unpool.max_unpool2d(values, taps, 2, **WINDOW, **options)


def message(call, *arguments):
    """Return the message of the error at run time: JAX raises a ValueError if the program has run before."""
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError)) as caught:
        jax.block_until_ready(call(*arguments))
    return kernel_message(caught.value)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_a_bad_tap_is_an_error_at_run_time(dtype):
    """The message is that of an eager call, with the value that was given."""
    program = jax.jit(unpooled)
    good = jnp.array([[[[3, 0]]]], dtype)
    for bad in {4, np.iinfo(dtype).max, np.iinfo(dtype).min or 9}:
        taps = jnp.array([[[[3, bad]]]], dtype)
        with pytest.raises(IndexError, match=rf"indices\[0, 0, 0, 1\] = {bad} is no tap of its window") as caught:
            unpooled(jnp.array(VALUES), taps)
        for _ in range(2):
            assert message(program, VALUES, taps) == str(caught.value)
            jax.block_until_ready(program(VALUES, good))  # the next call works
        dropped = jax.jit(lambda v, t: unpooled(v, t, validate=False))(VALUES, taps)
        assert dropped.tolist() == [[[[0, 0, 0, 0], [0, 1, 0, 0]]]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64"])
def test_a_repeated_cell_is_an_error_at_run_time(dtype):
    def call(values, taps):
        return unpool.max_unpool2d(values, taps, 3, 1, duplicates="error", **WINDOW)

    taps = jnp.array([[[[1, 0]]]], dtype)
    with pytest.raises(ValueError, match="which are taps at one cell") as caught:
        call(jnp.array(VALUES), taps)
    assert message(jax.jit(call), VALUES, taps) == str(caught.value)


def test_a_constant_of_a_program_is_checked_while_tracing():
    taps = jnp.array([[[[0, 4]]]], "uint8")
    with pytest.raises(IndexError, match=re.escape("indices[0, 0, 0, 1] = 4 is no tap")):
        jax.jit(lambda v: unpooled(v, taps))(VALUES)
