"""Models that PyTorch exports to ONNX, and models made in ONNX itself: ONNX Runtime and unpool have the same bits."""

import ast
import itertools
import logging

import numpy as np
import pytest
from needs import require, require_backend
from processes import python

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, POOLINGS, anywhere, pooling, whole
from unpool.testing.compare import assert_same_bits

torch = require("torch", "the models are exported from it")
require_backend("torch")
runtime = require("onnxruntime", "it runs the models")
helper = require("onnx", "it makes models").helper
require("onnxscript", "PyTorch's exporter to ONNX needs it")

from torch_models import Net  # noqa: E402

import unpool.torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns about itself
FAR = "same, windows far larger than the plane"  # ONNX Runtime pads them in memory
seldom = pytest.mark.one_in(6)  # a case exports a model, for seconds


def run(model, *inputs):
    session = runtime.InferenceSession(model.SerializeToString())
    return session.run(None, {given.name: array for given, array in zip(session.get_inputs(), inputs, strict=True)})


def picture(shape, dtype="float32"):
    """Return whole numbers with many equal maxima, and windows of nothing but the lowest value."""
    x = whole(dtype, shape)
    lowest = -np.inf if dtype == "float32" else np.iinfo(dtype).min
    return np.where(np.random.default_rng(1).random(shape) < 0.7, np.array(lowest, dtype), x)


# --- exported from PyTorch --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export():
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def exported(model, *inputs, **named):
        table = unpool.torch.onnx_translations()
        options = {"dynamo": True, "custom_translation_table": table, "verbose": False}
        return torch.onnx.export(model.eval(), inputs, **options, **named).model_proto

    return exported


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
        # ONNX Runtime takes -inf for the lowest finite number where it pools without indices.
        return values, indices, planes, self.pool(x.clamp(min=-9), **self.window, **self.more)


class Formats(torch.nn.Module):
    """Such a model in both index formats."""

    def __init__(self, rank, window, data_format="channels_first", duplicates="last", index_dtypes=(None, None)):
        super().__init__()
        formats = zip(("plane", "window"), index_dtypes, strict=True)
        self.plane, self.window = (Levels(rank, window, data_format, duplicates, *index) for index in formats)

    def forward(self, x):
        return *self.plane(x), *self.window(x)


class Several(torch.nn.Module):
    """Models of an input each, since an export of some takes little longer than one of one."""

    def __init__(self, models):
        super().__init__()
        self.models = torch.nn.ModuleList(models)

    def forward(self, *inputs):
        return [model(x) for model, x in zip(self.models, inputs, strict=True)]


def assert_exported(export, model, x):
    exported = export(model, x)
    for actual, expected in zip(run(exported, x.numpy()), model(x), strict=True):
        assert_same_bits(actual, expected.numpy())
    return [node.op_type for node in exported.graph.node]


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
        itertools.product((1, 2, 3), WINDOWS, FORMATS, ("last", "sum"), (True, False))
    )
    if place % 7 == rank or (rank == 2 and batch and data_format == "channels_first")
]


@seldom
@pytest.mark.parametrize(("rank", "window", "data_format", "duplicates", "batch"), EXPORTED, ids=str)
def test_layouts_and_duplicates(export, rank, window, data_format, duplicates, batch):
    spatial = (7, 6, 5)[:rank]
    shape = (*spatial, 3) if data_format == "channels_last" else (3, *spatial)
    x = torch.rand((2, *shape) if batch else shape)
    index_dtypes = ("int32", "uint16") if duplicates == "sum" else (None, None)
    assert_exported(export, Formats(rank, window, data_format, duplicates, index_dtypes), x)


# Paddings that differ before and after the plane, or that `ceil_mode` extends.
UNEQUAL = {name: case for name, case in POOLINGS.items() if (case.unequal or case.ceil_mode) and name != FAR}


