"""A wrong argument raises an error that names it, states the rule, shows the value and says what to pass.

The calls and their messages are in tests/support/wrong_calls. They fail before any work: `out` keeps its bytes.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from wrong_calls.arguments import ARGUMENTS
from wrong_calls.case import PLANE_SHAPE, POOLED_SHAPE, I, P, X, huge, noise

import unpool


@pytest.mark.parametrize("writes", [False, True], ids=["new", "out"])
@pytest.mark.parametrize("case", ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_wrong_call(case, writes, fails):
    out = SimpleNamespace(pooled=None, plane=None)
    if writes:
        out = SimpleNamespace(pooled=noise(POOLED_SHAPE), plane=noise(PLANE_SHAPE))
    fails(case, out)
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
    """These arrays have 2**51 elements, so a call that reads them would not end."""
    monkeypatch.setattr("unpool.backends.route", None)
    x = huge(1, 1, 2**31, 2**20)
    with pytest.raises(ValueError, match="must hold every position"):
        unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")
    with pytest.raises(ValueError, match="must have shape"):
        unpool.max_pool2d(x, 2, out=P)
    with pytest.raises(ValueError, match="must be between"):
        unpool.max_unpool2d(x, huge(*x.shape, dtype="int64"), 2, output_size=(4, 4))


def test_a_missing_argument_is_named():
    """Python's own message names `kernel_size`, because it has no default."""
    with pytest.raises(TypeError, match="kernel_size"):
        unpool.max_unpool2d(P, I)


STEMS = ("max_pool{}d", "max_unpool{}d", "max_pool{}d_backward", "max_unpool{}d_backward", "MaxPool{}d", "MaxUnpool{}d")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("word", ["strides", "pool_size"])
def test_an_argument_of_another_library_is_named(stem, rank, word):
    """Python's own message names it, and from 3.13 the argument that is like it."""
    name = stem.format(rank)
    with pytest.raises(TypeError, match=rf"{name}.*\(\) got an unexpected keyword argument '{word}'") as caught:
        getattr(unpool, name)(**{word: 2})
    if sys.version_info >= (3, 13) and word == "strides":
        assert "Did you mean 'stride'?" in str(caught.value)
