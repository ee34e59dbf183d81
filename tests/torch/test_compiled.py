"""`torch.compile` and `torch.export`: a call stays one operator, for all sizes."""

import io
import shutil

import numpy as np
import pytest
from needs import require, require_backend
from processes import python

import unpool
from unpool.testing.cases import POOLINGS, bits
from unpool.testing.compare import assert_same_bits

torch = require("torch", "the tests of its compiler and exporter need it")
require_backend("torch")

# Loading PyTorch's compiler and exporter raises warnings about PyTorch itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),  # PyTorch itself reads .grad
]
seldom = pytest.mark.one_in(8)  # a case compiles a program, for seconds
EVERY = {name: case for name, case in POOLINGS.items() if case.rank < 3 or name == "volume"}


@pytest.fixture(autouse=True)
def _afresh():
    torch.compiler.reset()


def compiled(function, backend="aot_eager", **named):
    return torch.compile(function, fullgraph=True, backend=backend, **named)


def there_and_back(case, **more):
    """Return a function that pools and unpools a tensor."""
    pool, up = getattr(unpool, f"max_pool{case.rank}d"), getattr(unpool, f"max_unpool{case.rank}d")

    def function(x):
        values, indices = pool(x, **case.arguments, **more, return_indices=True)
        return values, indices, up(values * values, indices, **case.window, **more, output_size=x.shape)

    return function


# --- compiled ---------------------------------------------------------------------------------------------------------


@seldom
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", EVERY.values(), ids=EVERY)
def test_results(case, dynamic):
    x = torch.from_numpy(bits("float32", case.shape((2, 3), "channels_first")))
    function = there_and_back(case)
    for actual, expected in zip(compiled(function, dynamic=dynamic)(x), function(x), strict=True):
        assert_same_bits(actual.numpy(), expected.numpy())


@seldom
@pytest.mark.parametrize("mode", ["last", "sum"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_gradients(mode, dynamic, data_format):
    case = POOLINGS["odd"]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(case.shape((2, 3), data_format))).requires_grad_()
    indices = unpool.max_pool2d(x, **case.arguments, data_format=data_format, return_indices=True)[1]

    def function(x):
        values = unpool.max_pool2d(x, **case.arguments, data_format=data_format)
        named = case.window | {"data_format": data_format, "duplicates": mode}
        planes = unpool.max_unpool2d(values**2, indices * 0 + 3, **named, output_size=x.shape)
        taken = unpool.max_unpool2d_backward(planes * x, indices, **named)
        back = unpool.max_pool2d_backward(taken, indices, x.shape, **case.window, data_format=data_format)
        return (back * x).sum()

    (expected,) = torch.autograd.grad(function(x), x)
    (actual,) = torch.autograd.grad(compiled(function, dynamic=dynamic)(x), x)
    assert_same_bits(actual.numpy(), expected.numpy())


def test_one_program_for_many_sizes():
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    function = there_and_back(POOLINGS["odd"])
    call = compiled(function, counter, dynamic=True)
    for shape in ((2, 3, 8, 6), (3, 4, 10, 12), (5, 2, 7, 9), (2, 2, 6, 8)):
        x = torch.from_numpy(bits("float32", shape))
        for actual, expected in zip(call(x), function(x), strict=True):
            assert_same_bits(actual.numpy(), expected.numpy())
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("dynamic", "square", "programs"),
    [(None, False, [1, 1, 2, 2, 2, 3]), (True, False, [1, 1, 1, 1, 1, 2]), (True, True, [1, 1, 2, 2, 2, 3])],
    ids=["default", "dynamic", "dynamic, two equal sizes in the example"],
)
@pytest.mark.parametrize("layers", ["unpool.torch", "torch.nn"])
def test_a_model_is_compiled_again_where_torch_nn_is(layers, dynamic, square, programs):
    """When a size first changes, and for a batch of 1, as docs/torch.md says."""
    from torch._dynamo.testing import CompileCounter
    from torch_models import Net

    import unpool.torch

    counter = CompileCounter()
    model = Net({"unpool.torch": unpool.torch, "torch.nn": torch.nn}[layers])
    call = compiled(model, counter, dynamic=dynamic)
    example, found = (2, 3, 8, 8 if square else 6), []
    for shape in (example, example, (4, 3, 7, 5), (5, 3, 9, 12), (3, 3, 6, 6)):
        x = torch.rand(shape)
        assert torch.equal(call(x), model(x))
        found.append(counter.frame_count)
    call(torch.rand(1, 3, 8, 7))
    assert [*found, counter.frame_count] == programs


