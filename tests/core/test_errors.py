"""Every message of the library is reached through a public call and reads as a message should.

That is: it names the argument in backticks, states the rule, shows what was received and says what to do.  The tables
below hold whole messages, so that a reader can judge them and a change of one is seen.  What is refused before work
starts leaves ``out`` as it was, byte for byte.
"""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import unpool_backends

import unpool
from unpool import arguments, backends, calls, conventions, dtypes, errors, loading, plan, registry, sizes
from unpool.conventions import CONVENTIONS

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
P, I = unpool.max_pool2d(X, 2, return_indices=True)
WINDOW = "kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)"
REALS = "float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool"
VALUES = f"{REALS}, complex64, complex128"
POOLED_SHAPE, PLANE_SHAPE = (1, 1, 2, 2), (1, 1, 4, 4)


class Frame:
    """Like a pandas DataFrame: a shape, and no dtype of its own."""

    shape = PLANE_SHAPE


def tensor(like, module="torch"):
    """An object that says it is an array of another library."""
    return type("Tensor", (), {"__module__": module, "shape": like.shape, "dtype": like.dtype})()


def huge(*shape, dtype="float32"):
    """An array of any size in a few bytes: nothing may start to work on it."""
    return np.broadcast_to(np.zeros((), dtype), shape)


class Case(NamedTuple):
    """A call that must fail; `by` is the function of `errors` that words it, `call` takes what to write into."""

    by: str
    error: type[Exception]
    message: str | None
    call: Callable[[Any], Any]


def cases(table):
    return pytest.mark.parametrize("case", table.values(), ids=table)


CORE = (arguments, backends, calls, conventions, dtypes, errors, loading, plan, registry, sizes)


def messages():
    """Return the functions of the core that build an exception, by their names without an underscore: their modules."""
    return {
        name.lstrip("_"): module
        for module in CORE
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and str(function.__annotations__.get("return")).endswith("Error")
    }


@pytest.fixture
def worded(monkeypatch):
    """The names of the functions that build an exception and were called, in order."""
    called = []

    def spy(name, function):
        def wrapper(*args, **kwargs):
            called.append(name)
            return function(*args, **kwargs)

        return wrapper

    for name, module in messages().items():
        attribute = name if hasattr(module, name) else f"_{name}"
        monkeypatch.setattr(module, attribute, spy(name, getattr(module, attribute)))
    return called


def fails(case, worded, *args):
    """Make the call of a case and compare what it raises."""
    with pytest.raises(case.error) as caught:
        case.call(*args)
    assert type(caught.value) is case.error
    assert case.message is None or str(caught.value) == case.message
    assert worded == [case.by]


def noise(shape, dtype="float32"):
    """What an array to write into holds before."""
    return np.random.default_rng(0).integers(1, 99, shape).astype(dtype)


# --- arguments and arrays: the same with and without out= -----------------------------------------------------------

