"""Arrays whose batch or channels have an unknown size are computed; an unknown size along a plane is refused."""

from functools import partial

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import pooling, whole

require("dask", "the tests of Dask arrays need it")

import dask.array as da  # noqa: E402
from chunked import text_of  # noqa: E402

SIZE = (12, 16)
WINDOWS = {"apart": pooling(SIZE, 2), "overlap": pooling(SIZE, 3, 2, 1)}
every_window = pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
CHUNKS = (2, 1, 2, 4)


def pooled(case):
    """Return planes, values and indices of a pooling."""
    x = whole("float32", (4, 2, *SIZE))
    return x, *unpool.max_pool2d(x, return_indices=True, **case.window)


def unknown(array, chunks, kept):
    """Return the samples that are kept, as an array whose batch is unknown."""
    lazy = da.from_array(array, chunks)
    return lazy[da.from_array(kept, (chunks[0],))]


KEPT = np.array([True, False, True, True])


@every_window
@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_a_batch_of_unknown_size(case, index_format):
    """Pooling, unpooling with the shape of the input, both gradients, and conversions, all in chunks of planes."""
    x, *_ = pooled(case)
    lazy = unknown(x, (2, 1, 4, 8), KEPT)
    assert np.isnan(lazy.shape[0])
    named = case.window | {"index_format": index_format}

    def there_and_back(x):
        values, indices = unpool.max_pool2d(x, return_indices=True, **named)
        planes = unpool.max_unpool2d(values, indices, output_size=x.shape, **named)
        down = unpool.max_unpool2d_backward(planes, indices, **named)
        found = [values, indices, planes, down]
        found += [unpool.max_unpool2d(values, indices, output_size=SIZE, duplicates="sum", **named)]
        found += [unpool.max_pool2d_backward(values, indices, x.shape, **named)]
        if index_format == "plane":
            found += [unpool.convert_indices(indices, "plane", "tensorflow", output_size=x.shape)]
            found += [unpool.convert_indices(indices, "plane", "window", output_size=x.shape, **case.window)]
        return found

    for expected, found in zip(there_and_back(x[KEPT]), there_and_back(lazy), strict=True):
        assert found.ndim == 4
        assert np.isnan(found.shape[0])
        actual = found.compute(scheduler="sync")
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(actual, expected)


@every_window
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("axis", ["batch", "channels", "channels, no batch"])
def test_a_chunk_of_unknown_size_may_be_empty(case, axis, data_format):
    last = data_format == "channels_last"
    leading = (4,) if axis == "channels, no batch" else (4, 4)
    x = whole("float32", case.shape(leading, data_format))
    place = 0 if axis == "batch" else x.ndim - 1 if last else len(leading) - 1
    kept = np.array([True, False, False, True])
    chunks = [1 if k == place else -1 if size == 4 else 4 for k, size in enumerate(x.shape)]
    picked = (slice(None),) * place
    lazy = da.from_array(x, tuple(chunks))[(*picked, da.from_array(kept, 1))]
    named = case.window | {"data_format": data_format}

    def there_and_back(x):
        values, indices = unpool.max_pool2d(x, return_indices=True, **named)
        planes = unpool.max_unpool2d(values, indices, output_size=x.shape, **named)
        down = unpool.max_unpool2d_backward(planes, indices, **named)
        return values, indices, planes, down, unpool.max_pool2d_backward(down, indices, x.shape, **named)

    for expected, found in zip(there_and_back(x[(*picked, kept)]), there_and_back(lazy), strict=True):
        np.testing.assert_array_equal(found.compute(scheduler="sync"), expected)


@pytest.mark.parametrize(
    ("value", "target", "begins"),
    [
        (-5, None, "= -5 is out of range for an output plane of 12 x 16"),
        (1, None, "= 1, the cell (0, 1), is outside the cells 8..11 x 8..15 of its chunk"),
        (-5, "window", "= -5 does not fit the convention 'plane'"),
    ],
    ids=["bad", "of another chunk", "converted"],
)
def test_a_position_in_an_unknown_batch_counts_from_its_chunk(value, target, begins):
    x, values, indices = pooled(WINDOWS["apart"])
    indices[3, 1, 5, 7] = value
    lazy_x, *lazy = (unknown(array, CHUNKS, KEPT) for array in (x, values, indices))
    if target:
        named = {"output_size": lazy_x.shape, "kernel_size": 2}
        text = text_of(partial(unpool.convert_indices, source="plane", target=target, **named), lazy[1])
    else:
        text = text_of(partial(unpool.max_unpool2d, kernel_size=2), *lazy)
    assert text.startswith(f"IndexError: indices[1, 1, 5, 7] {begins}")
    assert text.endswith(
        ". The position along dimension 0 counts from the start of its chunk: call compute_chunk_sizes() first to see "
        "the position in the whole array"
    )