def test_memory_formats():
    function = there_and_back(POOLINGS["odd"])
    x = torch.from_numpy(bits("float32", (2, 3, 7, 5))).contiguous(memory_format=torch.channels_last)
    for actual, expected in zip(compiled(function)(x), function(x), strict=True):
        assert_same_bits(actual.numpy(), expected.numpy())
        assert actual.stride() == expected.stride()


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor compiles with g++, which is not installed")
def test_by_inductor():
    function = there_and_back(POOLINGS["odd"])
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 7, 5))).requires_grad_()

    def both(x):
        return (function(x.sin())[2] * x).sum()

    (expected,) = torch.autograd.grad(both(x), x)
    (actual,) = torch.autograd.grad(compiled(both, "inductor")(x), x)
    assert torch.allclose(actual, expected, rtol=1e-12)


def test_functional_derivatives():
    case = POOLINGS["odd"]
    x, t = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 2, 7, 5)))

    def total(x):
        return (there_and_back(case)(x)[2] ** 2).sum()

    derivatives = {
        "grad": lambda x, t: torch.func.grad(total)(x),
        "jvp": lambda x, t: torch.func.jvp(total, (x,), (t,))[1],
        "hvp": lambda x, t: torch.func.jvp(torch.func.grad(total), (x,), (t,))[1],
        "vmap": lambda x, t: torch.vmap(lambda x: there_and_back(case)(x)[2])(torch.stack([x, t])),
    }
    for derivative in derivatives.values():
        assert torch.allclose(compiled(derivative)(x, t), derivative(x, t))


def test_out():
    """After the call, `out` holds the result."""
    x = torch.from_numpy(bits("float32", (2, 3, 8, 6)))

    def call(x, out):
        return unpool.max_pool2d(x, 2, out=out) + 0

    out = torch.empty((2, 3, 4, 3))
    assert_same_bits(compiled(call)(x, out).numpy(), out.numpy())
    assert_same_bits(out.numpy(), unpool.max_pool2d(x, 2).numpy())


def test_modules():
    pool, up = unpool.MaxPool2d(2, return_indices=True), unpool.MaxUnpool2d(2)
    x = torch.from_numpy(bits("float32", (2, 3, 8, 6)))
    assert_same_bits(compiled(lambda x: up(*pool(x)))(x).numpy(), up(*pool(x)).numpy())
    # Programs read what was left out.
    assert_same_bits(compiled(lambda x: x * pool.stride[0])(x).numpy(), (x * 2).numpy())


@pytest.mark.skipif(torch.__version__ < "2.13", reason="this PyTorch cannot trace that an object is made")
def test_modules_made_by_a_program():
    def call(x):
        values, indices = unpool.MaxPool2d(2, return_indices=True)(x)
        return unpool.MaxUnpool2d(2)(values, indices, x.shape)

    x = torch.from_numpy(bits("float32", (2, 3, 7, 6)))
    assert_same_bits(compiled(call)(x).numpy(), call(x).numpy())


def test_parameters_and_windows_that_vary():
    x = torch.nn.Parameter(torch.rand((2, 3, 8, 6)))
    pool = compiled(lambda x, *window: unpool.max_pool2d(x, *window))
    for kernel in (2, 3, 4):
        assert torch.equal(pool(x, kernel), unpool.max_pool2d(x, kernel))
    for window in ((3, 2, 0), (3, 2, 1), (4, 2, 2), (3, 2, ((0, 1), 0)), (4, 2, ((2, 1), (0, 3)))):
        assert torch.equal(pool(x, *window), unpool.max_pool2d(x, *window))


def test_a_backward_pass_that_is_compiled():
    x = torch.rand((2, 3, 7, 5), dtype=torch.float64, requires_grad=True)
    function = there_and_back(POOLINGS["odd"])
    (expected,) = torch.autograd.grad(function(x)[2].sum(), x)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="aot_eager")):
        function(x)[2].sum().backward()
    assert torch.equal(x.grad, expected)


