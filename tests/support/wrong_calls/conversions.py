"""Wrong calls of `convert_indices`."""

import numpy as np

import unpool
from unpool.conventions import CONVENTIONS
from wrong_calls.case import PLANE_SHAPE, WINDOW, Case, I

CONVERSIONS = {
    "convention": Case(
        "unknown_choice",
        ValueError,
        f"`target` must be one of {', '.join(map(repr, CONVENTIONS))}, got 'torch': pass one of these",
        lambda out: unpool.convert_indices(I, "plane", "torch", output_size=PLANE_SHAPE),
    ),
    "window_needed": Case(
        "window_needed",
        TypeError,
        '`kernel_size` is needed by the convention "window": pass the arguments of the pooling call',
        lambda out: unpool.convert_indices(I, "plane", "window", output_size=PLANE_SHAPE),
    ),
    "unbatched_indices": Case(
        "unbatched_indices",
        ValueError,
        "`indices` must have the batch and channels and 1 to 3 spatial dimensions, got shape (2, 2): without a batch, "
        "pass indices[None], and `output_size` with a leading 1",
        lambda out: unpool.convert_indices(I[0, 0], "plane", "onnx", output_size=PLANE_SHAPE),
    ),
    "not_the_full_size": Case(
        "not_the_full_size",
        ValueError,
        "`output_size` must be the full shape of the array that was pooled, with the batch and channels of `indices`, "
        "got (4, 4) for shape (1, 1, 2, 2): pass all of it; unbatched arrays need a leading 1 in both",
        lambda out: unpool.convert_indices(I, "plane", "onnx", output_size=(4, 4)),
    ),
    "negative_size": Case(
        "empty_dimension",
        ValueError,
        "`output_size` must have at least one element in every dimension but the batch, got shape (1, 1, -4, -4): "
        "leave such arrays out",
        lambda out: unpool.convert_indices(I, "plane", "onnx", output_size=(1, 1, -4, -4)),
    ),
    "uncountable_size": Case(
        "too_many_cells",
        ValueError,
        None,
        lambda out: unpool.convert_indices(I, "plane", "onnx", output_size=(1, 1, 2**32, 2**31)),
    ),
    "too_many_taps": Case(
        "too_many_taps",
        ValueError,
        "`kernel_size` must have fewer than 2**63 cells for the convention 'window', got kernel_size=(2147483647, "
        "2147483647, 2147483647), stride=(1, 1, 1), padding='same', dilation=(1, 1, 1): pass the arguments of the "
        "pooling call",
        lambda out: unpool.convert_indices(
            np.zeros((1, 1, 1, 1, 1), int),
            "plane",
            "window",
            output_size=(1,) * 5,
            kernel_size=2**31 - 1,
            stride=1,
            padding="same",
        ),
    ),
    "own_window": Case(
        "outside_window",
        IndexError,
        f"indices[0, 0, 1, 0] = 13 is outside its own window in an output plane of 5 x 5, with {WINDOW}: pass the "
        "shape of the array that was pooled as `output_size`, with the arguments of the pooling call",
        lambda out: unpool.convert_indices(I, "plane", "onnx", output_size=(1, 1, 5, 5), kernel_size=2),
    ),
    "foreign_index": Case(
        "foreign_index",
        IndexError,
        "indices[0, 1, 0, 0] = 9 does not fit the convention 'onnx': a plane of 4 cells follows the other, by sample "
        "and channel. Pass the convention and the `output_size` that the indices were made with",
        lambda out: unpool.convert_indices(np.array([[[[2]], [[9]]]]), "onnx", "plane", output_size=(1, 2, 2, 2)),
    ),
    "foreign_index_of_tensorflow": Case(
        "foreign_index",
        IndexError,
        "indices[0, 1, 0, 0] = 2 does not fit the convention 'tensorflow': an index is cell * 2 + channel, with the "
        "cells 0..3. Pass what tf.nn.max_pool_with_argmax returns without the batch, and the shape of its input as "
        "`output_size`; or the convention that the indices were made with",
        lambda out: unpool.convert_indices(np.array([[[[2]], [[2]]]]), "tensorflow", "plane", output_size=(1, 2, 2, 2)),
    ),
}
