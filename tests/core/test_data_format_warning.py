"""A call without `data_format` warns where the channels of its array may be last.

The rule for TensorFlow's tensors is in tests/tensorflow/test_data_format_warning.py.
"""

import dataclasses
import linecache
import pickle
import warnings

import numpy as np
import pytest

import unpool
from unpool import calls

TEXT = (
    "`data_format` must be given: the last axis of `input` may be the channels, got none (the default is "
    "'channels_first'): pass data_format='channels_last', or 'channels_first' if that is right"
)
NAMES = ("max_pool", "max_unpool", "max_pool_backward", "max_unpool_backward", "MaxPool", "MaxUnpool")
every_name = pytest.mark.parametrize("name", NAMES)
# Rank, shape, and whether the channels look as if they were last.
SHAPES = [
    (2, (431, 359, 3), True),
    (2, (49, 2, 3), True),
    (2, (48, 2, 3), False),
    (2, (17, 2, 1), True),
    (2, (16, 2, 1), False),
    (2, (65, 2, 4), True),
    (2, (64, 2, 4), False),
    (2, (81, 2, 5), False),
    (2, (900, 2, 5), False),
    (2, (3, 2, 49), False),
    (2, (2, 49, 2, 3), True),
    (2, (1, 28, 28, 1), True),
    (2, (8, 32, 32, 3), False),
    (2, (900, 3, 2, 3), False),
    (2, (512, 2, 2), False),
    (2, (8, 512, 1, 1), False),
    (2, (8, 512, 1, 2), True),
    (1, (49, 3), True),
    (1, (2, 512, 1), True),
    (1, (48, 3), False),
    (1, (2, 49, 3), True),
    (1, (49, 3, 3), False),
    (3, (49, 2, 2, 3), True),
    (3, (48, 2, 2, 3), False),
    (3, (2, 49, 2, 2, 3), True),
    (3, (49, 3, 2, 2, 3), False),
    (3, (1, 256, 4, 4, 4), False),
    (3, (49, 3, 2, 3), True),
]


def call(name, rank, x, **options):
    """Call a public function, or an object, by its name without the rank, with windows of one cell."""
    indices = getattr(unpool, f"max_pool{rank}d")(x, 1, return_indices=True, data_format="channels_first")[1]
    stem, underscore, _ = name.rpartition("_backward")
    function = getattr(unpool, f"{stem or name}{rank}d{underscore and '_backward'}")
    arrays = {"max_pool": (x,), "max_pool_backward": (x, indices, x.shape)}.get(name, (x, indices))
    if name.startswith("Max"):
        return function(1, **options)(*arrays[: 1 if name == "MaxPool" else 2])
    return function(*arrays, 1, **options)