def test_a_batch_that_only_the_run_knows():
    class Some(torch.nn.Module):
        def forward(self, x, mask):
            return unpool.max_pool2d(x.new_ones((mask.nonzero().numel(), 2, 4, 4)), 2)

    x, mask = torch.rand((1, 2, 4, 4)), torch.tensor([1, 0, 1])
    program = torch.export.export(Some(), (x, mask)).module()
    assert program(x, torch.tensor([1, 1, 1])).shape == (3, 2, 2, 2)


def test_conventions():
    """A traced program does not check that indices fit their convention."""
    indices = unpool.max_pool2d(torch.rand((2, 3, 8, 6)), 2, return_indices=True)[1]
    for target in ("tensorflow", "tensorflow_batch", "onnx", "window"):
        named = {"output_size": (2, 3, 8, 6), "kernel_size": 2}

        def call(indices, target=target, named=named):
            there = unpool.convert_indices(indices, "plane", target, **named)
            return there, unpool.convert_indices(there, target, "plane", **named)

        for actual, expected in zip(compiled(call)(indices), call(indices), strict=True):
            assert torch.equal(actual, expected)


def test_the_first_call_of_a_process_may_be_compiled():
    program = """
import warnings
import torch, unpool
def call(x):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    return unpool.max_unpool2d(values, indices, 2, output_size=x.shape)
print(torch.compile(call, fullgraph=True, backend="aot_eager")(torch.arange(9.0).reshape(1, 3, 3)).tolist())
"""
    result = python("-W", "error", "-W", "ignore::DeprecationWarning", "-c", program)
    assert result.stdout == "[[[0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]\n", result.stderr


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_bad_index_is_told_at_the_run():
    call = compiled(lambda values, indices: unpool.max_unpool2d(values, indices, 2))
    values = torch.ones((1, 2, 2))
    with pytest.raises(IndexError, match=r"indices\[0, 1, 0\] = 16 is out of range for an output plane of 4 x 4"):
        call(values, torch.tensor([[[0, 2], [16, 3]]]))
    assert call(values, torch.tensor([[[0, 2], [8, 3]]])).sum() == 4


def test_a_mistake_is_told_in_the_words_of_unpool():
    x = torch.ones((1, 2, 5, 5))
    with pytest.raises(ValueError, match=r"`padding` must be at most half of `kernel_size`"):
        torch.compile(lambda x: unpool.max_pool2d(x, 2, padding=2), backend="aot_eager")(x)
    with pytest.raises(Exception, match=r"`padding` must be at most half of `kernel_size`"):
        compiled(lambda x: unpool.max_pool2d(x, 2, padding=2))(x)


# --- operators and exported programs ----------------------------------------------------------------------------------

WINDOW = [2, 2], [2, 2], [0, 0], [1, 1]


@pytest.mark.one_in(2)  # a case compiles programs
@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels last"])
@pytest.mark.parametrize("name", ["max_pool", "max_pool_with_indices", "max_unpool", "max_unpool_backward"])
def test_operators_are_what_they_say(name, format, index_format):
    """Test schema, derivatives, and shapes of tensors without values, with PyTorch's `opcheck`."""
    x = torch.rand((2, 3, 8, 6), dtype=torch.float64).contiguous(memory_format=format).requires_grad_()
    values, indices = (t.detach() for t in unpool.max_pool2d(x, 2, return_indices=True, index_format=index_format))
    how, index_dtype = (False, index_format), {"plane": "int32", "window": "uint8"}[index_format]
    arguments = {
        "max_pool": (x, *WINDOW, False, False),
        "max_pool_with_indices": (x, *WINDOW, False, *how, index_dtype),
        "max_unpool": (values.requires_grad_(), indices, *WINDOW, [8, 6], *how, "last", "plane", "output_size"),
        "max_unpool_backward": (x, indices, *WINDOW, *how, "sum", "plane", "grad_output"),
    }
    torch.library.opcheck(getattr(torch.ops.unpool, name), arguments[name])


# A padding of two integers an axis, first those before the plane; a word; and no window.
OTHERS = {
    "pairs": ([2, 3], [2, 2], [0, 2, 1, 0], [1, 1]),
    "same_lower": ([2, 2], [2, 2], [-2, -2], [1, 1]),
    "none": ([0, 0], [1, 1], [0, 0], [1, 1]),
}


