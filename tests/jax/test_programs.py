"""Compiled programs of JAX: which call the CPU kernels, and what they report.

unpool.testing.contract runs in such programs, with the kernels (`jax-jit`) and without (`jax-operations`).
"""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kinds import JAXOperationsArrays, kernel_message
from needs import require, require_backend
from processes import python

import unpool

jax = require("jax", "the tests of its programs need it")
require_backend("jax")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

X = np.random.default_rng(0).permutation(2 * 3 * 8 * 6).reshape(2, 3, 8, 6).astype("float32")
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)
KERNELS = "unpool_1"  # the name by which a program calls them
DEVICES = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, jax.numpy as jnp, numpy as np, unpool
from functools import partial
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
"""


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _freed():
    yield
    jax.clear_caches()


def there_and_back(x):
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(values * 2, indices, 3, 2, 1, output_size=x.shape)


def output(program, *arguments):
    """Run a program in a process of its own; return what it prints."""
    result = python("-c", program, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


# --- which programs ---------------------------------------------------------------------------------------------------

CALLS = {
    "there and back": there_and_back,
    "gradient": jax.grad(lambda x: there_and_back(x).sum()),
    "forward mode": lambda x: jax.jvp(there_and_back, (x,), (x,)),
    "mapped": jax.vmap(there_and_back, 1, 1),
    "scanned": lambda x: jax.lax.scan(lambda carry, x: (carry, there_and_back(x)), 0, x)[1],
    "values alone": lambda x: unpool.max_pool2d(x, 2),
    "narrow indices": lambda x: unpool.max_unpool2d(x, jnp.zeros(x.shape, "int8"), 2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_program_for_the_cpu_calls_the_kernels(call):
    """A program for another platform does not; one for two platforms has both ways."""
    traced = jax.jit(call).trace(jnp.array(X))
    assert KERNELS in traced.lower().as_text()
    assert KERNELS not in traced.lower(lowering_platforms=("cuda",)).as_text()
    assert KERNELS in traced.lower(lowering_platforms=("cuda", "cpu")).as_text()


def test_an_exported_program_calls_no_kernels():
    """It may run where unpool is not installed."""
    require("flatbuffers", "JAX writes exported programs with it")
    exported = jax.export.export(jax.jit(there_and_back))(jnp.array(X))
    assert KERNELS not in exported.mlir_module()
    np.testing.assert_array_equal(exported.call(jnp.array(X)), there_and_back(X))


SHARDED = (
    DEVICES
    + """
def call(x, size=None):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    return unpool.max_unpool2d(values, indices, 2)

x = np.random.default_rng(0).random((4, 2, 4, 6), "float32")
for kind in (AxisType.Explicit, AxisType.Auto):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(kind,) * 2)
    spread = jax.device_put(x, NamedSharding(mesh, P("a", "b")))
    whole = jax.shard_map(call, mesh=mesh, in_specs=P("a", "b"), out_specs=P("a", "b"))
    part = jax.shard_map(call, mesh=mesh, in_specs=P("a"), out_specs=P("a"), axis_names={"a"})
    for function in (call, whole, part):
        program = jax.jit(function)
        found = program(spread)
        np.testing.assert_array_equal(found, call(x))
        print("unpool_1" in program.lower(spread).as_text())
    # A bad index is dropped in a sharded program, and reported inside of `shard_map`, by its position in the shard.
    wrong = np.zeros(x.shape, "int32")
    wrong[3, 1, 2, 5] = 99
    pair = jax.device_put((x, wrong), NamedSharding(mesh, P("a", "b")))
    unpooled = partial(unpool.max_unpool2d, kernel_size=2)
    expected = unpool.max_unpool2d(x, np.zeros_like(wrong), 2)  # the last of the values at cell 0
    np.testing.assert_array_equal(jax.jit(unpooled)(*pair), expected)
    whole = jax.shard_map(unpooled, mesh=mesh, in_specs=P("a", "b"), out_specs=P("a", "b"))
    try:
        jax.block_until_ready(jax.jit(whole)(*pair))
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        assert "indices[1, 0, 2, 5] = 99 is out of range" in str(error), error
    else:
        raise AssertionError
    # After an error on one device, the others would wait for it.
    def total(v, i):
        return jax.lax.psum(unpool.max_unpool2d(v, i, 2, validate=False).sum(), ("a", "b"))

    total = jax.shard_map(total, mesh=mesh, in_specs=P("a", "b"), out_specs=P())
    np.testing.assert_allclose(jax.jit(total)(*pair), expected.sum(), rtol=1e-6)