def with_unknown_sizes():
    """Return values with rows of unknown size, and values and indices whose batch is, in two chunks and in one."""
    _, values, indices = pooled(WINDOWS["apart"])
    rows = da.from_array(values)[..., da.from_array(np.full(8, True), 4)]
    return rows, unknown(values, (2, 2, 6, 8), KEPT), unknown(indices, (4, 2, 6, 8), KEPT)


# The call, and its whole message.
REFUSED = {
    "along a plane": (
        lambda rows, v, i: unpool.max_pool2d(rows, 2),
        (
            "`input` must have known sizes along its spatial axes, got shape (4, 2, 6, nan): call "
            "input.compute_chunk_sizes() first"
        ),
    ),
    "along a plane of indices": (
        lambda rows, v, i: unpool.max_unpool2d(rows, rows.astype(int), 2),
        (
            "`input` must have known sizes along its spatial axes, got shape (4, 2, 6, nan): call "
            "input.compute_chunk_sizes() first"
        ),
    ),
    "in a size": (
        lambda rows, v, i: unpool.max_unpool2d(v, i.astype(int), 2, output_size=rows.shape),
        (
            "`output_size` must have an integer for each spatial size, got (4, 2, 6, None): for a size unknown before "
            "the run, pass the shape as an array that the run computes; for a Dask array, call compute_chunk_sizes() "
            "first"
        ),
    ),
    "beside a size that is known": (
        lambda rows, v, i: unpool.max_unpool2d(v, v.astype(int), 2, output_size=(4, 2, *SIZE)),
        (
            "`output_size` must leave out a size that is unknown in `input`, got (4, 2, 12, 16) for shape (nan, 2, 6, "
            "8): pass the spatial entries alone, or call input.compute_chunk_sizes() first"
        ),
    ),
    "in other chunks": (
        lambda rows, v, i: unpool.max_unpool2d(v, i, 2),
        (
            "`indices` must have as many chunks as `input` along an axis of unknown sizes, got 1 and 2 along dimension "
            "0: call compute_chunk_sizes() on both first"
        ),
    ),
    "in other chunks of a gradient": (
        lambda rows, v, i: unpool.max_pool2d_backward(v, i, SIZE, 2),
        (
            "`indices` must have as many chunks as `grad_output` along an axis of unknown sizes, got 1 and 2 along "
            "dimension 0: call compute_chunk_sizes() on both first"
        ),
    ),
    "in a convention that counts samples": (
        lambda rows, v, i: unpool.convert_indices(i, "plane", "onnx", output_size=(*i.shape[:2], *SIZE)),
        (
            "`indices` must have a known size along dimension 0, which these conventions count, got shape (nan, 2, 6, "
            "8): call indices.compute_chunk_sizes() first"
        ),
    ),
}


@pytest.mark.parametrize(("function", "text"), REFUSED.values(), ids=REFUSED)
def test_unknown_sizes_that_are_refused(function, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        function(*with_unknown_sizes())
    assert str(caught.value) == text


def test_blocks_of_unknown_size_must_fit():
    """Only the run tells that the batches differ."""
    x, values, indices = pooled(WINDOWS["apart"])
    fewer = unknown(indices, (2, 2, 6, 8), np.array([True, True, True, False]))
    shapes = (
        "got blocks of shapes (2, 2, {}) and (1, 2, 6, 8): call compute_chunk_sizes() on both, and look for the size"
    )
    for name, function, first in (
        ("input", unpool.max_unpool2d, values),
        ("grad_output", unpool.max_unpool2d_backward, x),
    ):
        lazy = unknown(first, (2, 2, *first.shape[2:]), np.array([True] * 4))
        sizes = ", ".join(map(str, first.shape[2:]))
        text = f"ValueError: `{name}` must have blocks that fit those of `indices`, {shapes.format(sizes)}"
        assert text_of(partial(function, kernel_size=2), lazy, fewer).startswith(text)