@pytest.mark.parametrize(("kind", "window"), OTHERS.items(), ids=OTHERS)
def test_operators_of_other_windows(kind, window):
    x = torch.rand((2, 3, 7, 5), dtype=torch.float64).requires_grad_()
    pool = x, *window, False, False
    if kind == "none":
        values, indices = torch.nn.functional.adaptive_max_pool2d_with_indices(x, (3, 4))
    else:
        values, indices = torch.ops.unpool.max_pool_with_indices(*pool, "plane", "int64")
        torch.library.opcheck(torch.ops.unpool.max_pool, pool)
        torch.library.opcheck(torch.ops.unpool.max_pool_with_indices, (*pool, "plane", "int64"))
    up = values.detach().requires_grad_(), indices, *window, [7, 5], False, "plane", "last", "plane", "output_size"
    torch.library.opcheck(torch.ops.unpool.max_unpool, up)
    take = x, indices, *window, False, "plane", "sum", "plane", "grad_output"
    torch.library.opcheck(torch.ops.unpool.max_unpool_backward, take)


def test_an_error_of_an_operator_shows_the_window_as_it_was_written():
    padding = ((0, 1), 1)
    call = compiled(lambda x, indices: unpool.max_unpool2d_backward(x, indices, 2, padding=padding, validate="windows"))
    for function in (
        call,
        lambda x, indices: unpool.max_unpool2d_backward(x, indices, 2, 2, padding, validate="windows"),
    ):
        with pytest.raises(IndexError, match=r"outside its own window .* padding=\(\(0, 1\), 1\)"):
            function(torch.ones((1, 1, 3, 2)), torch.tensor([[[[0, 0], [4, 5]]]]))


class Net(torch.nn.Module):
    def forward(self, x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True)
        return unpool.max_unpool2d(values, indices, 2, output_size=x.shape)


@pytest.mark.parametrize("strict", [False, True], ids=["not strict", "strict"])
def test_exported(strict):
    x = torch.rand((2, 3, 8, 6))
    exported = torch.export.export(Net(), (x,), strict=strict)
    assert torch.equal(exported.module()(x), Net()(x))
    names = [str(node.target) for node in exported.graph.nodes if "unpool" in str(node.target)]
    assert names == ["unpool.max_pool_with_indices.default", "unpool.max_unpool.default"]


def test_exported_with_open_sizes(tmp_path):
    dim = torch.export.Dim
    shapes = ({0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)},)
    exported = torch.export.export(Net(), (torch.rand((2, 3, 8, 6)),), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for shape in ((2, 3, 8, 6), (4, 3, 10, 7), (1, 3, 5, 9)):
        x = torch.rand(shape)
        assert torch.equal(loaded(x), Net()(x))


@pytest.mark.parametrize(
    ("padding", "packed"), [(((0, 1), (2, 0)), [0, 2, 1, 0]), ((1, (1, 1)), [1, 1]), ("same_lower", [-2, -2])], ids=str
)
def test_exported_with_other_paddings(padding, packed):
    class Padded(torch.nn.Module):
        def forward(self, x):
            values, indices = unpool.max_pool2d(x, 3, 2, padding, return_indices=True)
            return unpool.max_unpool2d(values, indices, 3, 2, padding, output_size=x.shape)

    dim = torch.export.Dim
    shapes = ({0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)},)
    exported = torch.export.export(Padded(), (torch.rand((2, 3, 8, 6)),), dynamic_shapes=shapes)
    nodes = [node for node in exported.graph.nodes if "unpool" in str(node.target)]
    assert [node.args[3 if "pool_with" in str(node.target) else 4] for node in nodes] == [packed, packed]
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for shape in ((2, 3, 8, 6), (4, 3, 10, 7), (1, 3, 5, 9)):
        x = torch.rand(shape)
        assert torch.equal(loaded(x), Padded()(x))


def test_a_size_that_only_the_run_knows():
    """The operator checks the size at run time."""

    class Up(torch.nn.Module):
        def forward(self, values, indices, like):
            return unpool.max_unpool2d(values, indices, 2, output_size=like.shape)

    x = torch.rand((1, 2, 9, 7))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    dim = torch.export.Dim
    shapes = ({}, {}, {2: dim("h", min=4), 3: dim("w", min=4)})
    program = torch.export.export(Up(), (values, indices, x), dynamic_shapes=shapes).module()
    assert torch.equal(program(values, indices, x), Up()(values, indices, x))
    with pytest.raises(ValueError, match=r"`output_size` must be between 7 and 9 .* got output_size=\(11, 7\)"):
        program(values, indices, torch.rand((1, 2, 11, 7)))
