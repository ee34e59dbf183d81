"""Without a window, `kernel_size=None`: PyTorch's adaptive and fractional pooling, derivatives, programs and layers."""

import copy
import pickle

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, anywhere, arranged, bits, whole
from unpool.testing.compare import assert_same_bits

torch = require("torch", "its pooling gives the indices")
require_backend("torch")

import unpool.torch  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
]
every_rank = pytest.mark.parametrize("rank", [1, 2, 3])


def functions(rank):
    """Return unpooling, its gradient, and the gradient of pooling."""
    names = f"max_unpool{rank}d", f"max_unpool{rank}d_backward", f"max_pool{rank}d_backward"
    return tuple(getattr(unpool, name) for name in names)


# --- PyTorch's adaptive and fractional pooling ------------------------------------------------------------------------

POOLINGS = [f"adaptive_max_pool{rank}d" for rank in (1, 2, 3)] + ["fractional_max_pool2d", "fractional_max_pool3d"]


@pytest.fixture(scope="module")
def samples():
    """Return the calls with which PyTorch tests a function, by its name: the input, the arguments and the options."""
    require("expecttest", "PyTorch's own sample inputs need it")
    from torch.testing._internal import common_methods_invocations

    def of(name):
        (entry,) = [entry for entry in common_methods_invocations.op_db if entry.name == f"nn.functional.{name}"]
        return [(given.input, given.args, given.kwargs) for given in entry.sample_inputs("cpu", torch.float64)]

    return of


@pytest.mark.filterwarnings("ignore")  # PyTorch's test suite warns about itself
@pytest.mark.parametrize("name", POOLINGS)
def test_all_of_pytorchs_samples_unpool(samples, name):
    """Values, planes and three gradients are those of a naive scatter; the gradient of pooling is PyTorch's, too."""
    rank, pool = int(name[-2]), getattr(torch.nn.functional, f"{name}_with_indices")
    up, take, back = functions(rank)
    given = samples(name)
    assert len(given) >= 8
    for x, arguments, options in given:
        arguments = arguments[:1] if name.startswith("adaptive") else arguments  # without `return_indices`
        options = {argument: value for argument, value in options.items() if argument != "return_indices"}
        x = x.requires_grad_()
        values, indices = pool(x, *arguments, **options)
        plane = tuple(x.shape[-rank:])
        pooled, named = values.detach().clone().requires_grad_(), indices.numpy()
        planes = up(pooled, indices, None, output_size=x.shape)
        assert_same_bits(planes.detach().numpy(), oracle.max_unpool(pooled.detach().numpy(), named, plane))
        slope = torch.from_numpy(whole("float64", tuple(x.shape)))
        (found,) = torch.autograd.grad(planes, pooled, slope)
        assert_same_bits(found.numpy(), oracle.max_unpool_backward(slope.numpy(), named, rank))
        assert torch.equal(take(slope, indices, None), found)
        grad = torch.from_numpy(whole("float64", tuple(values.shape), 1))
        found = back(grad, indices, x.shape, None)
        assert_same_bits(found.numpy(), oracle.max_pool_backward(grad.numpy(), named, plane))
        assert torch.equal(torch.autograd.grad(values, x, grad)[0], found)


def test_what_pytorchs_layer_refuses():
    """The documentation of `AdaptiveMaxPool2d` promises that `MaxUnpool2d` takes its indices."""
    x = torch.rand((1, 2, 16, 9))
    values, indices = torch.nn.AdaptiveMaxPool2d((3, 4), return_indices=True)(x)
    with pytest.raises(ValueError, match="output_size"):
        torch.nn.MaxUnpool2d(2)(values, indices, output_size=x.shape)
    planes = unpool.torch.MaxUnpool2d(None)(values, indices, output_size=x.shape)
    assert_same_bits(planes.numpy(), oracle.max_unpool(values.numpy(), indices.numpy(), (16, 9)))


# --- derivatives and tensors ------------------------------------------------------------------------------------------

SIZES = {1: ((3,), (7,)), 2: ((3, 2), (4, 5)), 3: ((2, 1, 3), (3, 2, 4))}
modes = pytest.mark.parametrize("mode", ["last", "sum"])
CHECKED = {"check_batched_grad": True, "check_forward_ad": True, "check_batched_forward_grad": True}


@modes
@pytest.mark.parametrize("data_format", FORMATS)
@every_rank
def test_derivatives(rank, data_format, mode):
    pooled, plane = SIZES[rank]
    shapes = [arranged((2, 2), sizes, data_format) for sizes in (pooled, plane)]
    values, planes = (torch.from_numpy(bits("int8", shape).astype("float64")).requires_grad_() for shape in shapes)
    indices = torch.from_numpy(anywhere(shapes[0], int(np.prod(plane))))
    named = {"data_format": data_format, "duplicates": mode}
    up, take, _ = functions(rank)
    for function, x in (
        (lambda x: up(x, indices, None, output_size=plane, **named), values),
        (lambda x: take(x, indices, None, **named), planes),
    ):
        assert torch.autograd.gradcheck(function, x, **CHECKED)
        both = {"check_fwd_over_rev": True, "check_rev_over_rev": True, "check_batched_grad": True}
        assert torch.autograd.gradgradcheck(lambda x, function=function: function(x) ** 2, x, **both)


@modes
def test_mapped(mode):
    values, planes = torch.rand((3, 2, 4, 3, 2)), torch.rand((3, 2, 4, 4, 5))
    indices = torch.from_numpy(anywhere(values.shape, 20))

    def up(values, indices):
        return unpool.max_unpool2d(values, indices, None, output_size=(4, 5), duplicates=mode)

    def take(planes, indices):
        return unpool.max_unpool2d_backward(planes, indices, None, duplicates=mode)

    for function, given in ((up, (values, indices)), (take, (planes, indices))):
        expected = torch.stack([function(*each) for each in zip(*given, strict=True)])
        assert torch.equal(torch.vmap(function)(*given), expected)
        assert torch.equal(torch.vmap(torch.vmap(function))(*given), expected)
        moved = torch.vmap(function, in_dims=(2, 0), out_dims=1)(given[0].movedim(0, 2), indices)
        assert torch.equal(moved.movedim(1, 0), expected)


