"""Eager calls that skip PyTorch's dispatcher, and the calls that must not, because something there would miss them."""

import threading
import weakref

import pytest
from needs import require, require_backend

import unpool
from unpool import arguments, plan
from unpool.testing.cases import POOLINGS

torch = require("torch", "the tests of its dispatcher need it")
require_backend("torch")

from torch.autograd import forward_ad  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from unpool_backends.torch import BACKEND, operators, private  # noqa: E402

import unpool.torch  # noqa: E402

# The first forward-mode derivative raises a warning about PyTorch itself.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(torch.jit|TorchScript|The feature will be removed):DeprecationWarning"
)

X = torch.rand((1, 2, 6, 4), dtype=torch.float64)
V, I = unpool.max_pool2d(X, 2, return_indices=True)
REPEATED = I // 9
CALLS = {
    "pool": (X, lambda x: unpool.max_pool2d(x, 2)),
    "pool with indices": (X, lambda x: unpool.max_pool2d(x, 2, return_indices=True)[0]),
    "unpool": (V, lambda v: unpool.max_unpool2d(v, I, 2)),
    "unpool, sums": (V, lambda v: unpool.max_unpool2d(v, REPEATED, 2, duplicates="sum")),
    "gradient of pooling": (V, lambda v: unpool.max_pool2d_backward(v, I, (6, 4), 2)),
    "gradient of unpooling": (X, lambda x: unpool.max_unpool2d_backward(x, I, 2)),
    "unpool, repeated": (V, lambda v: unpool.max_unpool2d(v, REPEATED, 2)),
    "gradient of unpooling, repeated": (X, lambda x: unpool.max_unpool2d_backward(x, REPEATED, 2)),
    "gradient of sums": (X, lambda x: unpool.max_unpool2d_backward(x, REPEATED, 2, duplicates="sum")),
}
every_call = pytest.mark.parametrize(("given", "call"), CALLS.values(), ids=CALLS)


@pytest.fixture
def called(monkeypatch):
    """Return a list of the names of the operators' functions that were called."""
    names = []

    def wrapped(name, function):
        def call(*arguments):
            names.append(name)
            return function(*arguments)

        return call

    for name in ("pool", "scatter", "gather"):
        monkeypatch.setattr(operators, name, wrapped(name, getattr(operators, name)))
    return names


@pytest.fixture
def by_operators(monkeypatch):
    """Return a function that runs another one without the short way."""

    def run(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(private, "plainly_dispatched", lambda *tensors: False)
            return function(*arguments)

    return run


def with_gradient(tensor):
    return tensor.clone().requires_grad_()


# --- the short way ----------------------------------------------------------------------------------------------------


@every_call
def test_an_eager_call_skips_the_operators(called, given, call):
    """A call, its backward pass, and that of its gradient."""
    call(given)
    call(torch.nn.Parameter(given, requires_grad=False))
    leaf = with_gradient(given)
    with torch.no_grad():
        assert not call(leaf).requires_grad
    with torch.inference_mode():
        assert call(given).is_inference()
        assert call(given.clone()).is_inference()
    result = call(leaf)
    assert type(result) is torch.Tensor
    (gradient,) = torch.autograd.grad((result**2).sum(), leaf, create_graph=True)
    (gradient**2).sum().backward()
    assert leaf.grad.abs().sum() > 0
    assert called == []


def test_an_expanded_gradient_skips_them(called):
    leaf = with_gradient(V)
    unpool.max_unpool2d(leaf, I, 2).sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(V))
    assert called == []


def test_tensors_at_odd_addresses_skip_them(called):
    """`torch.frombuffer` makes tensors that are contiguous and not aligned."""
    memory = bytearray(1) + V.numpy().tobytes()
    values = torch.frombuffer(memory, dtype=V.dtype, offset=1).reshape(V.shape)
    assert values.is_contiguous()
    assert values.data_ptr() % 8
    assert torch.equal(unpool.max_unpool2d(values, I, 2), unpool.max_unpool2d(V, I, 2))
    assert called == []


