"""Arrays of JAX: memory, 64 bits, derivatives, transformations, errors, export, and devices.

unpool.testing.contract runs on arrays of JAX, through the fixture `backend`.
"""

import re
from functools import partial

import numpy as np
import pytest
from far_windows import FAR, far
from needs import require, require_backend
from processes import python

import unpool
from unpool import arguments, plan
from unpool.testing import oracle
from unpool.testing.cases import POOLINGS, anywhere, bits, whole
from unpool.testing.compare import assert_same_bits

jax = require("jax", "the tests of its arrays need it")
require_backend("jax")

import jax.numpy as jnp  # noqa: E402
from jax.extend.core import InconclusiveDimensionOperation  # noqa: E402
from jax.test_util import check_grads  # noqa: E402
from unpool_backends.jax import host, window_path  # noqa: E402

seldom = pytest.mark.one_in(4)  # a case compiles programs, for seconds
both = pytest.mark.usefixtures("_programs")

X = np.random.default_rng(0).permutation(2 * 3 * 8 * 6).reshape(2, 3, 8, 6).astype("float32")
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)
# Few, since each is compiled in many ways. Windows of "wide padding" overlap too much for the window path.
SMALL = {name: POOLINGS[name] for name in ("overlap and padding", "wide padding", "row, gaps")}
DUPLICATED = np.array([[[3, 3, 7, 0]]])  # of planes of 2 x 4 cells


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _freed():
    """Free the programs of this file, some gigabytes, at its end: tests share many, so not earlier."""
    yield
    jax.clear_caches()


def functions(case):
    return [getattr(unpool, f"max_{name}{case.rank}d") for name in ("pool", "unpool")]


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "bfloat16", "float32", "complex128"])
def test_an_eager_call_copies_nothing(monkeypatch, dtype):
    seen = []

    class Witness:
        def __getattr__(self, primitive):
            def call(*arguments):
                result = getattr(kernels, primitive)(*arguments)
                arrays = [*arguments, *(result if isinstance(result, tuple) else [result])]
                seen.extend(array.ctypes.data for array in arrays if isinstance(array, np.ndarray))
                return result

            return call

    kernels = host._KERNELS
    monkeypatch.setattr(host, "_KERNELS", Witness())
    values, indices = jnp.ones((2, 3, 4, 3), dtype), jnp.array(INDICES)
    planes = unpool.max_unpool2d(values, indices, 2)
    taken = unpool.max_unpool2d_backward(planes, indices, 2)
    there = [array.unsafe_buffer_pointer() for array in (values, indices, planes, taken)]
    assert seen == [*there[:3], there[2], there[1], there[3]]
    if dtype != "complex128":
        seen.clear()
        pooled = unpool.max_pool2d(planes, 2, return_indices=True)
        assert seen == [array.unsafe_buffer_pointer() for array in (planes, *pooled)]


def test_what_was_put_on_a_device_stays_there():
    """A result is committed to a device if an input is, as with JAX's own functions."""
    values, indices = jnp.array(POOLED), jnp.array(INDICES)
    assert not unpool.max_unpool2d(values, indices, 2).committed
    put = jax.device_put(values, jax.devices("cpu")[0])
    assert unpool.max_unpool2d(put, indices, 2).committed
    assert unpool.max_unpool2d(values, jax.device_put(indices, jax.devices("cpu")[0]), 2).committed
    assert unpool.max_pool2d(put, 1, return_indices=True)[1].committed


def test_a_result_is_nobody_elses():
    """unpool reuses the memory of large results once they are freed, but not while JAX holds it."""
    x = jnp.array(np.random.default_rng(0).random((4, 16, 512, 512), "float32"))
    kept = [unpool.max_pool2d(x, 1) for _ in range(3)]
    assert all((array == x).all() for array in kept)


# --- 64 bits ----------------------------------------------------------------------------------------------------------


def test_without_64_bits():
    with jax.enable_x64(False):
        x = jnp.array(X)
        for pool in (unpool.max_pool2d, jax.jit(unpool.max_pool2d, static_argnums=1, static_argnames="return_indices")):
            values, indices = pool(x, 2, return_indices=True)
            assert indices.dtype == "int32"  # JAX turns int64 into int32
            assert_same_bits(
                np.asarray(unpool.max_unpool2d(values, indices, 2)), unpool.max_unpool2d(POOLED, INDICES, 2)
            )
        assert unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")[1].dtype == "int32"
        converted = unpool.convert_indices(indices, "plane", "onnx", output_size=x.shape)
        assert converted.dtype == "int32"
        assert (unpool.convert_indices(converted, "onnx", "plane", output_size=x.shape) == indices).all()