@pytest.mark.parametrize(("rank", "format"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_memory_formats(rank, format):
    pooled, plane = SIZES[rank]
    values, planes = (torch.from_numpy(bits("float32", (2, 3, *sizes))) for sizes in (pooled, plane))
    indices = torch.from_numpy(anywhere(values.shape, int(np.prod(plane))))
    up, take, _ = functions(rank)
    for found, expected in (
        (
            up(values.contiguous(memory_format=format), indices, None, output_size=plane),
            up(values, indices, None, output_size=plane),
        ),
        (take(planes.contiguous(memory_format=format), indices, None), take(planes, indices, None)),
    ):
        assert found.is_contiguous(memory_format=format)
        assert_same_bits(found.contiguous().numpy(), expected.numpy())


def test_a_bad_index_through_the_operators():
    """The operators plan again; their messages are those of direct calls."""
    values, indices = torch.ones((1, 2, 3)), torch.tensor([[[0, 1, 2], [3, 9, 2]]])
    for call in (unpool.max_unpool1d, torch.compile(unpool.max_unpool1d, fullgraph=True, backend="aot_eager")):
        with pytest.raises(IndexError, match=r"indices\[0, 1, 1\] = 9 is out of range for an output plane of 5 cells"):
            call(values, indices, None, output_size=(5,))


# --- programs ---------------------------------------------------------------------------------------------------------


class Up(torch.nn.Module):
    """Unpool to the size of another tensor, and take its values at the indices."""

    def forward(self, values, indices, like):
        planes = unpool.max_unpool2d(values, indices, None, output_size=like.shape)
        return planes, unpool.max_unpool2d_backward(planes * like, indices, None, duplicates="sum")


def inputs(pooled, plane, batch=2, channels=11):
    values, like = torch.rand((batch, channels, *pooled)), torch.rand((batch, channels, *plane))
    return values, torch.from_numpy(anywhere(tuple(values.shape), int(np.prod(plane)))), like


# Sizes with fewer and with more values than cells; none is equal to another one, which PyTorch would take for a rule.
MANY = [((3, 4), (7, 9)), ((5, 6), (12, 13)), ((4, 8), (9, 3)), ((6, 9), (4, 5))]


def assert_same(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)


def test_one_program_for_all_sizes():
    from torch._dynamo.testing import CompileCounter

    torch.compiler.reset()
    counter = CompileCounter()
    call = torch.compile(Up(), fullgraph=True, backend=counter, dynamic=True)
    for sizes in MANY:
        given = inputs(*sizes)
        assert_same(call(*given), Up()(*given))
    assert counter.frame_count == 1


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiled_gradients(dynamic):
    torch.compiler.reset()
    values, indices, like = inputs(*MANY[0])
    values, like = values.requires_grad_(), like.requires_grad_()

    def total(values, like):
        planes, taken = Up()(values, indices, like)
        return (planes**2).sum() + (taken**2).sum()

    expected = torch.autograd.grad(total(values, like), (values, like))
    compiled = torch.compile(total, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for actual, right in zip(torch.autograd.grad(compiled(values, like), (values, like)), expected, strict=True):
        assert torch.allclose(actual, right)


@pytest.mark.parametrize("strict", [False, True], ids=["not strict", "strict"])
def test_exported_with_open_sizes(strict):
    dim = torch.export.Dim
    pooled = {0: dim("n"), 2: dim("a"), 3: dim("b")}
    sizes = pooled, pooled, {0: pooled[0], 2: dim("h"), 3: dim("w")}
    program = torch.export.export(Up(), inputs(*MANY[0]), dynamic_shapes=sizes, strict=strict)
    names = [str(node.target) for node in program.graph.nodes if "unpool" in str(node.target)]
    assert names == ["unpool.max_unpool.default", "unpool.max_unpool_backward.default"]
    for sizes in MANY:
        given = inputs(*sizes, batch=3)
        assert_same(program.module()(*given), Up()(*given))


def test_the_portable_form_refuses():
    program = torch.export.export(Up(), inputs(*MANY[0]))
    with pytest.raises(ValueError, match=r"lie apart .* got 2-D windows with kernel_size=None"):
        program.run_decompositions(unpool.torch.decompositions())


# --- layers -----------------------------------------------------------------------------------------------------------


@every_rank
def test_layers(rank):
    pooled, plane = SIZES[rank]
    layer = getattr(unpool.torch, f"MaxUnpool{rank}d")(None, duplicates="sum")
    shown = f"MaxUnpool{rank}d(kernel_size=None, stride=None, padding={(0,) * rank}, duplicates='sum')"
    values = torch.rand((2, 3, *pooled))
    indices = torch.from_numpy(anywhere(tuple(values.shape), int(np.prod(plane))))
    expected = functions(rank)[0](values, indices, None, output_size=plane, duplicates="sum")
    traced = torch.fx.symbolic_trace(torch.nn.Sequential(layer)[0])
    for copied in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(copied) == shown
        assert torch.equal(copied(values, indices, output_size=plane), expected)
    assert torch.equal(traced(values, indices, plane), expected)
    with pytest.raises(ValueError, match="`output_size` must be given where there is no window, got None"):
        layer(values, indices)
    with pytest.raises(ValueError, match="`stride` must be left out where kernel_size=None, got 2"):
        type(layer)(None, 2)