ARGUMENTS = {
    # --- numbers
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
    "kernel_none": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got None: pass one integer, or one for each "
        "spatial dimension",
        lambda out: unpool.max_unpool2d(P, I, None, out=out.plane),
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
        "`padding` must be an integer, a sequence of integers, 'same' or 'valid', got 'full': pass 0 for none",
        lambda out: unpool.max_pool2d(X, 2, 2, "full", out=out.pooled),
    ),
    "dilation_none": Case(
        "not_an_integer",
        TypeError,
        "`dilation` must be an integer or a sequence of integers, got None: pass one integer, or one for each spatial "
        "dimension",
        lambda out: unpool.max_pool2d(X, 2, dilation=None, out=out.pooled),
    ),
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
    "kernel_bytes": Case(
        "not_an_integer",
        TypeError,
        "`kernel_size` must be an integer or a sequence of integers, got b'\\x02\\x02': pass one integer, or one for "
        "each spatial dimension",
        lambda out: unpool.max_pool2d(X, b"\2\2", out=out.pooled),
    ),
    "input_size_none": Case(
        "not_sizes",
        TypeError,
        "`input_size` must be a sequence of integers, got None: pass the shape of an array",
        lambda out: unpool.max_pool2d_backward(P, I, None, 2, out=out.plane),
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
        "pass a smaller one, since windows of nothing but padding have no maximum",
        lambda out: unpool.max_pool2d(X, 3, padding=(1, 2), out=out.pooled),
    ),
    # --- choices
    "data_format": Case(
        "unknown_choice",
        ValueError,
        "`data_format` must be one of 'channels_first', 'channels_last', got 'NHWC': pass 'channels_last'",
        lambda out: unpool.max_pool2d(X, 2, data_format="NHWC", out=out.pooled),
    ),
    "duplicates": Case(
        "unknown_choice",
        ValueError,
        "`duplicates` must be one of 'last', 'sum', 'error', got 'mean': pass one of these",
        lambda out: unpool.max_unpool2d(P, I, 2, duplicates="mean", out=out.plane),
    ),
    "duplicates_backward": Case(
        "unknown_choice",
        ValueError,
        "`duplicates` must be one of 'last', 'sum', 'error', got None: pass one of these",
        lambda out: unpool.max_unpool2d_backward(X, I, 2, duplicates=None, out=out.pooled),
    ),
    "index_dtype": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got 'int16': pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype="int16", out=out.pooled),
    ),
    "index_dtype_float": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got <class 'numpy.float32'>: pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype=np.float32, out=out.pooled),
    ),
    "index_dtype_unhashable": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got ['int64']: pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype=["int64"], out=out.pooled),
    ),
    "convention": Case(
        "unknown_choice",
        ValueError,
        f"`target` must be one of {', '.join(map(repr, CONVENTIONS))}, got 'torch': pass one of these",
        lambda out: unpool.convert_indices(I, "plane", "torch", output_size=PLANE_SHAPE),
    ),
    "backend": Case(
        "unknown_backend",
        ValueError,
        None,  # lists the plugins that are installed too: see test_registry.py
        lambda out: unpool.max_pool2d(X, 2, out=out.pooled, backend="gpu"),
    ),
    "backend_of_others": Case(
        "wrong_kind",
        TypeError,
        "`input` must be an array of the library that backend='cuda' serves, got numpy.ndarray: pass "
        "cupy.asarray(input), or leave `backend` out",
        lambda out: unpool.max_pool2d(X, 2, out=out.pooled, backend="cuda"),
    ),
    "window_needed": Case(
        "window_needed",
        TypeError,
        '`kernel_size` is needed by the convention "window": pass the arguments of the pooling call',
        lambda out: unpool.convert_indices(I, "plane", "window", output_size=PLANE_SHAPE),
    ),
    # --- arrays
    "list": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got list: pass numpy.asarray(input), or an array of another supported library",
        lambda out: unpool.max_pool2d(X.tolist(), 2, out=out.pooled),
    ),
    "none": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got None: pass what pooling returned with return_indices=True, after the values",
        lambda out: unpool.max_unpool2d(P, None, 2, out=out.plane),
    ),
    "python_scalar": Case(
        "not_an_array",
        TypeError,
        "`grad_output` must be an array, got float: pass numpy.asarray(grad_output), or an array of another supported "
        "library",
        lambda out: unpool.max_unpool2d_backward(1.0, I, 2, out=out.pooled),
    ),
    "no_dtype": Case(
        "not_an_array",
        TypeError,
        f"`input` must be an array, got {__name__}.Frame: pass numpy.asarray(input), or an array of another supported "
        "library",
        lambda out: unpool.max_pool2d(Frame(), 2, out=out.pooled),
    ),
    "number_for_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got int: pass numpy.asarray(indices), or an array of another supported library "
        "(`indices` comes second, the sizes after it)",
        lambda out: unpool.max_unpool2d(P, 2, 2, out=out.plane),
    ),
    "size_for_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got tuple: pass numpy.asarray(indices), or an array of another supported library "
        "(`indices` comes second, the sizes after it)",
        lambda out: unpool.max_pool2d_backward(P, (4, 4), I, 2, out=out.plane),
    ),
    "pair_for_values": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got a tuple of two arrays: pass the values and the indices one by one, as *input "
        "does",
        lambda out: unpool.max_unpool2d((P, I), I, 2, out=out.plane),
    ),
    "pair_for_an_object": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got a tuple of two arrays: pass the values and the indices one by one, as *input "
        "does",
        lambda out: unpool.MaxUnpool2d(2)((P, I), out=out.plane),
    ),
    "no_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got None: pass what pooling returned with return_indices=True, after the values",
        lambda out: unpool.MaxUnpool2d(2)(P, out=out.plane),
    ),
    "padding_in_capitals": Case(
        "unknown_padding",
        ValueError,
        "`padding` must be an integer, a sequence of integers, 'same' or 'valid', got 'SAME': pass 'same'",
        lambda out: unpool.max_pool2d(X, 2, padding="SAME", out=out.pooled),
    ),
    "one_size": Case(
        "size_out_of_range",
        ValueError,
        "`output_size` must be 2 in spatial dimension 0 to pool to 2, got output_size=(3, 2) with kernel_size=(1, 1), "
        "stride=(1, 1), padding=(0, 0), dilation=(1, 1): pass the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 1, output_size=(3, 2), out=out.plane),
    ),
    "numpy_scalar": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), or 3 without the batch (C, H, W), got shape (): reshape it, or "
        "call the function for as many spatial dimensions as it has",
        lambda out: unpool.max_pool2d(np.float32(3), 2, out=out.pooled),
    ),
    "image_without_channels": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), or 3 without the batch (C, H, W), got shape (4, 4): give it a "
        "dimension of 1 for the channels",
        lambda out: unpool.max_pool2d(X[0, 0], 2, out=out.pooled),
    ),
    "rank_1_channels_last": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 3 dimensions (N, L, C), or 2 without the batch (L, C), got shape (1, 1, 2, 2): reshape it, "
        "or call the function for as many spatial dimensions as it has",
        lambda out: unpool.max_unpool1d(P, I, 2, data_format="channels_last", out=out.plane),
    ),
    "rank_3": Case(
        "wrong_rank",
        ValueError,
        "`grad_output` must have 5 dimensions (N, C, D, H, W), or 4 without the batch (C, D, H, W), got shape (2, 2): "
        "reshape it, or call the function for as many spatial dimensions as it has",
        lambda out: unpool.max_pool3d_backward(P[0, 0], I[0, 0], (4, 4, 4), 2, out=out.plane),
    ),
    "empty_plane": Case(
        "empty_dimension",
        ValueError,
        "`input` must have at least one element in every dimension but the batch, got shape (1, 1, 0, 4): leave such "
        "arrays out",
        lambda out: unpool.max_pool2d(X[:, :, :0], 2, out=out.pooled),
    ),
    "no_channels": Case(
        "empty_dimension",
        ValueError,
        "`input` must have at least one element in every dimension but the batch, got shape (1, 0, 2, 2): leave such "
        "arrays out",
        lambda out: unpool.max_unpool2d(P[:, :0], I[:, :0], 2, out=out.plane),
    ),
    "empty_indices": Case(
        "empty_dimension",
        ValueError,
        "`indices` must have at least one element in every dimension but the batch, got shape (1, 1, 2, 0): leave "
        "such arrays out",
        lambda out: unpool.max_unpool2d_backward(X, I[..., :0], 2, out=out.pooled),
    ),
    "indices_of_another_level": Case(
        "shapes_differ",
        ValueError,
        "`indices` must have the shape of `input`, (1, 1, 2, 2), got (1, 1, 1, 1): if `input` comes out of an "
        "unpooling, pass that call the size that was pooled as `output_size`; else pass what the same pooling call "
        "returned",
        lambda out: unpool.max_unpool2d(P, I[..., :1, :1], 2, out=out.plane),
    ),
    "indices_without_batch": Case(
        "shapes_differ",
        ValueError,
        "`indices` must have the shape of `grad_output`, (1, 1, 2, 2), got (1, 2, 2): give both a batch dimension, "
        "or neither",
        lambda out: unpool.max_pool2d_backward(P, I[0], (4, 4), 2, out=out.plane),
    ),
    "gradient_without_batch": Case(
        "dimensions_differ",
        ValueError,
        "`grad_output` must have as many dimensions as `indices`, whose shape is (1, 1, 2, 2), got shape (1, 4, 4): "
        "give both a batch dimension, or neither",
        lambda out: unpool.max_unpool2d_backward(X[0], I, 2, out=out.pooled),
    ),
    "unbatched_indices": Case(
        "unbatched_indices",
        ValueError,
        "`indices` must have the batch and channels and 1 to 3 spatial dimensions, got shape (2, 2): give unbatched "
        "ones a leading 1, and `output_size` too",
        lambda out: unpool.convert_indices(I[0, 0], "plane", "onnx", output_size=PLANE_SHAPE),
    ),
    # --- dtypes
    "swapped": Case(
        "wrong_indices",
        TypeError,
        "`indices` must be integers (int64 or int32, as max_pool returns them), got float32: floats are exact only up "
        "to 2**24 (float32), so round and convert them where they are made. The order of the arguments is (values, "
        "indices)",
        lambda out: unpool.max_unpool2d(I, P, 2, out=out.plane),
    ),
    "float_indices": Case(
        "wrong_indices",
        TypeError,
        "`indices` must be integers (int64 or int32, as max_pool returns them), got float64: floats are exact only up "
        "to 2**24 (float32), so round and convert them where they are made. The order of the arguments is (values, "
        "indices)",
        lambda out: unpool.max_unpool2d_backward(X, I.astype(float), 2, out=out.pooled),
    ),
    "mask_for_indices": Case(
        "wrong_indices",
        TypeError,
        "`indices` must be integers (int64 or int32, as max_pool returns them), got bool: convert them to int64. The "
        "order of the arguments is (values, indices)",
        lambda out: unpool.max_unpool2d(P, I > 0, 2, out=out.plane),
    ),
    "complex_pooling": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got complex64: convert it first",
        lambda out: unpool.max_pool2d(X.astype("complex64"), 2, out=out.pooled),
    ),
    "complex_gradient": Case(
        "wrong_values",
        TypeError,
        f"`grad_output` must be of one of the dtypes {REALS}, got complex128: convert it first",
        lambda out: unpool.max_pool2d_backward(P.astype("complex128"), I, (4, 4), 2, out=out.plane),
    ),
    "object_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {VALUES}, got object: convert it first",
        lambda out: unpool.max_unpool2d(P.astype(object), I, 2, out=out.plane),
    ),
    "datetime_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got datetime64[ns]: convert it first",
        lambda out: unpool.max_pool2d(X.astype("datetime64[ns]"), 2, out=out.pooled),
    ),
    "structured_dtype": Case(
        "wrong_values",
        TypeError,
        f"`grad_output` must be of one of the dtypes {VALUES}, got void64: convert it first",
        lambda out: unpool.max_unpool2d_backward(np.zeros(PLANE_SHAPE, "f4,i4"), I, 2, out=out.pooled),
    ),
    "text_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got str64: convert it first",
        lambda out: unpool.max_pool2d(np.full(PLANE_SHAPE, "ab"), 2, out=out.pooled),
    ),
    # --- kinds
    "masked": Case(
        "masked_array",
        TypeError,
        "`input` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass input.filled(value), or "
        "input.data to ignore it yourself",
        lambda out: unpool.max_pool2d(np.ma.masked_greater(X, 9), 2, out=out.pooled),
    ),
    "masked_indices": Case(
        "masked_array",
        TypeError,
        "`indices` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass indices.filled(value), or "
        "indices.data to ignore it yourself",
        lambda out: unpool.max_unpool2d(P, np.ma.array(I), 2, out=out.plane),
    ),
    "unknown_library": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got sparse.Tensor: convert it first, for example "
        "with numpy.asarray(input)",
        lambda out: unpool.max_pool2d(tensor(X, "sparse"), 2, out=out.pooled),
    ),
    "mixed": Case(
        "mixed_kinds",
        TypeError,
        "`input` and `indices` must be arrays of one library, got numpy.ndarray and torch.Tensor: pass "
        "numpy.asarray(indices)",
        lambda out: unpool.max_unpool2d(P, tensor(I), 2, out=out.plane),
    ),
    # --- sizes
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
        "`output_size` must be given: the size that follows is empty in spatial dimension 0, got output_size=None with "
        "kernel_size=(2,), stride=(2,), padding=(1,), dilation=(1,): pass one that is 1 there",
        lambda out: unpool.max_unpool1d(P[0, :, :1, :1], I[0, :, :1, :1], 2, 2, 1, out=out.plane),
    ),
    "no_such_plane": Case(
        "no_size",
        ValueError,
        "`output_size` has no right value: no plane pools to 1 in spatial dimension 0, got output_size=None with "
        "kernel_size=(2,), stride=(1,), padding=(1,), dilation=(1,): pass the arguments of the pooling call",
        lambda out: unpool.max_unpool1d(P[0, :, :1, :1], I[0, :, :1, :1], 2, 1, 1, out=out.plane),
    ),
    "output_size_left_open": Case(
        "size_left_open",
        ValueError,
        "`output_size` must say every spatial size, got (None, 1, None, 4): where only a run will know one, pass the "
        "shape as an array that the run computes",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(None, 1, None, 4), out=out.plane),
    ),
    "output_size_too_long": Case(
        "wrong_size_length",
        ValueError,
        "`output_size` must have 2 entries (the spatial ones) or 4 (the full shape), got (1, 1, 1, 4, 4): pass the "
        "shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(1, 1, 1, 4, 4), out=out.plane),
    ),
    "shape_as_stride": Case(
        "wrong_length",
        ValueError,
        "`stride` must be one integer or 2 of them, one per spatial dimension, got (1, 1, 4, 4): a shape is passed as "
        "`output_size`",
        lambda out: unpool.max_unpool2d(P, I, 2, PLANE_SHAPE, out=out.plane),
    ),
    "data_format_array": Case(
        "unknown_choice",
        ValueError,
        None,
        lambda out: unpool.max_unpool2d(P, I, 2, data_format=np.zeros(2), out=out.plane),
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
    "backend_list": Case(
        "unknown_backend",
        ValueError,
        None,
        lambda out: unpool.max_unpool2d(P, I, 2, backend=[], out=out.plane),
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
        "spatial entries alone, or the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(2, 1, 4, 4), out=out.plane),
    ),
    "output_size_of_another_format": Case(
        "wrong_leading",
        ValueError,
        "`output_size` must keep the batch and channels of `input`, got (1, 4, 4, 1) for shape (1, 1, 2, 2): pass the "
        "spatial entries alone, or the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(P, I, 2, output_size=(1, 4, 4, 1), out=out.plane),
    ),
    "output_size_of_other_channels_last": Case(
        "wrong_leading",
        ValueError,
        "`output_size` must keep the batch and channels of `input`, got (4, 4, 2) for shape (2, 2, 1): pass the "
        "spatial entries alone, or the shape of the array that was pooled",
        lambda out: unpool.max_unpool2d(
            P.reshape(2, 2, 1), I.reshape(2, 2, 1), 2, output_size=(4, 4, 2), data_format="channels_last", out=out.plane
        ),
    ),
    # --- indices of a convention
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
}


