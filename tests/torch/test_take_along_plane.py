"""`take_along_plane` on tensors: derivatives, transforms, programs, and errors of the operator."""

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool.testing import oracle
from unpool.testing.cases import anywhere, whole

torch = require("torch", "the tests of its tensors need it")
require_backend("torch")

import unpool.torch  # noqa: E402

# The first forward-mode derivative raises a warning about PyTorch itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
# A data format, the shape of the planes, and that of the indices.
SHAPES = {
    "rows": ("NCW", (2, 2, 5), (2, 2, 7)),
    "planes": ("NCHW", (2, 2, 4, 3), (2, 2, 2, 3)),
    "planes, channels last": ("NHWC", (2, 4, 3, 2), (2, 5, 5, 2)),
    "volumes": ("NCDHW", (1, 2, 3, 2, 3), (1, 2, 2, 2, 2)),
    "one volume": ("NCDHW", (2, 3, 2, 3), (2, 2, 2, 2)),
}
every_shape = pytest.mark.parametrize(("word", "plane", "wanted"), SHAPES.values(), ids=SHAPES)


class Taking:
    """`take_along_plane` with fixed indices that repeat, as a function of one tensor."""

    def __init__(self, word, plane, wanted):
        self.word, self.last, rank = word, word.endswith("C"), len(word) - 2
        first = len(plane) - rank - (1 if self.last else 0)
        self.size = plane[first : first + rank]
        self.places = anywhere(wanted, int(np.prod(self.size)))
        self.indices = torch.from_numpy(self.places)
        self.planes = torch.from_numpy(whole("float64", plane)).requires_grad_()

    def __call__(self, planes):
        return unpool.take_along_plane(planes, self.indices, data_format=self.word)


@every_shape
def test_derivatives(word, plane, wanted):
    call = Taking(word, plane, wanted)
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(call, call.planes, check_forward_ad=True, **batched)
    both = {"check_fwd_over_rev": True, "check_rev_over_rev": True}
    assert torch.autograd.gradgradcheck(lambda planes: call(planes) ** 2, call.planes, **both)
    grad = whole("float64", wanted, 1)
    (found,) = torch.autograd.grad(call(call.planes), call.planes, torch.from_numpy(grad))
    assert np.array_equal(found.numpy(), oracle.max_unpool(grad, call.places, call.size, "sum", call.last))


@every_shape
def test_transforms_and_programs(word, plane, wanted):
    call = Taking(word, plane, wanted)
    x = call.planes.detach()
    expected = call(x)
    assert torch.equal(torch.vmap(call)(torch.stack([x, x + 1])), torch.stack([expected, call(x + 1)]))
    assert torch.equal(torch.func.jvp(call, (x,), (x,))[1], expected)  # it is linear
    assert torch.equal(torch.compile(call, fullgraph=True, backend="aot_eager")(x), expected)


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns about itself
@every_shape
def test_export(word, plane, wanted):
    """The exporter to ONNX uses `GatherElements`, decompositions use PyTorch's gather."""

    class Model(torch.nn.Module):
        def forward(self, planes, indices):
            return unpool.take_along_plane(planes, indices, data_format=word)

    call = Taking(word, plane, wanted)
    given = call.planes.detach().float(), call.indices.int()
    expected = Model()(*given)
    program = torch.export.export(Model(), given)
    plain = program.run_decompositions(unpool.torch.decompositions())
    assert "unpool" not in {node.target.namespace for node in plain.graph.nodes if hasattr(node.target, "namespace")}
    assert torch.equal(plain.module()(*given), expected)
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    runtime = require("onnxruntime", "it runs the exported model")
    table = unpool.torch.onnx_translations()
    exported = torch.onnx.export(Model(), given, dynamo=True, custom_translation_table=table, verbose=False)
    session = runtime.InferenceSession(exported.model_proto.SerializeToString())
    names = [entry.name for entry in session.get_inputs()]
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
    assert np.array_equal(found, expected.numpy())


@pytest.mark.filterwarnings("ignore")
def test_a_gradient_of_unpooling_is_not_exported():
    require("onnxscript", "PyTorch's exporter to ONNX needs it")

    class Model(torch.nn.Module):
        def forward(self, planes, indices):
            return unpool.max_unpool2d_backward(planes, indices, 2)

    given = torch.rand(1, 1, 4, 4), torch.zeros((1, 1, 2, 2), dtype=torch.int64)
    table = unpool.torch.onnx_translations()
    with pytest.raises(
        torch.onnx.errors.OnnxExporterError, match="but no gradient of unpooling, got one with index_fo"
    ):
        torch.onnx.export(Model(), given, dynamo=True, custom_translation_table=table, verbose=False)


def test_any_size_is_one_program():
    compiled = torch.compile(unpool.take_along_plane, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((4, 3), (7, 9), (5, 2)):
        x = torch.rand(2, 3, *size)
        indices = torch.from_numpy(anywhere((2, 3, size[1], 6), size[0] * size[1]))
        assert torch.equal(compiled(x, indices), unpool.take_along_plane(x, indices))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_operator_names_the_arguments_of_the_function(memory_format):
    """Tensors that are channels_last in memory use the operator."""
    x = torch.rand(1, 2, 4, 3).to(memory_format=memory_format)
    with pytest.raises(
        IndexError, match=r"\[0, 0, 0, 0\] = 12 is out of range for an input plane of 4 x 3: .* `input`"
    ):
        unpool.take_along_plane(x, torch.full((1, 2, 2, 2), 12))
    with pytest.raises(TypeError, match="`input` and `indices` must be on one device"):
        unpool.take_along_plane(x.to("meta"), torch.zeros((1, 2, 2, 2), dtype=torch.int64))
    indices = torch.zeros((1, 2, 2, 2), dtype=torch.int64).to(memory_format=memory_format)
    assert unpool.take_along_plane(x, indices).is_contiguous(memory_format=memory_format)
