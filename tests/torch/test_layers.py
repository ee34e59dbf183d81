"""`unpool.torch`: drop-in replacements for layers of `torch.nn`, and their export to ONNX."""

import ast
import copy
import inspect
import io
import itertools
import logging

import numpy as np
import pytest
from needs import require, require_backend
from processes import python

import unpool

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from torch_models import INDEXED, NAMES, Net  # noqa: E402

import unpool.torch  # noqa: E402

every_rank = pytest.mark.parametrize("rank", [1, 2, 3])


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
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    assert repr(torch.load(file, weights_only=False)) == repr(ours)


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


def test_a_model_takes_them_for_theirs():
    ours, theirs = Net(unpool.torch), Net(torch.nn)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand((2, 3, 9, 7))
    assert torch.equal(ours(x), theirs(x))
    ours(x).sum().backward()
    theirs(x).sum().backward()
    assert torch.equal(ours.convolve.weight.grad, theirs.convolve.weight.grad)


# --- ONNX -------------------------------------------------------------------------------------------------------------

quiet = pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns about itself


class Exporter:
    def __init__(self):
        require("onnxscript", "PyTorch's exporter to ONNX needs it")
        self.runtime = require("onnxruntime", "it runs the exported models")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def __call__(self, model, x, **named):
        table = unpool.torch.onnx_translations()
        return torch.onnx.export(
            model.eval(), (x,), dynamo=True, custom_translation_table=table, verbose=False, **named
        ).model_proto

    def run(self, model, x):
        session = self.runtime.InferenceSession(model.SerializeToString())
        return session.run(None, {session.get_inputs()[0].name: x.numpy()})


@pytest.fixture(scope="module")
def export():
    return Exporter()


UNTRANSLATED = """
import logging, warnings
import torch, unpool.torch
logging.getLogger("torch.onnx").setLevel(logging.ERROR)

class Net(torch.nn.Module):
    def forward(self, x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True)
        return unpool.max_unpool2d(values, indices, 2)

def export(**named):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            torch.onnx.export(Net().eval(), (torch.ones(1, 1, 4, 4),), dynamo=True, verbose=False, **named)
        except Exception as error:
            print("refused:", "No ONNX function found for <OpOverload(op='unpool." in str(error))
    print("warned:", [str(warning.message) for warning in caught if "custom_translation_table" in str(warning.message)])

torch.export.export(Net(), (torch.ones(1, 1, 4, 4),))
export()
export(custom_translation_table=unpool.torch.onnx_translations())
"""


def test_an_export_without_the_translations_says_what_to_pass():
    """PyTorch's own error does not.  An export of other kinds and one with the translations give no warning."""
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    result = python("-W", "error:`custom_translation_table`", "-c", UNTRANSLATED)
    assert result.returncode == 0, result.stderr
    said = [line.partition(": ") for line in result.stdout.splitlines()]
    assert [rest for start, _, rest in said if start == "refused"] == ["True"]
    without, with_ = [ast.literal_eval(rest) for start, _, rest in said if start == "warned"]
    text = (
        "`custom_translation_table` must have rules for the operators of unpool, got none that unpool made: pass "
        "torch.onnx.export(..., dynamo=True, custom_translation_table=unpool.torch.onnx_translations()), or rules of "
        "your own"
    )
    assert set(without) == {text}
    assert with_ == []


class Levels(torch.nn.Module):
    """A model that pools with and without indices, and unpools to the size of its input."""

    def __init__(self, rank, window, data_format, duplicates, index_format, index_dtype):
        super().__init__()
        self.pool, self.up = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d")
        self.window, self.more = window, {"data_format": data_format, "index_format": index_format}
        self.duplicates, self.index_dtype = duplicates, index_dtype

    def forward(self, x):
        named = {"return_indices": True, "index_dtype": self.index_dtype}
        values, indices = self.pool(x, **self.window, **self.more, **named)
        window = {name: value for name, value in self.window.items() if name != "ceil_mode"}
        planes = self.up(values, indices, **window, **self.more, output_size=x.shape, duplicates=self.duplicates)
        return values, indices, planes, self.pool(x, 2, **self.more)


WINDOWS = (
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "dilation": 2},
    {"kernel_size": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": "same"},
    {"kernel_size": 2, "stride": 1, "padding": "same", "ceil_mode": True},
)
EXPORTED = [
    (rank, window, data_format, duplicates, batch)
    for place, (rank, window, data_format, duplicates, batch) in enumerate(
        itertools.product((1, 2, 3), WINDOWS, ("channels_first", "channels_last"), ("last", "sum"), (True, False))
    )
    if place % 7 == rank or (rank == 2 and batch and data_format == "channels_first")
]


@quiet
@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize(("rank", "window", "data_format", "duplicates", "batch"), EXPORTED, ids=str)
def test_onnx_runtime_has_the_same_numbers(export, rank, window, data_format, duplicates, batch, index_format):
    spatial = (7, 6, 5)[:rank]
    shape = (*spatial, 3) if data_format == "channels_last" else (3, *spatial)
    x = torch.rand((2, *shape) if batch else shape)
    index_dtype = {"plane": "int32", "window": "uint16"}[index_format] if duplicates == "sum" else None
    model = Levels(rank, window, data_format, duplicates, index_format, index_dtype)
    for actual, expected in zip(export.run(export(model, x), x), model(x), strict=True):
        assert actual.dtype == expected.numpy().dtype
        assert np.array_equal(actual, expected.numpy())


@quiet
def test_the_layer_becomes_max_unpool(export):
    """The exporter refused the layer of `torch.nn` from 2019 on, and now turns it into ScatterND."""
    x = torch.rand((2, 3, 9, 7))
    model = Net(unpool.torch)
    exported = export(model, x)
    names = [node.op_type for node in exported.graph.node]
    assert names.count("MaxPool") == names.count("MaxUnpool") == 1
    assert np.allclose(export.run(exported, x)[0], model(x).detach().numpy(), atol=1e-6)
    theirs = [node.op_type for node in export(Net(torch.nn), x).graph.node]
    assert "ScatterND" in theirs
    assert "MaxUnpool" not in theirs


@quiet
@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_onnx_of_open_sizes(export, padding, index_format):
    dim = torch.export.Dim
    sizes = {"x": {0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)}}
    model = Net(unpool.torch)
    if padding:
        model.pool = unpool.torch.MaxPool2d(3, 2, padding, return_indices=True)
        model.unpool = unpool.torch.MaxUnpool2d(3, 2, padding)
    model.pool.index_format = model.unpool.index_format = index_format
    exported = export(model, torch.rand((2, 3, 9, 7)), dynamic_shapes=sizes)
    for shape in ((2, 3, 9, 7), (1, 3, 8, 12), (4, 3, 5, 5)):
        x = torch.rand(shape)
        assert np.allclose(export.run(exported, x)[0], model(x).detach().numpy(), atol=1e-6)


@quiet
def test_onnx_of_integers(export):
    """MaxUnpool of ONNX takes floats only, so other dtypes are scattered."""

    class Whole(torch.nn.Module):
        def forward(self, x):
            values, indices = unpool.max_pool2d(x, 2, return_indices=True)
            return unpool.max_unpool2d(values.to(torch.int32), indices, 2)

    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    (found,) = export.run(export(Whole(), x), x)
    assert np.array_equal(found, Whole()(x).numpy())
