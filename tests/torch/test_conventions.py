"""Indices of PyTorch and of ONNX Runtime are converted to the cells that they name."""

import numpy as np
from needs import require

import unpool

torch = require("torch", "its indices are converted")


def test_torch_indices_by_way_of_onnx():
    x = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    values, flat = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    n, c = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    onnx = (n * 3 + c)[..., None, None] * (7 * 9) + flat
    plane = unpool.convert_indices(onnx.numpy(), "onnx", "plane", output_size=x.shape)
    np.testing.assert_array_equal(plane, flat.numpy())
    expected = torch.nn.functional.max_unpool2d(values, flat, 2, output_size=x.shape)
    found = unpool.max_unpool2d(values.numpy(), plane, 2, output_size=x.shape)
    np.testing.assert_array_equal(found, expected.numpy())


def test_onnx_runtime_by_columns():
    """`MaxPool(storage_order=1)` returns other indices for the same cells."""
    runtime = require("onnxruntime", "its indices are converted")
    helper = require("onnx", "it makes the model").helper
    for size, kernel in (((4, 6), 2), ((5, 7), (3, 2)), ((9,), 2), ((4, 5, 6), 2)):
        rank = len(size)
        shape = (2, 3, *size)
        x = np.random.default_rng(0).standard_normal(shape, "float32")
        kernel = (kernel,) * rank if isinstance(kernel, int) else kernel
        found = {}
        for order in (0, 1):
            node = helper.make_node(
                "MaxPool", ["x"], ["y", "i"], kernel_shape=kernel, strides=kernel, storage_order=order
            )
            graph = helper.make_graph(
                [node],
                "pool",
                [helper.make_tensor_value_info("x", 1, shape)],
                [helper.make_tensor_value_info("y", 1, None), helper.make_tensor_value_info("i", 7, None)],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
            _, found[order] = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
        _, expected = getattr(unpool, f"max_pool{rank}d")(x, kernel, return_indices=True)
        named = {"output_size": shape, "kernel_size": kernel}
        for order, convention in ((0, "onnx"), (1, "onnx_column_major")):
            np.testing.assert_array_equal(unpool.convert_indices(found[order], convention, "plane", **named), expected)
            np.testing.assert_array_equal(unpool.convert_indices(expected, "plane", convention, **named), found[order])
