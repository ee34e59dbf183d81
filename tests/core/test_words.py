"""The words of TensorFlow and PyTorch mean what the plain words mean, in functions, objects and `convert_indices`."""

import numpy as np
import pytest

import unpool

RANKS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
FORMATS = [
    (rank, word, plain)
    for rank, words in RANKS.items()
    for word, plain in zip(words, ("channels_first", "channels_last"), strict=True)
]


def pooled(rank, **options):
    x = np.random.default_rng(rank).integers(-9, 9, (2, *[5 + axis for axis in range(rank + 1)]))
    return x, *getattr(unpool, f"max_pool{rank}d")(x, 2, return_indices=True, **options)


@pytest.mark.parametrize(("rank", "word", "plain"), FORMATS)
def test_data_format(rank, word, plain):
    x, values, indices = pooled(rank, data_format=word)
    for found, expected in zip((values, indices), pooled(rank, data_format=plain)[1:], strict=True):
        np.testing.assert_array_equal(found, expected)
    options = {"output_size": x.shape, "data_format": word}
    unpooled = getattr(unpool, f"max_unpool{rank}d")(values, indices, 2, **options)
    np.testing.assert_array_equal(
        unpooled, getattr(unpool, f"max_unpool{rank}d")(values, indices, 2, **options | {"data_format": plain})
    )
    gradient = getattr(unpool, f"max_unpool{rank}d_backward")(unpooled, indices, 2, data_format=word)
    np.testing.assert_array_equal(gradient, values)
    gradient = getattr(unpool, f"max_pool{rank}d_backward")(values, indices, x.shape, 2, data_format=word)
    np.testing.assert_array_equal(gradient, unpooled)
    np.testing.assert_array_equal(
        unpool.convert_indices(indices, "plane", "tensorflow", **options),
        unpool.convert_indices(indices, "plane", "tensorflow", **options | {"data_format": plain}),
    )
    for name in ("MaxPool", "MaxUnpool"):
        cls = getattr(unpool, f"{name}{rank}d")
        assert cls(2, data_format=word) == cls(2, data_format=plain)


@pytest.mark.parametrize(("rank", "word", "plain"), FORMATS)
def test_a_word_of_another_rank(rank, word, plain):
    x = np.zeros((1, 4, 4, 4, 4)[: rank % 3 + 3])
    with pytest.raises(ValueError, match=rf"`data_format` must be one of .* got '{word}': pass '{plain}'"):
        getattr(unpool, f"max_pool{rank % 3 + 1}d")(x, 2, data_format=word)


@pytest.mark.parametrize(
    ("word", "plain"),
    [("SAME", "same"), ("SAME_UPPER", "same"), ("SAME_LOWER", "same_lower"), ("VALID", "valid"), ("VALID", 0)],
)
def test_padding(word, plain):
    x, values, indices = pooled(2, padding=word)
    for found, expected in zip((values, indices), pooled(2, padding=plain)[1:], strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        unpool.max_unpool2d(values, indices, 2, padding=word, output_size=x.shape),
        unpool.max_unpool2d(values, indices, 2, padding=plain, output_size=x.shape),
    )
    assert unpool.MaxPool2d(2, padding=word) == unpool.MaxPool2d(2, padding=plain)


def test_index_format():
    x, values, indices = pooled(2, index_format="pytorch")
    np.testing.assert_array_equal(indices, pooled(2)[2])
    np.testing.assert_array_equal(
        unpool.max_unpool2d(values, indices, 2, index_format="pytorch", output_size=x.shape),
        unpool.max_unpool2d(values, indices, 2, output_size=x.shape),
    )
    for source, target in (("pytorch", "tensorflow"), ("tensorflow", "pytorch")):
        np.testing.assert_array_equal(
            unpool.convert_indices(indices[:1, :1], source, target, output_size=(1, 1, *x.shape[2:])), indices[:1, :1]
        )
    assert unpool.MaxUnpool2d(2, index_format="pytorch") == unpool.MaxUnpool2d(2)


@pytest.mark.parametrize("stride", [[], (), np.array([], "int64")])
def test_an_empty_stride_is_none(stride):
    """Programs that PyTorch exports have it in the place of None."""
    x = np.arange(36).reshape(1, 6, 6)
    np.testing.assert_array_equal(unpool.max_pool2d(x, 3, stride), unpool.max_pool2d(x, 3))
    assert unpool.MaxPool2d(3, stride) == unpool.MaxPool2d(3)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [True, np.True_, (2, True), [np.False_, 1]], ids=str)
def test_a_truth_value_is_no_number(name, value):
    with pytest.raises(TypeError, match=f"`{name}` must be an integer or a sequence of integers"):
        unpool.max_pool2d(np.zeros((1, 6, 6)), **{"kernel_size": 2, name: value})


def test_a_truth_value_is_no_size():
    values, indices = unpool.max_pool2d(np.zeros((1, 2, 2)), 2, return_indices=True)
    with pytest.raises(TypeError, match="`output_size` must be a sequence of integers"):
        unpool.max_unpool2d(values, indices, 2, output_size=(2, True))
