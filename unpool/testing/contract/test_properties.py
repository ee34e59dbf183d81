"""Hypothesis searches all arguments at once for a call whose result differs from the oracle."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unpool.testing import oracle
from unpool.testing.cases import (
    DUPLICATES,
    FORMATS,
    LAYOUTS,
    POSITIONS,
    REALS,
    VALUES,
    anywhere,
    bits,
    crowded,
    pooling,
    suits,
)
from unpool.testing.compare import assert_same_bits, assert_same_sums

seeds = st.integers(0, 2**16)


@st.composite
def poolings(draw):
    """Draw a plane and pooling arguments that fit it; some windows may lie wholly in the padding."""
    rank = draw(st.integers(1, 3))
    word = draw(st.none() | st.sampled_from(["same", "same_lower"]))
    along = []
    for _ in range(rank):
        kernel = draw(st.integers(1, 4))
        stride = draw(st.integers(1, 5))
        dilation = draw(st.integers(1, 3))
        span = dilation * (kernel - 1)
        one_side = st.integers(0, span)
        padding = word or draw(st.integers(0, kernel // 2) | st.tuples(one_side, one_side))
        padded = span if word else sum(padding) if isinstance(padding, tuple) else 2 * padding
        smallest = max(1, span + 1 - padded)
        along.append((draw(st.integers(smallest, smallest + (20, 8, 4)[rank - 1])), kernel, stride, padding, dilation))
    return pooling(*zip(*along, strict=True), ceil_mode=draw(st.booleans()))


@st.composite
def calls(draw):
    """Draw a pooling, (batch, channels) or (channels,), and a data format."""
    leading = draw(st.sampled_from([(1,), (3,), (1, 1), (2, 3), (0, 2), (1, 34)]))
    return draw(poolings()), leading, draw(st.sampled_from(FORMATS))


def pooled_or_none(case, x, data_format):
    try:
        return case.pool(x, data_format)
    except ValueError:
        return None


def layouts(dtype):
    return st.sampled_from([layout for layout in LAYOUTS if suits(layout, dtype)])


def pooled_shape(case, leading, data_format):
    """Return the shape that the case pools to, or None if a window lies wholly in the padding."""
    found = pooled_or_none(case, np.zeros(case.shape(leading, data_format), "uint8"), data_format)
    return None if found is None else found[0].shape


@given(calls(), st.sampled_from(REALS), st.sampled_from(["int64", "int32"]), seeds, st.data())
def test_pooling(backend, call, dtype, index_dtype, seed, data):
    case, leading, data_format = call
    x = crowded(dtype, case.shape(leading, data_format), seed)
    laid = data.draw(layouts(dtype))(x)
    expected = pooled_or_none(case, x, data_format)
    arguments = case.arguments | {"return_indices": True, "index_dtype": index_dtype, "data_format": data_format}
    if expected is None:
        with pytest.raises(ValueError, match="only padding"):
            backend.call(case.function("max_pool"), laid, **arguments)
        return
    values, indices = backend.call(case.function("max_pool"), laid, **arguments)
    assert_same_bits(values, expected[0])
    assert_same_bits(indices, expected[1].astype(index_dtype))


@given(calls(), st.sampled_from(VALUES), st.sampled_from(POSITIONS), st.sampled_from(DUPLICATES), seeds, st.data())
def test_unpooling_and_its_gradient(backend, call, dtype, index_dtype, duplicates, seed, data):
    case, leading, data_format = call
    shape = pooled_shape(case, leading, data_format)
    assume(shape is not None)
    last, cells = data_format == "channels_last", int(np.prod(case.size))
    # As many cells as the index dtype counts, or few cells, so that some indices repeat or nearly all of them.
    few = data.draw(st.integers(1, min(cells, np.iinfo(index_dtype).max + 1)))
    indices = anywhere(shape, few, seed, index_dtype)
    values, grad = bits(dtype, shape, seed), bits(dtype, case.shape(leading, data_format), seed)
    lay, lay_indices = data.draw(layouts(dtype)), data.draw(layouts(index_dtype))
    arguments = case.window | {"duplicates": duplicates, "data_format": data_format}

    def unpooled():
        function = case.function("max_unpool")
        return backend.call(function, lay(values), lay_indices(indices), output_size=case.size, **arguments)

    def gradient():
        return backend.call(case.function("max_unpool_backward"), lay(grad), lay_indices(indices), **arguments)

    if duplicates == "error" and backend.reports and oracle.first_repeated(indices, case.rank, last):
        for function in (unpooled, gradient):
            with pytest.raises(ValueError, match="must not repeat"):
                function()
        return
    assert_same = partial(assert_same_sums, backend) if duplicates == "sum" else assert_same_bits
    assert_same(unpooled(), oracle.max_unpool(values, indices, case.size, duplicates, last))
    assert_same_bits(gradient(), oracle.max_unpool_backward(grad, indices, case.rank, duplicates, last))


@given(calls(), st.sampled_from(REALS), seeds, st.data())
def test_gradient_of_pooling(backend, call, dtype, seed, data):
    case, leading, data_format = call
    x = crowded(dtype, case.shape(leading, data_format), seed)
    found = pooled_or_none(case, x, data_format)
    assume(found is not None)
    _, indices = found
    grad = bits(dtype, indices.shape, seed)
    actual = backend.call(
        case.function("max_pool_backward"),
        data.draw(layouts(dtype))(grad),
        data.draw(layouts(indices.dtype))(indices),
        x.shape,
        **case.window,
        data_format=data_format,
    )
    assert_same_sums(
        backend, actual, oracle.max_pool_backward(grad, indices, case.size, data_format == "channels_last")
    )


@given(calls(), st.sampled_from(REALS), seeds)
def test_there_and_back(backend, call, dtype, seed):
    """Unpooling puts each maximum back where it was, and writes no other cell."""
    case, leading, data_format = call
    x = crowded(dtype, case.shape(leading, data_format), seed)
    assume(pooled_or_none(case, x, data_format) is not None)
    arguments = case.window | {"data_format": data_format}
    values, indices = backend.call(
        case.function("max_pool"), x, ceil_mode=case.ceil_mode, return_indices=True, **arguments
    )
    restored = backend.call(case.function("max_unpool"), values, indices, output_size=x.shape, **arguments)
    marks = np.ones(values.shape, bool)
    kept = oracle.max_unpool(marks, indices, case.size, "last", data_format == "channels_last")
    assert_same_bits(restored, np.where(kept, x, np.zeros((), dtype)))
