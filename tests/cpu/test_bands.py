"""Pooling gives the oracle's results however rows are split, lines are shared, and taps are numbered."""

import ml_dtypes
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import unpool
from unpool.testing.cases import FORMATS, crowded, pooling, special
from unpool.testing.compare import Guarded, assert_same_bits

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

# How rows are split into phases, and lines are shared.
PHASES = {
    "stride 2": pooling((9, 41), 3, 2, 1),
    "stride 3": pooling((10, 41), 5, 3, 2),
    "stride 3, dilated": pooling((10, 41), 4, 3, 2, 2),
    "stride 4": pooling((9, 41), 6, 4, 3),
    "stride 5, two taps": pooling((11, 41), 2, 5, 1),
    "stride 4, dilation 2: two phases": pooling((11, 41), 5, 4, 2, 2),
    "stride 4, dilation 6": pooling((20, 41), 3, 4, 1, 6),
    "rows that follow each other": pooling((12, 40), (3, 4)),
    "pairs": pooling((12, 40), 2),
    "pairs of rows with a cell left over": pooling((12, 41), 2),
    "one row of a kernel": pooling((6, 40), (1, 3), (1, 2), (0, 1)),
    "one column of a kernel": pooling((12, 20), (5, 1), (2, 1), (2, 0)),
    "ceil mode": pooling((12, 40), 3, 2, 1, 1, True),
    "same": pooling((12, 41), 4, 3, "same"),
    "windows wider than a row": pooling((3, 4), 7, 1, 3),
    "windows far wider than a row": pooling((2, 3), 41, 1, 20),
    "rows of windows share all but a few lines": pooling((40, 9), (7, 2), (1, 2), (3, 0)),
    "more lines than are kept": pooling((139, 70), (130, 2), (4, 1)),
    "depths": pooling((5, 6, 21), 3, 2, 1),
    "depths that overlap": pooling((5, 6, 21), (3, 2, 3), (1, 2, 2), (1, 1, 1), (1, 2, 1)),
    "one row": pooling((1100,), 15, 4, 7),
    "pieces of a row": pooling((3, 1201), (2, 3), 1, (0, 1)),
    "pieces of a row, split": pooling((4, 2301), (2, 3), 2, (0, 1)),
    "more columns than are compared at once": pooling((5000,), 700, 450, 350),
    "taps farther apart than a piece": pooling((30_000,), 3, 700, 1, 9001),
}
every_phases = pytest.mark.parametrize("case", PHASES.values(), ids=PHASES)
# Windows whose taps lanes of 8 or 16 bits number by offset, in row-major order, or in groups.
NUMBERS = {
    "offset 255": pooling((3, 254), 2, 1),
    "offset 256": pooling((3, 255), 2, 1),
    "256 taps": pooling((17, 35), 16, 3, 8),
    "256 taps in a row": pooling((600,), 256, 9, 128),
    "257 taps in a row": pooling((600,), 257, 9, 128),
    "272 taps": pooling((20, 35), (17, 16), 3, (8, 7)),
    "330 taps, some columns in the padding of every window": pooling((77, 11), (30, 11), (30, 12), (6, 3)),
    "272 taps, dilated": pooling((40, 70), (17, 16), 5, (8, 7), (2, 4)),
    "a row of 300 taps": pooling((3, 640), (2, 300), (1, 57), (1, 150)),
    "a column of 300 taps": pooling((640, 3), (300, 2), (57, 1), (150, 1)),
    "288 taps of several depths": pooling((8, 9, 13), (8, 6, 6), (1, 3, 3), (4, 3, 3)),
    "an offset of 17 bits": pooling((3, 66_000), (3, 2), (1, 6000), (1, 0)),
    "272 taps, an offset of 17 bits": pooling((17, 4600), (17, 16), (1, 300)),
}
every_numbers = pytest.mark.parametrize("case", NUMBERS.values(), ids=NUMBERS)
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_width = pytest.mark.parametrize("dtype", ["int8", "bool", "bfloat16", "float32"])


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def lowest(dtype):
    return special(dtype).min() if dtype.kind in "iub" else np.array(-np.inf, dtype)


