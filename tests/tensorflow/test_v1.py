"""TensorFlow 1: graphs that sessions run, with the behaviour of version 2 and with that of version 1.

In these graphs `==` compares tensors by identity. After `disable_v2_behavior`, shapes hold objects, not integers.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from needs import require

tf = require("tensorflow", "the tests of its graphs and sessions need it")

import unpool  # noqa: E402 - after `require`
from unpool.conventions import CONVENTIONS  # noqa: E402

LAST = {"data_format": "channels_last"}
X = np.random.default_rng(0).permutation(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype("float32")
VALUES, INDICES = unpool.max_pool2d(X, 2, return_indices=True, **LAST)
pytestmark = pytest.mark.one_in(3)  # a case builds graphs, and starts a session
sizes = pytest.mark.parametrize("known", [True, False], ids=["known sizes", "open sizes"])


def run(function, *arrays, known=True):
    """Build a graph of placeholders, and run it."""
    with tf.Graph().as_default():
        given = [tf.compat.v1.placeholder(a.dtype, a.shape if known else (None,) * a.ndim) for a in arrays]
        result = function(*given)
        with tf.compat.v1.Session() as session:
            return session.run(result, dict(zip(given, arrays, strict=True)))


def refuse(text, function, *arrays, known):
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as caught:
        run(function, *arrays, known=known)
    assert text in str(caught.value).replace("\\'", "'")


@sizes
def test_pooling(known):
    found = run(lambda x: unpool.max_pool2d(x, 2, return_indices=True, **LAST), X, known=known)
    np.testing.assert_array_equal(found[0], VALUES)
    np.testing.assert_array_equal(found[1], INDICES)


@sizes
@pytest.mark.parametrize("validate", [True, "windows"])
@pytest.mark.parametrize("duplicates", ["last", "sum", "error"])
@pytest.mark.parametrize("size", [X.shape, (5, 7)], ids=["right", "another"])
def test_unpooling(known, duplicates, validate, size):
    named = {"output_size": size, "duplicates": duplicates, "validate": validate, **LAST}
    arrays = VALUES, INDICES
    if size != X.shape and validate == "windows":
        refuse("is outside its own window", lambda v, i: unpool.max_unpool2d(v, i, 2, **named), *arrays, known=known)
        return
    found = run(lambda v, i: unpool.max_unpool2d(v, i, 2, **named), *arrays, known=known)
    np.testing.assert_array_equal(found, unpool.max_unpool2d(*arrays, 2, **named))


@sizes
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_gradients_of_repeated_indices(known, duplicates):
    """Call the gradient function, and differentiate with TensorFlow."""
    indices = INDICES * 0 + np.array([0, 5, 5])
    named = {"duplicates": duplicates, **LAST}
    expected = unpool.max_unpool2d_backward(X, indices, 2, **named)
    found = run(lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **named), X, indices, known=known)
    np.testing.assert_array_equal(found, expected)

    def differentiated(values, indices, grad):
        planes = unpool.max_unpool2d(values, indices, 2, output_size=tf.shape(grad), **named)
        return tf.compat.v1.gradients(planes, values, grad)[0]

    np.testing.assert_array_equal(run(differentiated, VALUES, indices, X, known=known), expected)


@sizes
def test_the_gradient_of_pooling(known):
    expected = unpool.max_pool2d_backward(VALUES, INDICES, X.shape, 2, **LAST)
    found = run(lambda g, i: unpool.max_pool2d_backward(g, i, X.shape, 2, **LAST), VALUES, INDICES, known=known)
    np.testing.assert_array_equal(found, expected)

    def differentiated(x, grad):
        return tf.compat.v1.gradients(unpool.max_pool2d(x, 2, **LAST), x, grad)[0]

    np.testing.assert_array_equal(run(differentiated, X, VALUES, known=known), expected)


@sizes
@pytest.mark.parametrize("duplicates", ["last", "sum", "error"])
def test_taps(known, duplicates):
    named = {"index_format": "window", **LAST}
    values, taps = run(lambda x: unpool.max_pool2d(x, 2, return_indices=True, **named), X, known=known)
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_array_equal(taps, unpool.max_pool2d(X, 2, return_indices=True, **named)[1])
    more = {"duplicates": duplicates, **named}
    found = run(lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=X.shape, **more), values, taps, known=known)
    np.testing.assert_array_equal(found, unpool.max_unpool2d(VALUES, INDICES, 2, output_size=X.shape, **LAST))
    found = run(lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **more), X, taps, known=known)
    np.testing.assert_array_equal(found, VALUES)
    taps[0, 1, 1, 2] = 4
    text = "indices[0, 1, 1, 2] = 4 is no tap of its window in an output plane of 4 x 6: expected a tap from 0 to 3"
    refuse(text, lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **more), X, taps, known=known)


@sizes
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_conventions(known, convention):
    named = {"output_size": X.shape, "kernel_size": 2, **LAST}
    there = unpool.convert_indices(INDICES, "plane", convention, **named)
    found = run(lambda i: unpool.convert_indices(i, "plane", convention, **named), INDICES, known=known)
    np.testing.assert_array_equal(found, there)
    back = run(lambda i: unpool.convert_indices(i, convention, "plane", **named), there, known=known)
    np.testing.assert_array_equal(back, INDICES)
    wrong = there.copy()
    wrong[0, 1, 1, 2] = 255
    refuse(
        f"indices[0, 1, 1, 2] = 255 does not fit the convention '{convention}'",
        lambda i: unpool.convert_indices(i, convention, "plane", **named),
        wrong,
        known=known,
    )


@sizes
def test_errors(known):
    bad, repeated = INDICES.copy(), INDICES.copy()
    bad[0, 1, 1, 2], repeated[0, 1, 1, 2] = 99, repeated[0, 1, 0, 2]
    named = {"output_size": X.shape, **LAST}
    text = "indices[0, 1, 1, 2] = 99 is out of range for an output plane of 4 x 6: expected 0..23"
    refuse(text, lambda v, i: unpool.max_unpool2d(v, i, 2, **named), VALUES, bad, known=known)
    refuse(text, lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **LAST), X, bad, known=known)
    text = f"indices[0, 1, 0, 2] = indices[0, 1, 1, 2] = {repeated[0, 1, 0, 2]}"
    refuse(text, lambda v, i: unpool.max_unpool2d(v, i, 2, **named, duplicates="error"), VALUES, repeated, known=known)
    text = "`indices` must have the shape of `input`"
    refuse(text, lambda v, i: unpool.max_unpool2d(v, i, 2, **named), VALUES, INDICES[:, :1], known=known)


OLD = "disable_v2_behavior"


@pytest.mark.skipif(os.environ.get("UNPOOL_TEST_TENSORFLOW") == OLD, reason="the test itself started this process")
def test_with_the_behaviour_of_tensorflow_1():
    """Run half of the cases above in a new process, since the behaviour cannot be changed back."""
    program = f"import sys, pytest, tensorflow as tf; tf.compat.v1.{OLD}(); sys.exit(pytest.main(sys.argv[1:]))"
    pytest_options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--one-in", "2")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *pytest_options, __file__],
        env=os.environ | {"UNPOOL_TEST_TENSORFLOW": OLD},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "1 skipped" in result.stdout