@seldom
@pytest.mark.parametrize("names", [list(UNEQUAL)[at : at + 4] for at in range(0, len(UNEQUAL), 4)], ids="; ".join)
def test_unequal_padding(export, names):
    model = Several(Formats(UNEQUAL[name].rank, UNEQUAL[name].arguments) for name in names)
    inputs = [torch.from_numpy(picture(UNEQUAL[name].shape((2, 3), "channels_first"))) for name in names]
    found = iter(run(export(model, *inputs), *[x.numpy() for x in inputs]))
    for results in model(*inputs):
        for expected in results:
            assert_same_bits(next(found), expected.numpy())


# Windows that ONNX Runtime pads otherwise than ONNX says, or refuses: a node `Pad` is exported.
PADDED = {
    "same, gaps": pooling((10, 11), (3, 2), (5, 4), "same"),
    "same, dilated": pooling((9, 8), 3, 2, "same", (2, 1)),
    "same_lower, windows of one cell, apart": pooling((6, 7), 1, 4, "same_lower"),
    "as many cells as a kernel has": pooling((7, 8), 2, 1, ((2, 0), (0, 2)), 2),
    "row, padding after, ceil": pooling((8,), 2, 3, ((0, 2),), 2, ceil_mode=True),
    "volume, same_lower, dilated": pooling((5, 6, 7), 2, (1, 2, 3), "same_lower", (3, 2, 1)),
}


@seldom
@pytest.mark.parametrize(("data_format", "dtype"), [("channels_first", "float32"), ("channels_last", "int8")])
@pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
def test_padding_by_a_node_of_its_own(export, case, data_format, dtype):
    x = torch.from_numpy(picture(case.shape((2, 3), data_format), dtype))
    assert "Pad" in assert_exported(export, Formats(case.rank, case.arguments, data_format), x)


def test_more_windows_than_cells(export):
    """ONNX Runtime's `MaxUnpool` refuses planes that have fewer cells than there are windows."""

    class Up(torch.nn.Module):
        def forward(self, values, indices, like):
            return unpool.max_unpool1d(values, indices, 3, 1, ((2, 2),), output_size=like.shape)

    x = torch.from_numpy(whole("float32", (2, 3, 6)))
    values, indices = unpool.max_pool1d(x, 3, 1, ((2, 2),), return_indices=True)
    assert values.shape[2] == 8
    sizes = {"values": {2: torch.export.Dim("n")}, "indices": {2: torch.export.Dim("n")}}
    for named in ({}, {"dynamic_shapes": {**sizes, "like": {2: torch.export.Dim("l")}}}):
        exported = export(Up(), values, indices, x, **named)
        inputs = [tensor.numpy() for tensor in (values, indices, x)][: len(exported.graph.input)]
        assert_same_bits(run(exported, *inputs)[0], Up()(values, indices, x).numpy())


def test_the_layer_becomes_max_unpool(export):
    """The exporter refused the layer of `torch.nn` from 2019 on, and now turns it into ScatterND."""
    x = torch.rand((2, 3, 9, 7))
    model = Net(unpool.torch)
    exported = export(model, x)
    names = [node.op_type for node in exported.graph.node]
    assert names.count("MaxPool") == names.count("MaxUnpool") == 1
    assert np.allclose(run(exported, x.numpy())[0], model(x).detach().numpy(), atol=1e-6)
    theirs = [node.op_type for node in export(Net(torch.nn), x).graph.node]
    assert "ScatterND" in theirs
    assert "MaxUnpool" not in theirs


OPEN = {
    "none": pooling((9, 7), 2),
    "1": pooling((9, 7), 3, 2, 1),
    "same": pooling((9, 7), 3, 2, "same"),
    "same_lower": pooling((9, 7), 3, 2, "same_lower"),
    "pairs": pooling((9, 7), 3, 2, ((2, 0), (0, 1))),
    "pairs, ceil": pooling((9, 7), 3, 2, ((1, 0), (2, 1)), ceil_mode=True),
    "same, dilated": pooling((9, 7), 3, 2, "same", 2),
}


