"""Each vector of unpool.testing.vectors, which other languages use too, gives its results or its error."""

import re

import pytest

from unpool.testing.arrays import needs_reports, needs_taps
from unpool.testing.compare import assert_same_bits, assert_same_sums, at
from unpool.testing.vectors import OPERATIONS, read


def cases():
    for operation in OPERATIONS:
        for vector in read(operation):
            taps = vector.arguments.get("index_format") == "window"
            marks = [needs_taps] * taps + [needs_reports] * (vector.error is not None)
            yield pytest.param(vector, marks=marks, id=f"{operation}-{vector.name}")


@pytest.mark.parametrize("vector", list(cases()))
def test_vector(backend, vector):
    def call():
        return backend.call(vector.function, **vector.inputs, **vector.keywords)

    if vector.error:
        error, text = message(vector)
        with pytest.raises(error, match=re.escape(text)):
            call()
        return
    found = call()
    summed = vector.operation == "max_pool_backward" or vector.arguments.get("duplicates") == "sum"
    for actual, expected in zip(found if isinstance(found, tuple) else [found], vector.outputs.values(), strict=True):
        if summed:
            assert_same_sums(backend, actual, expected)
        else:
            assert_same_bits(actual, expected)


def message(vector):
    """Return the type of an error, and a part of its message."""
    if vector.error["kind"] == "bad index":
        return IndexError, f"{at(vector.error['position'])} = {vector.error['index']} is "
    first, second = map(at, vector.error["positions"])
    return ValueError, f"got {first} {'and' if vector.arguments['index_format'] == 'window' else '='} {second}"
