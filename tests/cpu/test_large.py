"""Arrays too large for one thread, one block or one page: the way in which kernels cut them does not show."""

from enum import StrEnum
from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, LARGE, anywhere, arranged, bits, crowded, pooled, pooling, solved
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_name = pytest.mark.parametrize("name", LARGE)
every_number_of_threads = pytest.mark.parametrize("threads", [1, 2, 3, 7])
from_both_sources = pytest.mark.parametrize("made", ["by pooling", "by hand"])
last_and_sum = pytest.mark.parametrize("duplicates", ["last", "sum"])


def assert_same(actual, expected, duplicates):
    """Moved values keep their bits; of added ones, a NaN may be any NaN."""
    (assert_same_numbers if duplicates == "sum" else assert_same_bits)(actual, expected)


def indices_of(name, made):
    case, leading, data_format = LARGE[name]
    indices = pooled(case, leading, data_format)
    return anywhere(indices.shape, int(np.prod(case.size))) if made == "by hand" else indices


# --- threads ----------------------------------------------------------------------------------------------------------


@every_number_of_threads
@every_name
def test_threads_do_not_show_in_pooling(name, threads):
    case, leading, data_format = LARGE[name]
    x, expected_values, expected_indices = solved(case, leading, data_format)
    with threadpool_limits(threads, "openmp"):
        values, indices = case.function("max_pool")(x, **case.arguments, return_indices=True, data_format=data_format)
    assert_same_bits(values, expected_values)
    assert_same_bits(indices, expected_indices)


@cache
def unpooled(name, made, duplicates):
    """Return values, indices, and what the oracle unpools them to."""
    case, _, data_format = LARGE[name]
    indices = indices_of(name, made)
    values = bits("float32", indices.shape)
    return values, indices, oracle.max_unpool(values, indices, case.size, duplicates, data_format == "channels_last")


@last_and_sum
@every_number_of_threads
@from_both_sources
@every_name
def test_threads_do_not_show_in_unpooling(name, made, threads, duplicates):
    case, _, data_format = LARGE[name]
    values, indices, expected = unpooled(name, made, duplicates)
    arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
    guarded = Guarded(expected.shape, "float32", 1)
    with threadpool_limits(threads, "openmp"):
        actual = case.function("max_unpool")(values, indices, **arguments)
        case.function("max_unpool")(values, indices, **arguments, out=guarded.array)
    assert_same(actual, expected, duplicates)
    assert_same(guarded.array, expected, duplicates)
    assert guarded.intact()


@cache
def gradients(name, made, duplicates):
    """Return indices, gradients of both sizes, and the gradients that the oracle makes of them."""
    case, leading, data_format = LARGE[name]
    last = data_format == "channels_last"
    indices = indices_of(name, made)
    down, up = bits("float32", case.shape(leading, data_format), 1), crowded("float32", indices.shape, 2)
    taken = oracle.max_unpool_backward(down, indices, case.rank, duplicates, last)
    return indices, down, up, taken, oracle.max_pool_backward(up, indices, case.size, last)


@last_and_sum
@from_both_sources
@every_name
def test_threads_do_not_show_in_gradients(name, made, duplicates):
    case, _, data_format = LARGE[name]
    indices, down, up, taken, added = gradients(name, made, duplicates)
    arguments = case.window | {"data_format": data_format}
    for threads in (1, 2, 3, 7):
        with threadpool_limits(threads, "openmp"):
            function = case.function("max_unpool_backward")
            assert_same_bits(function(down, indices, duplicates=duplicates, **arguments), taken)
            assert_same_numbers(case.function("max_pool_backward")(up, indices, case.size, **arguments), added)


# --- blocks and pages -------------------------------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("channels", [1, 3, 15, 16, 17])
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_rows_longer_than_what_is_pooled_at_once(dtype, channels, data_format):
    """The kernel pools a row in pieces of 1024 windows, for few and for many channels."""
    generator = np.random.default_rng(channels)
    shape = (1, channels, 2 * 1024 + 9) if data_format == "channels_first" else (1, 2 * 1024 + 9, channels)
    x = generator.integers(0, 9, shape).astype(dtype)
    values, indices = unpool.max_pool1d(x, 3, 1, 1, 2, return_indices=True, data_format=data_format)
    expected = oracle.max_pool(x, (3,), (1,), (1,), (2,), channels_last=data_format == "channels_last")
    assert_same_bits(values, expected[0])
    assert_same_bits(indices, expected[1])


@every_format
@last_and_sum
def test_an_output_of_fresh_pages(duplicates, data_format):
    """Above 32 MiB the allocator returns zeroed pages, and the kernel does not zero them again."""
    case = pooling((1500, 1500), 100)
    shape = arranged((1, 2), (15, 15), data_format)
    indices = anywhere(shape, 1500 * 1500)
    values = bits("float64", shape)
    actual = unpool.max_unpool2d(values, indices, 100, duplicates=duplicates, data_format=data_format)
    assert actual.nbytes > 32 << 20
    expected = oracle.max_unpool(values, indices, case.size, duplicates, data_format == "channels_last")
    assert_same(actual, expected, duplicates)


# --- arguments of NumPy arrays alone ----------------------------------------------------------------------------------


def test_complex64_is_aligned_to_its_floats():
    """NumPy calls an address aligned that is a multiple of 4; a kernel's word of 8 bytes needs more."""
    memory = np.zeros(8 * 64 + 4, np.uint8)[4:]
    values = memory.view("complex64").reshape(1, 1, 8, 8)
    values[...] = np.arange(64).reshape(values.shape) * (1 + 2j)
    indices = np.arange(256).reshape(1, 1, 16, 16)[..., ::2, 1::2]
    assert values.flags.aligned
    assert values.ctypes.data % 8 == 4
    actual = unpool.max_unpool2d(values, indices, 2)
    assert_same_bits(actual, oracle.max_unpool(values, indices, (16, 16)))
    assert_same_bits(unpool.max_unpool2d_backward(actual, indices, 2), values)


def test_int32_is_refused_where_it_cannot_count_the_cells():
    x = np.broadcast_to(np.uint8(1), (1, 2**16, 2**15 + 1))  # in one byte of memory
    with pytest.raises(ValueError, match="`index_dtype` must hold every position of a plane"):
        unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")


def test_the_cpu_reports_a_bad_index_without_being_asked():
    indices = np.full((1, 2, 2), 16)
    with pytest.raises(IndexError, match="out of range"):
        unpool.max_unpool2d(np.ones((1, 2, 2)), indices, 2, validate=False)


class Words(StrEnum):
    SUM = "sum"
    INT32 = "int32"


@pytest.mark.parametrize("word", [np.str_, Words])
def test_a_word_may_be_of_a_subclass_of_str(word):
    x = np.arange(16.0).reshape(1, 4, 4)
    values, indices = unpool.max_pool2d(x, 2, 1, return_indices=True, index_dtype=word("int32"))
    assert indices.dtype == np.int32
    expected = oracle.max_unpool(values, indices, (4, 4), "sum")
    assert_same_bits(unpool.max_unpool2d(values, indices, 2, 1, duplicates=word("sum")), expected)
    assert_same_bits(unpool.max_unpool2d_backward(x, indices, 2, 1, duplicates=word("sum")), values)
    assert unpool.MaxUnpool2d(2, 1, duplicates=word("sum"))(values, indices).tolist() == expected.tolist()