@seldom
@pytest.mark.parametrize("case", OPEN.values(), ids=OPEN)
def test_open_sizes(export, case):
    dim, model = torch.export.Dim, Formats(case.rank, case.arguments)
    sizes = {"x": {0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)}}
    exported = export(model, torch.rand((2, 3, *case.size)), dynamic_shapes=sizes)
    for shape in ((2, 3, 9, 7), (1, 3, 8, 12), (4, 3, 5, 5)):
        x = torch.from_numpy(picture(shape))
        for actual, expected in zip(run(exported, x.numpy()), model(x), strict=True):
            assert_same_bits(actual, expected.numpy())


def test_integers(export):
    """MaxUnpool of ONNX takes floats only, so other dtypes are scattered."""

    class Whole(torch.nn.Module):
        def forward(self, x):
            values, indices = unpool.max_pool2d(x, 2, return_indices=True)
            return unpool.max_unpool2d(values.to(torch.int32), indices, 2)

    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    (found,) = run(export(Whole(), x), x.numpy())
    assert np.array_equal(found, Whole()(x).numpy())


@pytest.mark.parametrize("return_indices", [False, True])
@pytest.mark.parametrize("form", ["max_unpool", "portable"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
def test_a_dtype_that_maxpool_lacks(form, dtype, return_indices):
    """The runtime would refuse the whole model: `Type 'tensor(int32)' of input parameter (x) ... is invalid`."""

    class Pool(torch.nn.Module):
        def forward(self, x):
            return unpool.max_pool2d(x, 2, return_indices=return_indices)

    options = {"dynamo": True, "custom_translation_table": unpool.torch.onnx_translations(form=form), "verbose": False}
    with pytest.raises(torch.onnx.OnnxExporterError) as raised:
        torch.onnx.export(Pool().eval(), (torch.ones(1, 2, 4, 4).to(dtype),), **options)
    assert f"in an export, got {str(dtype).removeprefix('torch.')}: cast it before pooling" in str(raised.value)


@seldom
@pytest.mark.parametrize("is_open", [False, True], ids=["known sizes", "open sizes"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_a_window(export, rank, data_format, is_open):
    """Values are scattered.  Most indices repeat, and the planes may have fewer cells than values."""

    class Up(torch.nn.Module):
        def forward(self, values, indices, like):
            function = getattr(unpool, f"max_unpool{rank}d")
            named = {"output_size": like.shape, "data_format": data_format}
            return [function(values, indices, None, **named, duplicates=mode) + 0 * like for mode in ("last", "sum")]

    first = 1 if data_format == "channels_last" else 2

    def inputs(pooled, plane):
        shapes = [(2, *sizes, 3) if first == 1 else (2, 3, *sizes) for sizes in (pooled[:rank], plane[:rank])]
        values, like = whole("float32", shapes[0]), whole("float32", shapes[1])
        return values, anywhere(shapes[0], int(np.prod(plane[:rank]))), like

    given = inputs((3, 2, 4), (7, 9, 5))
    sizes = [{first + axis: torch.export.Dim.DYNAMIC for axis in range(rank)}] * 3
    named = {"dynamic_shapes": sizes} if is_open else {}
    exported = export(Up(), *map(torch.from_numpy, given), **named)
    assert [node.op_type for node in exported.graph.node].count("ScatterElements") == 2
    for values, indices, like in (given, inputs((4, 6, 5), (3, 5, 2))) if is_open else (given,):
        plane = like.shape[first : first + rank]
        for mode, actual in zip(("last", "sum"), run(exported, values, indices, like), strict=True):
            expected = oracle.max_unpool(values, indices, plane, mode, data_format == "channels_last")
            assert_same_bits(actual, expected)


# What docs/export.md says of bad indices, by the operator: the error of the runtime, or the cell that is written.
UNCHECKED = {
    "MaxUnpool": ({}, {17: (0, 1, 0, 1), 33: (1, 0, 0, 1), -1: "out of bounds", 64: "out of bounds"}),
    "ScatterElements": ({"duplicates": "sum"}, {17: (0, 1, 0, 1), 33: (1, 0, 0, 1), -1: (1, 1, 3, 3), 64: "bounds"}),
}


@pytest.mark.parametrize(
    ("operator", "kernel_size"), [("MaxUnpool", 2), ("ScatterElements", 2), ("ScatterElements", None)]
)
@pytest.mark.parametrize("sized", [True, False], ids=["output_size", "default size"])
def test_a_bad_index_is_not_checked(export, operator, kernel_size, sized):
    """It reaches another channel or sample of ONNX Runtime.  unpool raises an IndexError instead."""
    options, found = UNCHECKED[operator]
    layer = unpool.torch.MaxUnpool2d(kernel_size, **options)
    values = torch.full((2, 2, 2, 2), 5.0)
    indices = torch.tensor([0, 2, 8, 10]).repeat(4).reshape(2, 2, 2, 2)
    size = (4, 4) if sized or kernel_size is None else None

    class Up(torch.nn.Module):
        def forward(self, values, indices):
            return layer(values, indices, output_size=size)

    exported = export(Up(), values, indices)
    assert operator in [node.op_type for node in exported.graph.node]
    (right,) = run(exported, values.numpy(), indices.numpy())
    assert np.array_equal(right, Up()(values, indices).numpy())
    for index, cell in found.items():
        bad = indices.clone()
        bad[0, 0, 0, 0] = index
        with pytest.raises(IndexError, match=rf"indices\[0, 0, 0, 0\] = {index} is out of range"):
            Up()(values, bad)
        if isinstance(cell, str):
            with pytest.raises(Exception, match=cell):
                run(exported, values.numpy(), bad.numpy())
        else:
            expected = right.copy()
            expected[0, 0, 0, 0], expected[cell] = 0, 5
            assert np.array_equal(run(exported, values.numpy(), bad.numpy())[0], expected)


UNTRANSLATED = """
import logging, warnings
import torch, unpool.torch
logging.getLogger("torch.onnx").setLevel(logging.ERROR)

class Net(torch.nn.Module):
    def forward(self, x):
        pooled, outer = unpool.max_pool2d(x, 2, return_indices=True)
        values, inner = unpool.max_pool2d(pooled, 2, return_indices=True)
        return unpool.max_unpool2d(unpool.max_unpool2d(values, inner, 2), outer, 2)

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
    result = python("-W", "error:`custom_translation_table`", "-c", UNTRANSLATED)
    assert result.returncode == 0, result.stderr
    said = [line.partition(": ") for line in result.stdout.splitlines()]
    assert [rest for start, _, rest in said if start == "refused"] == ["True"]
    without, with_ = [ast.literal_eval(rest) for start, _, rest in said if start == "warned"]
    text = (
        "`custom_translation_table` must have rules for the operators of unpool, got none from onnx_translations(): "
        "pass torch.onnx.export(..., dynamo=True, custom_translation_table=unpool.torch.onnx_translations()), or rules "
        "of your own"
    )
    assert without == [text]  # once, for four layers
    assert with_ == []


# --- made in ONNX -----------------------------------------------------------------------------------------------------


def pooling_model(shape, **attributes):
    """Return a model of one `MaxPool` with indices."""
    node = helper.make_node("MaxPool", ["x"], ["values", "indices"], **attributes)
    given = [helper.make_tensor_value_info("x", 1, shape)]
    returned = [helper.make_tensor_value_info("values", 1, None), helper.make_tensor_value_info("indices", 7, None)]
    graph = helper.make_graph([node], "pool", given, returned)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def attributes_of(case):
    """Return a pooling as attributes of ONNX's `MaxPool`."""
    named = {"kernel_shape": case.kernel, "strides": case.stride, "dilations": case.dilation}
    named["ceil_mode"] = int(case.ceil_mode)
    if case.same:
        return named | {"auto_pad": {"same": "SAME_UPPER", "same_lower": "SAME_LOWER"}[case.padding[0]]}
    pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in case.padding]
    return named | {"pads": [pair[side] for side in (0, 1) for pair in pairs]}


def is_padded_alike(case):
    """Return whether ONNX Runtime pads as unpool does; `test_what_onnx_runtime_pads_otherwise` has the rest."""
    if case.same:
        return max(case.dilation) == 1 and all(k >= s for k, s in zip(case.kernel, case.stride, strict=True))
    return all(np.max(padding) < kernel for padding, kernel in zip(case.padding, case.kernel, strict=True))


ALIKE = {name: case for name, case in POOLINGS.items() if is_padded_alike(case)} | {
    "same, ceil": pooling((7, 8), 3, 2, "same", ceil_mode=True),
    "same_lower, ceil": pooling((6, 7), 4, 3, "same_lower", ceil_mode=True),
    "same_lower, one cell": pooling((1, 9), (2, 5), (1, 3), "same_lower"),
    "padding before, ceil": pooling((6, 9), (4, 3), (3, 2), ((3, 0), (2, 1)), ceil_mode=True),
    "padding before, dilated": pooling((9, 8), (3, 4), (1, 2), ((2, 1), (0, 3)), (3, 2)),
    "row, padding after, ceil, last window dropped": pooling((5,), 2, 2, ((1, 0),), ceil_mode=True),
    "volume, padding before, ceil": pooling((4, 5, 6), 3, 2, ((2, 0), (1, 2), (0, 1)), ceil_mode=True),
}


@pytest.mark.parametrize("case", ALIKE.values(), ids=ALIKE)
def test_models_of_onnx_are_reproduced(case):
    """Values, indices and unpooled planes: without a window, with it, and as taps."""
    x = picture(case.shape((2, 3), "channels_first"))
    values, flat = run(pooling_model(x.shape, **attributes_of(case)), x)
    ours, indices = case.function("max_pool")(x, **case.arguments, return_indices=True)
    assert_same_bits(ours, values)
    window = case.window
    for named in ({}, window):
        converted = unpool.convert_indices(flat, "onnx", "plane", output_size=x.shape, **named)
        assert_same_bits(converted, indices)
        assert_same_bits(unpool.convert_indices(indices, "plane", "onnx", output_size=x.shape, **named), flat)
    taps = case.function("max_pool")(x, **case.arguments, return_indices=True, index_format="window")[1]
    assert_same_bits(unpool.convert_indices(flat, "onnx", "window", output_size=x.shape, **window), taps)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("size", [(7, 9), (6, 8)])
def test_valid_is_no_padding(size, ceil_mode):
    x = picture((2, 3, *size))
    model = pooling_model(x.shape, auto_pad="VALID", kernel_shape=(3, 2), strides=(2, 3), ceil_mode=ceil_mode)
    values, flat = run(model, x)
    ours, indices = unpool.max_pool2d(x, (3, 2), (2, 3), "valid", ceil_mode=bool(ceil_mode), return_indices=True)
    assert_same_bits(ours, values)
    assert_same_bits(unpool.convert_indices(flat, "onnx", "plane", output_size=x.shape), indices)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_what_onnx_runtime_pads_otherwise(auto_pad):
    """The rules of docs/migration.md, with the paddings that give ONNX Runtime's results."""
    x = picture((2, 3, 9))
    dilated = {"kernel_shape": (2,), "strides": (1,), "dilations": (3,)}
    values, _ = run(pooling_model(x.shape, auto_pad=auto_pad, **dilated), x)
    padding = {"SAME_UPPER": ((0, 1),), "SAME_LOWER": ((1, 0),)}[auto_pad]  # of windows of 2 without dilation
    assert_same_bits(unpool.max_pool1d(x, 2, 1, padding, 3), values)
    apart = {"kernel_shape": (1,), "strides": (4,)}
    values, _ = run(pooling_model((2, 3, 8), auto_pad=auto_pad, **apart), x[:, :, :8])
    assert_same_bits(unpool.max_pool1d(x[:, :, 1:8], 1, 4), values)
    with pytest.raises(Exception, match="Pad should be smaller than kernel"):
        run(pooling_model(x.shape, pads=(2, 0), **dilated), x)
    assert unpool.max_pool1d(x, 2, 1, ((2, 0),), 3).shape == (2, 3, 8)
