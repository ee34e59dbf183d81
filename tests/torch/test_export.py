"""A SegNet on the runtimes of docs/export.md: each returns the model's bits, or refuses with the page's message."""

import logging
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require, require_backend

torch = require("torch", "the model is exported from it")
require_backend("torch")

import segnets  # noqa: E402

import unpool.torch  # noqa: E402

# Converters warn about themselves, and about versions.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.one_in(6),  # a case converts a model, for seconds
]

SIZES = {"even": (32, 48), "odd": (33, 47)}
models = pytest.mark.parametrize(
    ("size", "ceil_mode", "index_format"),
    [("even", False, "window"), ("odd", False, "plane"), ("odd", True, "window")],
)
UNPOOL_OPERATORS = "unpool.max_pool_with_indices"


@cache
def made(size, ceil_mode=False, index_format=None):
    """Return a model of `unpool.torch`, or without an index format of `torch.nn`; its input and its output."""
    x = torch.from_numpy(segnets.picture(*SIZES[size])).movedim(-1, 1).contiguous()
    index = {} if index_format is None else {"index_format": index_format}
    model = segnets.in_torch(unpool.torch if index else torch.nn, ceil_mode, **index)
    return SimpleNamespace(
        model=model, x=x, expected=model(x).detach().numpy(), program=torch.export.export(model, (x,))
    )


@cache
def decomposed(*key):
    return made(*key).program.run_decompositions(unpool.torch.decompositions())


@cache
def onnx(form, *key):
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    table = unpool.torch.onnx_translations(form=form) if form else None
    options = {"dynamo": True, "custom_translation_table": table, "verbose": False}
    return torch.onnx.export(made(*key).model, (made(*key).x,), **options).model_proto.SerializeToString()


def assert_right(found, *key):
    expected = made(*key).expected
    assert len(np.unique(expected)) > 1000
    assert np.array_equal(found, expected)


@models
def test_the_sums_are_exact(size, ceil_mode, index_format):
    given = made(size, ceil_mode, index_format)
    wide = segnets.in_torch(unpool.torch, ceil_mode, index_format=index_format).double()
    assert_right(wide(given.x.double()).detach().numpy(), size, ceil_mode, index_format)


# --- ONNX Runtime -----------------------------------------------------------------------------------------------------


@models
@pytest.mark.parametrize("form", ["max_unpool", "portable"])
def test_onnx_runtime(form, size, ceil_mode, index_format):
    key = size, ceil_mode, index_format
    session = require("onnxruntime", "it runs the exported models").InferenceSession(onnx(form, *key))
    (found,) = session.run(None, {session.get_inputs()[0].name: made(*key).x.numpy()})
    assert_right(found, *key)


def test_onnx_runtime_has_the_bits_of_torch_nn():
    session = require("onnxruntime", "it runs the exported models").InferenceSession(onnx(None, "odd"))
    (found,) = session.run(None, {session.get_inputs()[0].name: made("odd").x.numpy()})
    assert_right(found, "odd")


# --- OpenVINO ---------------------------------------------------------------------------------------------------------


def on_openvino(model, x):
    openvino = require("openvino", "it runs the exported models")
    core = openvino.Core()
    read = core.read_model(model) if isinstance(model, bytes) else openvino.convert_model(model)
    # By default OpenVINO computes in bfloat16 where the CPU has it.
    (found,) = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy()).values()
    return found


@models
@pytest.mark.parametrize("way", ["ONNX", "program"])
def test_openvino(way, size, ceil_mode, index_format):
    key = size, ceil_mode, index_format
    assert_right(on_openvino(onnx("portable", *key) if way == "ONNX" else decomposed(*key), made(*key).x), *key)


@pytest.mark.parametrize("way", ["ONNX", "program"])
def test_openvino_has_the_bits_of_torch_nn(way):
    given = made("odd")
    assert_right(on_openvino(onnx(None, "odd") if way == "ONNX" else given.program, given.x), "odd")


