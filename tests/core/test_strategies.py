"""The strategies of `unpool.testing` draw what their names say."""

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from unpool.testing import oracle
from unpool.testing.strategies import calls, foreign, hostile, poolable_calls, repeated, valid, values

pytestmark = pytest.mark.once
every_format = pytest.mark.parametrize("index_format", ["plane", "window"])


@every_format
@given(poolable_calls(), st.data())
def test_valid_indices_lie_in_their_own_windows(index_format, call, data):
    indices = data.draw(valid(call, index_format))
    assert indices.shape == call.pooled_shape
    cells = call.cells_of(indices, index_format)
    assert oracle.own(cells, *call.case, channels_last=call.channels_last).all()


@every_format
@pytest.mark.parametrize("kind", [foreign, repeated])
@given(poolable_calls(), st.data())
def test_foreign_and_repeated_indices_are_in_the_plane(kind, index_format, call, data):
    indices = data.draw(kind(call, index_format))
    assert indices.shape == call.pooled_shape
    assert (call.cells_of(indices, index_format) >= 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@every_format
@given(poolable_calls().filter(lambda call: call.cells < 256), st.data())
def test_a_hostile_index_is_bad(index_format, dtype, call, data):
    indices = data.draw(hostile(call, index_format, dtype))
    assert indices.dtype == dtype
    assert not indices.size or (call.cells_of(indices, index_format) < 0).any()


def first_repeat(call, index_format, kind):
    """Return a pair of repeated indices for any example that is drawn, or None."""
    drawn = kind(call, index_format).map(lambda indices: call.cells_of(indices, index_format))
    return drawn.map(lambda cells: oracle.first_repeated(cells, call.case.rank, call.channels_last))


@every_format
def test_repeated_indices_repeat(index_format):
    assert find(poolable_calls().flatmap(lambda call: first_repeat(call, index_format, repeated)), bool)


def test_some_windows_lie_in_the_padding_and_values_are_of_every_sort():
    assert find(calls(), lambda call: not call.poolable)
    assert find(values("float32", (3, 4)), lambda array: np.isnan(array).any() and np.isinf(array).any()).size
