"""Calls whose arrays, windows and `output_size` or `input_size` do not fit each other."""

import unpool
from wrong_calls.case import PLANE_SHAPE, WINDOW, Case, I, P, X, huge

SIZES = {
    "output_size_array": Case(
        "not_sizes",
        TypeError,
        "`output_size` must be a sequence of integers, got numpy.ndarray of shape (1, 1, 2, 2): pass the shape of an "
        "array",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=P, out=out.plane),
    ),
    "output_size_float": Case(
        "not_sizes",
        TypeError,
        "`output_size` must be a sequence of integers, got (4.0, 4): pass the shape of an array",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(4.0, 4), out=out.plane),
    ),
    "input_size_none": Case(
        "not_sizes",
        TypeError,
        "`input_size` must be a sequence of integers, got None: pass the shape of an array",
        lambda out: unpool.max_pool2d_backward(P, I, None, 2, out=out.plane),
    ),
    "size_of_taps": Case(
        "size_places_windows",
        ValueError,
        "`output_size` must be given for index_format='window' with validate='windows' if the padding before the plane "
        "depends on it, got none with kernel_size=(3, 3), stride=(2, 2), padding='same', dilation=(1, 1): pass the "
        "shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(
            P, 0 * I, 3, 2, "same", index_format="window", validate="windows", out=out.plane
        ),
    ),
    "one_size": Case(
        "size_out_of_range",
        ValueError,
        "`output_size` must be 2 in spatial dimension 0 to pool to 2, got output_size=(3, 2) with kernel_size=(1, 1), "
        "stride=(1, 1), padding=(0, 0), dilation=(1, 1): pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 1, output_size=(3, 2), out=out.plane),
    ),
    "smaller_than_a_window": Case(
        "pooled_to_nothing",
        ValueError,
        "`input` must be at least as large as one window, got shape (1, 1, 4, 4), whose spatial dimension 1 pools to "
        "nothing with kernel_size=(2, 5), stride=(2, 5), padding=(0, 0), dilation=(1, 1): pass a smaller `kernel_size` "
        "or `dilation`",
        lambda out: unpool.max_pool2d(X, (2, 5), out=out.pooled),
    ),
    "window_in_padding": Case(
        "window_in_padding",
        ValueError,
        "`dilation` must leave at least one element of `input` in every window, got a window that reads only padding "
        "in spatial dimension 0 of 1 with kernel_size=(2,), stride=(1,), padding=(1,), dilation=(2,): pass a smaller "
        "`dilation` or `padding`",
        lambda out: unpool.max_pool1d(X[..., :1].reshape(1, 4, 1), 2, 1, 1, 2, out=out.pooled),
    ),
    "window_too_large": Case(
        "window_too_large",
        ValueError,
        "`kernel_size` must span fewer than 2**31 cells from the first to the last of a window, got 2147483649 with "
        "kernel_size=(32769, 2), stride=(32769, 2), padding=(0, 0), dilation=(1, 1): pool in two steps",
        lambda out: unpool.max_pool2d(huge(1, 1, 2**16, 2**16), (2**15 + 1, 2), out=out.pooled),
    ),
    "index_dtype_too_small": Case(
        "index_dtype_too_small",
        ValueError,
        "`index_dtype` must hold every position of a plane, got 'int32' for one of 2147549184 cells: pass "
        "index_dtype='int64'",
        lambda out: unpool.max_pool2d(
            huge(1, 1, 2**15 + 1, 2**16), 2, return_indices=True, index_dtype="int32", out=(out.pooled, out.pooled)
        ),
    ),
    "too_many_cells": Case(
        "too_many_cells",
        ValueError,
        "`output_size` must be the size of an array of fewer than 2**59 elements, got shape (1, 2147483647, "
        "2147483647, 2147483647): pass the arguments of the pooling call",
        lambda out: unpool.max_unpool3d(P[..., :1, :1], I[..., :1, :1], 2**31 - 1, out=out.plane),
    ),
    "output_size_below": Case(
        "size_out_of_range",
        ValueError,
        "`output_size` must be between 3 and 5 (both allowed) in spatial dimension 0 to pool to 2, got "
        f"output_size=(2, 4) with {WINDOW}: pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(2, 4), out=out.plane),
    ),
    "output_size_above": Case(
        "size_out_of_range",
        ValueError,
        "`output_size` must be between 3 and 5 (both allowed) in spatial dimension 1 to pool to 2, got "
        f"output_size=(1, 1, 4, 6) with {WINDOW}: pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(1, 1, 4, 6), out=out.plane),
    ),
    "input_size_above": Case(
        "size_out_of_range",
        ValueError,
        "`input_size` must be between 3 and 5 (both allowed) in spatial dimension 0 to pool to 2, got "
        f"input_size=(6, 4) with {WINDOW}: pass the shape of the array that was pooled",
        lambda out: unpool.max_pool2d_backward(P, I, (6, 4), 2, out=out.plane),
    ),
    "output_size_negative": Case(
        "size_out_of_range",
        ValueError,
        "`output_size` must be between 3 and 5 (both allowed) in spatial dimension 0 to pool to 2, got "
        f"output_size=(-4, 4) with {WINDOW}: pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(-4, 4), out=out.plane),
    ),
    "output_size_needed": Case(
        "size_needed",
        ValueError,
        "`output_size` must be given: the default size is empty in spatial dimension 0, got output_size=None with "
        "kernel_size=(2,), stride=(2,), padding=(1,), dilation=(1,): pass a size that is 1 there",
        lambda out: unpool.max_unpool1d(P[0, :, :1, :1], I[0, :, :1, :1], 2, 2, 1, out=out.plane),
    ),
    "no_such_plane": Case(
        "no_size",
        ValueError,
        "`output_size` has no valid value: no plane pools to 1 in spatial dimension 0, got output_size=None with "
        "kernel_size=(2,), stride=(1,), padding=(1,), dilation=(1,): pass the arguments of the pooling call",
        lambda out: unpool.max_unpool1d(P[0, :, :1, :1], I[0, :, :1, :1], 2, 1, 1, out=out.plane),
    ),
    "output_size_left_open": Case(
        "size_left_open",
        ValueError,
        "`output_size` must have an integer for each spatial size, got (None, 1, None, 4): for a size unknown before "
        "the run, pass the shape as an array that the run computes; for a Dask array, call compute_chunk_sizes() first",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(None, 1, None, 4), out=out.plane),
    ),
    "output_size_too_long": Case(
        "wrong_size_length",
        ValueError,
        "`output_size` must have 2 entries (the spatial ones) or 4 (the full shape), got (1, 1, 1, 4, 4): pass the "
        "shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(1, 1, 1, 4, 4), out=out.plane),
    ),
    "output_size_one_integer": Case(
        "not_sizes",
        TypeError,
        "`output_size` must be a sequence of integers, got 4: pass the shape of an array",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=4, out=out.plane),
    ),
    "input_size_with_a_batch": Case(
        "wrong_size_length",
        ValueError,
        "`input_size` must have 2 entries (the spatial ones) or 3 (the full shape), got (1, 1, 4, 4): pass the shape "
        "of the array that was pooled",
        lambda out: unpool.max_pool2d_backward(P[0], I[0], PLANE_SHAPE, 2, out=out.plane),
    ),
    "output_size_of_another_batch": Case(
        "wrong_leading",
        ValueError,
        "`output_size` must keep the batch and channels of `input`, got (2, 1, 4, 4) for shape (1, 1, 2, 2): pass the "
        "spatial entries alone, or the shape of the array that was pooled, with the `data_format` of the pooling call",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(2, 1, 4, 4), out=out.plane),
    ),
    "output_size_of_another_format": Case(
        "wrong_leading",
        ValueError,
        "`output_size` must keep the batch and channels of `input`, got (1, 4, 4, 1) for shape (1, 1, 2, 2): pass the "
        "spatial entries alone, or the shape of the array that was pooled, with the `data_format` of the pooling call",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(1, 4, 4, 1), out=out.plane),
    ),
    "output_size_of_other_channels_last": Case(
        "wrong_leading",
        ValueError,
        "`output_size` must keep the batch and channels of `input`, got (4, 4, 2) for shape (2, 2, 1): pass the "
        "spatial entries alone, or the shape of the array that was pooled, with the `data_format` of the pooling call",
        lambda out: unpool.max_unpool2d(
            P.reshape(2, 2, 1), I.reshape(2, 2, 1), 2, output_size=(4, 4, 2), data_format="channels_last", out=out.plane
        ),
    ),
}