def test_slices_skip_them(called):
    wide, indices = torch.stack([V, V], -1)[..., 0], torch.stack([I, I], -1)[..., 0]
    assert not wide.is_contiguous()
    assert not indices.is_contiguous()
    assert torch.equal(unpool.max_unpool2d(wide, indices, 2), unpool.max_unpool2d(V, I, 2))
    assert called == []


def test_results_do_not_keep_the_tensors(called):
    values = V.clone()
    seen = weakref.ref(values)
    result = unpool.max_unpool2d(values, I, 2)
    del values
    assert seen() is None
    assert result.shape == X.shape
    assert called == []


def test_out_skips_them(called):
    unpool.max_pool2d(X, 2, return_indices=True, out=(torch.empty_like(V), torch.empty_like(I)))
    unpool.max_unpool2d(V, I, 2, out=torch.empty_like(X))
    unpool.max_unpool2d_backward(X, I, 2, out=torch.empty_like(V))
    assert called == []


@every_call
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int16", "bool", "complex64"])
def test_every_dtype_skips_them(called, by_operators, given, call, dtype):
    tensor = given.round(decimals=1).to(getattr(torch, dtype))
    if dtype == "complex64" and call in [
        CALLS[name][1] for name in ("pool", "pool with indices", "gradient of pooling")
    ]:
        pytest.skip("pooling takes real numbers")
    found = call(tensor)
    assert called == []
    assert found.dtype == tensor.dtype
    assert torch.equal(found, by_operators(call, tensor))


@pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("leading", [(2, 3), (3,), (0, 3)], ids=["batch", "no batch", "empty batch"])
def test_derivatives_are_those_of_the_operators(called, by_operators, case, data_format, leading):
    x = torch.rand(case.shape(leading, data_format), dtype=torch.float64, requires_grad=True)
    pool, up = (getattr(unpool, f"max_{name}{case.rank}d") for name in ("pool", "unpool"))

    def derivatives(values_alone):
        named = {"data_format": data_format}
        values, indices = pool(x, **case.arguments, **named, return_indices=True)
        if values_alone:
            values = pool(x, **case.arguments, **named)
        planes = up(values**2, indices, **case.window, **named, output_size=x.shape, duplicates="sum")
        results = [planes]
        for _ in range(3):
            results += torch.autograd.grad((results[-1] ** 2).sum(), x, create_graph=True)
        return results

    for values_alone in (False, True):
        found = derivatives(values_alone)
        assert called == []
        for actual, expected in zip(found, by_operators(derivatives, values_alone), strict=True):
            assert torch.equal(actual, expected)
        assert called
        called.clear()


@pytest.mark.whole  # an operator's derivative is code of its own for each call
@every_call
def test_products_are_those_of_the_operators(by_operators, given, call):
    """Products with vectors that are zero nowhere, so that also a lost value would show, in both orders."""

    def products():
        leaf = with_gradient(given)
        result = call(leaf)
        first_vector = torch.linspace(1, 2, result.numel(), dtype=torch.float64).reshape(result.shape)
        vector = first_vector.requires_grad_()
        (first,) = torch.autograd.grad(result, leaf, vector, create_graph=True)
        second_vector = torch.linspace(2, 3, first.numel(), dtype=torch.float64).reshape(first.shape)
        return first, *torch.autograd.grad(first, vector, second_vector)

    for actual, expected in zip(products(), by_operators(products), strict=True):
        assert torch.equal(actual, expected)


@every_call
def test_derivatives_are_those_of_finite_differences(called, given, call):
    leaf = with_gradient(given)
    assert torch.autograd.gradcheck(call, leaf)
    assert torch.autograd.gradgradcheck(lambda x: call(x) ** 2, leaf)
    assert called == []


