"""Bad indices are reported at their place in the whole array; what cannot be computed lazily is refused at the call."""

from functools import partial

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import pooling, whole

require("dask", "the tests of Dask arrays need it")

import dask.array as da  # noqa: E402
from chunked import assert_as_numpy, chunked, computed, text_of  # noqa: E402

SIZE = (12, 16)
CELLS = SIZE[0] * SIZE[1]
WINDOWS = {"apart": pooling(SIZE, 2), "overlap": pooling(SIZE, 3, 2, 1)}
every_window = pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
FUNCTIONS = ("max_unpool", "max_unpool_backward", "max_pool_backward")
every_function = pytest.mark.parametrize("name", FUNCTIONS)
# The first index, the last one, and some beside the edges of chunks, which halos hold, too.
PLACES = [(0, 0, 0, 0), (3, 1, 5, 7), (2, 0, 2, 4), (1, 1, 1, 3)]
CHUNKS = (2, 1, 2, 4)


def call(case, name, **more):
    """Return a function of values or planes, and indices."""
    sized = {"max_unpool": "output_size", "max_pool_backward": "input_size"}
    size = {sized[name]: case.size} if name in sized else {}
    return partial(case.function(name), **case.window, **size, **more)


def pooled(case, **named):
    """Return planes, values and indices of a pooling."""
    x = np.random.default_rng(0).permutation(4 * 2 * CELLS).reshape(4, 2, *SIZE).astype("float32")
    return x, *unpool.max_pool2d(x, return_indices=True, **case.window, **named)


def pooled_ones(case):
    """Return the values and indices of windows of one cell."""
    return unpool.max_pool2d(np.ones((2, 2, *case.size), "float32"), 1, return_indices=True)


def lazily(first, indices):
    """Return both arrays in the same chunks of windows."""
    ahead = [size * (1 + (first.shape != indices.shape)) for size in CHUNKS[2:]]
    return [da.from_array(first, (*CHUNKS[:2], *ahead)), da.from_array(indices, CHUNKS)]


@pytest.mark.one_in(3)  # a case runs graphs
@every_window
@every_function
@pytest.mark.parametrize("validate", [True, "windows", False])
@pytest.mark.parametrize("bad", [-5, 2**32 + 3, CELLS, -(2**63), 2**63 - 1])
def test_a_bad_index_is_named_as_by_numpy(case, name, validate, bad):
    x, values, indices = pooled(case)
    first = x if name == "max_unpool_backward" else values
    for place in PLACES:
        wrong = indices.copy()
        wrong[place] = bad
        function = call(case, name, validate=validate)
        expected = text_of(function, *[chunked(array, axes=()) for array in (first, wrong)])
        assert expected.startswith(f"IndexError: indices[{', '.join(map(str, place))}] = {bad} is out of range")
        assert text_of(function, *lazily(first, wrong)) == expected
        with pytest.raises(IndexError) as caught:
            function(first, wrong)
        assert expected == f"IndexError: {caught.value}"


@pytest.mark.one_in(3)  # a case runs graphs
@every_window
@every_function
@pytest.mark.parametrize("bad", [9, 200, 255])
def test_a_bad_tap_is_named_as_by_numpy(case, name, bad):
    x, values, taps = pooled(case, index_format="window")
    first = x if name == "max_unpool_backward" else values
    for place in PLACES:
        wrong = taps.copy()
        wrong[place] = bad
        assert_as_numpy(call(case, name, index_format="window"), [first, wrong], lazily(first, wrong))
        assert "is no tap of its window" in text_of(call(case, name, index_format="window"), *lazily(first, wrong))


@every_function
@pytest.mark.parametrize("dtype", ["int32", "uint32", "uint64"])
def test_a_bad_index_of_another_dtype(name, dtype):
    """A subtraction would wrap it into the plane."""
    case = WINDOWS["apart"]
    x, values, indices = pooled(case)
    wrong = indices.astype(dtype)
    wrong[PLACES[2]] = np.iinfo(dtype).max
    first = x if name == "max_unpool_backward" else values
    assert_as_numpy(call(case, name), [first, wrong], lazily(first, wrong))
    assert f" = {np.iinfo(dtype).max} is out of range" in text_of(call(case, name), *lazily(first, wrong))


