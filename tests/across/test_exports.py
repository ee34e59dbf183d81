"""A SegNet of Keras on the runtimes of docs/export.md: converted by TensorFlow, and by PyTorch once it is loaded there.

Keras has one backend in a process.  The other processes make the model on TensorFlow and on JAX; this one has PyTorch.
"""

import logging
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest
from needs import promised, require
from processes import read_until, waiting

keras = require("keras", "the model is one of Keras")
torch = require("torch", "it exports what the other backends saved")
for module in ("tensorflow", "jax"):
    require(module, "the model is made on it")
openvino = require("openvino", "it runs the exported models, in the env `all`")

import segnets  # noqa: E402

import unpool.keras  # noqa: E402
import unpool.torch  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # converters warn about themselves
    pytest.mark.one_in(12),  # a case converts a model, for seconds
]
if keras.backend.backend() != "torch":
    reason = "the models are exported by Keras on PyTorch: set KERAS_BACKEND=torch"
    pytest.fail(reason) if "openvino" in promised() else pytest.skip(reason, allow_module_level=True)

SIZES = {"even": (32, 48), "odd": (33, 47)}
paddings = pytest.mark.parametrize(("size", "padding"), [("even", "valid"), ("odd", "valid"), ("odd", "same")])
# For each line, write a file: the model with its result, its saved model, or what becomes of it for LiteRT.
MAKE = """
import os, sys
os.environ["KERAS_BACKEND"] = sys.argv[1]
from functools import cache
import numpy as np, keras, segnets
made = cache(segnets.in_keras)
for line in sys.stdin:
    kind, folder, padding, *size = line.split()
    size = tuple(map(int, size))
    model = made(size, padding)
    if kind == "model.keras":
        model.save(f"{folder}/{kind}")
        np.save(f"{folder}/expected.npy", keras.ops.convert_to_numpy(model(segnets.picture(*size))))
    elif kind == "saved":
        model.export(f"{folder}/{kind}", format="tf_saved_model", verbose=False)
    elif kind == "any.tflite":
        model.export(f"{folder}/{kind}", format="litert", verbose=False)
    else:
        import tensorflow as tf
        converter = tf.lite.TFLiteConverter.from_keras_model(segnets.in_keras(size, padding, batch=1))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        open(f"{folder}/{kind}", "wb").write(converter.convert())
    print("made", flush=True)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a function that makes a file of a model, in a process for each backend."""
    with ExitStack() as stack:
        process = cache(lambda backend: stack.enter_context(waiting("-c", MAKE, backend)))
        folder = cache(lambda *model: tmp_path_factory.mktemp("model"))

        @cache
        def path(kind, *model):
            backend, size, padding = model
            maker, made = process(backend), folder(*model)
            maker.stdin.write(f"{kind} {made} {padding} {' '.join(map(str, SIZES[size]))}\n")
            maker.stdin.flush()
            read_until("made", maker)
            return made / kind

        yield path


@pytest.fixture(scope="module")
def loaded(saved):
    """Return a model that TensorFlow saved, loaded here, and its sample."""

    @cache
    def load(size, padding):
        model = keras.models.load_model(saved("model.keras", "tensorflow", size, padding))
        return model.eval(), (torch.from_numpy(segnets.picture(*SIZES[size])),)

    return load


def assert_right(found, model):
    expected = np.load(model.with_name("expected.npy"))
    assert len(np.unique(expected)) > 1000
    assert np.array_equal(found, expected)


def on_openvino(model, x):
    core = openvino.Core()
    read = core.read_model(model) if isinstance(model, bytes) else openvino.convert_model(model)
    (found,) = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x).values()
    return found


# --- by TensorFlow ----------------------------------------------------------------------------------------------------


@paddings
@pytest.mark.parametrize("kind", ["any.tflite", "one.tflite"], ids=["any batch", "batch of 1"])
def test_litert_from_tensorflow(saved, size, padding, kind):
    interpreter = require("ai_edge_litert.interpreter", "it runs LiteRT's models").Interpreter(
        model_path=str(saved(kind, "tensorflow", size, padding))
    )
    interpreter.allocate_tensors()
    operations = {details["op_name"] for details in interpreter._get_ops_details()}
    assert not {"IF", "WHILE", "GATHER_ND", "SCATTER_ND"} & operations
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], segnets.picture(*SIZES[size]))
    interpreter.invoke()
    assert_right(interpreter.get_tensor(returned["index"]), saved("model.keras", "tensorflow", size, padding))


@pytest.mark.parametrize(("maker", "operation"), [("tensorflow", "Bitcast"), ("jax", "XlaCallModule")])
def test_openvino_refuses_saved_models(saved, maker, operation):
    with pytest.raises(Exception, match=f"No conversion rule found for operations: {operation}"):
        openvino.convert_model(saved("saved", maker, "odd", "same"))


# --- by PyTorch -------------------------------------------------------------------------------------------------------


def exported(model, sample, form):
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    table = unpool.torch.onnx_translations(form=form)
    options = {"dynamo": True, "custom_translation_table": table, "verbose": False}
    return torch.onnx.export(model, sample, **options).model_proto.SerializeToString()


def decomposed(model, sample):
    return torch.export.export(model, sample).run_decompositions(unpool.torch.decompositions())


def in_core_operators(model, sample):
    """Decompose Keras' operators, too: Core ML's converter lacks `aten.subtract`, for example."""
    table = torch.export.default_decompositions()
    table.update(unpool.torch.decompositions())
    return torch.export.export(model, sample).run_decompositions(table)


@paddings
@pytest.mark.parametrize("form", ["max_unpool", "portable"])
def test_onnx_runtime(loaded, saved, form, size, padding):
    model, sample = loaded(size, padding)
    runtime = require("onnxruntime", "it runs the exported models")
    session = runtime.InferenceSession(exported(model, sample, form))
    (found,) = session.run(None, {session.get_inputs()[0].name: sample[0].numpy()})
    assert_right(found, saved("model.keras", "tensorflow", size, padding))


@paddings
@pytest.mark.parametrize("way", ["ONNX", "program"])
def test_openvino(loaded, saved, way, size, padding):
    model, sample = loaded(size, padding)
    made = exported(model, sample, "portable") if way == "ONNX" else decomposed(model, sample)
    assert_right(on_openvino(made, sample[0].numpy()), saved("model.keras", "tensorflow", size, padding))


@paddings
def test_litert(loaded, saved, size, padding):
    model, sample = loaded(size, padding)
    edge = require("litert_torch", "it converts programs to LiteRT").convert(decomposed(model, sample).module(), sample)
    assert_right(edge(sample[0].numpy()), saved("model.keras", "tensorflow", size, padding))


@paddings
def test_core_ml_converts(loaded, size, padding):
    tools = require("coremltools", "it converts programs to Core ML")
    program = in_core_operators(*loaded(size, padding))
    tools.convert(program, minimum_deployment_target=tools.target.iOS17, skip_model_load=True)


@pytest.mark.parametrize(
    ("named", "file", "message"),
    [
        ("onnx", "model.onnx", "outside torch.jit.trace"),
        ("openvino", "model.xml", "outside torch.jit.trace"),
        ("litert", "model.tflite", "Lowering not found: unpool.max_pool_with_indices"),
    ],
)
def test_what_keras_exports_itself_is_refused(loaded, tmp_path, named, file, message):
    model, sample = loaded("odd", "same")
    model(*sample)  # Keras exports models that were called
    with pytest.raises(Exception, match=message):
        model.export(str(tmp_path / file), format=named, verbose=False)
