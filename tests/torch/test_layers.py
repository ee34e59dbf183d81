"""`unpool.torch`: drop-in replacements for layers of `torch.nn`."""

import copy
import inspect
import io
import re

import numpy as np
import pytest
from needs import require, require_backend

import unpool

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from torch_models import INDEXED, NAMES, Net  # noqa: E402

import unpool.torch  # noqa: E402

every_rank = pytest.mark.parametrize("rank", [1, 2, 3])


def saved(layer):
    """Return a layer that was written to a file and read again."""
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# --- drop-in replacements for torch.nn --------------------------------------------------------------------------------


def test_all_of_them():
    functions = ["decompositions", "onnx_translations", "replace_layers"]
    assert sorted(unpool.torch.__all__) == sorted([*NAMES, *INDEXED, *functions])


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name):
    """Arguments of `torch.nn` come first, in its order. Additional arguments are keyword-only."""
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (unpool.torch, torch.nn))
    assert list(ours)[: len(theirs)] == list(theirs)
    for more in list(ours)[len(theirs) :]:
        assert ours[more].kind is inspect.Parameter.KEYWORD_ONLY
    for argument, parameter in theirs.items():
        assert ours[argument].default == parameter.default
    forward = [list(inspect.signature(getattr(m, name).forward).parameters) for m in (unpool.torch, torch.nn)]
    assert forward[0] == forward[1]


@every_rank
@pytest.mark.parametrize(
    "window",
    [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2, "stride": 3}],
    ids=str,
)
def test_the_same_numbers(rank, window):
    x = torch.rand((2, 3, *(9, 8, 7)[:rank]), requires_grad=True)
    results = []
    for module in (unpool.torch, torch.nn):
        pool = getattr(module, f"MaxPool{rank}d")(**window, return_indices=True)
        up = getattr(module, f"MaxUnpool{rank}d")(**window)
        values, indices = pool(x)
        planes = up(values, indices, output_size=x.shape)
        assert torch.equal(up(values, indices, list(x.shape[2:])), planes)
        (gradient,) = torch.autograd.grad((planes**2).sum(), x)
        results.append((values, indices, planes, gradient, getattr(module, f"MaxPool{rank}d")(**window)(x)))
    if window.get("padding"):  # windows overlap, and PyTorch's gradient includes overwritten values
        results = [result[:3] + result[4:] for result in results]
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_they_show_what_theirs_show(name):
    arguments = {"kernel_size": 3, "stride": 2, "padding": 1}
    ours, theirs = getattr(unpool.torch, name)(**arguments), getattr(torch.nn, name)(**arguments)
    assert repr(ours) == repr(theirs)
    for attribute in theirs.__constants__ if hasattr(theirs, "__constants__") else arguments:
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert repr(copy.deepcopy(ours)) == repr(ours)
    assert not list(ours.parameters())
    assert not ours.state_dict()
    assert repr(saved(ours)) == repr(ours)


def test_attributes_are_what_is_used():
    """Changed attributes take effect, such as `return_indices` of a trained model's pooling."""
    x = torch.rand((1, 2, 8, 8))
    ours, theirs = unpool.torch.MaxPool2d(2), torch.nn.MaxPool2d(2)
    for pool in (ours, theirs):
        pool.return_indices, pool.kernel_size, pool.stride = True, 4, 4
    for actual, expected in zip(ours(x), theirs(x), strict=True):
        assert torch.equal(actual, expected)
    up = unpool.torch.MaxUnpool2d(2, duplicates="sum", dilation=2, data_format="channels_last")
    assert up.extra_repr() == (
        "kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=2, data_format='channels_last', duplicates='sum'"
    )
    up = unpool.torch.MaxUnpool2d(2)
    up.duplicates = "sum"
    assert up(torch.ones((1, 2, 2)), torch.zeros((1, 2, 2), dtype=torch.int64)).max() == 4