def inputs(case, leading, data_format, dtype):
    """Yield crowded values, nothing but the lowest value, and a few others and NaNs among the lowest."""
    shape = case.shape(leading, data_format)
    yield crowded(dtype, shape)
    low = np.full(shape, lowest(dtype))
    yield low
    rng = np.random.default_rng(1)
    few = rng.random(shape) < 0.03
    low = low.copy()
    low[few] = rng.choice(special(dtype), few.sum())
    yield low


def check(case, x, data_format, **named):
    values, indices = case.pool(x, data_format)
    out = Guarded(values.shape, values.dtype, 1), Guarded(indices.shape, named.get("index_dtype", "int64"), 1)
    call = case.function("max_pool")
    arguments = case.arguments | {"data_format": data_format} | named
    call(x, **arguments, return_indices=True, out=(out[0].array, out[1].array))
    assert_same_bits(out[0].array, values)
    assert_same_bits(out[1].array, indices.astype(out[1].array.dtype))
    assert out[0].intact()
    assert out[1].intact()
    arguments.pop("index_dtype", None)
    assert_same_bits(call(x, **arguments), values)


@every_phases
@every_format
@every_width
def test_phases(case, data_format, dtype):
    for x in inputs(case, (3,), data_format, dtype_of(dtype)):
        check(case, x, data_format)


@every_numbers
@pytest.mark.parametrize("leading", [1, 16], ids=["few channels", "many channels"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "int32"])
def test_numbers_of_taps(case, leading, dtype):
    if leading == 16 and np.prod(case.size) > 10_000:
        pytest.skip("the oracle takes too long")
    index_dtypes = "int64", "int32", "int64"
    for x, index_dtype in zip(inputs(case, (leading,), "channels_last", dtype_of(dtype)), index_dtypes, strict=True):
        check(case, x, "channels_last", index_dtype=index_dtype)


@pytest.mark.parametrize("axis", [0, 1])
@every_format
@every_width
def test_windows_far_larger_than_the_plane(axis, data_format, dtype):
    """Only taps inside the plane are compared: these kernels have 10**5 and 2**28 rows or columns."""
    x = crowded(dtype_of(dtype), (1, 3, 4, 5))
    rows = np.moveaxis(x, 2 + axis, -1)  # each window holds all cells along the axis
    for far in (10**5, 2**28):
        window = {"kernel_size": [1, 1], "stride": [1, 1], "padding": [0, 0]}
        window["kernel_size"][axis], window["stride"][axis], window["padding"][axis] = far, far // 2 - 1, far // 2
        given = x if data_format == "channels_first" else np.moveaxis(x, 1, -1)
        values = unpool.max_pool2d(given, **window, ceil_mode=True, data_format=data_format)
        values = values if data_format == "channels_first" else np.moveaxis(values, -1, 1)
        values = np.moveaxis(values, 2 + axis, -1)
        expected = unpool.max_pool1d(rows.reshape(1, -1, rows.shape[-1]), rows.shape[-1]).reshape(*rows.shape[:-1], 1)
        assert values.shape[-1] == 2
        assert_same_bits(values, np.concatenate([expected, expected], -1))


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("dtype", ["int8", "float64"])
def test_threads_share_a_plane(threads, dtype):
    """Each thread compares the lines again that its first row of windows shares with another thread's."""
    for case in pooling((101, 103), 3, 1, 1), pooling((9, 2601), (2, 3), 2, (0, 1)), pooling((5, 20, 30), 3, 2, 1):
        x = crowded(dtype, case.shape((1,), "channels_first"))
        with threadpool_limits(threads, user_api="openmp"):
            check(case, x, "channels_first")
