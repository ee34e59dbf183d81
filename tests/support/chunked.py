"""Calls on Dask arrays in random chunks, beside the same calls on NumPy arrays."""

import numpy as np
import pytest
from kinds import DaskArrays

from unpool.testing.compare import assert_same_numbers

KIND = DaskArrays()


def chunked(array, seed=0, axes=None):
    """Return a Dask array with random chunks along these axes, or along all."""
    return KIND.chunked(array, range(array.ndim) if axes is None else axes, seed)


def computed(result):
    """Compute a Dask array, or a tuple of them; what was known before must be true of the blocks."""
    return KIND.call(lambda: result)


def assert_as_numpy(function, arrays, lazy=None, seed=0):
    """Assert that a function of arrays in chunks gives the bits of NumPy's, or its error.

    Each array has random chunks of its own, if `lazy` has no Dask arrays for them.  A sum of NaNs may be any NaN.
    """
    lazy = lazy or [chunked(array, f"{seed} {place}") for place, array in enumerate(arrays)]
    expected, actual = outcome(lambda: function(*arrays)), outcome(lambda: computed(function(*lazy)))
    if isinstance(expected, (str, np.ndarray)):
        expected, actual = (expected,), (actual,)
    for one, other in zip(expected, actual, strict=True):
        errors = [result if isinstance(result, str) else "no error" for result in (other, one)]
        assert errors[0] == errors[1]
        if not isinstance(one, str):
            assert_same_numbers(other, one)


def outcome(call):
    """Return the result of a call, or the text of an error that names an index."""
    try:
        return call()
    except (IndexError, ValueError) as error:
        if "indices[" not in str(error):
            raise
        return f"{type(error).__name__}: {error}"


def text_of(function, *arrays):
    """Return the error of a call on Dask arrays, which threads compute."""
    with pytest.raises((IndexError, ValueError)) as caught:
        function(*arrays).compute(scheduler="threads")
    return f"{type(caught.value).__name__}: {caught.value}"
