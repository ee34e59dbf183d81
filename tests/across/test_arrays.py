"""Arrays of several libraries in one call or process; test_bits.py compares their results.

A NumPy array beside one of JAX or TensorFlow is a constant. Arrays of other libraries in one call are an error. All
libraries work in one process, imported in any order.
"""

import itertools

import numpy as np
import pytest
from kinds import KINDS
from processes import python

import unpool
from unpool import registry
from unpool.registry import BUILT_IN
from unpool.testing.cases import crowded
from unpool.testing.compare import assert_same_bits

# One kind of array for each library.
LIBRARIES = [name for name in KINDS if name in BUILT_IN]
NAMES = [name for name in LIBRARIES if KINDS[name].installed()]
PAIRS = list(itertools.permutations(NAMES, 2))


@pytest.fixture(scope="module")
def library():
    """Return a function that makes each kind of array once, and skips if its library is not installed."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = KINDS[name]()
        return made[name]

    return make


PLANES = crowded("float32", (2, 3, 4, 6))
POOLED, INDICES = unpool.max_pool2d(PLANES, 2, return_indices=True)
# Functions of values and indices; the values.
TAKE_INDICES = {
    "max_unpool2d": (lambda values, indices, **named: unpool.max_unpool2d(values, indices, 2, **named), POOLED),
    "max_unpool2d_backward": (
        lambda values, indices, **named: unpool.max_unpool2d_backward(values, indices, 2, **named),
        PLANES,
    ),
    "take_along_plane": (unpool.take_along_plane, PLANES),
    "max_pool2d_backward": (
        lambda values, indices, **named: unpool.max_pool2d_backward(values, indices, PLANES.shape, 2, **named),
        POOLED,
    ),
}
# The libraries beside whose arrays NumPy's are constants, as the libraries' own functions take them.
TAKE_CONSTANTS = ("tensorflow", "jax")


@pytest.mark.parametrize("function", TAKE_INDICES)
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map("-".join, PAIRS))
def test_two_kinds_in_one_call(library, one, other, function):
    """NumPy arrays may be constants; other arrays raise a TypeError that names the conversion to write."""
    call, values = TAKE_INDICES[function]
    mine, foreign = library(one).asarray(values), library(other).asarray(INDICES)
    taken = [name for name, beside in ((one, other), (other, one)) if name in TAKE_CONSTANTS and beside == "cpu"]
    if taken:
        for named in ({}, {"backend": taken[0]}):
            found = call(mine, foreign, data_format="channels_first", **named)
            assert type(found) is type(library(taken[0]).asarray(values))
            assert_same_bits(library(taken[0]).tonumpy(found), call(values, INDICES))
        return
    with pytest.raises(TypeError, match="must be arrays of one library") as caught:
        call(mine, foreign)
    assert str(caught.value).endswith(f": pass {BUILT_IN[one].convert}(indices)")


@pytest.mark.parametrize("function", TAKE_INDICES)
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map("-".join, PAIRS))
def test_an_output_of_another_kind(library, one, other, function):
    """An output is never a constant, and does not make the other arrays constants."""
    call, values = TAKE_INDICES[function]
    here, out = library(one), library(other).asarray(np.zeros_like(call(values, INDICES)))
    with pytest.raises(TypeError, match=r"and `out` must be arrays of one library, .*: pass an empty array of the lib"):
        call(here.asarray(values), here.asarray(INDICES), out=out)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_which_backends_take_constants(library, name):
    library(name)
    assert BUILT_IN[name].constants is getattr(registry.loaded(name), "constants", False) is (name in TAKE_CONSTANTS)


PROGRAM = """
import {first}
import {second}
import {third}
import numpy as np
import unpool

x = np.random.default_rng(0).standard_normal((2, 3, 9, 7)).astype("float32")
values, indices = unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")
planes = unpool.max_unpool2d(values, indices, 2, output_size=x.shape)
for make in (jax.numpy.array, tensorflow.convert_to_tensor, torch.from_numpy):
    for _ in range(2):
        found = unpool.max_pool2d(make(x), 2, return_indices=True, index_dtype="int32", data_format="NCHW")
        restored = unpool.max_unpool2d(*found, 2, output_size=x.shape, data_format="NCHW")
        assert type(found[0]).__module__.partition(".")[0] in ("jax", "jaxlib", "tensorflow", "torch")
        for actual, expected in zip((*found, restored), (values, indices, planes)):
            assert (np.asarray(actual) == expected).all()
print("done")
"""


# Of every two libraries, each is imported first in one of these orders.
ORDERS = [("jax", "tensorflow", "torch"), ("torch", "tensorflow", "jax")]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_all_of_them_in_one_process(library, order):
    for name in order:
        library(name)
    program = PROGRAM.format(first=order[0], second=order[1], third=order[2])
    result = python("-c", program)
    assert result.stdout == "done\n", result.stderr


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_is_there(library, name):
    """The tests above cover the installed libraries. This test reports the missing ones."""
    library(name)
    assert name in NAMES
