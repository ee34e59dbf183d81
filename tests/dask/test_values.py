"""Blocks give the bits of NumPy's calls, whatever the chunks of each array."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from needs import require

import unpool
from unpool.testing.cases import (
    DUPLICATES,
    FORMATS,
    INTEGERS,
    LAYOUTS,
    POOLINGS,
    POSITIONS,
    REALS,
    VALUES,
    anywhere,
    arranged,
    bits,
    crowded,
    pooling,
    suits,
    whole,
)

require("dask", "the tests of Dask arrays need it")

import dask.array as da  # noqa: E402
from chunked import assert_as_numpy, chunked, computed  # noqa: E402

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_index_format = pytest.mark.parametrize("index_format", ["plane", "window"])
# A window within its chunk if the edges are even, and one that overlaps others.
WINDOWS = {"apart": pooling((9, 8), 2), "overlap": pooling((9, 8), 3, 2, 1)}
every_window = pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)


def assert_all(case, x, *, seed=0, modes=DUPLICATES, index_dtype=None, lay=lambda array: array, **named):
    """Compare pooling, unpooling and the gradients of both; each array of a call has chunks of its own."""
    pool, unpooling = case.function("max_pool"), case.function("max_unpool")
    named = case.window | named
    values, indices = pool(x, ceil_mode=case.ceil_mode, return_indices=True, **named)
    both = partial(pool, ceil_mode=case.ceil_mode, return_indices=True, index_dtype=index_dtype, **named)
    assert_as_numpy(both, [lay(x)], seed=seed)
    grad = whole(x.dtype, x.shape, 1)
    indices = indices.astype(index_dtype or indices.dtype)
    for duplicates in modes:
        mode = named | {"duplicates": duplicates}
        back = partial(unpooling, output_size=x.shape, **mode)
        assert_as_numpy(back, [lay(values), lay(indices)], seed=seed)
        assert_as_numpy(partial(case.function("max_unpool_backward"), **mode), [lay(grad), lay(indices)], seed=seed)
    gradient = partial(case.function("max_pool_backward"), input_size=x.shape, **named)
    assert_as_numpy(gradient, [lay(values), lay(indices)], seed=seed)


@pytest.mark.one_in(3)  # a case builds and runs graphs for four functions
@every_format
@pytest.mark.parametrize("name", POOLINGS)
def test_every_window(name, data_format):
    """One data format has positions, the other one taps."""
    case, odd = POOLINGS[name], len(name) % 2
    leading = (3,) if odd else (2, 2)
    index_format = ("plane", "window")[(FORMATS.index(data_format) + odd) % 2]
    x = crowded("float32", case.shape(leading, data_format), len(name))
    assert_all(case, x, seed=name, index_format=index_format, data_format=data_format)


@st.composite
def windows(draw):
    """Return planes that are longer than their windows, so that there are several chunks."""
    rank = draw(st.sampled_from([1, 2, 2]))
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, most)] * rank)) for most in (5, 5, 3))
    padding = draw(
        st.one_of(
            st.tuples(*[st.integers(0, entry // 2) for entry in kernel]),
            st.tuples(*[st.tuples(st.integers(0, entry - 1), st.integers(0, entry - 1)) for entry in kernel]),
            st.sampled_from([("same",) * rank, ("same_lower",) * rank]),
        )
    )
    size = draw(st.tuples(*[st.integers(1, 40 // rank + 10)] * rank))
    ceil_mode = draw(st.booleans()) and not isinstance(padding[0], str)
    return pooling(size, kernel, stride, padding, dilation, ceil_mode)


@settings(max_examples=60)
@given(windows(), st.sampled_from(FORMATS), st.sampled_from(["plane", "window"]), st.integers(0, 2**32))
def test_any_window(case, data_format, index_format, seed):
    x = whole("int16", case.shape((2, 2), data_format), seed)
    try:
        case.function("max_pool")(x, data_format=data_format, **case.arguments)
    except ValueError:
        assume(False)
    assert_all(case, x, seed=seed, modes=["last", "sum"], index_format=index_format, data_format=data_format)


@every_format
@every_index_format
@every_window
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_there_and_back(case, index_format, data_format, duplicates):
    """Results keep the chunks of their calls, without a change of chunks between them."""
    x = bits("float32", arranged((3, 2), (24, 30), data_format))
    named = case.window | {"data_format": data_format, "index_format": index_format}

    def there_and_back(x):
        values, indices = unpool.max_pool2d(x, return_indices=True, **named)
        planes = unpool.max_unpool2d(values, indices, output_size=x.shape, duplicates=duplicates, **named)
        down = unpool.max_unpool2d_backward(planes, indices, duplicates=duplicates, **named)
        return values, indices, planes, down, unpool.max_pool2d_backward(down, indices, x.shape, **named)

    for seed in range(3):
        assert_as_numpy(there_and_back, [x], seed=seed)


# --- dtypes, memory ---------------------------------------------------------------------------------------------------


@every_window
@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_every_dtype(case, dtype):
    assert_all(case, crowded(dtype, (2, 2, *case.size)), modes=["last", "sum"], data_format="channels_first")


@every_window
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_every_dtype_of_values(case, dtype):
    _, indices = unpool.max_pool2d(whole("int8", (2, 2, *case.size)), return_indices=True, **case.window)
    for duplicates in ("last", "sum"):
        function = partial(unpool.max_unpool2d, output_size=case.size, duplicates=duplicates, **case.window)
        assert_as_numpy(function, [bits(dtype, indices.shape), indices])


@every_window
@pytest.mark.parametrize("index_dtype", POSITIONS, ids=str)
def test_every_dtype_of_indices(case, index_dtype):
    x = whole("float32", (2, 2, *case.size))
    returned = index_dtype if index_dtype in ("int32", "int64") else None
    assert_all(case, x, index_dtype=returned, modes=["last", "sum"])
    values, indices = unpool.max_pool2d(x, return_indices=True, **case.window)
    function = partial(unpool.max_unpool2d, output_size=case.size, **case.window)
    assert_as_numpy(function, [values, indices.astype(index_dtype)])
    assert_as_numpy(partial(unpool.max_unpool2d_backward, **case.window), [x, indices.astype(index_dtype)])


@every_window
@pytest.mark.parametrize("index_dtype", INTEGERS, ids=str)
def test_every_dtype_of_taps(case, index_dtype):
    x = whole("float32", (2, 2, *case.size))
    named = case.window | {"index_format": "window"}
    values, taps = unpool.max_pool2d(x, return_indices=True, **named)
    function = partial(unpool.max_unpool2d, output_size=case.size, **named)
    assert_as_numpy(function, [values, taps.astype(index_dtype)])


@every_window
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(case, layout):
    """Also arrays in the other byte order; results have the machine's."""
    for dtype in ("float64", "int16"):
        if suits(layout, dtype):
            assert_all(case, whole(dtype, (2, 2, *case.size)), lay=layout, modes=["last"])