def test_openvino_refuses_max_unpool():
    key = "even", False, "window"
    with pytest.raises(RuntimeError, match="No conversion rule found for operations: MaxUnpool"):
        on_openvino(onnx("max_unpool", *key), made(*key).x)


def test_openvino_refuses_the_operators():
    key = "even", False, "window"
    with pytest.raises(Exception, match=f"No conversion rule found for operations: {UNPOOL_OPERATORS}"):
        on_openvino(made(*key).program, made(*key).x)


# --- LiteRT -----------------------------------------------------------------------------------------------------------


def on_litert(model, x):
    edge = require("litert_torch", "it converts programs to LiteRT").convert(model, (x,))
    return edge(x.numpy())


@models
def test_litert(size, ceil_mode, index_format):
    key = size, ceil_mode, index_format
    assert_right(on_litert(decomposed(*key).module(), made(*key).x), *key)


def test_litert_refuses_the_operators():
    given = made("even", False, "window")
    with pytest.raises(RuntimeError, match=f"Lowering not found: {UNPOOL_OPERATORS}"):
        on_litert(given.model, given.x)


def test_litert_does_not_run_torch_nn():
    given = made("even")
    with pytest.raises(RuntimeError, match="BROADCAST_TO"):
        on_litert(given.model, given.x)


# --- Core ML ----------------------------------------------------------------------------------------------------------


def as_core_ml(program):
    """Convert a program; only macOS can run the result."""
    tools = require("coremltools", "it converts programs to Core ML")
    return tools.convert(program, minimum_deployment_target=tools.target.iOS17, skip_model_load=True)


@models
def test_core_ml_converts(size, ceil_mode, index_format):
    key = size, ceil_mode, index_format
    (returned,) = as_core_ml(decomposed(*key)).get_spec().description.output
    assert tuple(returned.type.multiArrayType.shape) in [(), made(*key).expected.shape]


@pytest.mark.parametrize(
    ("index_format", "operator"), [("window", "max_pool_with_indices"), (None, "max_unpool2d")], ids=["unpool", "nn"]
)
def test_core_ml_refuses_the_operators(index_format, operator):
    with pytest.raises(NotImplementedError, match=f"Unsupported fx node {operator}"):
        as_core_ml(made("even", False, index_format).program.run_decompositions({}))


# --- onnx2tf ----------------------------------------------------------------------------------------------------------


def on_tflite(model, x, folder, **options):
    """Convert an ONNX model with onnx2tf, which wants channels last, and run it."""
    converter = require("onnx2tf", "it pins other versions than the env `all`: run `tox -e onnx2tf`")
    runtime = require("ai_edge_litert.interpreter", "it runs what onnx2tf converts")
    path = folder / "model.onnx"
    path.write_bytes(model)
    converter.convert(
        input_onnx_file_path=str(path), output_folder_path=str(folder / "lite"), non_verbose=True, **options
    )
    interpreter = runtime.Interpreter(model_path=str(folder / "lite" / "model_float32.tflite"))
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], x.movedim(1, -1).numpy())
    interpreter.invoke()
    return interpreter.get_tensor(returned["index"]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(("size", "ceil_mode"), [("even", False), ("odd", False), ("odd", True)])
def test_onnx2tf(tmp_path, size, ceil_mode):
    key = size, ceil_mode, "window"
    assert_right(on_tflite(onnx("portable", *key), made(*key).x, tmp_path, tflite_backend="tf_converter"), *key)


def test_onnx2tf_mistakes_the_layout_of_plane_indices(tmp_path):
    key = "odd", False, "plane"
    with pytest.raises(ValueError, match="Dimensions must be equal"):
        on_tflite(onnx("portable", *key), made(*key).x, tmp_path, tflite_backend="tf_converter")


def test_what_onnx2tf_writes_itself_does_not_run(tmp_path):
    key = "even", False, "window"
    with pytest.raises(RuntimeError, match="SELECT"):
        on_tflite(onnx("portable", *key), made(*key).x, tmp_path)