@pytest.mark.parametrize("writes", [False, True], ids=["new", "out"])
@cases(ARGUMENTS)
def test_a_wrong_call(case, writes, worded):
    out = SimpleNamespace(pooled=None, plane=None)
    if writes:
        out = SimpleNamespace(pooled=noise(POOLED_SHAPE), plane=noise(PLANE_SHAPE))
    fails(case, worded, out)
    if writes:
        assert out.pooled.tobytes() == noise(POOLED_SHAPE).tobytes()
        assert out.plane.tobytes() == noise(PLANE_SHAPE).tobytes()


@pytest.mark.skipif(not hasattr(np, "float128"), reason="this platform's long double is no type of its own")
def test_long_doubles_are_refused():
    for call in (
        lambda: unpool.max_pool2d(X.astype("longdouble"), 2),
        lambda: unpool.max_unpool2d(P.astype("longdouble"), I, 2),
        lambda: unpool.max_unpool2d_backward(X.astype("clongdouble"), I, 2),
    ):
        with pytest.raises(TypeError, match=r"got (float128|complex256): convert it first"):
            call()


def test_a_size_is_checked_before_an_array_of_it_is_made_or_read(monkeypatch):
    """Neither of these calls could end if it looked at one element."""
    monkeypatch.setattr("unpool.backends.route", None)
    x = huge(1, 1, 2**31, 2**20)
    with pytest.raises(ValueError, match="must hold every position"):
        unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")
    with pytest.raises(ValueError, match="must have shape"):
        unpool.max_pool2d(x, 2, out=P)
    with pytest.raises(ValueError, match="must be between"):
        unpool.max_unpool2d(x, huge(*x.shape, dtype="int64"), 2, output_size=(4, 4))