@pytest.mark.parametrize("index_format", ["plane", "window"])
@every_window
def test_blocks_in_column_major_order(case, index_format):
    """Those of a transposed array are, for one."""
    x = whole("float32", (2, 2, *case.size))
    named = case.window | {"index_format": index_format}
    values, indices = unpool.max_pool2d(x, return_indices=True, **named)

    def turned(array):  # into chunks that are equal for values and indices, and so are not merged
        return da.from_array(array, (1, 2, array.shape[2] // 2, 2)).map_blocks(np.asfortranarray)

    assert_as_numpy(partial(unpool.max_pool2d, return_indices=True, **named), [x], [turned(x)])
    back = partial(unpool.max_unpool2d, output_size=x.shape, **named)
    assert_as_numpy(back, [values, indices], [turned(values), turned(indices)])
    assert_as_numpy(partial(unpool.max_unpool2d_backward, **named), [x, indices], [turned(x), turned(indices)])


# --- chunks -----------------------------------------------------------------------------------------------------------


def with_empty(array, axis, place):
    """Return an array in two chunks along each axis, and one of size 0 along one of them."""
    chunks = [[size // 2, size - size // 2] for size in array.shape]
    chunks[axis].insert(place, 0)
    return da.from_array(array, tuple(map(tuple, chunks)))


@every_window
@every_format
@pytest.mark.parametrize("axis", range(4))
def test_chunks_of_size_0(case, axis, data_format):
    x = whole("float32", case.shape((2, 2), data_format))
    named = case.window | {"data_format": data_format}

    def there_and_back(x, place):
        values, indices = unpool.max_pool2d(x, return_indices=True, **named)
        if isinstance(x, da.Array):
            values, indices = (with_empty(computed(array), axis, place) for array in (values, indices))
        planes = unpool.max_unpool2d(values, indices, output_size=x.shape, **named)
        return values, indices, planes, unpool.max_unpool2d_backward(x, indices, **named)

    for place in range(3):
        assert_as_numpy(lambda x: there_and_back(x, place), [x], [with_empty(x, axis, place)])  # noqa: B023


@every_window
@every_format
def test_no_samples(case, data_format):
    assert_all(case, np.ones(case.shape((0, 3), data_format), "float32"), data_format=data_format)


@every_window
@pytest.mark.parametrize("size", [(1, 1), (5, 6)])
def test_chunks_of_one_cell(case, size):
    x = whole("float32", (1, 2, *size))
    case = pooling(size, 1) if size == (1, 1) else case
    both = partial(unpool.max_pool2d, return_indices=True, **case.window)
    assert_as_numpy(both, [x], [da.from_array(x, chunks=1)])
    back = partial(unpool.max_unpool2d, output_size=x.shape, **case.window)
    assert_as_numpy(back, both(x), [da.from_array(array, chunks=1) for array in both(x)])


def test_a_block_keeps_indices_outside_of_windows_within_its_chunk():
    """No window is in two chunks, so a block keeps every index of its own cells."""
    values, indices = whole("float32", (1, 2, 4, 4)), np.empty((1, 2, 4, 4), "int64")
    for row in range(0, 4, 2):
        for column in range(0, 4, 2):
            cells = np.arange(64).reshape(8, 8)[2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            chosen = np.random.default_rng(row + column).choice(cells.reshape(-1), (2, 2, 2))
            indices[0, :, row : row + 2, column : column + 2] = chosen
    grad = whole("float32", (1, 2, 8, 8))
    small, large = (1, 1, 2, 2), (1, 1, 4, 4)
    for duplicates in ("last", "sum"):
        named = {"kernel_size": 2, "duplicates": duplicates}
        for function, first, chunks in (
            (unpool.max_unpool2d, values, small),
            (unpool.max_unpool2d_backward, grad, large),
        ):
            lazy = [da.from_array(first, chunks), da.from_array(indices, small)]
            assert_as_numpy(partial(function, **named), [first, indices], lazy)


@every_format
def test_whole_planes_take_indices_anywhere(data_format):
    """The batch and the channels are in chunks."""
    case, outside = pooling((6, 8), 3, 2, 1), [0, 1 if data_format == "channels_first" else 3]
    shape = arranged((4, 3), (3, 4), data_format)
    indices, values = anywhere(shape, 48), whole("float32", shape)
    grad = whole("float32", case.shape((4, 3), data_format))
    for duplicates in ("last", "sum"):
        named = case.window | {"data_format": data_format, "duplicates": duplicates}
        for function, first, more in (
            (unpool.max_unpool2d, values, {"output_size": case.size}),
            (unpool.max_unpool2d_backward, grad, {}),
        ):
            lazy = [chunked(first, 1, outside), chunked(indices, 2, outside)]
            assert_as_numpy(partial(function, **named, **more), [first, indices], lazy)


# --- the other functions ----------------------------------------------------------------------------------------------


def test_objects():
    x = whole("float32", (2, 2, 9, 8))
    pool, back = unpool.MaxPool2d(3, 2, 1, return_indices=True), unpool.MaxUnpool2d(3, 2, 1)

    def there_and_back(x):
        values, indices = pool(x)
        return values, indices, back(values, indices, output_size=x.shape)

    assert_as_numpy(there_and_back, [x])


def test_the_backend_has_a_name():
    x = chunked(whole("float32", (2, 2, 9, 8)))
    assert unpool.available()["dask"] is None
    assert unpool.max_pool2d(x, 2, backend="dask").name == unpool.max_pool2d(x, 2).name


@every_format
def test_no_window(data_format):
    shape = arranged((3, 2), (3, 4), data_format)
    values, indices = whole("float32", shape), anywhere(shape, 30)
    grad = whole("float32", arranged((3, 2), (5, 6), data_format))
    outside = [0, 1 if data_format == "channels_first" else 3]
    lazy = [chunked(array, place, outside) for place, array in enumerate((values, indices, grad))]
    for call in (
        lambda v, i, g: unpool.max_unpool2d(v, i, None, output_size=(5, 6), data_format=data_format),
        lambda v, i, g: unpool.max_unpool2d_backward(g, i, None, data_format=data_format),
        lambda v, i, g: unpool.take_along_plane(g, i, data_format=data_format),
    ):
        assert_as_numpy(call, [values, indices, grad], lazy)


CONVENTIONS = ("tensorflow", "tensorflow_batch", "onnx", "onnx_column_major", "window")


@every_format
@pytest.mark.parametrize("target", CONVENTIONS)
def test_conversions(target, data_format):
    case = WINDOWS["overlap"]
    x = whole("float32", case.shape((3, 2), data_format))
    named = case.window | {"data_format": data_format}
    _, indices = unpool.max_pool2d(x, return_indices=True, **named)
    named["output_size"] = x.shape
    converted = unpool.convert_indices(indices, "plane", target, **named)
    assert_as_numpy(lambda indices: unpool.convert_indices(indices, "plane", target, **named), [indices])
    assert_as_numpy(lambda indices: unpool.convert_indices(indices, target, "plane", **named), [converted])
