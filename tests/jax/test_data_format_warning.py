"""A JAX program whose calls do not name `data_format` warns when it is traced, for sizes that are known."""

import linecache
import warnings

import numpy as np
import pytest
from needs import require

import unpool

jax = require("jax", "the tests of its arrays need it")

PHOTOGRAPH = (431, 359, 3)


def found(function, *arguments):
    """Return the warnings of a call about data formats."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [entry for entry in caught if entry.category is unpool.DataFormatWarning]


def pooled(x):
    return unpool.max_pool2d(x, 2)


def restored(x):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, data_format="channels_first")
    return unpool.max_unpool2d(values, indices, 2, output_size=x.shape)


@pytest.mark.parametrize("function", [pooled, restored])
@pytest.mark.parametrize("way", [lambda function: function, jax.jit], ids=["eager", "jit"])
def test_a_photograph_warns(way, function):
    run = way(function)
    (entry,) = found(run, jax.numpy.zeros(PHOTOGRAPH))
    assert entry.filename == __file__
    assert linecache.getline(__file__, entry.lineno).strip().startswith("return unpool.max_")
    if way is jax.jit:
        assert found(run, jax.numpy.zeros(PHOTOGRAPH)) == []
    assert found(way(function), jax.numpy.zeros((1, 3, 64, 48))) == []


def test_a_gradient_warns_once():
    assert len(found(jax.grad(lambda x: pooled(x).sum()), jax.numpy.zeros(PHOTOGRAPH))) == 1


def test_symbols_are_not_compared():
    height, width, channels = jax.export.symbolic_shape("height, width, channels")
    for shape in ((height, width, 3), (431, width, channels), (height, width, channels)):
        given = jax.ShapeDtypeStruct(shape, np.float32)
        assert found(lambda given=given: jax.export.export(jax.jit(lambda x: unpool.max_pool2d(x, 1)))(given)) == []
