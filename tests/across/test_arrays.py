"""Arrays across libraries: one library pools, any other unpools, and the bits are the same.

Arrays of two libraries in one call are an error. All libraries work in one process, imported in any order.
"""

import itertools

import numpy as np
import pytest
from cases import FORMATS, POOLINGS, crowded
from compare import assert_same_bits
from kinds import KINDS
from processes import python

import unpool
from unpool.registry import BUILT_IN

# One kind of array for each library. tests/contract tests the compiled kinds.
LIBRARIES = [name for name in KINDS if name in BUILT_IN]
NAMES = [name for name in LIBRARIES if KINDS[name].installed()]
PAIRS = list(itertools.permutations(NAMES, 2))
CASES = {name: POOLINGS[name] for name in ("even", "overlap and padding", "row, ceil", "volume, gaps", "dilated")}
CONVENTIONS = ("tensorflow", "tensorflow_batch", "onnx", "window")


@pytest.fixture(scope="module")
def library():
    """Return a function that makes each kind of array once, and skips if its library is not installed."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = KINDS[name]()
        return made[name]

    return make


def functions(case):
    names = f"max_pool{case.rank}d", f"max_unpool{case.rank}d", f"max_unpool{case.rank}d_backward"
    return [getattr(unpool, name) for name in names]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map("-".join, PAIRS))
def test_pooled_here_unpooled_there(library, one, other, case, data_format):
    here, there = library(one), library(other)
    pool, up, down = functions(case)
    format_ = {"data_format": data_format}
    x = crowded("float32", case.shape((2, 3), data_format))
    values, indices = pool(x, **case.arguments, **format_, return_indices=True)
    planes = up(values, indices, **case.window, **format_, output_size=case.size)
    found = here.call(pool, x, **case.arguments, **format_, return_indices=True)
    for actual, expected in zip(found, (values, indices), strict=True):
        assert_same_bits(actual, expected)
    assert_same_bits(there.call(up, *found, **case.window, **format_, output_size=case.size), planes)
    taken = there.call(down, planes, found[1], **case.window, **format_)
    assert_same_bits(here.call(down, planes, indices, **case.window, **format_), taken)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map("-".join, PAIRS))
def test_conventions_are_carried_through(library, one, other, data_format, convention):
    """Pool and convert in one library, then convert back and unpool in the other."""
    here, there = library(one), library(other)
    case = POOLINGS["overlap and padding"]
    pool, up, _ = functions(case)
    x = crowded("float32", case.shape((2, 3), data_format))
    named = {"output_size": x.shape, "data_format": data_format}
    if convention == "window":
        named |= case.window
    found = here.run(pool, x, **case.arguments, return_indices=True, data_format=data_format)
    foreign = here.tonumpy(unpool.convert_indices(found[1], "plane", convention, **named))
    values, indices = pool(x, **case.arguments, return_indices=True, data_format=data_format)
    assert_same_bits(foreign, unpool.convert_indices(indices, "plane", convention, **named))
    back = there.run(unpool.convert_indices, foreign, convention, "plane", **named)
    assert_same_bits(there.tonumpy(back), indices)
    planes = up(there.asarray(values), back, **case.window, output_size=x.shape, data_format=data_format)
    expected = up(values, indices, **case.window, output_size=x.shape, data_format=data_format)
    assert_same_bits(there.tonumpy(planes), expected)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map("-".join, PAIRS))
def test_two_kinds_in_one_call(library, one, other):
    """Arrays of two libraries raise a TypeError that names the conversion to write."""
    values, indices = unpool.max_pool2d(np.ones((1, 1, 4, 4), "float32"), 2, return_indices=True)
    mine, foreign = library(one).asarray(values), library(other).asarray(indices)
    with pytest.raises(TypeError) as caught:
        unpool.max_unpool2d(mine, foreign, 2)
    text = str(caught.value)
    assert "`indices`" in text
    assert f"{BUILT_IN[one].convert}(indices)" in text
    with pytest.raises(TypeError) as caught:
        unpool.max_unpool2d_backward(library(one).asarray(np.ones((1, 1, 4, 4), "float32")), foreign, 2)
    assert f"{BUILT_IN[one].convert}(indices)" in str(caught.value)


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
        found = unpool.max_pool2d(make(x), 2, return_indices=True, index_dtype="int32")
        restored = unpool.max_unpool2d(*found, 2, output_size=x.shape)
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