def found(function):
    """Return the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    assert all(entry.category is unpool.DataFormatWarning for entry in caught)
    return caught


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_a_photograph():
    with pytest.warns(unpool.DataFormatWarning) as caught:
        assert unpool.max_pool2d(np.zeros((431, 359, 3)), 2).shape == (431, 179, 1)
    assert [str(entry.message) for entry in caught] == [TEXT]
    assert issubclass(unpool.DataFormatWarning, UserWarning)


@every_name
@pytest.mark.parametrize(("rank", "shape", "warned"), SHAPES, ids=str)
def test_the_last_axis_is_short_and_the_one_of_the_channels_is_long(name, rank, shape, warned):
    caught = found(lambda: call(name, rank, np.zeros(shape)))
    argument = "grad_output" if name.endswith("backward") else "input"
    assert [str(entry.message) for entry in caught] == [TEXT.replace("input", argument)] * warned


@every_name
@pytest.mark.parametrize("word", ["channels_first", "channels_last", "NCHW", "NHWC"])
def test_a_named_format_is_silent(name, word):
    assert found(lambda: call(name, 2, np.zeros((49, 2, 3)), data_format=word)) == []


@every_name
def test_none_is_channels_first(name):
    x = np.random.default_rng(0).permutation(49 * 2 * 3).reshape(49, 2, 3)
    with pytest.warns(unpool.DataFormatWarning):
        unnamed = call(name, 2, x, data_format=None)
    np.testing.assert_array_equal(unnamed, call(name, 2, x, data_format="channels_first"))


@pytest.mark.parametrize(("rank", "shape", "warned"), [case for case in SHAPES if len(case[1]) == case[0] + 2], ids=str)
def test_convert_indices(rank, shape, warned):
    options = {"output_size": shape}
    indices = np.zeros(shape, int)
    caught = found(lambda: unpool.convert_indices(indices, "plane", "onnx", **options))
    assert [str(entry.message) for entry in caught] == [TEXT.replace("input", "indices")] * warned
    for word in ("channels_first", "channels_last"):
        assert not found(
            lambda word=word: unpool.convert_indices(indices, "plane", "onnx", **options, data_format=word)
        )


@pytest.mark.parametrize(("rank", "shape", "warned"), [case for case in SHAPES if case[0] == 2], ids=str)
def test_take_along_plane(rank, shape, warned):
    x, indices = np.zeros(shape), np.zeros(shape, int)
    caught = found(lambda: unpool.take_along_plane(x, indices))
    assert [(entry.filename, str(entry.message)) for entry in caught] == [(__file__, TEXT)] * warned
    for word in ("channels_first", "NHWC"):
        assert not found(lambda word=word: unpool.take_along_plane(x, indices, data_format=word))


@pytest.mark.parametrize(
    ("options", "error", "argument"),
    [
        ({"kernel_size": 4}, ValueError, "input"),
        ({"kernel_size": 1, "out": np.zeros((49, 2, 3), "float32")}, ValueError, "out"),
        ({"kernel_size": 1, "backend": "cuda"}, TypeError, "input"),
    ],
    ids=str,
)
def test_a_wrong_call_raises_its_own_error(options, error, argument):
    with pytest.raises(error, match=f"`{argument}` must"):
        unpool.max_pool2d(np.zeros((49, 2, 3)), **options)


PHOTOGRAPH, POOLED = np.zeros((431, 359, 3)), np.zeros((215, 179, 3), int)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("input", lambda **named: unpool.max_pool2d(PHOTOGRAPH, 4, **named)),
        ("input", lambda **named: unpool.MaxPool2d(4, **named)(PHOTOGRAPH)),
        ("input", lambda **named: unpool.max_unpool2d(POOLED, POOLED, 2, output_size=PHOTOGRAPH.shape, **named)),
        ("input", lambda **named: unpool.max_unpool2d(POOLED, POOLED, 2, output_size=PHOTOGRAPH.shape[:2], **named)),
        ("grad_output", lambda **named: unpool.max_unpool2d_backward(PHOTOGRAPH, POOLED, 2, **named)),
        ("input", lambda **named: unpool.take_along_plane(PHOTOGRAPH, POOLED, **named)),
        (
            "indices",
            lambda **named: unpool.convert_indices(
                POOLED[None], "plane", "onnx", output_size=(1, *PHOTOGRAPH.shape), **named
            ),
        ),
    ],
)
def test_an_error_of_a_photograph_has_the_text_as_a_note(argument, wrong):
    with pytest.raises(ValueError, match="must") as caught:
        wrong()
    assert caught.value.__notes__ == [TEXT.replace("input", argument)]
    with pytest.raises(ValueError, match="must") as caught:
        wrong(data_format="channels_first")
    assert not hasattr(caught.value, "__notes__")


def test_an_error_has_the_note_once_for_each_call():
    for _ in range(2):  # the Plan's error must not be kept
        with pytest.raises(ValueError, match="must") as caught:
            unpool.max_pool2d(PHOTOGRAPH, 4)
        assert len(caught.value.__notes__) == 1
    with pytest.raises(ValueError, match="must") as caught:
        unpool.max_pool2d(PHOTOGRAPH.transpose(2, 0, 1), 400)
    assert not hasattr(caught.value, "__notes__")


def test_a_warning_that_is_an_error_comes_before_any_work():
    out = np.ones((49, 1, 1))
    with pytest.raises(unpool.DataFormatWarning):
        unpool.max_pool2d(np.zeros((49, 2, 3)), 2, out=out)
    assert out.all()


def test_later_calls_do_not_look_at_the_sizes(monkeypatch):
    """The result is kept with the Plan, so that a call compares nothing but its `data_format` with None."""
    looked = []

    def looks(*arguments):
        looked.append(arguments)
        return False

    monkeypatch.setattr(calls, "may_be_channels_last", looks)
    x = np.zeros((1, 7, 11, 13))  # a shape of this test
    for _ in range(3):
        unpool.max_pool2d(x, 3)
    assert looked == [(x.shape, x.shape, 2)]


# --- the place --------------------------------------------------------------------------------------------------------


@every_name
def test_the_line_is_the_users(name):
    """`call` above is the user."""
    (entry,) = found(lambda: call(name, 2, np.zeros((49, 2, 3))))
    assert entry.filename == __file__
    assert linecache.getline(__file__, entry.lineno).strip().startswith("return function(")


def test_the_line_of_a_conversion_is_the_users():
    indices = np.zeros((1, 49, 2, 3), int)
    (entry,) = found(lambda: unpool.convert_indices(indices, "plane", "onnx", output_size=indices.shape))
    assert entry.filename == __file__


def test_frames_of_array_libraries_are_not_the_users():
    """TensorFlow's autograph, for one, calls the functions that a user's program names."""
    library = {"__name__": "tensorflow.python.autograph"}
    exec("def converted_call(function, *arguments):\n    return function(*arguments)", library)
    (entry,) = found(lambda: library["converted_call"](unpool.max_pool2d, np.zeros((49, 2, 3)), 2))
    assert entry.filename == __file__
    library = {"__name__": "tensorflow_of_the_user"}
    exec("def called(function, *arguments):\n    return function(*arguments)", library)
    (entry,) = found(lambda: library["called"](unpool.max_pool2d, np.zeros((49, 2, 3)), 2))
    assert entry.filename == "<string>"


def test_each_place_warns_once():
    """Also for arrays of other shapes, such as the photographs of a folder."""
    pool = unpool.MaxPool2d(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for height in (100, 200, 300):
            unpool.max_pool2d(np.zeros((height, 6, 3)), 2)
            pool(np.zeros((height, 6, 3)))
        unpool.max_pool2d(np.zeros((100, 6, 3)), 2)
    first = caught[0].lineno
    assert [(entry.filename, entry.lineno - first) for entry in caught] == [(__file__, line) for line in (0, 1, 2)]


# --- objects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [unpool.MaxPool2d, unpool.MaxUnpool2d])
def test_an_object_reads_channels_first(cls):
    unnamed, named = cls(2), cls(2, data_format="channels_first")
    assert unnamed.data_format == "channels_first"
    assert unnamed == named
    assert hash(unnamed) == hash(named)
    assert repr(unnamed) == repr(named)


def test_a_pickled_object_warns_as_before():
    x = np.zeros((49, 2, 3))
    unnamed, named = (pickle.loads(pickle.dumps(unpool.MaxPool2d(2, data_format=word))) for word in (None, "NCHW"))
    assert len(found(lambda: unnamed(x))) == 1
    assert found(lambda: named(x)) == []


def test_a_replaced_copy_warns_unless_the_format_was_named():
    cells = np.zeros((49, 2, 3))
    assert found(lambda: dataclasses.replace(unpool.MaxPool2d(2), kernel_size=1)(cells)) != []
    assert found(lambda: dataclasses.replace(unpool.MaxPool2d(2, data_format="NCHW"), kernel_size=1)(cells)) == []
