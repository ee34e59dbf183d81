"""What a message gives as the next step works."""

import numpy as np
import pytest

import unpool

# The function, the shape it is given, the step that its message gives, that step, and the shape that it then returns.
LAST = {"data_format": "channels_last"}
RANKS = [
    ("max_pool2d", {}, (4, 6), "as input[None] does", lambda x: unpool.max_pool2d(x[None], 2), (1, 2, 3)),
    (
        "max_pool2d",
        LAST,
        (4, 6),
        "as input[..., None] does",
        lambda x: unpool.max_pool2d(x[..., None], 2, **LAST),
        (2, 3, 1),
    ),
    ("max_pool1d", {}, (6,), "as input[None] does", lambda x: unpool.max_pool1d(x[None], 2), (1, 3)),
    (
        "max_pool2d",
        {},
        (6,),
        "call max_pool1d with input[None]",
        lambda x: unpool.max_pool1d(x[None], 2),
        (1, 3),
    ),
    (
        "max_pool3d",
        LAST,
        (4, 6),
        "call max_pool2d with input[..., None]",
        lambda x: unpool.max_pool2d(x[..., None], 2, **LAST),
        (2, 3, 1),
    ),
    ("max_pool3d", {}, (3, 4, 6), "or call max_pool2d for (C, H, W)", lambda x: unpool.max_pool2d(x, 2), (3, 2, 3)),
    (
        "max_pool2d",
        LAST,
        (2, 4, 6, 8, 3),
        "call max_pool3d, or",
        lambda x: unpool.max_pool3d(x, 2, **LAST),
        (2, 2, 3, 4, 3),
    ),
    (
        "max_pool2d",
        LAST,
        (2, 5, 4, 6, 3),
        "merge all axes but the last 3, by a reshape to (-1, *input.shape[-3:])",
        lambda x: unpool.max_pool2d(x.reshape(-1, *x.shape[-3:]), 2, **LAST),
        (10, 2, 3, 3),
    ),
]


@pytest.mark.parametrize(("name", "options", "shape", "step", "taken", "expected"), RANKS)
def test_an_array_of_another_rank(name, options, shape, step, taken, expected):
    x = np.arange(np.prod(shape)).reshape(shape)
    with pytest.raises(ValueError, match="must have") as caught:
        getattr(unpool, name)(x, 2, **options)
    assert step in str(caught.value)
    assert taken(x).shape == expected


def test_pooled_arrays_of_another_rank():
    x = np.arange(24).reshape(1, 4, 6)
    values, indices = (array[0] for array in unpool.max_pool2d(x, 2, return_indices=True))
    for call, argument in (
        (lambda v, i: unpool.max_unpool2d(v, i, 2), "input"),
        (lambda v, i: unpool.max_pool2d_backward(v, i, (4, 6), 2), "grad_output"),
    ):
        with pytest.raises(ValueError, match=rf"to each array, as {argument}\[None\] does"):
            call(values, indices)
        assert call(values[None], indices[None]).shape == x.shape
    with pytest.raises(ValueError, match=r"call max_unpool2d_backward, or merge"):
        unpool.max_unpool1d_backward(x[None], indices[None, None], 2)
    assert unpool.max_unpool2d_backward(x[None], indices[None, None], 2).shape == (1, 1, 2, 3)
