"""NumPy arrays beside arrays of JAX: constants, in eager calls and in programs, in both modes of integers."""

import re

import ml_dtypes
import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool.testing.cases import LAYOUTS
from unpool.testing.compare import assert_same_bits

jax = require("jax", "the tests of its arrays need it")
require_backend("jax")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

X = np.random.default_rng(0).permutation(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).astype("float32")
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)
PLANES = unpool.max_unpool2d(POOLED, INDICES, 2)

# Functions of values and indices; the values; the result.
CALLS = {
    "unpooling": (lambda v, i: unpool.max_unpool2d(v, i, 2), POOLED, PLANES),
    "gradient of unpooling": (lambda v, i: unpool.max_unpool2d_backward(v, i, 2), X, POOLED),
    "values at indices": (unpool.take_along_plane, X, POOLED),
    "gradient of pooling": (lambda v, i: unpool.max_pool2d_backward(v, i, X.shape, 2), POOLED, PLANES),
}
every_call = pytest.mark.parametrize("call", CALLS)
every_mode = pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
every_side = pytest.mark.parametrize("side", ["values", "indices"])


@pytest.fixture
def mode(wide):
    with jax.enable_x64(wide):
        yield


@every_mode
@pytest.mark.parametrize("given", ["numpy", "jax"])
@every_call
def test_jax_checks_the_gradients(mode, call, given):
    """JAX's `check_grads` takes finite differences of NumPy arrays, also where it was given its own."""
    function, values, _ = CALLS[call]
    values, indices = values / 256, jnp.array(INDICES)
    values = jnp.array(values) if given == "jax" else values
    tolerance = {"atol": 1e-2, "rtol": 1e-2}
    check_grads(lambda v: function(v, indices), (values,), order=2, modes=("fwd", "rev"), **tolerance)


def repeated(function):
    """Return a function that is called in each step of a loop."""
    return lambda array: jax.lax.scan(lambda carry, _: (carry, function(array)), 0, None, length=2)[1][1]


PROGRAMS = {
    "eager": lambda function: function,
    "jit": jax.jit,
    "mapped": lambda function: lambda array: jax.vmap(function)(jnp.stack([array] * 2))[1],
    "mapped, jit": lambda function: jax.jit(lambda array: jax.vmap(function)(jnp.stack([array] * 2))[1]),
    "scan": repeated,
    "export": lambda function: lambda array: jax.export.export(jax.jit(function))(array).call(array),
}


@every_mode
@every_side
@pytest.mark.parametrize("program", PROGRAMS)
@every_call
def test_a_constant_in_every_program(mode, call, program, side):
    function, values, expected = CALLS[call]
    run = PROGRAMS[program]
    if side == "values":
        found = run(lambda indices: function(values, indices))(jnp.array(INDICES))
    else:
        found = run(lambda values: function(values, INDICES))(jnp.array(values))
    assert isinstance(found, jax.Array)
    assert_same_bits(np.asarray(found), expected)


@every_mode
@pytest.mark.parametrize(
    "transform", [jax.grad, lambda loss: jax.jit(jax.grad(loss)), lambda loss: jax.grad(jax.jit(loss))]
)
def test_gradients_beside_constants(mode, transform):
    slopes = transform(lambda v: (unpool.max_unpool2d(v, INDICES, 2) ** 2).sum())
    assert_same_bits(np.asarray(slopes(jnp.array(POOLED))), 2 * POOLED)


# --- integers and dtypes ----------------------------------------------------------------------------------------------

FAR = 2**32 + 3  # its lower 32 bits are 3
REPORTS = {
    "plane": f"indices[0, 0, 0, 1] = {FAR} is out of range for an output plane of 2 x 4: expected 0..7",
    "window": f"indices[0, 0, 0, 1] = {FAR} is no tap of its window",
}
ONE = np.ones((1, 1, 1, 2), "float32")


@every_mode
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.parametrize("index_format", REPORTS)
def test_the_lower_bits_of_an_index_are_not_taken_for_it(mode, index_format, dtype):
    bad = np.array([[[[0, FAR]]]], dtype)
    named = {"index_format": index_format}

    def call(values, **options):
        return unpool.max_unpool2d(values, bad, 2, **named, **options)

    for transform in (lambda f: f, jax.jit, jax.vmap, lambda f: jax.grad(lambda v: f(v).sum())):
        given = jnp.array(ONE[None] if transform is jax.vmap else ONE)
        with pytest.raises(IndexError, match=re.escape(REPORTS[index_format])):
            transform(call)(given)
        if transform is not jax.vmap:
            taken = transform(lambda v: call(v, validate=False))(given)
            wanted = [1, 0, 0, 0, 0, 0, 0, 0] if taken.size == 8 else [1, 0]
            assert taken.ravel().tolist() == wanted
    with pytest.raises(IndexError, match=re.escape(REPORTS[index_format])):
        unpool.max_unpool2d_backward(jnp.ones((1, 1, 2, 4)), bad, 2, **named)