def test_a_missing_argument_is_named():
    """Python's own message: `kernel_size` has no default to hide behind."""
    with pytest.raises(TypeError, match="kernel_size"):
        unpool.max_unpool2d(P, I)


# --- out ------------------------------------------------------------------------------------------------------------


def pool_into(out):
    return unpool.max_pool2d(X, 2, out=out)


def pool_both_into(out):
    return unpool.max_pool2d(X, 2, return_indices=True, out=out)


def unpool_into(out):
    return unpool.max_unpool2d(P, I, 2, out=out)


def pool_gradient_into(out):
    return unpool.max_pool2d_backward(P, I, (4, 4), 2, out=out)


def unpool_gradient_into(out):
    return unpool.max_unpool2d_backward(X, I, 2, out=out)


def shifted(shape, dtype="float32"):
    """An array that starts at an odd address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def readonly(array):
    array.flags.writeable = False
    return array


UNUSABLE = (
    " must be writeable, aligned, C-contiguous and in native byte order, got an array that is not: write into a new "
    "array and copy it over"
)
OUTS = {
    "shape": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 4, 4) and dtype float32, got shape (1, 1, 5, 5) and dtype float32: pass "
            "an empty array of that shape and dtype",
            unpool_into,
        ),
        lambda: noise((1, 1, 5, 5)),
    ),
    "batch": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 2, 2) and dtype float32: pass "
            "an empty array of that shape and dtype",
            pool_into,
        ),
        lambda: noise((1, 2, 2)),
    ),
    "dtype": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 1, 2, 2) and dtype float64: pass "
            "an empty array of that shape and dtype",
            unpool_gradient_into,
        ),
        lambda: noise(POOLED_SHAPE, "float64"),
    ),
    "values of a pair": (
        Case(
            "wrong_out",
            ValueError,
            "`out[0]` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 1, 2, 2) and dtype int64: pass "
            "an empty array of that shape and dtype",
            pool_both_into,
        ),
        lambda: (noise(POOLED_SHAPE, "int64"), noise(POOLED_SHAPE)),
    ),
    "indices of a pair": (
        Case(
            "wrong_out",
            ValueError,
            "`out[1]` must have shape (1, 1, 2, 2) and dtype int64, got shape (1, 1, 2, 2) and dtype int32: pass "
            "an empty array of that shape and dtype",
            pool_both_into,
        ),
        lambda: [noise(POOLED_SHAPE), noise(POOLED_SHAPE, "int32")],
    ),
    "not a pair": (
        Case(
            "out_not_a_pair",
            TypeError,
            "`out` must be a pair of arrays (values, indices) where return_indices=True, got numpy.ndarray: pass "
            "both, or return_indices=False",
            pool_both_into,
        ),
        lambda: noise(POOLED_SHAPE),
    ),
    "three": (
        Case(
            "out_not_a_pair",
            TypeError,
            "`out` must be a pair of arrays (values, indices) where return_indices=True, got tuple: pass both, or "
            "return_indices=False",
            pool_both_into,
        ),
        lambda: (noise(POOLED_SHAPE),) * 3,
    ),
    "masked": (
        Case(
            "masked_array",
            TypeError,
            "`out` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass out.data",
            unpool_into,
        ),
        lambda: np.ma.array(noise(PLANE_SHAPE)),
    ),
    "read-only": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_into),
        lambda: readonly(noise(PLANE_SHAPE)),
    ),
    "strided": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", pool_into),
        lambda: noise(PLANE_SHAPE)[..., ::2, ::2],
    ),
    "fortran": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", pool_gradient_into),
        lambda: noise(PLANE_SHAPE).copy("F"),
    ),
    "byteswapped": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_gradient_into),
        lambda: noise(POOLED_SHAPE).astype(np.dtype("float32").newbyteorder("S")),
    ),
    "misaligned": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_into),
        lambda: shifted(PLANE_SHAPE),
    ),
    "values of a pair read-only": (
        Case("unusable_out", ValueError, f"`out[0]`{UNUSABLE}", pool_both_into),
        lambda: (readonly(noise(POOLED_SHAPE)), noise(POOLED_SHAPE, "int64")),
    ),
    "indices of a pair strided": (
        Case("unusable_out", ValueError, f"`out[1]`{UNUSABLE}", pool_both_into),
        lambda: (noise(POOLED_SHAPE), noise(PLANE_SHAPE, "int64")[..., ::2, ::2]),
    ),
}


@pytest.mark.parametrize(("case", "make"), OUTS.values(), ids=OUTS)
def test_an_out_that_cannot_be_written_into(case, make, worded):
    out = make()
    arrays = out if isinstance(out, (tuple, list)) else [out]
    before = [array.tobytes() for array in arrays]
    fails(case, worded, out)
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("out", [[0.0] * 4, (P, I), tensor(P)], ids=["list", "pair", "tensor"])
def test_advice_for_out_is_not_to_write_into_a_copy(out):
    """`numpy.asarray(out)` would take the result and be thrown away."""
    with pytest.raises(TypeError, match="`out`") as caught:
        pool_into(out)
    assert "numpy.asarray(out)" not in str(caught.value)
    assert "`indices` comes second" not in str(caught.value)


def ones(*shape, dtype="int64"):
    return np.ones(shape, dtype)


def overlapping():
    """Calls whose `out` shares memory with what they read, or the other `out`."""
    plane = ones(1, 1, 3, 3)
    memory = np.ones(12, "int64")
    low, high = memory[:9].reshape(1, 1, 3, 3), memory[3:].reshape(1, 1, 3, 3)
    zeros = 0 * plane
    return {
        "pool its input": ("out", lambda: unpool.max_pool2d(plane, 1, out=plane)),
        "pool a part of its input": ("out", lambda: unpool.max_pool2d(low, 1, out=high)),
        "pool values on input": (
            "out[0]",
            lambda: unpool.max_pool2d(low, 1, return_indices=True, out=(high, zeros)),
        ),
        "pool indices on input": (
            "out[1]",
            lambda: unpool.max_pool2d(low, 1, return_indices=True, out=(zeros, high)),
        ),
        "pool indices on values": (
            "out[1]",
            lambda: unpool.max_pool2d(plane, 1, return_indices=True, out=(low, high)),
        ),
        "unpool its input": ("out", lambda: unpool.max_unpool2d(plane, zeros, 1, out=plane)),
        "unpool its indices": ("out", lambda: unpool.max_unpool2d(plane, low, 1, out=high)),
        "gradient of pooling": ("out", lambda: unpool.max_pool2d_backward(low, plane, (3, 3), 1, out=high)),
        "gradient of unpooling": ("out", lambda: unpool.max_unpool2d_backward(low, plane, 1, out=high)),
        "gradient on indices": ("out", lambda: unpool.max_unpool2d_backward(plane, low, 1, out=low)),
    }


@pytest.mark.parametrize("name", overlapping())
def test_an_out_that_is_still_read(name, worded):
    argument, call = overlapping()[name]
    memory = next(cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, np.ndarray))
    message = (
        f"`{argument}` must not share memory with the other arrays of the call, which are still read while it is "
        f"written: pass a copy of one of them"
    )
    fails(Case("overlapping_out", ValueError, message, lambda: call()), worded)
    assert (memory <= 1).all()


def test_neighbours_do_not_overlap():
    """What lies beside each other in one buffer is not refused."""
    memory = np.zeros(32, "float32")
    x, out = memory[:16].reshape(PLANE_SHAPE), memory[16:20].reshape(POOLED_SHAPE)
    x[...] = X
    assert unpool.max_pool2d(x, 2, out=out) is out
    np.testing.assert_array_equal(out, P)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64"])
@pytest.mark.parametrize(
    ("last", "duplicates", "error", "message"),
    [
        (99, "last", IndexError, "indices[0, 0, 1, 1] = 99 is out of range"),
        (10, "error", ValueError, "indices[0, 0, 0, 1] = indices[0, 0, 1, 1] = 10:"),
    ],
)
def test_an_out_over_indices_of_which_a_copy_is_read(dtype, last, duplicates, error, message):
    """The message says what they were."""
    memory = np.zeros(16, dtype)
    out, indices = memory.reshape(1, 1, 4, 4), memory[:4].reshape(1, 1, 2, 2).transpose(0, 1, 3, 2)
    indices[...] = [[[[0, 10], [2, last]]]]
    with pytest.raises(error, match=re.escape(message)):
        unpool.max_unpool2d(np.full((1, 1, 2, 2), 7, dtype), indices, 2, duplicates=duplicates, out=out)
    memory[:4] = 0
    grad, indices = np.full((1, 1, 4, 4), 7, dtype), out[:, :, :2, :2]
    indices[...] = [[[[0, 10], [2, last]]]]
    with pytest.raises(error, match=re.escape(message)):
        unpool.max_unpool2d_backward(grad, indices, 2, duplicates=duplicates, out=memory[:4].reshape(1, 1, 2, 2))


# --- indices --------------------------------------------------------------------------------------------------------


def planted(indices, *places):
    """The indices with values planted at flat positions."""
    indices = indices.copy()
    for flat, value in places:
        indices.flat[flat] = value
    return indices


def plane_of(*spatial, value=None):
    """One pooled value for a plane of this size, with an index that is out of its range."""
    ones = (1,) * len(spatial)
    index = np.full((1, 1, *ones), int(np.prod(spatial)) if value is None else value)
    return np.ones(index.shape), index, spatial


# 8 x 8 planes of two samples and four channels, pooled by 2.
X8 = np.random.default_rng(8).permutation(2 * 4 * 64).reshape(2, 4, 8, 8).astype("float32")
P8, I8 = unpool.max_pool2d(X8, 2, return_indices=True)
AT_1_3_0_2 = int(np.ravel_multi_index((1, 3, 0, 2), I8.shape))
LAST = "pass the shape of the array that was pooled as"
CONVERT = ", and convert indices of TensorFlow, ONNX or Chainer by unpool.convert_indices"
EIGHT = "is out of range for an output plane of 8 x 8: expected 0..63; " + LAST

INDICES = {
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
        # Row-major as the array lies: cell before channel.
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


@cases(INDICES)
def test_a_wrong_index(case, worded):
    fails(case, worded)


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda out: unpool.max_unpool2d(P8, planted(I8, (9, 64)), 2, out=out), X8.shape),
        (lambda out: unpool.max_unpool2d(P8, planted(I8, (9, 64)), 2, duplicates="sum", out=out), X8.shape),
        (lambda out: unpool.max_unpool2d(P8, 0 * I8, 2, duplicates="error", out=out), X8.shape),
        (lambda out: unpool.max_pool2d_backward(P8, planted(I8, (9, 64)), (8, 8), 2, out=out), X8.shape),
        (lambda out: unpool.max_unpool2d_backward(X8, planted(I8, (9, 64)), 2, out=out), P8.shape),
        (lambda out: unpool.max_unpool2d_backward(X8, 0 * I8, 2, duplicates="error", out=out), P8.shape),
    ],
    ids=["last", "sum", "repeated", "gradient of pooling", "gradient of unpooling", "repeated in a gradient"],
)
def test_a_wrong_index_says_that_out_was_touched(call, shape):
    """What the indices hold is found out while writing, so here alone `out` may have changed."""
    for out, touched in ((noise(shape), True), (None, False)):
        with pytest.raises((IndexError, ValueError)) as caught:
            call(out)
        assert str(caught.value).endswith(". `out` may be partly overwritten") == touched


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: unpool.max_unpool2d_backward(X, I + 20, 2), r"indices\[0, 0, 0, 0\] = 25 is out of range"),
        (lambda: unpool.max_unpool2d_backward(X8, I, 2), "`grad_output`"),
        (lambda: unpool.max_unpool2d_backward(X8[:1, :1], I, 2), "between 3 and 5 .* in spatial dimension 0"),
    ],
    ids=["index", "batch", "size"],
)
def test_advice_for_a_gradient_is_to_pass_a_gradient(call, rule):
    """A size is advised only where the call takes a size; this one takes it from `grad_output`."""
    with pytest.raises((IndexError, ValueError), match=rule) as caught:
        call()
    for impossible in ("that was pooled as `grad_output`", "pass the spatial entries", "pass the shape of"):
        assert impossible not in str(caught.value)


@pytest.mark.parametrize(
    ("spatial", "expected"),
    [
        ((8, 8), "an output plane of 8 x 8: expected 0..63"),
        ((11, 2), "an output plane of 11 x 2: expected 0..21"),
        ((64,), "an output plane of 64 cells: expected 0..63"),
        ((2, 8, 8), "an output plane of 2 x 8 x 8: expected 0..127"),
    ],
    ids=str,
)
def test_a_plane_is_shown_by_its_sizes(spatial, expected):
    values, index, kernel = plane_of(*spatial)
    with pytest.raises(IndexError) as caught:
        getattr(unpool, f"max_unpool{len(spatial)}d")(values, index, kernel)
    assert f" is out of range for {expected}" in str(caught.value)


# --- all of them ----------------------------------------------------------------------------------------------------

# These need a backend that is missing or broken, or a machine without memory: other files of tests make some.
ELSEWHERE = {
    "backend_class",
    "broken_backend",
    "cannot_wait",
    "devices_differ",
    "failing_cuda",
    "fixed_arrays",
    "foreign_byte_order",
    "forked_after_cuda",
    "four_sizes",
    "inexact_mask",
    "malformed_plugin",
    "missing_backend",
    "missing_driver",
    "missing_framework",
    "missing_nvrtc",
    "no_backend",
    "no_device",
    "no_namespace",
    "not_a_pair",
    "not_batched",
    "not_dense",
    "not_whole",
    "old_driver",
    "out_of_gradient",
    "recorded_sizes",
    "reserved_plugin",
    "rival_plugins",
    "symbolic_array",
    "two_sizes",
    "unknown_rank",
    "unserved_device",
    "wrong_device",
}


def wings():
    """Yield the names of the functions that build an exception, of all files that are not of the core."""
    core = {Path(module.__file__) for module in CORE}
    for package in (unpool, unpool_backends):
        for path in set(Path(package.__file__).parent.rglob("*.py")) - core:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                returns = getattr(node, "returns", None)
                if isinstance(returns, ast.Name) and returns.id.endswith("Error") and node.name != "_meaning":
                    yield node.name.lstrip("_")


def test_no_message_is_left_out():
    tables = (*ARGUMENTS.values(), *INDICES.values(), *(case for case, _ in OUTS.values()))
    reached = {case.by for case in tables} | {"overlapping_out"}
    assert {*messages(), *wings()} == reached | ELSEWHERE