def test_what_theirs_refuse():
    """`torch.nn` cannot unpool results of its own pooling without a batch, or with dilation."""
    x = torch.rand((3, 7, 5))
    pool, up = unpool.torch.MaxPool2d(2, return_indices=True), unpool.torch.MaxUnpool2d(2)
    assert up(*pool(x), output_size=x.shape).shape == x.shape
    with pytest.raises(ValueError, match="output_size"):
        torch.nn.MaxUnpool2d(2)(*torch.nn.MaxPool2d(2, return_indices=True)(x), output_size=x.shape)
    values, indices = torch.nn.MaxPool2d(2, dilation=2, return_indices=True)(x)
    assert unpool.torch.MaxUnpool2d(2, dilation=2)(values, indices, output_size=x.shape).shape == x.shape
    with pytest.raises(TypeError, match="dilation"):
        torch.nn.MaxUnpool2d(2, dilation=2)


def test_what_they_have_more():
    x = torch.rand((2, 7, 5, 3))
    pool = unpool.torch.MaxPool2d(3, 1, return_indices=True, data_format="channels_last", index_dtype="int32")
    up = unpool.torch.MaxUnpool2d(3, 1, data_format="channels_last", duplicates="sum", validate=False)
    values, indices = pool(x)
    assert indices.dtype == torch.int32
    named = {"data_format": "channels_last", "duplicates": "sum"}
    assert torch.equal(up(values, indices), unpool.max_unpool2d(values, indices, 3, 1, **named))
    words = unpool.torch.MaxPool2d(3, 1, padding="VALID", return_indices=True, data_format="NHWC")
    assert torch.equal(words(x)[1], indices)


@every_rank
@pytest.mark.parametrize("padding", ["pairs", "same_lower"])
def test_paddings_that_theirs_do_not_have(rank, padding):
    padding = ((0, 1), 1, (2, 0))[:rank] if padding == "pairs" else padding
    x = torch.rand((2, 3, *(9, 8, 7)[:rank]))
    pool = getattr(unpool.torch, f"MaxPool{rank}d")(3, 2, padding, return_indices=True)
    up = getattr(unpool.torch, f"MaxUnpool{rank}d")(3, 2, padding)
    expected = getattr(unpool, f"max_pool{rank}d")(x, 3, 2, padding, return_indices=True)
    planes = getattr(unpool, f"max_unpool{rank}d")(*expected, 3, 2, padding, output_size=x.shape)
    for change in (lambda layer: layer, copy.deepcopy, saved, torch.fx.symbolic_trace):
        for actual, right in zip(change(pool)(x), expected, strict=True):
            assert torch.equal(actual, right)
        assert torch.equal(change(up)(*expected, x.shape), planes)
    for layer in (pool, up):
        assert f"padding={padding!r}" in repr(layer)
        assert repr(saved(layer)) == repr(copy.deepcopy(layer)) == repr(layer)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: unpool.torch.MaxPool2d(0), "`kernel_size` must be"),
        (lambda: unpool.torch.MaxPool2d((2, 2, 2)), "`kernel_size` must be one integer or 2"),
        (lambda: unpool.torch.MaxUnpool1d(2, padding=2), "`padding` must be at most half"),
        (lambda: unpool.torch.MaxUnpool2d(2, duplicates="first"), "`duplicates` must be one of"),
        (lambda: unpool.torch.MaxPool3d(2, data_format="NCHW"), "`data_format` must be one of"),
    ],
)
def test_wrong_arguments_are_met_where_they_are_written(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# --- tensors alone ----------------------------------------------------------------------------------------------------

PICTURE = np.ones((6, 8, 3), "float32")  # with the channels last, as libraries of pictures have them


class Picture:
    """A picture of Pillow: no tensor, and NumPy can read it."""

    __array_interface__ = PICTURE.__array_interface__


def made(name):
    """Return a layer of any class with a window or an output of 2 cells."""
    more = {"output_size": 2} if "Fractional" in name else {}
    return getattr(unpool.torch, name)(2, **more)


def refused(argument, kind, place="first"):
    text = f"`{argument}` must be a torch.Tensor, got {kind}: pass torch.as_tensor(...), with the channels {place}"
    return pytest.raises(TypeError, match=f"^{re.escape(text)}$")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(PICTURE, "numpy.ndarray"), (PICTURE.tolist(), "list"), (Picture(), f"{__name__}.Picture"), (None, "NoneType")],
    ids=["array", "list", "picture", "None"],
)
@pytest.mark.parametrize("name", [*NAMES, *INDEXED])
def test_a_layer_takes_tensors_alone(name, value, kind):
    """A function pools an array of any library, and would pool width and channels of this picture."""
    with refused("input", kind):
        made(name)(value)
    if "Unpool" in name:
        rank = int(name[-2])
        values = torch.ones((1, *[2] * rank))
        if value is not None:
            with refused("indices", kind):
                made(name)(values, value)
        with pytest.raises(TypeError, match="`indices` must be an array, got None: pass what pooling returned"):
            made(name)(values)