@every_mode
@pytest.mark.parametrize("dtype", ["bool", "uint64", "int64", "float16", "bfloat16", "float64", "complex128"])
def test_values_have_the_dtype_that_jax_gives_them(mode, dtype):
    """Without the 64-bit mode, JAX turns float64 into float32; indices keep their 64 bits."""
    values = POOLED.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    found = unpool.max_unpool2d(values, jnp.array(INDICES), 2)
    assert found.dtype == jnp.asarray(values).dtype
    assert_same_bits(np.asarray(found), unpool.max_unpool2d(np.asarray(jnp.asarray(values)), INDICES, 2))


# --- arrays of NumPy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@every_call
def test_every_memory_layout(call, layout):
    function, values, expected = CALLS[call]
    for given in ((layout(values), jnp.array(INDICES)), (jnp.array(values), layout(INDICES))):
        found = function(*given)
        assert isinstance(found, jax.Array)
        assert_same_bits(np.asarray(found), expected)


def test_subclasses_and_empty_batches(tmp_path):
    values, indices = jnp.array(POOLED), jnp.array(INDICES)
    mapped = np.memmap(tmp_path / "indices", INDICES.dtype, "w+", shape=INDICES.shape)
    mapped[...] = INDICES
    assert_same_bits(np.asarray(unpool.max_unpool2d(values, mapped, 2)), PLANES)
    for given in ((values[:0], INDICES[:0]), (POOLED[:0], indices[:0])):
        assert_same_bits(np.asarray(unpool.max_unpool2d(*given, 2)), PLANES[:0])
    row = unpool.max_unpool1d(np.array([[1.0, 2.0]], "float32").view(np.matrix), jnp.array([[1, 2]]), 2)
    assert isinstance(row, jax.Array)
    assert row.tolist() == [[0, 1, 2, 0]]


def test_a_constant_is_a_copy():
    """What the user writes into the array later changes no derivative. `jax.device_put` keeps aligned memory."""
    memory = np.empty(INDICES.nbytes + 64, "uint8")
    start = -memory.ctypes.data % 64
    indices = memory[start : start + INDICES.nbytes].view(INDICES.dtype).reshape(INDICES.shape)
    indices[...] = INDICES
    found, pullback = jax.vjp(lambda v: unpool.max_unpool2d(v, indices, 2), jnp.array(POOLED))
    indices[...] = 0
    assert_same_bits(np.asarray(pullback(found)[0]), POOLED)


def test_a_constant_compiles_no_program(caplog):
    """`jax.numpy.array` compiles one for each shape of a NumPy array, which does nothing."""
    values, indices = jnp.array(np.tile(POOLED, (1, 7, 1, 1))), np.tile(INDICES, (1, 7, 1, 1))
    with jax.log_compiles():
        unpool.max_unpool2d(values, indices, 2)
    assert not caplog.messages


def test_what_stays_refused():
    values, indices = jnp.array(POOLED), jnp.array(INDICES)
    for given, first in (((values, indices), "input"), ((values, INDICES), "input"), ((POOLED, indices), "indices")):
        with pytest.raises(TypeError, match=f"`{first}` and `out` must be arrays of one library, got jaxlib"):
            unpool.max_unpool2d(*given, 2, out=np.empty_like(X))
    with pytest.raises(TypeError, match="`input` and `out` must be arrays of one library, got numpy"):
        unpool.max_unpool2d(POOLED, INDICES, 2, out=jnp.array(X))
    with pytest.raises(TypeError, match="`out` must be left out for arrays of JAX"):
        unpool.max_unpool2d(POOLED, indices, 2, out=jnp.array(X))
    with pytest.raises(TypeError, match=r"`indices` must not be a numpy\.ma\.MaskedArray"):
        unpool.max_unpool2d(values, np.ma.array(INDICES), 2)
    for given in ((values, INDICES.tolist()), (POOLED.tolist(), indices)):
        with pytest.raises(TypeError, match="must be an array, got list"):
            unpool.max_unpool2d(*given, 2)
    with pytest.raises(TypeError, match=r"`indices` must be .* backend='cpu' serves, got .*numpy\.asarray\(indices\)"):
        unpool.max_unpool2d(POOLED, indices, 2, backend="cpu")
