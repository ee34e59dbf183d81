"""Export to tools that lack `MaxUnpool`: ONNX in the portable form, and decompositions of exported programs."""

import itertools
import logging
import re

import numpy as np
import pytest
from needs import require, require_backend

import unpool

torch = require("torch", "these programs are exported from it")
require_backend("torch")

import unpool.torch  # noqa: E402

# PyTorch's exporter and OpenVINO's import warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")
seldom = pytest.mark.one_in(16)  # a case exports a model, for up to a second

# What the portable form of a model may need, besides convolutions.
ALLOWED = {"MaxPool", "Slice", "Less", "Equal", "Where", "Concat", "Transpose", "Reshape", "Pad", "Add", "Sub", "Cast"}
FLOAT, UINT8, INT32, INT64, BOOL = 1, 2, 6, 7, 9  # of onnx.TensorProto
FORMATS = [("window", None), ("window", "int64"), ("plane", "int32"), ("plane", None)]
formats = pytest.mark.parametrize(("index_format", "index_dtype"), FORMATS, ids=str)
WINDOWS = {
    1: [
        {"kernel_size": 2},
        {"kernel_size": 3, "ceil_mode": True},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": 2, "padding": "same"},
        {"kernel_size": 3, "padding": ((0, 2),)},
    ],
    2: [
        {"kernel_size": 2},
        {"kernel_size": 2, "ceil_mode": True},
        {"kernel_size": 1},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": (2, 3), "stride": (3, 4), "ceil_mode": True},
        {"kernel_size": (1, 4)},
        {"kernel_size": (2, 3), "stride": (2, 4), "padding": "same"},
        {"kernel_size": (1, 2), "padding": "same_lower"},
        {"kernel_size": 2, "padding": ((0, 1), 0), "ceil_mode": True},
    ],
}
LAYOUTS = list(itertools.product(["channels_first", "channels_last"], [True, False]))
# Every window in one layout, and one window in the others.
CASES = [(rank, window, *LAYOUTS[0]) for rank in (1, 2) for window in WINDOWS[rank]]
CASES += [(rank, WINDOWS[rank][1], *layout) for rank in (1, 2) for layout in LAYOUTS[1:]]
cases = pytest.mark.parametrize(("rank", "window", "data_format", "batch"), CASES, ids=str)


class Restored(torch.nn.Module):
    """Return pooled values, indices and the unpooled planes."""

    def __init__(self, rank, window, data_format="channels_first", duplicates="last", sized=True, **index):
        super().__init__()
        self.functions = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d")
        self.window, self.data_format, self.index = window, data_format, index
        self.duplicates, self.sized = duplicates, sized

    def forward(self, x):
        pool, restore = self.functions
        values, indices = pool(x, **self.window, return_indices=True, data_format=self.data_format, **self.index)
        window = {name: value for name, value in self.window.items() if name != "ceil_mode"}
        size = x.shape if self.sized else None
        more = {"duplicates": self.duplicates, "index_format": self.index["index_format"]}
        return (
            values,
            indices,
            restore(values, indices, **window, output_size=size, data_format=self.data_format, **more),
        )


class SegNet(torch.nn.Module):
    """Two levels of pooling with indices, and the same levels back; a first pooling without indices overlaps."""

    def __init__(self, **index):
        super().__init__()
        layers, self.stem = unpool.torch, unpool.torch.MaxPool2d(3, 2, 1)
        self.down = torch.nn.ModuleList([torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 8, 3, padding=1)])
        self.up = torch.nn.ModuleList([torch.nn.Conv2d(6, 2, 3, padding=1), torch.nn.Conv2d(8, 6, 3, padding=1)])
        ceils = False, True
        self.pools = torch.nn.ModuleList([layers.MaxPool2d(2, None, 0, 1, True, ceil, **index) for ceil in ceils])
        self.unpool = layers.MaxUnpool2d(2, index_format=index["index_format"])

    def forward(self, x):
        x, kept = self.stem(x), []
        for convolve, pool in zip(self.down, self.pools, strict=True):
            x = convolve(x)
            size = x.shape
            x, indices = pool(x)
            kept.append((indices, size))
        for convolve, (indices, size) in zip(reversed(self.up), reversed(kept), strict=True):
            x = convolve(self.unpool(x, indices, output_size=size))
        return x


