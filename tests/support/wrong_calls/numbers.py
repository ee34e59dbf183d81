"""Calls with a wrong `kernel_size`, `stride`, `padding` or `dilation`."""

import numpy as np

import unpool
from wrong_calls.case import PLANE_SHAPE, Case, I, P, X

NUMBERS = {
    "kernel_float": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got 2.0: pass 2",
        lambda out: unpool.max_pool2d(X, 2.0, out=out.pooled),
    ),
    "kernel_string": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got '2': pass one integer, or one for each "
        "spatial dimension",
        lambda out: unpool.max_pool2d(X, "2", out=out.pooled),
    ),
    "kernel_footprint": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got numpy.ndarray of shape (3, 3): pass one "
        "integer, or one for each spatial dimension",
        lambda out: unpool.max_pool2d(X, np.ones((3, 3)), out=out.pooled),
    ),
    "kernel_list_of_a_picture": Case(
        "not_an_integer",
        TypeError,
        f"`kernel_size` must be an integer or a sequence of integers, got {str([[0.5, 0.5]] * 9)[:77]}...: pass one "
        "integer, or one for each spatial dimension",
        lambda out: unpool.max_pool2d(X, [[0.5, 0.5]] * 1000, out=out.pooled),
    ),
    "kernel_none": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got None: pass one integer, or one for each "
        "spatial dimension",
        lambda out: unpool.max_pool2d(X, None, out=out.pooled),
    ),
    "no_window_no_size": Case(
        "no_size_given",
        ValueError,
        "`output_size` must be given where there is no window, got None: pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, None, out=out.plane),
    ),
    "no_window_stride": Case(
        "needs_window",
        ValueError,
        "`stride` must be left out where kernel_size=None, got 2: pass the `kernel_size` of the pooling call too, or "
        "`output_size` alone",
        lambda out: unpool.max_unpool2d(P, I, None, 2, output_size=(4, 4), out=out.plane),
    ),
    "no_window_stride_float": Case(
        "needs_window",
        ValueError,
        "`stride` must be left out where kernel_size=None, got 2.5: pass the `kernel_size` of the pooling call too, or "
        "`output_size` alone",
        lambda out: unpool.max_unpool2d(P, I, None, 2.5, output_size=(4, 4), out=out.plane),
    ),
    "no_window_padding": Case(
        "needs_window",
        ValueError,
        "`padding` must be left out where kernel_size=None, got 'same': pass the `kernel_size` of the pooling call "
        "too, or `output_size` alone",
        lambda out: unpool.max_unpool2d(P, I, None, padding="same", output_size=(4, 4), out=out.plane),
    ),
    "no_window_dilation": Case(
        "needs_window",
        ValueError,
        "`dilation` must be left out where kernel_size=None, got 2: pass the `kernel_size` of the pooling call too, or "
        "`output_size` alone",
        lambda out: unpool.max_unpool2d_backward(X, I, None, dilation=2, out=out.pooled),
    ),
    "no_window_taps": Case(
        "kernel_needed",
        ValueError,
        "`kernel_size` must be given with index_format='window', got None: pass the arguments of the pooling call",
        lambda out: unpool.max_unpool2d(P, I, None, output_size=(4, 4), index_format="window", out=out.plane),
    ),
    "no_window_validate": Case(
        "kernel_needed",
        ValueError,
        "`kernel_size` must be given with validate='windows', got None: pass the arguments of the pooling call",
        lambda out: unpool.max_unpool2d(P, I, None, output_size=(4, 4), validate="windows", out=out.plane),
    ),
    "padding_pairs_of_all_axes": Case(
        "not_pairs",
        ValueError,
        "`padding` must have an integer or a pair (before, after) for each of 2 spatial dimensions, got ((0, 0), (0, "
        "0), (1, 0), (1, 0)): leave out the batch and the channels",
        lambda out: unpool.max_pool2d(X, 2, 2, ((0, 0), (0, 0), (1, 0), (1, 0)), out=out.pooled),
    ),
    "padding_pair_too_large": Case(
        "pair_out_of_range",
        ValueError,
        "`padding` must be between 0 and dilation * (kernel_size - 1) before and after the plane, got padding=((0, 2), "
        "(0, 0)), kernel_size=(2, 2) and dilation=(1, 1): pass smaller pairs, since a window of padding alone "
        "has no maximum",
        lambda out: unpool.max_pool2d(X, 2, 2, ((0, 2), 0), out=out.pooled),
    ),
    "padding_pair_negative": Case(
        "pair_out_of_range",
        ValueError,
        "`padding` must be between 0 and dilation * (kernel_size - 1) before and after the plane, got padding=((-1, "
        "0), (0, 0)), kernel_size=(2, 2) and dilation=(1, 1): pass smaller pairs, since a window of padding alone "
        "has no maximum",
        lambda out: unpool.max_unpool2d(P, I, 2, 2, ((-1, 0), 0), out=out.plane),
    ),
    "padding_four_integers": Case(
        "wrong_length",
        ValueError,
        "`padding` must be one integer or 2 of them, one per spatial dimension, got (0, 1, 0, 1): pass 2 pairs "
        "(before, after), such as ((0, 1), (0, 1))",
        lambda out: unpool.max_pool2d(X, 2, 2, (0, 1, 0, 1), out=out.pooled),
    ),
    "kernel_set": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got {2}: pass one integer, or one for each "
        "spatial dimension",
        lambda out: unpool.max_pool2d(X, {2}, out=out.pooled),
    ),
    "kernel_pair_of_floats": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got (2, 2.0): pass one integer, or one for each "
        "spatial dimension",
        lambda out: unpool.max_pool2d(X, (2, 2.0), out=out.pooled),
    ),
    "kernel_nested": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got ((2, 2), 2): pass one integer, or one for "
        "each spatial dimension",
        lambda out: unpool.max_pool2d(X, ((2, 2), 2), out=out.pooled),
    ),
    "stride_float": Case(
        "not_an_integer",
        TypeError,
        "`stride` must be an integer or a sequence of integers, got 0.5: pass one integer, or one for each spatial "
        "dimension",
        lambda out: unpool.max_unpool2d_backward(X, I, 2, 0.5, out=out.pooled),
    ),
    "padding_word": Case(
        "unknown_padding",
        ValueError,
        "`padding` must be an integer, a sequence of integers or of pairs (before, after), 'same', "
        "'same_lower' or 'valid', got 'full': pass 0 for none",
        lambda out: unpool.max_pool2d(X, 2, 2, "full", out=out.pooled),
    ),
    "dilation_none": Case(
        "not_an_integer",
        TypeError,
        "`dilation` must be an integer or a sequence of integers, got None: pass one integer, or one for each spatial "
        "dimension",
        lambda out: unpool.max_pool2d(X, 2, dilation=None, out=out.pooled),
    ),
    "kernel_bytes": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got b'\\x02\\x02': pass one integer, or one for "
        "each spatial dimension",
        lambda out: unpool.max_pool2d(X, b"\2\2", out=out.pooled),
    ),
    "kernel_zero": Case(
        "out_of_bounds",
        ValueError,
        "`kernel_size` must be between 1 and 2147483647 in every dimension, got 0: pass a number in that range",
        lambda out: unpool.max_pool2d(X, 0, out=out.pooled),
    ),
    "kernel_zero_in_a_pair": Case(
        "out_of_bounds",
        ValueError,
        "`kernel_size` must be between 1 and 2147483647 in every dimension, got (2, 0): pass a number in that range",
        lambda out: unpool.max_pool2d(X, (2, 0), out=out.pooled),
    ),
    "kernel_huge": Case(
        "out_of_bounds",
        ValueError,
        "`kernel_size` must be between 1 and 2147483647 in every dimension, got 2147483648: pass a number in that "
        "range",
        lambda out: unpool.max_pool2d(X, 2**31, out=out.pooled),
    ),
    "stride_negative": Case(
        "out_of_bounds",
        ValueError,
        "`stride` must be between 1 and 2147483647 in every dimension, got -1: pass a number in that range",
        lambda out: unpool.max_unpool2d(P, I, 2, -1, out=out.plane),
    ),
    "stride_zero": Case(
        "out_of_bounds",
        ValueError,
        "`stride` must be between 1 and 2147483647 in every dimension, got (2, 0): pass a number in that range",
        lambda out: unpool.max_pool2d(X, 2, (2, 0), out=out.pooled),
    ),
    "padding_negative": Case(
        "out_of_bounds",
        ValueError,
        "`padding` must be between 0 and 2147483647 in every dimension, got -1: pass a number in that range",
        lambda out: unpool.max_pool2d(X, 2, 2, -1, out=out.pooled),
    ),
    "dilation_zero": Case(
        "out_of_bounds",
        ValueError,
        "`dilation` must be between 1 and 2147483647 in every dimension, got 0: pass a number in that range",
        lambda out: unpool.max_pool2d_backward(P, I, (4, 4), 2, dilation=0, out=out.plane),
    ),
    "kernel_too_many": Case(
        "wrong_length",
        ValueError,
        "`kernel_size` must be one integer or 2 of them, one per spatial dimension, got (2, 2, 2): pass 2 of them",
        lambda out: unpool.max_pool2d(X, (2, 2, 2), out=out.pooled),
    ),
    "kernel_of_tensorflow": Case(
        "wrong_length",
        ValueError,
        "`kernel_size` must be one integer or 2 of them, one per spatial dimension, got (1, 2, 2, 1): leave out the "
        "batch and the channels",
        lambda out: unpool.max_pool2d(X, (1, 2, 2, 1), out=out.pooled),
    ),
    "stride_too_few": Case(
        "wrong_length",
        ValueError,
        "`stride` must be one integer or 3 of them, one per spatial dimension, got (2, 2): pass 3 of them",
        lambda out: unpool.max_pool3d(X, 2, [2, 2], out=out.pooled),
    ),
    "padding_empty": Case(
        "wrong_length",
        ValueError,
        "`padding` must be one integer or 2 of them, one per spatial dimension, got (): pass 2 of them",
        lambda out: unpool.max_unpool2d(P, I, 2, 2, (), out=out.plane),
    ),
    "padding_too_large": Case(
        "padding_too_large",
        ValueError,
        "`padding` must be at most half of `kernel_size` (rounded down), got padding=(1, 2) and kernel_size=(3, 3): "
        "pass a smaller padding, since a window of padding alone has no maximum",
        lambda out: unpool.max_pool2d(X, 3, padding=(1, 2), out=out.pooled),
    ),
    "padding_with_a_capital": Case(
        "unknown_padding",
        ValueError,
        "`padding` must be an integer, a sequence of integers or of pairs (before, after), 'same', "
        "'same_lower' or 'valid', got 'Same': pass 'same'",
        lambda out: unpool.max_pool2d(X, 2, padding="Same", out=out.pooled),
    ),
    "shape_as_stride": Case(
        "wrong_length",
        ValueError,
        "`stride` must be one integer or 2 of them, one per spatial dimension, got (1, 1, 4, 4): if this is a "
        "shape, pass it as `output_size`; else leave out the batch and the channels",
        lambda out: unpool.max_unpool2d(P, I, 2, PLANE_SHAPE, out=out.plane),
    ),
}
