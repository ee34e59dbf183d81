"""Calls with a bad or repeated index."""

import numpy as np

import unpool
from wrong_calls.case import WINDOW, Case, I, P


def planted(indices, *places):
    """Return a copy of the indices with values written at flat positions; a place is (position, value)."""
    indices = indices.copy()
    for flat, value in places:
        indices.flat[flat] = value
    return indices


# 8 x 8 planes of two samples and four channels, pooled by 2.
X8 = np.random.default_rng(8).permutation(2 * 4 * 64).reshape(2, 4, 8, 8).astype("float32")
P8, I8 = unpool.max_pool2d(X8, 2, return_indices=True)
AT_1_3_0_2 = int(np.ravel_multi_index((1, 3, 0, 2), I8.shape))
LAST = "pass the shape of the array that was pooled as"
CONVERT = "; if TensorFlow, ONNX or Chainer made the indices, convert them by unpool.convert_indices"
TAPS = f"If the indices are positions in the plane, pass index_format='plane'{CONVERT}"
EIGHT = "is out of range for an output plane of 8 x 8: expected 0..63; " + LAST

INDICES = {
    "no tap": Case(
        "bad_tap",
        IndexError,
        "indices[0, 0, 1, 0] = 4 is no tap of its window in an output plane of 4 x 4: expected a tap from 0 to 3 that "
        f"is not in the padding, with {WINDOW}; {LAST} `output_size`, with the arguments of the pooling call. {TAPS}",
        lambda: unpool.max_unpool2d(P, planted(0 * I, (2, 4)), 2, index_format="window"),
    ),
    "no tap, written": Case(
        "bad_tap",
        IndexError,
        "indices[0, 0, 1, 0] = -1 is no tap of its window in an output plane of 4 x 4: expected a tap from 0 to 3 that "
        f"is not in the padding, with {WINDOW}; {LAST} `input_size`, with the arguments of the pooling call. {TAPS}. "
        "`out` may be partly overwritten",
        lambda: unpool.max_pool2d_backward(
            P, planted(0 * I, (2, -1)), (4, 4), 2, index_format="window", out=np.empty((1, 1, 4, 4), "float32")
        ),
    ),
    "repeated tap": Case(
        "duplicate_tap",
        ValueError,
        "`indices` must not repeat a cell within a plane where duplicates='error', got indices[0, 0, 1] and "
        "indices[0, 0, 2], which are taps at one cell: pass duplicates='last' (the last one wins) or 'sum' (they add "
        "up)",
        lambda: unpool.max_unpool1d(
            np.ones((1, 1, 3)), np.array([[[0, 2, 0]]], "uint8"), 3, 2, index_format="window", duplicates="error"
        ),
    ),
    "outside its window": Case(
        "outside_window",
        IndexError,
        "indices[0, 0, 1, 0] = 13 is outside its own window in an output plane of 5 x 5, with "
        f"{WINDOW}: {LAST} `output_size`, with the arguments of the pooling call",
        lambda: unpool.max_unpool2d(P, I, 2, output_size=(5, 5), validate="windows"),
    ),
    "outside its window, written": Case(
        "outside_window",
        IndexError,
        "indices[0, 0, 1, 0] = 13 is outside its own window in an output plane of 5 x 5, with "
        f"{WINDOW}: {LAST} `input_size`, with the arguments of the pooling call. `out` may be partly overwritten",
        lambda: unpool.max_pool2d_backward(P, I, (5, 5), 2, validate="windows", out=np.empty((1, 1, 5, 5), "float32")),
    ),
    "of the design": Case(
        "bad_index",
        IndexError,
        f"indices[1, 3, 0, 2] = 64 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (AT_1_3_0_2, 64)), 2),
    ),
    "of another array": Case(
        "bad_index",
        IndexError,
        "indices[0, 0, 0, 0] = 5 is out of range for an input plane of 2 x 2: expected 0..3; pass an array of the size "
        f"that was pooled as `input`{CONVERT}",
        lambda: unpool.take_along_plane(P, I),
    ),
    "of another array, written": Case(
        "bad_index",
        IndexError,
        "indices[0, 0, 0, 0] = 5 is out of range for an input plane of 2 x 2: expected 0..3; pass an array of the size "
        f"that was pooled as `input`{CONVERT}. `out` may be partly overwritten",
        lambda: unpool.take_along_plane(P, I, out=np.empty((1, 1, 2, 2), "float32")),
    ),
    "negative": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 0] = -1 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (0, -1)), 2),
    ),
    "not narrowed": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = 4294967299 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (1, 2**32 + 3)), 2),
    ),
    "smallest": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = -9223372036854775808 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (1, -(2**63))), 2),
    ),
    "unsigned": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = 18446744073709551615 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8.astype("uint64"), (1, 2**64 - 1)), 2),
    ),
    "unsigned, in a foreign byte order": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = 9223372036854775813 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8.astype(">u8"), (1, 2**63 + 5)), 2),
    ),
    "in a foreign byte order": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = 4294967299 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8.astype(">i8"), (1, 2**32 + 3)), 2),
    ),
    "of a subclass whose parts have two dimensions": Case(
        "bad_index",
        IndexError,
        f"indices[1, 2] = 12 is out of range for an output plane of 6 cells: expected 0..5; {LAST} `output_size`"
        f"{CONVERT}",
        lambda: unpool.max_unpool1d(np.ones((2, 3)), np.array([[0, 2, 4], [1, 3, 12]]).view(np.matrix), 2),
    ),
    "byte": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 0, 1] = -128 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8.astype("int8"), (1, -128)), 2),
    ),
    "the first in row-major order": Case(
        "bad_index",
        IndexError,
        f"indices[0, 2, 3, 1] = 70 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (AT_1_3_0_2, 64), (32 + 13, 70), (32 + 15, -1)), 2),
    ),
    "the first of a summed gradient": Case(
        "bad_index",
        IndexError,
        f"indices[0, 0, 1, 0] = 64 {EIGHT} `input_size`{CONVERT}",
        lambda: unpool.max_pool2d_backward(P8, planted(I8, (4, 64), (5, 65)), X8.shape, 2),
    ),
    "unbatched": Case(
        "bad_index",
        IndexError,
        f"indices[3, 0, 2] = 64 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8[0], planted(I8[0], (3 * 16 + 2, 64)), 2),
    ),
    "channels last": Case(
        # In row-major order of the array, where the channel comes last.
        "bad_index",
        IndexError,
        f"indices[0, 0, 1, 3] = 99 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(
            np.moveaxis(P8, 1, -1),
            planted(np.moveaxis(I8, 1, -1), (7, 99), (8, 98)),
            2,
            data_format="channels_last",
        ),
    ),
    "before a repeated one": Case(
        "bad_index",
        IndexError,
        f"indices[1, 3, 0, 2] = 64 {EIGHT} `output_size`{CONVERT}",
        lambda: unpool.max_unpool2d(P8, planted(I8, (1, I8.flat[0]), (AT_1_3_0_2, 64)), 2, duplicates="error"),
    ),
    "repeated": Case(
        "duplicate_index",
        ValueError,
        "`indices` must not repeat within a plane where duplicates='error', got indices[0, 1, 0, 1] = indices[0, 1, "
        "3, 3] = 7: pass duplicates='last' (the last one wins) or 'sum' (they add up)",
        lambda: unpool.max_unpool2d(P8, planted(np.where(I8 == 7, 6, I8), (17, 7), (31, 7)), 2, duplicates="error"),
    ),
    "repeated, channels last": Case(
        "duplicate_index",
        ValueError,
        "`indices` must not repeat within a plane where duplicates='error', got indices[0, 0, 1] = indices[1, 1, 1] = "
        "3: pass duplicates='last' (the last one wins) or 'sum' (they add up)",
        lambda: unpool.max_unpool2d(
            np.ones((2, 2, 2)),
            np.array([[[3, 3], [1, 1]], [[2, 2], [0, 3]]]),
            2,
            duplicates="error",
            data_format="channels_last",
        ),
    ),
    "repeated, of a subclass whose parts have two dimensions": Case(
        "duplicate_index",
        ValueError,
        "`indices` must not repeat within a plane where duplicates='error', got indices[1, 0] = indices[1, 2] = 3: "
        "pass duplicates='last' (the last one wins) or 'sum' (they add up)",
        lambda: unpool.max_unpool1d(
            np.ones((2, 3)), np.array([[0, 2, 4], [3, 1, 3]]).view(np.matrix), 2, duplicates="error"
        ),
    ),
    "repeated in a gradient": Case(
        "duplicate_index",
        ValueError,
        "`indices` must not repeat within a plane where duplicates='error', got indices[0, 0] = indices[0, 2] = 1: "
        "pass duplicates='last' (the last one wins) or 'sum' (they add up)",
        lambda: unpool.max_unpool1d_backward(np.ones((1, 6)), np.array([[1, 2, 1]]), 2, duplicates="error"),
    ),
}