def test_derivatives_are_those_of_torch_nn():
    def derivatives(library):
        leaf = with_gradient(X)
        values, indices = library.max_pool2d(leaf, 2, return_indices=True)
        planes = library.max_unpool2d(values**3, indices, 2)
        (first,) = torch.autograd.grad((planes * X).sum(), leaf, create_graph=True)
        return planes, first, *torch.autograd.grad((first * X).sum(), leaf)

    for actual, expected in zip(derivatives(unpool), derivatives(torch.nn.functional), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("gradient", [False, True], ids=["no gradient", "gradient"])
def test_errors_are_those_of_the_operators(by_operators, gradient):
    bad = I.clone()
    bad[0, 1, 0, 0] = 24
    values = V.clone().requires_grad_(gradient)
    calls = [
        lambda: unpool.max_unpool2d(values, bad, 2),
        lambda: unpool.max_pool2d_backward(values, bad, (6, 4), 2),
        lambda: unpool.max_unpool2d_backward(X.clone().requires_grad_(gradient), bad, 2),
        lambda: unpool.max_unpool2d(values, I * 0, 2, duplicates="error"),
        lambda: unpool.max_unpool2d(values, I.flip(-1), 2, validate="windows"),
        lambda: unpool.max_unpool2d(values, I.to_sparse(), 2),
        lambda: unpool.max_unpool2d(values, I.to("meta"), 2),
        lambda: unpool.max_unpool2d(values.to("meta"), I, 2),
    ]
    for call in calls:
        messages = []
        for run in (lambda call: call(), by_operators):
            with pytest.raises((IndexError, ValueError, TypeError)) as caught:
                run(call)
            messages.append((type(caught.value), str(caught.value)))
        assert messages[0] == messages[1]


def test_an_error_of_a_backward_pass_is_that_of_the_operators(by_operators):
    """Indices that change without the knowledge of autograd are refused, and named as the operators name them."""

    def message():
        indices = I.clone()
        result = unpool.max_unpool2d(with_gradient(V), indices, 2)
        indices.numpy()[0, 1, 2, 1] = -1
        with pytest.raises(IndexError) as caught:
            result.sum().backward()
        return str(caught.value)

    assert "indices[0, 1, 2, 1] = -1" in message()
    assert message() == by_operators(message)


def test_indices_that_change_are_refused_by_autograd():
    indices = I.clone()
    result = unpool.max_unpool2d(with_gradient(V), indices, 2)
    indices += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


# --- what autograd adds -----------------------------------------------------------------------------------------------


def both(x):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    return unpool.max_unpool2d(values**2, indices, 2)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(called, reentrant):
    leaves = with_gradient(X), with_gradient(X)
    both(leaves[0]).sum().backward()
    checkpoint(both, leaves[1], use_reentrant=reentrant).sum().backward()
    assert torch.equal(leaves[0].grad, leaves[1].grad)
    assert called == []


def kept(call):
    """Return the tensors that autograd keeps of a call."""
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        call()
    return packed


def test_saved_tensors_pass_through_hooks():
    (saved,) = kept(lambda: unpool.max_unpool2d(with_gradient(V), I, 2).sum().backward())
    assert saved is I


@pytest.mark.parametrize(("kernel", "dtype"), [((2, 2), "uint8"), ((16, 16), "uint8"), ((1, 257), "int32")])
def test_values_alone_keep_small_indices(by_operators, kernel, dtype):
    """Bytes if they hold the taps of a window, else positions in the plane; in any format."""
    x = torch.rand((1, 2, 16, 257), dtype=torch.float64, requires_grad=True)
    values, indices = unpool.max_pool2d(x, kernel, return_indices=True)
    expected = unpool.max_pool2d_backward(torch.ones_like(values), indices, x.shape, kernel)
    for index_format in ("plane", "window"):

        def pool(index_format=index_format):
            return unpool.max_pool2d(x, kernel, index_format=index_format)

        for saved, found in ((kept(pool), pool()), (by_operators(kept, pool), by_operators(pool))):
            assert [(t.dtype, t.shape) for t in saved] == [(getattr(torch, dtype), values.shape)]
            assert torch.equal(torch.autograd.grad(found.sum(), x)[0], expected)


@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_indices_that_are_returned_are_kept(by_operators, index_format):
    """Pooling and unpooling keep one tensor, the one that the caller has."""
    x, found = with_gradient(X), []
    named = {"kernel_size": 2, "index_format": index_format}

    def both():
        values, indices = unpool.max_pool2d(x, return_indices=True, **named)
        found[:] = [indices]
        return unpool.max_unpool2d(values, indices, **named)

    for run in (kept, lambda call: by_operators(kept, call)):
        saved = run(both)
        assert len(saved) == 2
        assert {tensor.data_ptr() for tensor in saved} == {found[0].data_ptr()}


@pytest.mark.parametrize("every", [False, True], ids=["operators", "direct"])
def test_bytes_kept_of_an_encoder(by_operators, every):
    """Pooling keeps one byte for each of its values; `torch.nn` keeps eight."""
    convolutions = [torch.nn.Conv2d(channels, 4, 3, padding=1) for channels in (3, 4)]

    def bytes_kept(pool):
        def encode():
            encoder = torch.nn.Sequential(convolutions[0], pool, convolutions[1], pool)
            found[:] = [encoder(torch.rand((1, 3, 12, 16)))]

        found = []
        tensors = kept(encode) if every else by_operators(kept, encode)
        found[0].sum().backward()
        return sum(tensor.nbytes for tensor in tensors if tensor.dtype != torch.float32)

    pooled = 4 * (6 * 8 + 3 * 4)
    assert bytes_kept(unpool.torch.MaxPool2d(2)) == pooled
    assert bytes_kept(torch.nn.MaxPool2d(2)) == 8 * pooled


def test_threads_differentiate_one_graph():
    leaf = with_gradient(X)
    total = both(leaf).sum()
    expected = torch.autograd.grad(total, leaf, retain_graph=True)[0] * 4
    threads = [threading.Thread(target=total.backward, kwargs={"retain_graph": True}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.allclose(leaf.grad, expected)


# --- the operators ----------------------------------------------------------------------------------------------------


class Dispatched(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.names.append(str(function))
        return function(*arguments, **(named or {}))


class Functions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, function, types, arguments=(), named=None):
        self.names.append(str(function))
        return function(*arguments, **(named or {}))


class Picture(torch.Tensor):
    pass


@every_call
@pytest.mark.parametrize("mode", [Dispatched, Functions])
def test_modes_see_an_operator(given, call, mode):
    for tensor in (given, with_gradient(given)):
        with mode() as seen:
            call(tensor)
        assert any(name.startswith("unpool.max_") for name in seen.names)


@every_call
def test_modes_see_the_operator_of_a_backward_pass(given, call):
    result = call(with_gradient(given))
    with Dispatched() as seen:
        result.sum().backward()
    assert any(name.startswith("unpool.max_") for name in seen.names)


@every_call
@pytest.mark.parametrize(
    "record", [torch.profiler.profile, torch.autograd.profiler.profile], ids=["kineto", "autograd"]
)
def test_a_profile_shows_an_operator(given, call, record):
    leaf = with_gradient(given)
    for run in (lambda: call(given), lambda: call(leaf), call(leaf).sum().backward):
        with record(acc_events=True) as profile:  # PyTorch 2.11 warns otherwise
            run()
        assert any(event.key.startswith("unpool::max_") for event in profile.key_averages())


def dual(call, given):
    with forward_ad.dual_level():
        result = call(forward_ad.make_dual(given, given))
        assert torch.equal(forward_ad.unpack_dual(result).tangent, result)  # the calls are linear near `given`


def traced(call, given):
    """Trace the backend with a Plan: `torch.jit.trace` refuses the call itself, which reads the sizes of tensors."""
    unpooling = plan.plan_unpooling(tuple(V.shape), arguments.window(2, 2, None, 0, 1), None, False)
    graph = torch.jit.trace(lambda values: BACKEND.scatter(values, I, unpooling, "last", None), (V,)).graph
    assert "unpool::max_unpool" in str(graph)


def subclass(call, given):
    assert type(call(given.as_subclass(Picture))) is Picture


def negative(call, given):
    assert torch.equal(call(torch._neg_view(-given)), call(given))


def functional(call, given):
    wrapped = torch._to_functional_tensor(given)
    assert torch.equal(torch._from_functional_tensor(call(wrapped)), call(given))


def zeros(call, given):
    assert not call(torch._efficientzerotensor(given.shape, dtype=given.dtype)).any()


INTERCEPTED = {
    "torch.func.grad": lambda call, given: torch.func.grad(lambda x: call(x).sum())(given),
    "torch.func.jvp": lambda call, given: torch.func.jvp(call, (given,), (given,)),
    "torch.vmap": lambda call, given: torch.vmap(call)(torch.stack([given, given])),
    "torch.func.functionalize": lambda call, given: torch.func.functionalize(call)(given),
    "forward mode": dual,
    "torch.jit.trace": traced,
    "a subclass": subclass,
    "a negative view": negative,
    "a functional tensor": functional,
    "a tensor of zeros": zeros,
    "a meta tensor": lambda call, given: call(given.to("meta")),
}


@pytest.mark.parametrize("intercept", INTERCEPTED.values(), ids=INTERCEPTED)
def test_the_dispatcher_sees_an_operator(called, intercept):
    given, call = CALLS["pool"]
    intercept(call, given)
    assert called


class Model(torch.nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, given):
        return self.call(given)


def compiled(call, given):
    graphs = []
    torch._dynamo.reset()
    torch.compile(call, backend=lambda graph, inputs: graphs.append(graph) or graph, fullgraph=True)(given)
    return graphs[0].graph


GRAPHS = {
    "make_fx": lambda call, given: make_fx(call)(given).graph,
    "make_fx before autograd": lambda call, given: make_fx(call, pre_dispatch=True)(given).graph,
    "torch.compile": compiled,
    "torch.export, strict": lambda call, given: torch.export.export(Model(call), (given,), strict=True).graph,
    "torch.export": lambda call, given: torch.export.export(Model(call), (given,), strict=False).graph,
}


@every_call
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_a_graph_has_one_operator(given, call, graph):
    names = [str(node.target) for node in graph(call, given).nodes if "unpool.max_" in str(node.target)]
    assert len(names) == 1


@pytest.mark.parametrize("rank", [2, 3])
def test_channels_last_is_kept_by_an_operator(called, rank):
    """The derivatives of such tensors are in their order, too."""
    case = POOLINGS["odd" if rank == 2 else "volume, odd"]
    memory_format = torch.channels_last if rank == 2 else torch.channels_last_3d
    x = torch.rand(case.shape((2, 3), "channels_first")).contiguous(memory_format=memory_format).requires_grad_()
    values = getattr(unpool, f"max_pool{rank}d")(x, **case.arguments)
    assert values.is_contiguous(memory_format=memory_format)
    assert called == ["pool"]
    (gradient,) = torch.autograd.grad(values, x, torch.ones_like(values))
    assert gradient.is_contiguous(memory_format=memory_format)


def test_nothing_is_recorded_below_autograd(called, by_operators):
    """PyTorch calls the kernel of an operator so: gradients are on, and the dispatcher skips autograd."""
    values = with_gradient(V)
    with torch._C._AutoDispatchBelowAutograd():
        assert torch.is_grad_enabled()
        assert not by_operators(unpool.max_unpool2d, values, I, 2).requires_grad
        called.clear()
        assert not unpool.max_unpool2d(values, I, 2).requires_grad
    assert called == []


def test_an_inference_tensor_is_not_written_outside_its_mode():
    with torch.inference_mode():
        out = torch.zeros_like(X)
        assert unpool.max_unpool2d(V, I, 2, out=out) is out
        expected = out.tolist()
    with pytest.raises(ValueError, match=r"^`out` must not be written outside torch\.inference_mode"):
        unpool.max_unpool2d(V * 2, I, 2, out=out)
    assert out.tolist() == expected