def test_the_advice_names_the_place_of_the_channels():
    last = {"data_format": "channels_last"}
    with refused("input", "numpy.ndarray", "last"):
        unpool.torch.MaxPool2d(2, **last)(PICTURE)
    x = torch.from_numpy(PICTURE)
    values, indices = unpool.torch.MaxPool2d(2, return_indices=True, data_format="NHWC")(x)
    with refused("indices", "numpy.ndarray", "last"):
        unpool.torch.MaxUnpool2d(2, **last)(values, indices.numpy())
    pool = unpool.torch.MaxPool2d(2)
    pool.data_format = "NHWC"
    with refused("input", "list", "last"):
        pool([1.0])


@pytest.mark.parametrize("name", ["MaxPool2d", "MaxUnpool2d", "AdaptiveMaxPool2d"])
def test_a_pair_is_no_tensor(name):
    pair = unpool.max_pool2d(torch.rand(1, 3, 4, 4), 2, return_indices=True)
    for given, kind in ((pair, "tuple"), (list(pair), "list")):
        with pytest.raises(TypeError, match=f"got a {kind} of tensors: pass the values alone to pooling, and the"):
            made(name)(given)
    assert unpool.torch.MaxUnpool2d(2)(*pair).shape == (1, 3, 4, 4)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_python_show_no_private_name(name):
    layer = getattr(unpool.torch, name)
    for call in (layer, lambda: layer(2, output_siez=3), layer(2), lambda: layer(2)(1, 2, 3, 4)):
        with pytest.raises(TypeError, match=rf"^{name[:-2]}\.\w+\(\) "):
            call()


@pytest.mark.parametrize("name", [*NAMES, *INDEXED])
def test_a_call_is_documented(name):
    """`torch.nn.Module` documents none, and editors show the docstring of `forward`."""
    text = inspect.getdoc(getattr(unpool.torch, name).forward)
    for argument in list(inspect.signature(getattr(unpool.torch, name).forward).parameters)[1:]:
        assert re.search(rf"^{argument}$", text, re.MULTILINE)


def test_functions_are_in_unpool():
    text = r"^module 'unpool.torch' has no attribute 'max_pool2d': functions are in unpool, call unpool\.max_pool2d$"
    with pytest.raises(AttributeError, match=text):
        unpool.torch.max_pool2d  # noqa: B018
    with pytest.raises(AttributeError, match=r"^module 'unpool.torch' has no attribute 'MaxPool4d'$"):
        unpool.torch.MaxPool4d  # noqa: B018


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_takes_them_for_theirs():
    ours, theirs = Net(unpool.torch), Net(torch.nn)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand((2, 3, 9, 7))
    assert torch.equal(ours(x), theirs(x))
    ours(x).sum().backward()
    theirs(x).sum().backward()
    assert torch.equal(ours.convolve.weight.grad, theirs.convolve.weight.grad)