def test_what_32_bits_cannot_count():
    with jax.enable_x64(False):
        shape = jax.ShapeDtypeStruct((1, 1, 1, 2**31 + 4), "uint8")
        with pytest.raises(ValueError, match=r"`input` needs JAX's 64-bit mode .* got 2147483652: call jax.config"):
            jax.eval_shape(lambda x: unpool.max_pool2d(x, (1, 4), return_indices=True), shape)
        with pytest.raises(ValueError, match="`input` needs JAX's 64-bit mode"):  # also without indices
            jax.eval_shape(lambda x: unpool.max_pool2d(x, (1, 4)), shape)
        given = [jax.ShapeDtypeStruct((1, 1, 1, 2**29 + 1), dtype) for dtype in ("uint8", "int32")]
        with pytest.raises(ValueError, match=r"`indices` needs JAX's 64-bit mode"):
            jax.eval_shape(lambda v, i: unpool.max_unpool2d(v, i, (1, 4)), *given)
        with pytest.raises(ValueError, match=r"`indices` needs JAX's 64-bit mode .* got 2147483664"):
            unpool.convert_indices(jnp.zeros((2, 2, 1, 1), "int32"), "plane", "onnx", output_size=(2, 2, 4, 2**27 + 1))
    with jax.enable_x64(True):
        found = jax.eval_shape(lambda x: unpool.max_pool2d(x, (1, 4), return_indices=True), shape)
        assert found[1].dtype == "int64"


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128"])
def test_arrays_of_64_bits_without_the_mode(dtype):
    """Arrays made in the 64-bit mode keep their dtype outside of it, eagerly and traced."""
    values, indices = jnp.array(POOLED, dtype), jnp.array(INDICES)
    expected = unpool.max_unpool2d(np.asarray(values), INDICES, 2)
    with jax.enable_x64(False):
        for call in (unpool.max_unpool2d, jax.jit(unpool.max_unpool2d, static_argnums=2)):
            assert_same_bits(np.asarray(call(values, indices, 2)), expected)


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_pooling_has_its_gradients(case, data_format):
    """Check forward and reverse mode. Inputs differ by 1 or more, far more than the step of 1e-3."""
    x = np.random.default_rng(1).permutation(np.prod(case.shape((1, 2), data_format))).astype("float64")
    x = jnp.array(x.reshape(case.shape((1, 2), data_format)))
    pool, _ = functions(case)

    def call(x):
        return pool(jnp.asarray(x), **case.arguments, data_format=data_format)

    check_grads(call, (x,), order=2, modes=["fwd", "rev"], eps=1e-3)
    grad = whole("float64", call(x).shape)
    _, indices = pool(x, **case.arguments, data_format=data_format, return_indices=True)
    down = getattr(unpool, f"max_pool{case.rank}d_backward")
    expected = down(grad, np.asarray(indices), x.shape, **case.window, data_format=data_format)
    np.testing.assert_array_equal(jax.vjp(call, x)[1](jnp.array(grad))[0], expected)


@both
@pytest.mark.parametrize("foreign", [False, True], ids=["own", "foreign"])
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_unpooling_has_its_gradients(case, duplicates, foreign):
    x = bits("float64", case.shape((1, 2), "channels_first"))
    pool, up = functions(case)
    values, indices = pool(x, **case.arguments, return_indices=True)
    if foreign:  # many of them repeat
        indices = np.random.default_rng(0).integers(0, min(3, np.prod(case.size)), indices.shape)
    values, places = jnp.array(whole("float64", values.shape)), jnp.array(indices)

    def call(values):
        return up(jnp.asarray(values), places, **case.window, output_size=case.size, duplicates=duplicates)

    check_grads(call, (values,), order=2, modes=["fwd", "rev"])
    grad = whole("float64", x.shape)
    down = getattr(unpool, f"max_unpool{case.rank}d_backward")
    expected = down(grad, indices, **case.window, duplicates=duplicates)
    np.testing.assert_array_equal(jax.vjp(call, values)[1](jnp.array(grad))[0], expected)
    np.testing.assert_array_equal(jax.jit(lambda v, g: jax.vjp(call, v)[1](g)[0])(values, jnp.array(grad)), expected)


@both
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize(("pooled", "plane"), [((2, 3), (4, 7)), ((5, 4), (2, 4))], ids=str)
def test_unpooling_without_a_window_has_its_gradients(pooled, plane, duplicates):
    values, grad = whole("float64", (2, 3, *pooled)), whole("float64", (2, 3, *plane), 1)
    indices = anywhere(values.shape, grad[0, 0].size)
    places = jnp.array(indices)

    def call(values, places=places):
        return unpool.max_unpool2d(jnp.asarray(values), places, None, output_size=plane, duplicates=duplicates)

    check_grads(call, (jnp.array(values),), order=2, modes=["fwd", "rev"])
    expected = unpool.max_unpool2d(values, indices, None, output_size=plane, duplicates=duplicates)
    back = unpool.max_unpool2d_backward(grad, indices, None, duplicates=duplicates)
    np.testing.assert_array_equal(jax.vmap(call)(jnp.array(values), places), expected)
    for run in (lambda f: f, jax.jit):
        found = run(lambda v, g: jax.vjp(call, v)[1](g)[0])(jnp.array(values), jnp.array(grad))
        np.testing.assert_array_equal(found, back)