@every_function
def test_a_negative_index_does_not_wrap(name):
    """In int16, it would be in its block after the subtraction of the first cell, 20000."""
    case, bad = pooling((40_000,), 2), -30_000
    indices = np.minimum(2 * np.arange(20_000), 32_000).astype("int16")[None]
    indices[0, 15_000] = bad
    first = np.ones((1, 40_000 if name == "max_unpool_backward" else 20_000), "uint8")
    lazy = [da.from_array(array, (1, array.shape[1] // 2)) for array in (first, indices)]
    assert_as_numpy(call(case, name), [first, indices], lazy)
    assert f"indices[0, 15000] = {bad} is out of range" in text_of(call(case, name), *lazy)


@every_window
@every_function
def test_an_index_beyond_the_columns_of_its_block_is_refused(case, name):
    """It is in the plane, right of the block, in a row of the block."""
    x, values, indices = pooled(case)
    indices[2, 1, 3, 1] += 8
    first = x if name == "max_unpool_backward" else values
    assert "indices[2, 1, 3, 1] = " in text_of(call(case, name), *lazily(first, indices))


@every_window
@every_function
def test_an_index_of_another_window_is_named_as_by_numpy(case, name):
    x, values, indices = pooled(case)
    first = x if name == "max_unpool_backward" else values
    for place in PLACES:
        wrong = indices.copy()
        wrong[place] = CELLS - 1 - wrong[place]
        function = call(case, name, validate="windows")
        assert_as_numpy(function, [first, wrong], lazily(first, wrong))
        assert "is outside its own window in an output plane" in text_of(function, *lazily(first, wrong))


@every_window
@pytest.mark.parametrize("name", ["max_unpool", "max_unpool_backward"])
@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_a_repeated_cell_is_found_across_an_edge(case, name, index_format):
    """Where windows overlap, two of different chunks have their maximum in one cell."""
    x, values, indices = pooled(case, index_format=index_format)
    if case is WINDOWS["overlap"]:
        x[...] = 0
        x[2, 1, 4, 7] = 1  # row 4 begins a chunk; windows (2, 3) and (2, 4) share column 7
        values, indices = unpool.max_pool2d(x, return_indices=True, index_format=index_format, **case.window)
        indices[...] = np.where(values == 1, indices, 4 if index_format == "window" else indices)
        rows, columns = np.mgrid[: SIZE[0] : 2, : SIZE[1] : 2]
        if index_format == "plane":
            indices[...] = np.where(values == 1, indices, rows * SIZE[1] + columns)
    else:
        indices[2, 1, 1, 3] = indices[2, 1, 1, 2]
        if index_format == "window":
            return  # taps of windows apart do not repeat
    first = x if name == "max_unpool_backward" else values
    function = call(case, name, duplicates="error", index_format=index_format)
    assert "must not repeat" in text_of(function, *lazily(first, indices))
    assert_as_numpy(function, [first, indices], lazily(first, indices))


# --- indices outside their chunk --------------------------------------------------------------------------------------

# The first remedy by function, then the one for indices that no window made.
POOLED = {
    "max_unpool": "pass the shape of the array that was pooled as `output_size`",
    "max_pool_backward": "pass the shape of the array that was pooled as `input_size`",
    "max_unpool_backward": "pass the gradient of the array that was unpooled",
}
REMEDIES = (
    "{}, with the arguments of the pooling call; if no window made the indices, rechunk both arrays to one chunk along "
    "each spatial axis"
)


@every_function
@pytest.mark.parametrize("validate", [True, False])
def test_an_index_outside_of_its_chunk_is_refused(name, validate):
    case = WINDOWS["apart"]
    x, values, indices = pooled(case)
    indices[3, 1, 5, 7] = 3
    first = x if name == "max_unpool_backward" else values
    place = "indices[3, 1, 5, 7] = 3, the cell (0, 3), is outside the cells 8..11 x 8..15 of its chunk"
    text = f"{place}: {REMEDIES.format(POOLED[name])}"
    assert text_of(call(case, name, validate=validate), *lazily(first, indices)) == f"IndexError: {text}"
    whole_planes = [array.rechunk({2: -1, 3: -1}) for array in lazily(first, indices)]
    assert_as_numpy(call(case, name), [first, indices], whole_planes)


@every_function
def test_an_index_outside_of_its_window_is_refused_where_windows_lie_in_two_chunks(name):
    case = WINDOWS["overlap"]
    x, values, indices = pooled(case)
    indices[3, 1, 5, 7] = CELLS - 4
    first = x if name == "max_unpool_backward" else values
    text = (
        f"indices[3, 1, 5, 7] = {CELLS - 4}, the cell (11, 12), is outside its own window, where it must lie if "
        f"windows lie in two chunks: "
    )
    more = {} if name == "max_pool_backward" else {"duplicates": "last"}
    assert (
        text_of(call(case, name, **more), *lazily(first, indices))
        == f"IndexError: {text}{REMEDIES.format(POOLED[name])}"
    )


def test_rows_and_volumes_name_the_cells_of_their_rank():
    values, indices = np.ones((1, 8), "float32"), np.arange(0, 16, 2)[None]
    indices[0, 7] = 0
    lazy = [da.from_array(array, (1, 4)) for array in (values, indices)]
    assert "indices[0, 7] = 0 is outside the cells 8..15 of its chunk" in text_of(
        partial(unpool.max_unpool1d, kernel_size=2), *lazy
    )
    x = whole("float32", (1, 4, 4, 4))
    values, indices = unpool.max_pool3d(x, 2, return_indices=True)
    indices[0, 1, 1, 1] = 0
    lazy = [da.from_array(array, (1, 1, 2, 1)) for array in (values, indices)]
    text = "indices[0, 1, 1, 1] = 0, the cell (0, 0, 0), is outside the cells 2..3 x 0..3 x 2..3 of its chunk"
    assert text in text_of(partial(unpool.max_unpool3d, kernel_size=2), *lazy)


# --- the other functions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("dtype", "index_dtype", "index_format", "text"),
    [
        ("U5", "int64", "plane", "`input` must be of one of the dtypes float16, .*, got str160: convert it first"),
        ("float32", "float64", "plane", "`indices` must be integers .*, got float64: .*"),
        ("float32", "bool", "window", "`indices` must be integers .*, got bool: .*"),
        ("float32", "uint8", "plane", '`indices` must be int64 or int32 where index_format="plane", got uint8, .*'),
    ],
)
def test_a_block_of_an_undeclared_dtype_is_refused(dtype, index_dtype, index_format, text, split):
    x = np.arange(64.0, dtype="float32").reshape(1, 1, 8, 8)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, index_format=index_format)
    blocks = [
        da.from_array(array, chunks=(1, 1, 2, 4) if split else -1).map_blocks(np.ndarray.astype, to, dtype=array.dtype)
        for array, to in ((values, dtype), (indices, index_dtype))
    ]
    result = unpool.max_unpool2d(*blocks, 2, output_size=x.shape, index_format=index_format)
    with pytest.raises(TypeError, match=f"^{text}. This is the dtype of a block; the Dask array declares another"):
        result.compute()


def test_a_pooled_block_of_an_undeclared_dtype_is_refused():
    x = da.ones((1, 1, 8, 8), dtype="float32").map_blocks(np.ndarray.astype, "complex64", dtype="float32")
    with pytest.raises(TypeError, match=r"^`input` must be of one of .*, got complex64: convert it first. This is"):
        unpool.max_pool2d(x, 2).compute()


OTHER_SHAPES = {
    "shorter": (lambda block: block[:, :, :2], "(1, 2, 2, 4)"),
    "longer": (lambda block: np.repeat(block, 2, 3), "(1, 2, 4, 8)"),
    "other batch": (lambda block: np.concatenate([block, block]), "(2, 2, 4, 4)"),
    "without the batch": (lambda block: block[0], "(2, 4, 4)"),
}


@every_function
@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize(("change", "shape"), OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_a_block_of_an_undeclared_shape_is_refused(name, argument, change, shape):
    case = pooling((8, 4), 1)
    arrays = [da.from_array(array, (1, 2, 4, 4)) for array in pooled_ones(case)]
    arrays[argument] = arrays[argument].map_blocks(change, dtype=arrays[argument].dtype)
    first = "input" if name == "max_unpool" else "grad_output"
    assert text_of(call(case, name), *arrays) == (
        f"ValueError: `{'indices' if argument else first}` must have blocks of the declared shapes, got a block of "
        f"{shape} where (1, 2, 4, 4) is declared: pass `chunks` to the map_blocks that made it"
    )


@pytest.mark.parametrize("overlap", [False, True])
def test_a_pooled_block_of_an_undeclared_shape_is_refused(overlap):
    x = da.ones((1, 2, 20, 7), chunks=(1, 2, 10, 7)).map_blocks(lambda block: block[:, :, :5], dtype=float)
    text = r"^`input` must have blocks of the declared shapes, got a block of \(1, 2, [56], 7\) where"
    with pytest.raises(ValueError, match=text):
        unpool.max_pool2d(x, *((3, 2, 1) if overlap else (2,))).compute()


def test_a_bad_index_of_a_whole_plane():
    """Its position is that in the array, by chunks of the batch and the channels."""
    x, _, indices = pooled(WINDOWS["apart"])
    indices[3, 1, 5, 7] = CELLS
    lazy = [array.rechunk({2: -1, 3: -1}) for array in lazily(x, indices)]
    assert_as_numpy(unpool.take_along_plane, [x, indices], lazy)
    assert_as_numpy(partial(unpool.max_unpool2d_backward, kernel_size=None), [x, indices], lazy)


@pytest.mark.parametrize("target", ["tensorflow", "tensorflow_batch", "onnx", "onnx_column_major", "window"])
def test_a_bad_index_of_a_conversion(target):
    _, _, indices = pooled(WINDOWS["apart"])
    named = {"output_size": (4, 2, *SIZE), "kernel_size": 2}
    for place in PLACES:
        wrong = indices.copy()
        wrong[place] = CELLS + 1
        with pytest.raises(IndexError) as expected:
            unpool.convert_indices(wrong, "plane", target, **named)
        with pytest.raises(IndexError) as caught:
            computed(unpool.convert_indices(da.from_array(wrong, CHUNKS), "plane", target, **named))
        assert str(caught.value) == str(expected.value)
