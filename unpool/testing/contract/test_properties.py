"""Hypothesis searches all arguments at once for a call whose result differs from the oracle."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unpool.testing import oracle
from unpool.testing.cases import DUPLICATES, INTEGERS, POSITIONS, REALS, VALUES, crowded
from unpool.testing.compare import assert_same_bits, assert_same_sums, at
from unpool.testing.strategies import (
    calls,
    foreign,
    hostile,
    layouts,
    poolable_calls,
    repeated,
    seeds,
    valid,
    values,
)

unhurried = settings(deadline=None)  # arrays may be slow
KINDS = st.sampled_from([valid, foreign, repeated])
# Dtypes that hold a bad index of every call: windows have at most 64 taps, and planes more cells than int8 counts.
HOSTILE = {"plane": ("int64", "int32", "int16", "uint64"), "window": ("int64", "int32", "uint8", "uint16", "int8")}


def index_formats(backend):
    return st.sampled_from(["plane", "window"] if backend.taps else ["plane"])


def named(call, index_format, duplicates):
    return call.case.window | {
        "data_format": call.data_format,
        "index_format": index_format,
        "duplicates": duplicates,
    }


def compares(backend, duplicates):
    return partial(assert_same_sums, backend) if duplicates == "sum" else assert_same_bits


@unhurried
@given(calls(), st.sampled_from(REALS), st.sampled_from(["int64", "int32"]), seeds, st.data())
def test_pooling(backend, call, dtype, index_dtype, seed, data):
    x = crowded(dtype, call.plane_shape, seed)
    laid, index_format = data.draw(layouts(dtype))(x), data.draw(index_formats(backend))
    formats = {"data_format": call.data_format, "index_format": index_format, "index_dtype": index_dtype}
    arguments = call.case.arguments | formats | {"return_indices": True}
    if not call.poolable:
        with pytest.raises(ValueError, match="only padding"):
            backend.call(call.case.function("max_pool"), laid, **arguments)
        return
    expected, indices = call.case.pool(x, call.data_format)
    if index_format == "window":
        indices = oracle.taps(indices, *call.case, channels_last=call.channels_last)
    found = backend.call(call.case.function("max_pool"), laid, **arguments)
    assert_same_bits(found[0], expected)
    assert_same_bits(found[1], indices.astype(index_dtype))


@unhurried
@given(poolable_calls(), st.sampled_from(VALUES), st.sampled_from(DUPLICATES), KINDS, st.data())
def test_unpooling_and_its_gradient(backend, call, dtype, duplicates, kind, data):
    case, last, index_format = call.case, call.channels_last, data.draw(index_formats(backend))
    indices = data.draw(kind(call, index_format))
    dtypes = INTEGERS if index_format == "window" else POSITIONS
    largest = indices.max(initial=0)
    index_dtype = data.draw(st.sampled_from([one for one in dtypes if largest <= np.iinfo(one).max]))
    cells, indices = call.cells_of(indices, index_format), indices.astype(index_dtype)
    given_values, grad = data.draw(values(dtype, indices.shape)), data.draw(values(dtype, call.plane_shape))
    lay, lay_indices = data.draw(layouts(dtype)), data.draw(layouts(index_dtype))
    arguments = named(call, index_format, duplicates)

    def unpooled():
        function = case.function("max_unpool")
        return backend.call(function, lay(given_values), lay_indices(indices), output_size=case.size, **arguments)

    def gradient():
        return backend.call(case.function("max_unpool_backward"), lay(grad), lay_indices(indices), **arguments)

    if duplicates == "error" and backend.reports and oracle.first_repeated(cells, case.rank, last):
        for function in (unpooled, gradient):
            with pytest.raises(ValueError, match="must not repeat"):
                function()
        return
    expected = oracle.max_unpool(given_values, cells, case.size, duplicates, last)
    compares(backend, duplicates)(unpooled(), expected)
    assert_same_bits(gradient(), oracle.max_unpool_backward(grad, cells, case.rank, duplicates, last))


@unhurried
@given(poolable_calls(), st.sampled_from(["last", "sum"]), st.data())
def test_the_first_bad_index_is_named_or_all_are_dropped(backend, call, duplicates, data):
    index_format = data.draw(index_formats(backend))
    indices = data.draw(hostile(call, index_format, data.draw(st.sampled_from(HOSTILE[index_format]))))
    assume(indices.size)
    cells, size = call.cells_of(indices, index_format), {"output_size": call.case.size}
    planes, pooled = crowded("float32", call.plane_shape), crowded("float32", indices.shape)
    for name, given_array, more in (("max_unpool", pooled, size), ("max_unpool_backward", planes, {})):
        function, arguments = call.case.function(name), named(call, index_format, duplicates) | more
        if backend.reports:
            first = oracle.first_bad(cells, call.cells)
            with pytest.raises(IndexError, match=re.escape(f"{at(first)} = {indices[first]} is ")):
                backend.call(function, given_array, indices, **arguments)
            continue
        found = backend.call(function, given_array, indices, **arguments)
        gathers = name == "max_unpool_backward"
        dropped = given_array, cells, cells >= 0, call.case.size, duplicates, gathers, call.channels_last
        compares(backend, duplicates)(found, oracle.dropped(*dropped))


@unhurried
@given(poolable_calls(), st.sampled_from(REALS), seeds, st.data())
def test_gradient_of_pooling(backend, call, dtype, seed, data):
    _, indices = call.case.pool(crowded(dtype, call.plane_shape, seed), call.data_format)
    grad = data.draw(values(dtype, indices.shape))
    actual = backend.call(
        call.case.function("max_pool_backward"),
        data.draw(layouts(dtype))(grad),
        data.draw(layouts(indices.dtype))(indices),
        call.plane_shape,
        **call.case.window,
        data_format=call.data_format,
    )
    assert_same_sums(backend, actual, oracle.max_pool_backward(grad, indices, call.case.size, call.channels_last))


@unhurried
@given(poolable_calls(), st.sampled_from(REALS), seeds)
def test_there_and_back(backend, call, dtype, seed):
    """Unpooling puts each maximum back where it was, and writes no other cell."""
    case, x = call.case, crowded(dtype, call.plane_shape, seed)
    arguments = case.window | {"data_format": call.data_format}
    pooled, indices = backend.call(
        case.function("max_pool"), x, ceil_mode=case.ceil_mode, return_indices=True, **arguments
    )
    restored = backend.call(case.function("max_unpool"), pooled, indices, output_size=x.shape, **arguments)
    marks = np.ones(pooled.shape, bool)
    kept = oracle.max_unpool(marks, indices, case.size, "last", call.channels_last)
    assert_same_bits(restored, np.where(kept, x, np.zeros((), dtype)))