@both
@pytest.mark.parametrize("window", [(2,), (3, 2, 1)], ids=str)
def test_bfloat16_has_its_gradients(window):
    """Its bits are moved as integers, which have no derivative, so `operations` has a rule of its own."""
    x = jnp.array(np.random.default_rng(0).integers(-64, 64, (1, 2, 9, 8)), "bfloat16")
    _, indices = unpool.max_pool2d(x, *window, return_indices=True)

    def call(x):
        values, found = unpool.max_pool2d(x, *window, return_indices=True)
        planes = unpool.max_unpool2d(values, found, *window, output_size=x.shape)
        return planes, unpool.max_unpool2d_backward(x, indices, *window)

    def derivatives(x):
        results, back = jax.vjp(call, x)
        return results, back(results), jax.jvp(call, (x,), (x,)), jax.vmap(lambda x: call(x[None]))(x)

    wide = jax.tree.leaves(derivatives(x.astype("float32")))
    for found in (derivatives(x), jax.jit(derivatives)(x)):
        for actual, expected in zip(jax.tree.leaves(found), wide, strict=True):
            assert actual.dtype == "bfloat16"
            np.testing.assert_array_equal(actual.astype("float32"), expected)


@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_the_gradient_of_a_gradient(duplicates):
    planes, indices = jnp.arange(8.0).reshape(1, 2, 4), jnp.array(DUPLICATED)

    def call(planes):
        return unpool.max_unpool2d_backward(jnp.asarray(planes), indices, 1, (3, 1), duplicates=duplicates) ** 2

    check_grads(call, (planes,), order=2, modes=["fwd", "rev"])


@both
@pytest.mark.parametrize("word", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(2, 3), (6, 5)], ids=str)
def test_taking_has_its_gradients(size, word):
    planes = jnp.array(whole("float64", (2, 4, 3, 2) if word == "NHWC" else (2, 2, 4, 3)))
    indices = anywhere((2, *size, 2) if word == "NHWC" else (2, 2, *size), 12)  # some repeat

    def call(planes):
        return unpool.take_along_plane(jnp.asarray(planes), jnp.array(indices), data_format=word)

    check_grads(lambda planes: call(planes) ** 2, (planes,), order=2, modes=["fwd", "rev"])
    grad = whole("float64", indices.shape, 1)
    expected = oracle.max_unpool(grad, indices, (4, 3), "sum", word == "NHWC")
    for differentiate in (lambda g: jax.vjp(call, planes)[1](g)[0], jax.jit(lambda g: jax.vjp(call, planes)[1](g)[0])):
        assert_same_bits(np.asarray(differentiate(jnp.array(grad))), expected)


@pytest.mark.whole  # few cases, whose failure depends on the values alone
@both
@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize("window", [(2,), (3, 2, 1)], ids=str)
@pytest.mark.parametrize("plane", [(2, 2), (7, 2), (7, 6)], ids=str)
def test_signalling_nans_keep_their_bits(plane, window, index_format):
    """Those of bfloat16: where XLA moves it as float32, it sets a bit of them, in small arrays above all."""
    options = {"index_format": index_format}
    nans = np.uint16(0x7F81 + np.arange(42)).view(jnp.bfloat16)[: plane[0] * plane[1]].reshape(1, 1, *plane)
    values, indices = unpool.max_pool2d(nans, *window, return_indices=True, **options)
    calls = [
        lambda x, values, indices: unpool.max_pool2d(x, *window, return_indices=True, **options),
        lambda x, values, indices: unpool.max_unpool2d(values, indices, *window, output_size=x.shape, **options),
        lambda x, values, indices: unpool.max_unpool2d_backward(x, indices, *window, **options),
    ]
    for call in calls:
        results = jax.tree.leaves([jax.jit(call)(nans, values, indices), call(nans, values, indices)])
        half = len(results) // 2
        for actual, expected in zip(results[:half], results[half:], strict=True):
            assert_same_bits(np.asarray(actual), np.asarray(expected))


