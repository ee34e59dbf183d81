"""ONNX Runtime: a model of one node.  Channels come first, and an index counts the cells of the whole array.

Inputs are OrtValues, since results for NumPy arrays would be copied once more.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from unpool import convert_indices
from unpool.bench.cases import Data
from unpool.bench.peers import Call

TYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def calls(data: Data) -> dict[str, Call]:
    case, plane, values, indices = data
    if case.last or case.operation == "pool_backward" or case.sums:
        return {}
    lacks = "" if case.index_dtype == "int64" else f"{case.index_dtype} indices (here int64)"
    indices = indices.astype("int64")
    kernel, stride, padding = case.window
    window = {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}
    if case.operation == "pool":
        run = session("MaxPool", {"X": plane}, ("Y", "I"), ceil_mode=int(case.ceil), storage_order=0, **window)
        return {"ONNX Runtime": Call(run, lambda result: pooled(case, result), lacks)}
    if case.operation == "unpool_backward":
        if case.duplicates == "last":
            lacks = 'gradient of "last" (here that of "sum", a GatherElements)'
        flat = (*case.shape[:2], -1)
        run = session("GatherElements", {"X": plane.reshape(flat), "I": indices.reshape(flat)}, ("Y",), axis=2)
        return {"ONNX Runtime": Call(run, lambda result: result[0].numpy().reshape(indices.shape), lacks)}
    inputs = {
        "X": values,
        "I": convert_indices(indices, "plane", "onnx", output_size=case.shape),
        "S": np.array(case.shape),
    }
    run = session("MaxUnpool", inputs, ("Y",), out=np.empty_like(plane) if case.out else None, **window)
    return {"ONNX Runtime": Call(run, lambda result: result[0].numpy(), lacks)}


def session(
    operator: str,
    inputs: dict[str, np.ndarray],
    outputs: tuple[str, ...],
    out: np.ndarray | None = None,
    **attributes: Any,
) -> Any:
    """Return a call that runs a model of one node on the inputs, and writes into `out` if it is given."""
    described = [helper.make_tensor_value_info(n, TYPES[str(a.dtype)], a.shape) for n, a in inputs.items()]
    kind = TYPES[str(inputs["X"].dtype)]
    results = [helper.make_tensor_value_info(n, TYPES["int64"] if n == "I" else kind, None) for n in outputs]
    node = helper.make_node(operator, list(inputs), list(outputs), **attributes)
    graph = helper.make_graph([node], "one", described, results)
    # Opset 18 and its IR version: every recent ONNX Runtime reads them.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
    if out is None:
        return partial(made.run_with_ort_values, list(outputs), feeds)
    binding = made.io_binding()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_ortvalue_output(outputs[0], onnxruntime.OrtValue.ortvalue_from_numpy(out))

    def run() -> list[Any]:
        made.run_with_iobinding(binding)
        return binding.get_outputs()

    return run


def pooled(case: Any, result: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    values, indices = (value.numpy() for value in result)
    return values, convert_indices(indices, "onnx", "plane", output_size=case.shape)
