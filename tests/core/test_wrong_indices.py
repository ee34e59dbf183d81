"""A bad or repeated index raises an error that names its position, its value and the range.

The calls and their messages are in tests/support/wrong_calls/indices.py.
"""

import numpy as np
import pytest
from wrong_calls.case import I, X, noise
from wrong_calls.indices import I8, INDICES, P8, X8, planted

import unpool


def plane_of(*spatial, value=None):
    """Return a pooled value, an index out of range and a kernel as large as the plane, for a plane of this size."""
    ones = (1,) * len(spatial)
    index = np.full((1, 1, *ones), int(np.prod(spatial)) if value is None else value)
    return np.ones(index.shape), index, spatial


@pytest.mark.parametrize("case", INDICES.values(), ids=INDICES)
def test_a_wrong_index(case, fails):
    fails(case)


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
    """Indices are checked while `out` is written, so only these errors may leave it changed."""
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
    """`max_unpool2d_backward` has no size argument, so the advice must not name one."""
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