@pytest.mark.whole  # few cases, whose failure depends on the values alone
@both
@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize("window", [(1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_values_keep_their_bits(dtype, window, index_format):
    """Denormals stay, and so do the payloads of NaNs, in both parts."""
    wide, infinity = {"complex64": ("uint32", 0x7F800000), "complex128": ("uint64", 0x7FF0000000000000)}[dtype]
    sign = 1 << (31 if dtype == "complex64" else 63)
    parts = np.array([1, sign | 1, infinity + 3, infinity | sign, sign, 7, infinity + 9, 2], wide)
    planes = parts.view(dtype).reshape(1, 4)
    options = {"index_format": index_format}
    values, indices = unpool.max_pool1d(np.float32([[1, 2, 3, 4]]), *window, return_indices=True, **options)
    values = planes[:, : values.shape[1]]
    calls = [
        (lambda p, i: unpool.max_unpool1d_backward(p, i, *window, **options), planes),
        (lambda v, i: unpool.max_unpool1d(v, i, *window, output_size=(4,), **options), values),
    ]
    for call, given in calls:
        assert_same_bits(np.asarray(jax.jit(call)(given, indices)), call(given, indices))


@pytest.mark.whole  # the kernels add zeros by themselves
@both
@pytest.mark.parametrize("places", [[0, 2, 4], [0, 1, 4]], ids=["own", "foreign"])
def test_a_sum_of_a_negative_zero(places):
    """The sum of -0.0 is 0.0, and its derivative is still 1."""
    indices = jnp.array([places])

    def call(values):
        return unpool.max_unpool1d(values, indices, 2, duplicates="sum")

    for values in (jnp.array([[-0.0, jnp.inf, jnp.nan]]), jnp.array([[-0.0 - 0.0j, 1 - 0.0j, -0.0 + 1j]])):
        expected = unpool.max_unpool1d(np.asarray(values), np.asarray(indices), 2, duplicates="sum")
        assert_same_bits(np.asarray(jax.jit(call)(values)), expected)
        _, slopes = jax.jvp(call, (values,), (jnp.full_like(values, 3),))
        assert np.flatnonzero(np.asarray(slopes) == 3).tolist() == places


def test_nothing_is_multiplied_by_a_zero():
    x = jnp.array([[1.0, jnp.inf, -jnp.inf, 2.0]])
    assert jax.grad(lambda x: unpool.max_pool1d(x, 2).sum())(x).tolist() == [[0, 1, 0, 1]]


def there_and_back(x, duplicates="last"):
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(values * values, indices, 3, 2, 1, output_size=x.shape, duplicates=duplicates)


TRANSFORMED = {
    "jit": lambda f: jax.jit(f),
    "vmap": lambda f: lambda x: jax.vmap(f)(x[:, None])[:, 0],
    "vmap of channels": lambda f: lambda x: jax.vmap(lambda x: f(x[:, None])[:, 0], 1, 1)(x),
    "checkpoint": lambda f: jax.checkpoint(f),
    "scan": lambda f: lambda x: jax.lax.scan(lambda carry, x: (carry, f(x[None])[0]), 0, x)[1],
    "map": lambda f: lambda x: jax.lax.map(lambda x: f(x[None])[0], x),
    "cond": lambda f: lambda x: jax.lax.cond(x[0, 0, 0, 0] > -1e9, f, lambda x: x, x),
}


@pytest.mark.parametrize("transform", TRANSFORMED.values(), ids=TRANSFORMED)
def test_transformations(transform):
    call = there_and_back

    x = jnp.array(X[:, :, :7, :5], "float64")
    expected, back = jax.vjp(call, x)
    grad = jnp.array(whole("float64", expected.shape))
    np.testing.assert_array_equal(expected, call(np.asarray(x)))
    found, found_back = jax.vjp(transform(call), x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_back(grad)[0], back(grad)[0])
    np.testing.assert_array_equal(jax.jvp(transform(call), (x,), (x,))[1], jax.jvp(call, (x,), (x,))[1])


def test_jacobians():
    x = jnp.array(X[:1, :1, :5, :4], "float64")
    forward, reverse = jax.jacfwd(there_and_back)(x), jax.jacrev(there_and_back)(x)
    np.testing.assert_array_equal(forward, reverse)
    diagonal = np.diag(np.asarray(forward).reshape(20, 20))
    expected = np.where(there_and_back(np.asarray(x)) != 0, 2 * np.asarray(x), 0).reshape(-1)
    np.testing.assert_array_equal(np.asarray(forward).reshape(20, 20), np.diag(expected))
    assert (diagonal != 0).any()
    hessian = jax.hessian(lambda x: there_and_back(x).sum())(x).reshape(20, 20)
    np.testing.assert_array_equal(np.asarray(hessian), np.diag(np.where(expected != 0, 2, 0)))


def test_unpooling_is_linear():
    indices = jnp.array(DUPLICATED)

    def call(values):
        return unpool.max_unpool2d(values, indices, 1, (3, 1), output_size=(2, 4))

    transpose = jax.linear_transpose(call, jnp.ones((1, 1, 4)))
    assert transpose(jnp.arange(1.0, 9).reshape(1, 2, 4))[0].tolist() == [[[0, 4, 8, 1]]]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_bad_index_is_reported_wherever_it_has_a_value():
    values, bad = jnp.ones((1, 1, 1, 2)), jnp.array([[[[0, 8]]]])
    text = re.escape("indices[0, 0, 0, 1] = 8 is out of range for an output plane of 2 x 4: expected 0..7")
    calls = {
        "eager": lambda v, i: unpool.max_unpool2d(v, i, 2),
        "gradient": lambda v, i: jax.grad(lambda v: unpool.max_unpool2d(v, i, 2).sum())(v),
        "in a program": lambda v, i: jax.jit(lambda v: unpool.max_unpool2d(v, i, 2))(v),
        "mapped": lambda v, i: jax.vmap(lambda v: unpool.max_unpool2d(v, i, 2))(v[None]),
        "gather": lambda v, i: jax.jit(lambda p: unpool.max_unpool2d_backward(p, i, 2))(jnp.ones((1, 1, 2, 4))),
    }
    for call in calls.values():
        with pytest.raises(IndexError, match=text):
            call(values, bad)
    repeated = "got " + re.escape("indices[0, 0, 0, 0] = indices[0, 0, 0, 1] = 5")
    same = jnp.full_like(bad, 5)
    for transform in (lambda f: f, jax.jit, lambda f: jax.grad(lambda v: f(v).sum())):
        with pytest.raises(ValueError, match=repeated):
            transform(lambda v: unpool.max_unpool2d(v, same, 2, duplicates="error"))(values)


def test_bad_indices_that_are_dropped_do_not_repeat():
    """With `validate=False`, an index that names no cell is no repeat of another one, nor of that of cell 0."""
    values = jnp.array([[1.0, 2.0, 3.0]])

    def call(places):
        return unpool.max_unpool1d(values, jnp.array([places]), 2, validate=False, duplicates="error")

    assert call([0, 9, -4]).tolist() == [[1, 0, 0, 0, 0, 0]]
    assert call([9, 9, 3]).tolist() == [[0, 0, 0, 3, 0, 0]]
    with pytest.raises(ValueError, match=r"got indices\[0, 0\] = indices\[0, 2\] = 3"):
        call([3, 9, 3])


def test_wrong_calls():
    values, indices = jnp.array(POOLED), jnp.array(INDICES)
    with pytest.raises(TypeError, match="`out` must be left out for arrays of JAX"):
        unpool.max_unpool2d(values, indices, 2, out=jnp.zeros(X.shape, "float32"))
    with pytest.raises(TypeError, match=r"`out.*must be left out for arrays of JAX"):
        unpool.max_pool2d(jnp.array(X), 2, out=values)
    with pytest.raises(ValueError, match="`output_size`"):
        jax.jit(lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(99, 6)))(values, indices)


def test_conventions_of_what_is_traced():
    indices = jnp.array(INDICES)
    for target in ("tensorflow", "onnx", "window"):
        window = {"kernel_size": 2} if target == "window" else {}
        expected = unpool.convert_indices(INDICES, "plane", target, output_size=X.shape, **window)

        def there(indices, target=target, window=window):
            return unpool.convert_indices(indices, "plane", target, output_size=X.shape, **window)

        def back(indices, target=target, window=window):
            return unpool.convert_indices(indices, target, "plane", output_size=X.shape, **window)

        for found in (there(indices), jax.jit(there)(indices)):
            assert_same_bits(np.asarray(found), expected)
            assert_same_bits(np.asarray(jax.jit(back)(found)), INDICES)
    with pytest.raises(IndexError, match=r"indices\[0, 0, 0, 0\] = 48 does not fit the convention 'plane'"):
        unpool.convert_indices(jnp.full_like(indices, 48), "plane", "onnx", output_size=X.shape)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
def test_a_window_that_is_traced(name):
    """A number, a pair and an array; in a program, a map, a gradient, and where an object is made."""
    x, window = jnp.array(X), {"kernel_size": 2}

    def call(x, value):
        return unpool.max_pool2d(x, **window | {name: value})

    ways = [(jax.jit(call), one) for one in (1, (1, 1), jnp.array([1, 1]))]
    ways += [
        (jax.jit(lambda x, one: unpool.MaxPool2d(**window | {name: one})(x)), 1),
        (jax.vmap(call), jnp.array([1, 1])),
        (jax.grad(lambda x, one: call(x, one).sum(), argnums=(0, 1)), 1.0),
    ]
    for way, value in ways:
        with pytest.raises(TypeError, match=rf"^`{name}` must be known when the program is traced, got .*Tracer.*:"):
            way(x, value)
    if name == "padding":
        with pytest.raises(TypeError, match=r"^`padding` must be known when the program is traced"):
            jax.jit(call)(x, ((0, 1), 1))


def test_a_window_that_is_made_static():
    """The ways that the message gives."""
    x, expected = jnp.array(X), unpool.max_pool2d(X, 2)
    with pytest.raises(TypeError, match=r"`static_argnums` or `static_argnames` of jax.jit, or bind it with functools"):
        jax.jit(unpool.max_pool2d)(x, 2)
    with pytest.raises(TypeError, match=r"or make it with Python or NumPy, since jax.numpy traces constants"):
        jax.jit(lambda x: unpool.max_pool2d(x, jnp.int32(2)))(x)
    np.testing.assert_array_equal(jax.jit(lambda x: unpool.max_pool2d(x, np.int32(2)))(x), expected)
    ways = [{"static_argnums": 1}, {"static_argnames": "kernel_size"}]
    for call in [jax.jit(unpool.max_pool2d, **way) for way in ways]:
        np.testing.assert_array_equal(call(x, 2), expected)
    np.testing.assert_array_equal(jax.jit(partial(unpool.max_pool2d, kernel_size=2))(x), expected)


@pytest.mark.parametrize("name", ["output_size", "input_size"])
def test_a_size_that_is_traced(name):
    arrays = jnp.array(POOLED), jnp.array(INDICES)
    function = {"output_size": unpool.max_unpool2d, "input_size": unpool.max_pool2d_backward}[name]

    def call(values, indices, size):
        return function(values, indices, kernel_size=2, **{name: size})

    for size in ((8, 6), jnp.array([8, 6])):
        with pytest.raises(TypeError, match=f"^`{name}` must be known when .* traced, got .*: pass the shape of an"):
            jax.jit(call)(*arrays, size)
        with pytest.raises(TypeError, match=f"^`{name}` must be known when .* traced"):
            jax.jit(lambda v, i, size: call(v, i, (size[0], 6)))(*arrays, size)
    np.testing.assert_array_equal(jax.jit(call, static_argnums=2)(*arrays, (8, 6)), call(POOLED, INDICES, (8, 6)))
    np.testing.assert_array_equal(call(*arrays, jnp.array([8, 6])), call(POOLED, INDICES, (8, 6)))


# --- windows far larger than the plane --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize(("window", "pooled"), FAR.values(), ids=FAR)
def test_windows_far_larger_than_the_plane(window, pooled, wide):
    call, arrays = far(window, pooled)
    with jax.enable_x64(wide):
        results = jax.jit(call)(*map(jnp.array, arrays))
    for actual, expected in zip(results, call(*arrays), strict=True):
        np.testing.assert_array_equal(actual, expected)


# --- compiled and exported programs -----------------------------------------------------------------------------------


def test_a_program_is_compiled_once():
    call = jax.jit(there_and_back)
    for seed in range(3):
        call(jnp.array(np.random.default_rng(seed).random((2, 3, 7, 5))))
    assert call._cache_size() == 1


def test_export():
    require("flatbuffers", "JAX writes exported programs with it")
    from jax import export

    x = jnp.array(X)
    written = export.export(jax.jit(there_and_back))(x).serialize(vjp_order=1)
    loaded = export.deserialize(written)
    np.testing.assert_array_equal(loaded.call(x), there_and_back(X))
    expected = jax.grad(lambda x: there_and_back(x).sum())(x)
    np.testing.assert_array_equal(jax.grad(lambda x: loaded.call(x).sum())(x), expected)


@seldom
@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize("axes", ["n, c, 8, 6", "n, 3, h, w"])
def test_export_of_any_size(axes, duplicates):
    from jax import export

    def call(x):
        return there_and_back(x, duplicates), jax.grad(lambda x: there_and_back(x, duplicates).sum())(x)

    (shape,) = export.symbolic_args_specs(
        (jnp.array(X),), (axes,), constraints=("h >= 3", "w >= 3") if "h" in axes else ()
    )
    exported = export.export(jax.jit(call))(shape)
    for x in (X, X[:1]) if "8" in axes else (X, X[:, :, :7, :3], X[:, :, 1:, 1:], X[:, :, :3]):
        planes, slopes = exported.call(jnp.array(x))
        np.testing.assert_array_equal(planes, there_and_back(x, duplicates))
        np.testing.assert_array_equal(slopes, 2 * np.where(there_and_back(x) != 0, x, 0) * count(x, duplicates))


@seldom
@pytest.mark.parametrize("word", ["same", "same_lower"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 5), (2, 1)])
def test_padding_that_follows_from_a_symbol(kernel, stride, word):
    from jax import export

    window = {"kernel_size": kernel, "stride": stride, "padding": word}

    def call(x):
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        restored = unpool.max_unpool2d(values, indices, **window, output_size=x.shape)
        return (
            values,
            indices,
            restored,
            unpool.convert_indices(indices, "plane", "window", output_size=x.shape, **window),
        )

    (shape,) = export.symbolic_args_specs((jnp.array(X),), ("n, 3, h, w",), constraints=("h >= 3", "w >= 3"))
    exported = export.export(jax.jit(call))(shape)
    for size in ((5, 6), (6, 4), (8, 11)):
        x = whole("float32", (2, 3, *size))
        for actual, expected in zip(exported.call(jnp.array(x)), call(x), strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("duplicates", ["last", "sum"])
@pytest.mark.parametrize(
    ("axes", "sizes"),
    [
        (("p, q", "h, w"), [((2, 3), (8, 6)), ((5, 7), (3, 4))]),
        (("2, 3", "h, 4"), [((2, 3), (8, 4)), ((2, 3), (1, 4))]),
        (("p, 1", "h, 4"), [((2, 1), (8, 4)), ((9, 1), (2, 4))]),
    ],
    ids=["all", "one of the plane", "one of each"],
)
def test_export_without_a_window(axes, sizes, duplicates):
    """An index may be anywhere, also in a plane whose size is a symbol."""
    from jax import export

    def call(values, indices, x):
        def restore(values):
            return unpool.max_unpool2d(values, indices, None, output_size=x.shape, duplicates=duplicates)

        planes, pull = jax.vjp(restore, values)
        return planes, pull(x)[0]

    cases = []
    for pooled, plane in sizes:
        values, x = whole("float64", (2, 3, *pooled)), whole("float64", (2, 3, *plane), 1)
        cases.append((values, anywhere(values.shape, x[0, 0].size), x))
    pooled, plane = [f"n, 3, {entries}" for entries in axes]
    exported = export.export(jax.jit(call))(*export.symbolic_args_specs(cases[0], (pooled, pooled, plane)))
    for values, indices, x in cases:
        planes, slopes = exported.call(*map(jnp.array, (values, indices, x)))
        expected = unpool.max_unpool2d(values, indices, None, output_size=x.shape, duplicates=duplicates)
        np.testing.assert_array_equal(planes, expected)
        expected = unpool.max_unpool2d_backward(x, indices, None, duplicates=duplicates)
        np.testing.assert_array_equal(slopes, expected)


def count(x, duplicates):
    """Return how many windows each value is the maximum of, or 1 for "last"."""
    if duplicates == "last":
        return 1
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(np.ones_like(values), indices, 3, 2, 1, output_size=x.shape, duplicates="sum")


def test_without_a_window_cells_are_compared_only_where_all_sizes_are_known():
    from jax import export

    h, w = export.symbolic_shape("h, w")
    window = arguments.window(2, None, None, 0, 1, optional=True)
    for pooled, plane, compared in (
        ((3, 2), (6, 8), True),
        ((h, 2), (6, 8), False),
        ((3, 2), (6, w), False),
        ((1, 1), (6, w), False),
        ((h, w), (h, w), False),
    ):
        assert window_path.serve(plan.plan_unpooling((2, 3, *pooled), window, plane, False)) == compared


def test_without_a_window_a_symbol_must_have_a_cell():
    from jax import export

    shapes = jnp.ones((1, 1, 2, 2)), jnp.zeros((1, 1, 2, 2), int)
    values, indices = export.symbolic_args_specs(shapes, ("n, c, h, w",) * 2)
    height, width = values.shape[2:]

    def call(size):
        function = jax.jit(lambda v, i: unpool.max_unpool2d(v, i, None, output_size=size))
        return export.export(function)(values, indices)

    assert call((height, width)).call(*shapes).shape == (1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"`output_size` must have at least one element .* got shape \(0, 4\)"):
        call((0, 4))
    with pytest.raises(InconclusiveDimensionOperation):  # the message shows how to constrain h
        call((height - 1, width))


def test_a_size_that_may_be_too_small_must_be_excluded():
    from jax import export

    (shape,) = export.symbolic_args_specs((jnp.array(X),), ("n, 3, h, w",))
    with pytest.raises(InconclusiveDimensionOperation, match="inconclusive"):
        export.export(jax.jit(lambda x: unpool.max_pool2d(x, 3)))(shape)


def test_symbols_obey_the_rule_of_sizes():
    from jax import export

    shapes = jnp.ones((1, 1, 2, 2)), jnp.zeros((1, 1, 2, 2), int)
    values, indices = export.symbolic_args_specs(shapes, ("n, c, h, w",) * 2)
    height, width = values.shape[2:]

    def call(size):
        function = jax.jit(lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=size))
        return export.export(function)(values, indices)

    planes = call((2 * height + 1, 2 * width)).call(*shapes)
    assert planes.shape == (1, 1, 5, 4)
    text = "`output_size` must be between 2*w - 1 and 2*w + 1 (both allowed) in spatial dimension 1 to pool to w"
    with pytest.raises(ValueError, match=re.escape(text)):
        call((2 * height, 2 * width + 2))
    with pytest.raises(InconclusiveDimensionOperation):  # the message shows how to constrain h
        call((8, 2 * width))


@pytest.mark.parametrize("call", [lambda v, i: unpool.max_unpool2d(v, i, 2), lambda v, i: unpool.MaxUnpool2d(2)(v, i)])
def test_a_default_size_that_may_be_wrong_is_warned_of(call):
    """An exported program shears a plane of 7 columns into one of 6, without an error."""
    from jax import export

    x = np.zeros((1, 1, 4, 7))
    x[0, 0, 2] = range(1, 8)
    arrays = tuple(map(jnp.array, unpool.max_pool2d(x, 2, return_indices=True)))
    symbols = export.symbolic_args_specs(arrays, ("n, c, h, w",) * 2)
    message = (
        r"^`output_size` must be given where a size is unknown .*, got none .*\(n, c, h, w\): if the default size is "
        r"wrong, .*, without an error; pass the shape"
    )
    with pytest.warns(unpool.DefaultSizeWarning, match=message) as caught:
        exported = export.export(jax.jit(call))(*symbols)
    assert [warning.filename for warning in caught] == [__file__]
    assert np.asarray(exported.call(*arrays)).nonzero()[2].tolist() == [2, 2, 3]  # one row becomes two


@pytest.mark.parametrize(
    ("axes", "stride", "given"),
    [
        ("n, c, 4, 3", 2, False),  # every size is known
        ("n, c, h, w", 1, False),  # only one size pools to h x w
        ("n, c, h, 3", (1, 2), False),
        ("n, c, h, w", 2, True),
    ],
)
def test_a_default_size_that_is_right_is_not_warned_of(axes, stride, given):
    """Warnings are errors here."""
    from jax import export

    arrays = jnp.ones((2, 3, 4, 3)), jnp.zeros((2, 3, 4, 3), int)
    values, indices = export.symbolic_args_specs(arrays, (axes,) * 2)
    size = tuple(2 * entry for entry in values.shape[2:]) if given else None
    call = jax.jit(lambda v, i: unpool.max_unpool2d(v, i, 2, stride, output_size=size))
    assert export.export(call)(values, indices).call(*arrays).shape[:2] == (2, 3)


# --- several devices --------------------------------------------------------------------------------------------------

DEVICES = """
import os
os.environ |= {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
import numpy as np, jax, jax.numpy as jnp, unpool
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

def call(x):
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape)

def slopes(f):
    return jax.grad(lambda x: (f(x) ** 2).sum())

x = np.random.default_rng(0).permutation(4 * 8 * 9 * 7).reshape(4, 8, 9, 7).astype("float32")
expected, slope = call(x), np.where(call(x) != 0, 2 * x, 0)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(kind,) * 2)
    spread = jax.device_put(x, NamedSharding(mesh, P("a", "b")))
    with jax.set_mesh(mesh):
        for function, wanted in ((call, expected), (slopes(call), slope)):
            for run in (function, jax.jit(function)):
                found = run(spread)
                np.testing.assert_array_equal(found, wanted)
                assert found.sharding.is_equivalent_to(spread.sharding, 4), found.sharding
        pooled, constant = unpool.max_pool2d(spread, 3, 2, 1), unpool.max_pool2d(x, 3, 2, 1, return_indices=True)[1]
        found = unpool.max_unpool2d(pooled, constant, 3, 2, 1, output_size=x.shape)
        np.testing.assert_array_equal(found, expected)
        assert found.sharding.is_equivalent_to(spread.sharding, 4), found.sharding
        mapped = jax.shard_map(call, mesh=mesh, in_specs=P("a", "b"), out_specs=P("a", "b"))
        np.testing.assert_array_equal(jax.jit(mapped)(spread), expected)
        np.testing.assert_array_equal(jax.jit(slopes(mapped))(spread), slope)
one, two = jax.devices()[1:3]
values, indices = unpool.max_pool2d(jax.device_put(x, one), 2, return_indices=True)
assert values.devices() == indices.devices() == {one}
for places in (indices, jnp.array(np.asarray(indices)), np.asarray(indices)):
    assert unpool.max_unpool2d(values, places, 2, output_size=x.shape).devices() == {one}
try:
    unpool.max_unpool2d(values, jax.device_put(indices, two), 2, output_size=x.shape)
except TypeError as error:
    print(str(error).partition("`input` and `indices` must be on one device, got ")[2])
wrong = np.asarray(indices).copy()
wrong[3, 7, 0, 0] = 99
for place in (one, NamedSharding(mesh, P("a", "b"))):
    try:
        unpool.max_unpool2d(*jax.device_put((np.asarray(values), wrong), place), 2, output_size=x.shape)
    except IndexError as error:
        print(str(error)[:30])
"""


def test_several_devices():
    """Results keep the sharding of their input, with automatic and explicit axes, and its device."""
    result = python("-c", DEVICES)
    assert result.stdout.splitlines() == [
        "cpu:1 and cpu:2: pass jax.device_put(indices, input.sharding)",
        "indices[3, 7, 0, 0] = 99 is ou",
        "indices[3, 7, 0, 0] = 99 is ou",
    ], result.stderr


def test_shapes_alone():
    shape = jax.ShapeDtypeStruct((2, 3, 9, 7), "float32")
    values, indices = jax.eval_shape(lambda x: unpool.max_pool2d(x, 2, return_indices=True), shape)
    planes = jax.eval_shape(lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(9, 7)), values, indices)
    assert (values.shape, indices.dtype, planes.shape) == ((2, 3, 4, 3), "int64", (2, 3, 9, 7))


def test_symbols_are_planned_with():
    from jax import export

    h, w = export.symbolic_shape("h, w", constraints=("h >= 2", "w >= 2"))
    call = plan.plan_pooling((1, 1, h, w), arguments.window(2, 2, 2, 0, 1), False, False, "int32")
    assert str(call.pooled_shape[2]) in ("floordiv(h - 2, 2) + 1", "floordiv(h, 2)")