# Mapped over an axis that is explicitly sharded, with derivatives in both modes.
mesh = jax.make_mesh((2,), ("a",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
with jax.set_mesh(mesh):
    spread = jax.device_put(x, NamedSharding(mesh, P("a")))
    slope = jax.grad(lambda x: (call(x) ** 2).sum())
    forward = lambda x: jax.jvp(call, (x,), (x,))[1]
    for function in (call, slope, forward, lambda x: unpool.max_pool2d(x, 2)):
        expected = np.stack([function(jnp.array(one)) for one in x])
        for program in (jax.vmap(function), jax.jit(jax.vmap(function))):
            found = program(spread)
            np.testing.assert_array_equal(found, expected)
            assert jax.typeof(found).sharding.spec[0] == "a"
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

# Indices that all devices share, and values that differ: JAX tracks along which axes arrays vary.
values, indices = unpool.max_pool2d(x[:1], 2, return_indices=True)
shared = jax.shard_map(
    lambda v, i: unpool.max_unpool2d(v, i, 2), mesh=mesh, in_specs=(P("a"), P()), out_specs=P("a")
)
four = np.arange(16 * 2, dtype="float32").reshape(2, 2, 2, 4)[..., :3]
program = jax.jit(lambda v: shared(v, indices))
expected = np.concatenate([unpool.max_unpool2d(v[None], indices, 2) for v in four])
np.testing.assert_array_equal(program(four), expected)
slope = jax.jit(jax.grad(lambda v: (program(v) ** 2).sum()))(four)
np.testing.assert_array_equal(slope, 2 * four)
shared = jax.shard_map(
    lambda v, i: unpool.max_unpool2d(v, i, 2), mesh=mesh, in_specs=(P(), P("a")), out_specs=P("a")
)
both = np.concatenate([indices, indices])
slope = jax.jit(jax.grad(lambda v: (shared(v, both) ** 2).sum()))(four[:1])
np.testing.assert_array_equal(slope, 4 * four[:1])
"""
)


def test_sharded_programs():
    """Kernels run inside `shard_map`; in sharded programs, they would gather every shard on each device."""
    assert output(SHARDED).split() == ["False", "True", "False"] * 2


SPATIALLY_SHARDED = (
    DEVICES
    + """
def call(x):
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape)

def slope(x):
    return jax.grad(lambda x: (call(x) ** 2).sum())(x)

x = np.random.default_rng(0).permutation(4 * 2 * 4 * 6).reshape(4, 2, 4, 6).astype("float32")
expected = np.where(call(x) != 0, 2 * x, 0)
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
for spec in (P("a", None, "b"), P(None, None, "a", "b")):
    spread = jax.device_put(x, NamedSharding(mesh, spec))
    whole = jax.device_put(x, NamedSharding(mesh, P(*spec[:2])))
    np.testing.assert_array_equal(call(spread), call(x))  # outside of a mesh, too
    with jax.set_mesh(mesh):
        for transform in (lambda f: f, lambda f: jax.jit(jax.vmap(f))):
            there = transform(call)(spread)
            np.testing.assert_array_equal(there, call(x))
            assert jax.typeof(there) == jax.typeof(whole)
            back = transform(slope)(spread)
            np.testing.assert_array_equal(back, expected)
            assert jax.typeof(back) == jax.typeof(spread)
        forward = jax.jit(lambda x: jax.jvp(call, (x,), (x,)))(spread)
        np.testing.assert_array_equal(forward, [call(x)] * 2)

# Values that all devices share, and indices that are sharded.
values, indices = unpool.max_pool2d(x, 2, return_indices=True)
shared, spread = [
    jax.device_put(array, NamedSharding(mesh, spec)) for array, spec in ((values, P()), (indices, P("a")))
]
with jax.set_mesh(mesh):
    for transform in (lambda f: f, jax.jit):
        back = transform(jax.grad(lambda v: (unpool.max_unpool2d(v, spread, 2) ** 2).sum()))(shared)
        np.testing.assert_array_equal(back, 2 * values)
        assert jax.typeof(back) == jax.typeof(shared)
"""
)


def test_explicit_sharding_along_the_plane():
    """Results are not sharded along the plane; a gradient has the sharding of the array that it belongs to."""
    output(SPATIALLY_SHARDED)


REFUSED = """
import ctypes, sys
import jax, numpy as np
from unpool_backends.cpu import _kernels

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def handler(frame):
    "Answer XLA's question for the version with one that it does not know."
    extension = ctypes.c_void_p.from_address(frame + 8).value
    if extension and ctypes.c_int.from_address(extension + 8).value == 1:
        metadata = ctypes.c_void_p.from_address(extension + 24).value
        ctypes.c_int.from_address(metadata + 24).value = 0
        ctypes.c_int.from_address(metadata + 28).value = 9999
    return None

new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
capsule = new(ctypes.cast(handler, ctypes.c_void_p), b"xla._CUSTOM_CALL_TARGET", None)
_kernels.xla_unpool_1 = capsule
if sys.argv[1:]:
    jax.ffi.register_ffi_target("unpool_1", capsule, platform="cpu")  # before the CPU backend has started
import unpool
x = np.random.default_rng(0).random((2, 3, 8, 6), "float32")
program = jax.jit(lambda x: unpool.max_pool2d(x, 2, return_indices=True))
values, indices = program(x)
expected = unpool.max_pool2d(x, 2, return_indices=True)
np.testing.assert_array_equal(values, expected[0])
np.testing.assert_array_equal(indices, expected[1])
print("unpool_1" in program.lower(x).as_text())
"""


def test_a_handler_that_xla_refuses_leaves_jax_working():
    assert output(REFUSED) == "False\n"
    # Registered earlier, as at import, a refused handler ends every use of JAX.
    assert "Unable to initialize backend 'cpu'" in python("-c", REFUSED, "early").stderr


KEPT = """
import os, pickle, sys
import jax, numpy as np, unpool
from jax.experimental import serialize_executable

x = np.random.default_rng(0).random((2, 3, 8, 6), "float32")
unpool.max_pool2d(jax.numpy.array(x), 2)  # an eager call loads the kernels
if sys.argv[2] == "write":
    compiled = jax.jit(lambda x: unpool.max_pool2d(x, 2)).lower(x).compile()
    with open(sys.argv[1], "wb") as file:
        pickle.dump(serialize_executable.serialize(compiled), file)
else:
    with open(sys.argv[1], "rb") as file:
        compiled = serialize_executable.deserialize_and_load(*pickle.load(file))
np.testing.assert_array_equal(compiled(x), unpool.max_pool2d(x, 2))
"""


def test_an_executable_that_was_written_to_disk(tmp_path):
    for step in ("write", "read"):
        output(KEPT, str(tmp_path / "program"), step)


CACHED = """
import os, sys
import jax, numpy as np, unpool
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
x = np.random.default_rng(0).random((2, 3, 8, 6), "float32")
before = set(os.listdir(sys.argv[1]))
np.testing.assert_array_equal(jax.jit(lambda x: unpool.max_pool2d(x, 2))(x), unpool.max_pool2d(x, 2))
print(len([name for name in set(os.listdir(sys.argv[1])) - before if name.endswith("-cache")]))
"""


def test_the_cache_of_programs_on_disk(tmp_path):
    """The second process finds the program that the first one wrote."""
    assert [output(CACHED, str(tmp_path)) for _ in range(2)] == ["1\n", "0\n"]


# --- what they report -------------------------------------------------------------------------------------------------

BAD = "indices[0, 0, 0, 1] = 8 is out of range for an output plane of 2 x 4: expected 0..7"
ONE = np.ones((1, 1, 1, 2), "float32")
PLANE = np.ones((1, 1, 2, 4), "float32")


def message(call, *arguments):
    """Return the message of the error at run time: JAX raises a ValueError if the program has run before."""
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError)) as caught:
        jax.block_until_ready(call(*arguments))
    return kernel_message(caught.value)


def unpooled(values, indices, **options):
    return unpool.max_unpool2d(values, indices, 2, **options)


REPORTS = {
    "unpooling": (unpooled, ONE, BAD),
    "sum": (lambda v, i: unpooled(v, i, duplicates="sum"), ONE, BAD),
    "gradient of unpooling": (lambda p, i: unpool.max_unpool2d_backward(p, i, 2), PLANE, BAD),
    "gradient of pooling": (lambda v, i: unpool.max_pool2d_backward(v, i, (2, 4), 2), ONE, BAD),
    "derivative": (jax.grad(lambda v, i: unpooled(v, i).sum()), ONE, BAD),
    "mapped": (jax.vmap(unpooled), ONE[None], "indices[0, 0, 0, 0, 1] = 8 is out of range"),
    "channels last": (
        lambda v, i: unpooled(jnp.moveaxis(v, 1, -1), jnp.moveaxis(i, 1, -1), data_format="channels_last"),
        ONE,
        "indices[0, 0, 1, 0] = 8 is out of range",
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_bad_index_is_an_error_at_run_time(name):
    call, given, text = REPORTS[name]
    program = jax.jit(call)
    bad, good = np.array([[[[0, 8]]]]), np.array([[[[0, 2]]]])
    if name == "mapped":
        bad, good = bad[None], good[None]
    for _ in range(2):
        assert message(program, given, bad).startswith(text)
        jax.block_until_ready(program(given, good))  # the next call works


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64", "uint64"])
def test_the_message_has_the_value_that_was_given(dtype):
    for bad in {8, np.iinfo(dtype).max, np.iinfo(dtype).min or 9}:
        text = f"indices[0, 0, 0, 1] = {bad} is out of range"
        assert message(jax.jit(unpooled), ONE, jnp.array([[[[3, bad]]]], dtype)).startswith(text)


def test_messages_are_those_of_eager_calls():
    """A bad, a foreign and a repeated index; the first of several."""
    values = np.ones((2, 2, 2, 2), "float32")
    indices = np.tile(np.array([[0, 2], [8, 10]]), (2, 2, 1, 1))
    cases = {"windows": (1, 0, 1, 0, 3), "error": (1, 1, 1, 1, 0), True: (0, 1, 1, 1, 16)}
    for mode, (n, c, h, w, wrong) in cases.items():
        indices[n, c, h, w] = wrong
        options = {"duplicates": mode} if mode == "error" else {"validate": mode}
        with pytest.raises((IndexError, ValueError)) as caught:
            unpooled(jnp.array(values), jnp.array(indices), **options)
        assert message(jax.jit(lambda v, i, options=options: unpooled(v, i, **options)), values, indices) == str(
            caught.value
        )
        for data_format in ("channels_last",):
            moved = [jnp.moveaxis(array, 1, -1) for array in (values, indices)]
            with pytest.raises((IndexError, ValueError)) as caught:
                unpooled(*moved, data_format=data_format, **options)
            program = jax.jit(lambda v, i, options=options: unpooled(v, i, data_format="channels_last", **options))
            assert message(program, *moved) == str(caught.value)
        indices[n, c, h, w] = [[0, 2], [8, 10]][h][w]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64", "uint64"])
def test_without_validation_a_bad_index_is_dropped(dtype):
    values = jnp.array([[[[1.0, 2.0]]]])

    def call(values, indices, duplicates):
        return unpool.max_unpool2d(values, indices, 2, duplicates=duplicates, validate=False)

    compiled = jax.jit(call, static_argnums=2)
    slopes = jax.jit(jax.grad(lambda *given: (call(*given) * 5).sum()), static_argnums=2)
    for bad in {8, np.iinfo(dtype).max, np.iinfo(dtype).min or 9}:
        indices = jnp.array([[[[3, bad]]]], dtype)
        expected = [[[[0, 0, 0, 1], [0, 0, 0, 0]]]]
        assert call(values, indices, "last").tolist() == expected
        for duplicates in ("last", "sum"):
            assert compiled(values, indices, duplicates).tolist() == expected
            assert slopes(values, indices, duplicates).tolist() == [[[[5, 0]]]]


def test_eager_calls_report_repeated_indices_beside_dropped_ones():
    values, indices = jnp.array([[[1.0, 2], [3, 4]]]), jnp.array([[[0, 2], [2, 10]]])

    def call(values):
        return unpool.max_unpool2d(values, indices, 2, validate=False, duplicates="error")

    for transform in (lambda f: f, lambda f: jax.grad(lambda v: f(v).sum()), jax.jit):
        with pytest.raises(ValueError, match=r"got indices\[0, 0, 1\] = indices\[0, 1, 0\] = 2"):
            transform(call)(values)


def test_repeated_indices_are_an_error_beside_dropped_ones():
    program = jax.jit(lambda v, i: unpooled(v, i, duplicates="error", validate=False))
    assert "indices[0, 0, 0, 0] = indices[0, 0, 0, 1] = 5" in message(program, ONE, np.array([[[[5, 5]]]]))
    assert program(ONE, np.array([[[[9, 9]]]])).tolist() == [[[[0] * 4] * 2]]


def test_what_reports_nothing():
    """A result that nobody uses; a branch that is not taken, except under `vmap`, which computes both."""
    bad, good = np.array([[[[0, 8]]]]), np.array([[[[0, 2]]]])
    assert jax.jit(lambda v, i: unpooled(v, i) is None or v.sum())(ONE, bad) == 2

    def branch(taken, v, i):
        return jax.lax.cond(taken, lambda: unpooled(v, i), lambda: jnp.zeros((1, 1, 2, 4), v.dtype))

    assert jax.jit(branch)(False, ONE, bad).sum() == 0
    assert jax.jit(branch)(True, ONE, good).sum() == 2
    mapped = jax.jit(jax.vmap(branch, (0, None, None)))
    assert message(mapped, np.array([False]), ONE, bad).startswith("indices[")


# --- the same results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(8))
def test_an_index_beside_the_taps_of_a_single_window(index):
    """Its taps are the cells -1, 2, 5 and 8 of a plane of 8, so that 0, 1, 6 and 7 take the general path."""
    window = {"kernel_size": 4, "stride": 1, "padding": 1, "dilation": 3}

    def call(values, indices):
        return unpool.max_unpool1d(values, indices, **window, output_size=(8,))

    values, indices = np.ones((1, 3, 1), "float32"), np.full((1, 3, 1), index, "int32")
    with JAXOperationsArrays.without_kernels():
        planes, pullback = jax.vjp(lambda values: jax.jit(call)(values, indices), values)
        taken = pullback(planes)[0]
    np.testing.assert_array_equal(planes, call(values, indices))
    np.testing.assert_array_equal(taken, values)


def test_without_compilation():
    """`disable_jit` calls the kernels at once."""
    x = jnp.array(X)
    with jax.disable_jit():
        found = jax.vmap(there_and_back, 1, 1)(x[:, :, None])[:, :, 0]
        slopes = jax.jit(jax.grad(lambda x: there_and_back(x).sum()))(x)
        with pytest.raises(IndexError, match=re.escape(BAD)):
            jax.jit(unpooled)(jnp.array(ONE), jnp.array([[[[0, 8]]]]))
    np.testing.assert_array_equal(found, there_and_back(X))
    np.testing.assert_array_equal(slopes, jax.jit(jax.grad(lambda x: there_and_back(x).sum()))(x))


def test_callers_in_several_threads():
    x = jnp.array(np.random.default_rng(0).random((2, 16, 96, 96), "float32"))
    program = jax.jit(lambda x: jax.vjp(there_and_back, x)[1](x)[0])
    expected = np.asarray(program(x))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: np.asarray(program(x)), range(64)):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["last", "sum"])
def test_derivatives_of_third_order(mode):
    """In every combination of both modes, of all three primitives."""
    x = jnp.array(np.random.default_rng(0).permutation(2 * 5 * 6).reshape(1, 2, 5, 6) / 8.0)
    indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)[1]

    def call(x):
        values = unpool.max_pool2d(x, 3, 2, 1)
        planes = unpool.max_unpool2d(values**3, indices, 3, 2, 1, output_size=(5, 6), duplicates=mode)
        return unpool.max_unpool2d_backward(planes * x, indices, 3, 2, 1, duplicates=mode)

    check_grads(jax.jit(call), (x,), 3, eps=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64", "complex64"])
def test_unpooling_can_be_transposed(dtype):
    indices = jnp.array([[[3, 3, 7, 0]]])

    def call(values):
        return unpool.max_unpool2d(values, indices, 1, (3, 1), output_size=(2, 4))

    for transform in (lambda f: f, jax.jit):
        transpose = jax.linear_transpose(transform(call), jnp.ones((1, 1, 4), dtype))
        found = transpose(jnp.arange(1, 9, dtype=dtype).reshape(1, 2, 4))[0]
        assert found.dtype == dtype
        assert found.astype("complex64").tolist() == [[[0, 4, 8, 1]]]


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (2, 1), (-1, 0)])
def test_mapped_along_any_axes(axes):
    """Under `vmap`, each array has its own mapped axis, or none."""
    values, indices = jnp.array(POOLED), jnp.array(INDICES)
    given = [
        jnp.stack([array] * 3, axis) if axis is not None else array
        for array, axis in zip((values * 2, indices), axes, strict=True)
    ]
    call = jax.vmap(lambda v, i: unpool.max_unpool2d(v, i, 2), axes)
    expected = np.stack([unpool.max_unpool2d(POOLED * 2, INDICES, 2)] * 3)
    for transform in (lambda f: f, jax.jit):
        np.testing.assert_array_equal(transform(call)(*given), expected)
    twice = jax.jit(jax.vmap(jax.vmap(lambda v, i: unpool.max_unpool2d(v, i, 2)), 1, 1))
    found = twice(values[..., None, :, :], indices[..., None, :, :])[:, :, 0]
    np.testing.assert_array_equal(found, unpool.max_unpool2d(POOLED, INDICES, 2))


def test_constants_that_are_made_while_tracing():
    """JAX keeps them as arrays of NumPy, which have no device."""

    def call(values):
        return (unpool.max_unpool2d(values, jnp.asarray(INDICES), 2) ** 2).sum()

    for transform in (lambda f: f, jax.jit):
        np.testing.assert_array_equal(transform(jax.grad(call))(jnp.array(POOLED)), 2 * POOLED)
        np.testing.assert_array_equal(transform(jax.grad(call))(POOLED), 2 * POOLED)
