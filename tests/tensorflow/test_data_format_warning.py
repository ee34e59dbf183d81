"""TensorFlow's tensors usually have the channels last, so calls that do not name `data_format` warn for each of them.

tests/conftest.py silences the warning in the other files.
"""

import inspect
import linecache
import warnings

import numpy as np
import pytest
from needs import require

import unpool

tf = require("tensorflow", "the tests of its tensors need it")

FIRST, LAST = {"data_format": "channels_first"}, {"data_format": "channels_last"}


def found(function, *arguments):
    """Return the warnings of a call about data formats."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [entry for entry in caught if entry.category is unpool.DataFormatWarning]


def line_of(entry):
    return linecache.getline(entry.filename, entry.lineno).strip()


def zeros(*shape):
    return tf.zeros(shape)


def pooled(x):
    return unpool.max_pool2d(x, 2)


# --- eager ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "shape"),
    [
        (2, (8, 32, 32, 3)),
        (2, (32, 32, 3)),
        (2, (1, 8, 4, 6)),
        (1, (2, 8, 7)),
        (1, (40, 2)),
        (3, (1, 4, 6, 8, 3)),
        (3, (4, 6, 8, 3)),
    ],
    ids=str,
)
def test_every_shape_warns(rank, shape):
    x = zeros(*shape)
    pool, unpooling = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d")
    _, indices = pool(x, 1, return_indices=True, **FIRST)
    for function in (
        lambda **options: pool(x, 1, **options),
        lambda **options: unpooling(x, indices, 1, **options),
        lambda **options: getattr(unpool, f"max_pool{rank}d_backward")(x, indices, shape, 1, **options),
        lambda **options: getattr(unpool, f"max_unpool{rank}d_backward")(x, indices, 1, **options),
        lambda **options: getattr(unpool, f"MaxPool{rank}d")(1, **options)(x),
        lambda **options: getattr(unpool, f"MaxUnpool{rank}d")(1, **options)(x, indices),
    ):
        (entry,) = found(function)
        assert entry.filename == __file__
        assert "'channels_first'" in str(entry.message)
        assert "'channels_last'" in str(entry.message)
        assert found(lambda function=function: function(**FIRST)) == []
        assert found(lambda function=function: function(**LAST)) == []


def test_a_variable_warns():
    assert len(found(pooled, tf.Variable(zeros(1, 4, 4, 2)))) == 1


def test_a_conversion_warns():
    indices = tf.zeros((1, 4, 4, 2), tf.int64)
    convert = {"source": "plane", "target": "onnx", "output_size": (1, 4, 4, 2)}
    (entry,) = found(lambda: unpool.convert_indices(indices, **convert))
    assert entry.filename == __file__
    assert "`indices`" in str(entry.message)
    assert found(lambda: unpool.convert_indices(indices, **convert, **LAST)) == []


def test_arrays_of_other_libraries_do_not_warn_for_it():
    """A shape of TensorFlow equals the tuple of its sizes, and calls on both are cached."""
    shape = (2, 5, 7, 9)  # of this test
    for _ in range(2):
        assert found(pooled, np.zeros(shape, "float32")) == []
        assert len(found(pooled, zeros(*shape))) == 1


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(8, 32, 32, 3), (None, 32, 32, 3), (None, None, None, None)], ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_a_graph_warns_when_it_is_traced(sizes, compiled):
    signature = [tf.TensorSpec(sizes)]
    program = tf.function(pooled, signature, autograph=False, jit_compile=compiled)
    (entry,) = found(program, zeros(8, 32, 32, 3))
    assert (entry.filename, line_of(entry)) == (__file__, "return unpool.max_pool2d(x, 2)")
    assert found(program, zeros(8, 32, 32, 3)) == []
    named = tf.function(lambda x: unpool.max_pool2d(x, 2, **LAST), signature, autograph=False, jit_compile=compiled)
    assert found(named, zeros(8, 32, 32, 3)) == []


def test_autograph_shows_the_line_that_it_made_of_the_users():
    (entry,) = found(tf.function(pooled), zeros(8, 32, 32, 3))
    assert not entry.filename.startswith(inspect.getfile(tf).removesuffix("__init__.py"))
    assert "max_pool2d" in line_of(entry)


def test_objects_in_autograph():
    pool = unpool.MaxPool2d(2)

    @tf.function
    def pooled_by_object(x):
        return pool(x) if tf.reduce_sum(x) > 0 else x[:, :, ::2, ::2]

    (entry,) = found(pooled_by_object, zeros(8, 32, 32, 4))
    assert "ld(pool), (ag__.ld(x),)" in line_of(entry)