def with_ties(rank, data_format, batch):
    """Return planes of odd and even sizes, with equal maxima in many windows."""
    sizes = (7, 6)[:rank]
    shape = (*sizes, 3) if data_format == "channels_last" else (3, *sizes)
    torch.manual_seed(0)
    return torch.randint(-3, 3, (2, *shape) if batch else shape).float()


def same(actual, expected):
    """Return True if arrays have the same dtypes and numbers."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(actual, expected, strict=True)]
    return all(one.dtype == other.dtype and np.array_equal(one, other) for one, other in pairs)


# --- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def export():
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def exported(model, x, **named):
        table = unpool.torch.onnx_translations(form="portable")
        options = {"dynamo": True, "custom_translation_table": table, "verbose": False}
        return torch.onnx.export(model.eval(), (x,), **options, **named).model_proto

    return exported


@pytest.fixture(scope="module")
def run():
    """Run a model with ONNX Runtime."""
    runtime = require("onnxruntime", "it runs the exported models")

    def results(model, x):
        session = runtime.InferenceSession(model.SerializeToString())
        return session.run(None, {session.get_inputs()[0].name: x.numpy()})

    return results


@seldom
@cases
@formats
def test_onnx_runtime_has_the_same_bits(export, run, rank, window, data_format, batch, index_format, index_dtype):
    x = with_ties(rank, data_format, batch)
    duplicates = "sum" if index_dtype == "int32" else "last"
    model = Restored(rank, window, data_format, duplicates, index_format=index_format, index_dtype=index_dtype)
    exported = export(model, x)
    assert {node.op_type for node in exported.graph.node} <= ALLOWED
    assert same(run(exported, x), model(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int8, torch.uint8])
def test_other_dtypes(export, run, dtype):
    x = with_ties(2, "channels_first", True).abs().to(dtype)
    model = Restored(2, {"kernel_size": 2, "ceil_mode": True}, index_format="window")
    assert same(run(export(model, x), x), model(x))


@formats
def test_a_segnet_in_onnx(export, run, index_format, index_dtype):
    model, x = SegNet(index_format=index_format, index_dtype=index_dtype), torch.rand(1, 3, 33, 47)
    exported = export(model, x)
    assert {node.op_type for node in exported.graph.node} <= ALLOWED - {"Cast"} | {"Conv"}
    pools = [node for node in exported.graph.node if node.op_type == "MaxPool"]
    assert len(pools) == 3
    assert all(len([name for name in pool.output if name]) == 1 for pool in pools)
    infos = [info.type.tensor_type for info in exported.graph.value_info]
    assert all(len(info.shape.dim) <= 4 for info in infos)
    shapes = {name for node in exported.graph.node for name in shape_inputs(node)}
    wide = {info.name for info in exported.graph.value_info if info.type.tensor_type.elem_type == INT64}
    assert wide <= shapes
    assert {info.elem_type for info in infos} <= {FLOAT, INT32, INT64, BOOL}
    assert np.allclose(run(exported, x)[0], model(x).detach().numpy(), atol=1e-6)


def shape_inputs(node):
    """Return the inputs of a node that are shapes: always int64 in ONNX."""
    return {"Reshape": node.input[1:], "Slice": node.input[1:], "Pad": node.input[1:2]}.get(node.op_type, [])


def test_an_open_batch(export, run):
    model = SegNet(index_format="window")
    exported = export(model, torch.rand(2, 3, 33, 47), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    for batch in (1, 3):
        x = torch.rand(batch, 3, 33, 47)
        assert np.allclose(run(exported, x)[0], model(x).detach().numpy(), atol=1e-6)


class Unpool(torch.nn.Module):
    """Unpool planes of 4 x 4 cells by indices that are an input: two samples of two channels, or of one."""

    def __init__(self, index_format):
        super().__init__()
        self.unpool = unpool.torch.MaxUnpool2d(2, index_format=index_format)

    def forward(self, indices):
        return self.unpool(torch.ones(indices.shape), indices)


# Indices of the four windows of a plane, and indices outside of the first window: -1, the neighbors, other planes.
RIGHT = {"plane": [0, 3, 12, 10], "window": [0, 1, 2, 0]}
BAD = {"plane": [-1, 2, 15, 16, 17, 32, 2**31 - 1], "window": [-1, 4, 255]}
by_index_format = pytest.mark.parametrize("index_format", RIGHT)


@by_index_format
@pytest.mark.parametrize("way", ["onnx", "program"])
def test_indices_that_are_an_input(export, run, way, index_format):
    """An index outside of its window is dropped; the others are moved."""
    model, x = Unpool(index_format), torch.tensor(RIGHT[index_format] * 4).reshape(2, 2, 2, 2)
    exported = export(model, x) if way == "onnx" else decomposed(model, x).module()

    def call(indices):
        return run(exported, indices) if way == "onnx" else [exported(indices)]

    assert same(call(x), [model(x)])
    expected = model(x)
    expected[0, 0, 0, 0] = 0
    for index in BAD[index_format]:
        bad = x.clone()
        bad[0, 0, 0, 0] = index
        assert same(call(bad), [expected]), index
    narrowed = x.clone()
    narrowed[0, 0, 0, 0] = 2**32 + RIGHT[index_format][0]
    assert same(call(narrowed), [model(x)]), "docs/export.md says that indices are read as int32"


def test_zeros_of_both_signs_and_nan_in_onnx(export, run):
    """ONNX has no rule for NaN: the other windows are right, and a NaN does not leave its window."""
    x = with_ties(2, "channels_first", True)
    x[x == 0] = -0.0
    x[0, 0, 1, 1] = np.nan
    model = Restored(2, {"kernel_size": 2}, index_format="window")
    actual, expected = run(export(model, x), x)[2], model(x)[2].numpy()
    touched = np.zeros(x.shape, bool)
    touched[0, 0, :2, :2] = True
    assert np.array_equal(actual[~touched], expected[~touched])


# --- errors -----------------------------------------------------------------------------------------------------------

REFUSED = {
    "overlapping": (2, {"kernel_size": 3, "stride": 2}, "lie apart"),
    "padded": (2, {"kernel_size": 3, "padding": 1}, "lie apart"),
    "padded before": (2, {"kernel_size": 3, "padding": ((1, 0), 0)}, r"which add \(1, 0\) cells before the plane"),
    "same": (2, {"kernel_size": (3, 4), "padding": "same"}, r"which add \(0, 1\) cells before the plane"),
    "same_lower": (2, {"kernel_size": 2, "padding": "same_lower"}, r"which add \(1, 1\) cells before the plane"),
    "dilated": (2, {"kernel_size": 2, "dilation": 2}, "lie apart"),
    "3-D": (3, {"kernel_size": 2}, "got 3-D windows"),
}


def causes(error):
    while error is not None:
        yield str(error)
        error = error.__cause__


@pytest.mark.parametrize(("rank", "window", "message"), REFUSED.values(), ids=REFUSED)
def test_other_windows_are_refused_in_onnx(export, rank, window, message):
    with pytest.raises(torch.onnx.OnnxExporterError) as raised:
        export(Restored(rank, window, index_format="window"), torch.rand((1, 3, *[9] * rank)))
    (found,) = [text for text in causes(raised.value) if text.startswith("the portable form")]
    assert re.search(message, found)
    assert "onnx_translations()" in found


@pytest.mark.parametrize(("rank", "window", "message"), REFUSED.values(), ids=REFUSED)
def test_other_windows_are_not_decomposed(rank, window, message):
    program = torch.export.export(Restored(rank, window, index_format="window"), (torch.rand((1, 3, *[9] * rank)),))
    with pytest.raises(ValueError, match=message):
        program.run_decompositions(unpool.torch.decompositions())


def test_open_sizes_are_refused():
    sizes = {"x": {2: torch.export.Dim("h", min=4)}}
    model = Restored(2, {"kernel_size": 2}, index_format="window")
    program = torch.export.export(model, (torch.rand(1, 3, 9, 8),), dynamic_shapes=sizes)
    with pytest.raises(
        ValueError, match=r"must have known sizes, except the batch size, got \(1, 3, \?, 8\) for the plane"
    ):
        program.run_decompositions(unpool.torch.decompositions())


def test_the_form_is_one_of_two():
    with pytest.raises(ValueError, match="`form` must be 'max_unpool' or 'portable', got 'scatter'"):
        unpool.torch.onnx_translations(form="scatter")


# --- decompositions ---------------------------------------------------------------------------------------------------


def decomposed(model, x, **named):
    program = torch.export.export(model.eval(), (x,), **named).run_decompositions(unpool.torch.decompositions())
    assert not [node for node in program.graph.nodes if "unpool." in str(node.target)]
    return program


def bits(array):
    array = array.detach()
    return array.view(torch.int32) if array.dtype == torch.float32 else array


@seldom
@cases
@formats
def test_decompositions_have_the_same_bits(rank, window, data_format, batch, index_format, index_dtype):
    x = with_ties(rank, data_format, batch)
    x[x == 1] = -0.0
    duplicates = "sum" if index_dtype == "int32" else "last"
    model = Restored(rank, window, data_format, duplicates, index_format=index_format, index_dtype=index_dtype)
    program = decomposed(model, x)
    assert all(
        len(node.meta["val"].shape) <= 4 for node in program.graph.nodes if hasattr(node.meta.get("val"), "shape")
    )
    assert same(map(bits, program.module()(x)), map(bits, model(x)))


@seldom
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": "same"},
        {"kernel_size": 2, "stride": 3, "padding": "same"},
        {"kernel_size": 4, "stride": 3, "padding": "same_lower", "dilation": 2},
        {"kernel_size": 2, "dilation": 2, "ceil_mode": True},
        {"kernel_size": 3, "stride": 2, "padding": ((2, 0), (0, 1), 1)},
        {"kernel_size": 3, "stride": 3, "padding": ((0, 1), (2, 0), (1, 2)), "ceil_mode": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_values_alone_are_decomposed_for_every_window(rank, window, batch, data_format):
    if isinstance(window.get("padding"), tuple):
        window = window | {"padding": window["padding"][:rank]}

    class Pool(torch.nn.Module):
        def forward(self, x):
            return getattr(unpool, f"max_pool{rank}d")(x, **window, data_format=data_format)

    sizes = (7, 6, 5)[:rank]
    shape = (*sizes, 3) if data_format == "channels_last" else (3, *sizes)
    x = torch.randn((2, *shape) if batch else shape)
    x.view(-1)[5] = np.nan
    assert torch.equal(bits(decomposed(Pool(), x).module()(x)), bits(Pool()(x)))


class Gradient(torch.nn.Module):
    """Return the gradient of an unpooling, whose gradient is the square of the pooled planes."""

    def __init__(self, rank, window, data_format, **index):
        super().__init__()
        self.functions = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d_backward")
        self.window, self.data_format, self.index = window, data_format, index

    def forward(self, x):
        pool, take = self.functions
        _, indices = pool(x, **self.window, return_indices=True, data_format=self.data_format, **self.index)
        window = {name: value for name, value in self.window.items() if name != "ceil_mode"}
        more = {"data_format": self.data_format, "index_format": self.index["index_format"]}
        return take(x * x, indices, **window, **more)


@seldom
@cases
@formats
def test_a_decomposed_gradient_has_the_same_bits(rank, window, data_format, batch, index_format, index_dtype):
    x = with_ties(rank, data_format, batch)
    model = Gradient(rank, window, data_format, index_format=index_format, index_dtype=index_dtype)
    assert torch.equal(bits(decomposed(model, x).module()(x)), bits(model(x)))


@pytest.mark.parametrize(("tap", "expected"), [(0, 0), (3, 3), (4, 0)])
def test_a_decomposed_gradient_drops_a_bad_index(tap, expected):
    class Take(torch.nn.Module):
        def forward(self, taps):
            planes = torch.arange(4.0).reshape(1, 1, 2, 2)
            return unpool.max_unpool2d_backward(planes, taps, 2, index_format="window")

    taps = torch.tensor([[[[tap]]]])
    assert decomposed(Take(), taps).module()(taps).item() == expected


def test_a_training_graph():
    """The graph of a loss and its gradients needs no operator of unpool either."""

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolve, self.pool = torch.nn.Conv2d(3, 4, 3, padding=1), unpool.torch.MaxPool2d(2)

        def forward(self, x):
            x = self.convolve(x)
            values, indices = unpool.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            return (self.pool(unpool.max_unpool2d(values * values, indices, 2, output_size=x.shape)) ** 2).sum()

    from torch.export.experimental import _export_forward_backward  # ExecuTorch trains what it returns

    model, x = Loss(), torch.rand(2, 3, 7, 9)
    joint = _export_forward_backward(torch.export.export(model, (x,)))
    names = {str(node.target) for node in joint.graph.nodes}
    assert {"unpool.max_unpool_backward.default", "unpool.max_unpool.default"} <= names
    joint = joint.run_decompositions(unpool.torch.decompositions())
    assert not [node for node in joint.graph.nodes if "unpool." in str(node.target)]
    given = [joint.state_dict[spec.target] if spec.target else x for spec in joint.graph_signature.input_specs]
    loss, *gradients = joint.graph_module(*given)
    model(x).backward()
    assert torch.equal(loss, model(x))
    for found, parameter in zip(gradients, model.parameters(), strict=True):
        assert torch.allclose(found, parameter.grad, rtol=1e-5)


@pytest.mark.skipif(torch.__version__ < "2.12", reason="this PyTorch exports no max pooling of its own with open sizes")
def test_values_alone_of_open_sizes():
    dim = torch.export.Dim
    model, sizes = unpool.torch.MaxPool2d(3, 2, 1), {"input": {0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)}}
    program = decomposed(model, torch.rand(2, 3, 9, 11), dynamic_shapes=sizes)
    x = torch.rand(3, 3, 14, 15)
    assert torch.equal(program.module()(x), model(x))


def test_a_decomposed_nan_goes_to_the_first_tap():
    x = torch.tensor([[[0.0, np.nan, 3.0, 2.0]]])
    values, indices, restored = decomposed(Restored(1, {"kernel_size": 2}, index_format="window"), x).module()(x)
    assert np.array_equal(values, [[[np.nan, 3]]], equal_nan=True)
    assert indices.tolist() == [[[0, 0]]]
    assert np.array_equal(restored, [[[np.nan, 0, 3, 0]]], equal_nan=True)


@formats
def test_a_decomposed_segnet(index_format, index_dtype):
    model, x = SegNet(index_format=index_format, index_dtype=index_dtype), torch.rand(2, 3, 33, 47)
    sizes = {"x": {0: torch.export.Dim("n")}}
    program = decomposed(model, x, dynamic_shapes=sizes)
    x = torch.rand(3, 3, 33, 47)
    assert torch.equal(program.module()(x), model(x))


# --- OpenVINO ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openvino():
    """Run a model with OpenVINO: of ONNX, or an exported program."""
    openvino = require("openvino", "it runs the exported models")
    core = openvino.Core()

    def results(model, x):
        read = openvino.convert_model(model) if hasattr(model, "graph_module") else None
        read = core.read_model(model.SerializeToString()) if read is None else read
        # By default OpenVINO computes in bfloat16 where the CPU has it, which moves near ties.
        compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return list(compiled(x.numpy()).values())

    return results


def exported(kind, model, x, export):
    return export(model, x) if kind == "onnx" else decomposed(model, x)


@seldom
@pytest.mark.parametrize("kind", ["onnx", "program"])
@pytest.mark.parametrize(("index_format", "index_dtype"), [("window", None), ("plane", None)])
@cases
def test_openvino_has_the_same_bits(
    export, openvino, kind, rank, window, data_format, batch, index_format, index_dtype
):
    x = with_ties(rank, data_format, batch)
    model = Restored(rank, window, data_format, index_format=index_format, index_dtype=index_dtype)
    assert same(openvino(exported(kind, model, x, export), x), model(x))


@seldom
@pytest.mark.parametrize("kind", ["onnx", "program"])
@formats
def test_a_segnet_in_openvino(export, openvino, kind, index_format, index_dtype):
    model, x = SegNet(index_format=index_format, index_dtype=index_dtype), torch.rand(1, 3, 33, 47)
    (found,) = openvino(exported(kind, model, x, export), x)
    assert np.allclose(found, model(x).detach().numpy(), atol=1e-6)
