"""With `validate="windows"`, an index outside its own window is an error.

For a wrong but allowed size, every index may be in range, and unpooling shears the picture silently.
"""

import re

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import needs_reports
from unpool.testing.cases import FORMATS, LARGE, POOLINGS, arranged, bits, pooled, pooling, solved, whole
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_sums, at

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_pooling = pytest.mark.parametrize("name", POOLINGS)
every_call = pytest.mark.parametrize(
    "call", ["last", "sum", "error", "pool_backward", "last backward", "sum backward", "error backward"]
)


class Call:
    """Return the call with this name, which takes indices."""

    def __init__(self, call, case, data_format):
        self.case, self.data_format, self.last = case, data_format, data_format == "channels_last"
        self.duplicates, _, backward = call.partition(" ")
        self.gathers, self.of_pooling = bool(backward), call == "pool_backward"
        if self.of_pooling:
            self.duplicates, name = "sum", "max_pool_backward"
        else:
            name = "max_unpool_backward" if self.gathers else "max_unpool"
        self.function = case.function(name)

    def arguments(self, **more):
        named = self.case.window | {"data_format": self.data_format, "validate": "windows"} | more
        if self.of_pooling:
            return named | {"input_size": self.case.size}
        if not self.gathers:
            named["output_size"] = self.case.size
        return named | {"duplicates": self.duplicates}

    def planes(self, indices):
        rank = self.case.rank
        leading = (*indices.shape[: -rank - 1], indices.shape[-1]) if self.last else indices.shape[:-rank]
        return arranged(leading, self.case.size, self.data_format)

    def given(self, indices, make, dtype="float32"):
        return make(dtype, self.planes(indices) if self.gathers else indices.shape)

    def expected(self, given, indices):
        if self.gathers:
            return oracle.max_unpool_backward(given, indices, self.case.rank, self.duplicates, self.last)
        return oracle.max_unpool(given, indices, self.case.size, self.duplicates, self.last)

    def own(self, indices):
        return oracle.own(indices, *self.case, channels_last=self.last)


@every_format
@every_call
@every_pooling
def test_indices_of_a_pooling_pass(backend, name, call, data_format):
    case = POOLINGS[name]
    call, indices = Call(call, case, data_format), pooled(case, (2, 3), data_format)
    rank = case.rank
    if call.duplicates == "error" and oracle.first_repeated(indices, rank, call.last):
        call.duplicates = "last"
    given = call.given(indices, whole if call.duplicates == "sum" else bits)
    actual = backend.call(call.function, given, indices, **call.arguments())
    compare = assert_same_sums if call.duplicates == "sum" else lambda kind, *arrays: assert_same_bits(*arrays)
    compare(backend, actual, call.expected(given, indices))


def assert_first_is_reported(backend, call, indices):
    """The error names the first index outside its own window; no memory around `out` changes.

    Kinds of arrays without errors drop such an index.
    """
    own, case = call.own(indices), call.case
    assert not own.all()
    given = call.given(indices, whole)
    if not backend.reports:
        mode = "sum" if call.duplicates == "sum" else "last"
        expected = oracle.dropped(given, indices, own, case.size, mode, call.gathers, call.last)
        assert_same_sums(backend, backend.call(call.function, given, indices, **call.arguments()), expected)
        return
    first = next(place for place in np.ndindex(own.shape) if not own[place])
    cells = int(np.prod(case.size))
    inside = 0 <= int(indices[first]) < cells
    text = f"{at(first)} = {indices[first]} is {'outside its own window' if inside else 'out of range'}"
    outs = [{}]
    if backend.writes:
        written = Guarded(indices.shape if call.gathers else call.planes(indices), given.dtype, 1, backend)
        outs.append({"out": written.array})
    for out in outs:
        with pytest.raises(IndexError, match=re.escape(text)):
            backend.call(call.function, given, indices, **call.arguments(**out))
    assert not backend.writes or written.intact()


@every_format
@every_call
@every_pooling
def test_the_first_index_outside_its_own_window_is_reported(backend, name, call, data_format):
    """The first one is named for any place that it points to, also if other indices are out of range."""
    case = POOLINGS[name]
    call = Call(call, case, data_format)
    valid, cells = pooled(case, (2, 3), data_format), int(np.prod(case.size))
    for seed in backend.some(range(6)):
        rng = np.random.default_rng(seed)
        indices = valid.copy()
        where = rng.choice(indices.size, min(4, indices.size), replace=False)
        # A wrong comparison shows at the cells beside a window.
        beside = indices.reshape(-1)[where] + rng.choice([-1, 1, -case.size[-1], case.size[-1]], len(where))
        indices.reshape(-1)[where] = rng.choice([beside, rng.integers(-1, cells + 1, len(where))])
        if not call.own(indices).all():
            assert_first_is_reported(backend, call, indices)


@every_call
@pytest.mark.parametrize("name", LARGE)
def test_it_is_the_first_whichever_thread_finds_another(backend, name, call):
    case, leading, data_format = LARGE[name]
    call = Call(call, case, data_format)
    indices = pooled(case, leading, data_format).copy()
    rng = np.random.default_rng(3)
    where = rng.choice(indices.size, 5, replace=False)
    indices.reshape(-1)[where] = rng.integers(0, int(np.prod(case.size)), 5)
    assert_first_is_reported(backend, call, indices)


@needs_reports
@pytest.mark.parametrize(
    ("size", "wrong"), [((4, 4), (5, 5)), ((4, 4), (4, 5)), ((5, 5), (4, 4)), ((6, 7), (7, 6))], ids=str
)
def test_a_size_that_would_shear_the_picture_is_refused(backend, size, wrong):
    """Without the check, the picture is sheared: every index is in range."""
    x = np.zeros((1, 1, *size), "float32")
    x[..., 0::2, 1::2] = 1
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    backend.call(unpool.max_unpool2d, values, indices, 2, output_size=wrong)
    text = f"is outside its own window in an output plane of {wrong[0]} x {wrong[1]}"
    with pytest.raises(IndexError, match=text):
        backend.call(unpool.max_unpool2d, values, indices, 2, output_size=wrong, validate="windows")
    with pytest.raises(IndexError, match="as `input_size`"):
        backend.call(unpool.max_pool2d_backward, values, indices, wrong, 2, validate="windows")
    with pytest.raises(IndexError, match="the gradient of the array that was unpooled"):
        backend.call(unpool.max_unpool2d_backward, np.ones((1, 1, *wrong)), indices, 2, validate="windows")


@needs_reports
def test_objects_do_so_too(backend):
    _, values, indices = solved(pooling((4, 4), 2), (1, 1), "channels_first")
    layer = unpool.MaxUnpool2d(2, validate="windows")
    assert_same_bits(backend.call(layer.__call__, values, indices), unpool.max_unpool2d(values, indices, 2))
    with pytest.raises(IndexError, match="outside its own window"):
        backend.call(layer.__call__, values, indices + 1)


@pytest.mark.parametrize("word", ["window", "WINDOWS", "plane", ""])
def test_another_word_is_refused(backend, word):
    _, values, indices = solved(pooling((4, 4), 2), (1, 1), "channels_first")
    with pytest.raises(ValueError, match=f"`validate` must be one of True, False, 'windows', got '{word}'"):
        backend.call(unpool.max_unpool2d, values, indices, 2, validate=word)
    with pytest.raises(ValueError, match="`validate` must be one of"):
        unpool.MaxUnpool2d(2, validate=word)
