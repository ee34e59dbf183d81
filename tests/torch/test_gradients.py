"""Derivatives by PyTorch: of any order, in both modes, with `torch.func`, and for repeated indices."""

import functools

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool.testing import oracle
from unpool.testing.cases import POOLINGS, arranged
from unpool.testing.compare import assert_same_bits

torch = require("torch", "the tests of its derivatives need it")
require_backend("torch")

# The first forward-mode derivative raises a warning about PyTorch itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
checked = {"check_batched_grad": True, "check_forward_ad": True, "check_batched_forward_grad": True}
EVERY = {name: case for name, case in POOLINGS.items() if np.prod(case.size) <= 80}
modes = pytest.mark.parametrize("mode", ["last", "sum"])
formats = pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
index_formats = pytest.mark.parametrize("index_format", ["plane", "window"])


class Map:
    """Pooling, unpooling of repeated indices, or its gradient, as a function of one float64 tensor."""

    def __init__(self, call, case, data_format="channels_first", mode="last", leading=(2, 2), index_format="plane"):
        self.call, self.case = call, case
        self.named = case.window | {"data_format": data_format, "index_format": index_format}
        self.mode, self.shape = mode, case.shape(leading, data_format)
        rng = np.random.default_rng(0)
        whole = rng.permutation(float(np.prod(self.shape)) + np.arange(np.prod(self.shape))).reshape(self.shape)
        pool = getattr(unpool, f"max_pool{case.rank}d")
        self.ceil = {"ceil_mode": case.ceil_mode}
        values, indices = pool(whole, **self.named, **self.ceil, return_indices=True)
        last = data_format == "channels_last"
        if index_format == "plane":
            spatial = self.shape[-case.rank - last :][: case.rank]
            others, valid = rng.integers(0, np.prod(spatial), indices.shape), rng.random(indices.shape) < 0.5
        else:
            others = rng.integers(0, case.taps, indices.shape)
            valid = oracle.cells(others, *case, channels_last=last) >= 0
        self.indices = torch.from_numpy(np.where(valid, others, indices).astype(indices.dtype))
        self.x = torch.from_numpy(values if call == "unpool" else whole).requires_grad_()

    def __call__(self, x, indices=None):
        rank, indices = self.case.rank, self.indices if indices is None else indices
        if self.call == "pool":
            return getattr(unpool, f"max_pool{rank}d")(x, **self.named, **self.ceil)
        if self.call == "unpool":
            function = getattr(unpool, f"max_unpool{rank}d")
            return function(x, indices, **self.named, output_size=self.shape, duplicates=self.mode)
        function = getattr(unpool, f"max_unpool{rank}d_backward")
        return function(x, indices, **self.named, duplicates=self.mode)


CALLS = [("pool", "last"), ("unpool", "last"), ("unpool", "sum"), ("take", "last"), ("take", "sum")]
every_call = pytest.mark.parametrize(("call", "mode"), CALLS, ids=lambda entry: entry)


# --- finite differences -----------------------------------------------------------------------------------------------


@pytest.mark.one_in(4)  # finite differences call each function for every cell
@index_formats
@every_call
@pytest.mark.parametrize("case", EVERY.values(), ids=EVERY)
def test_first_order(case, call, mode, index_format):
    subject = Map(call, case, mode=mode, index_format=index_format)
    assert torch.autograd.gradcheck(subject, subject.x, **checked)


@index_formats
@formats
@every_call
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(POOLINGS["odd"], id="plane"),
        # Each call has a derivative of its own, and a row takes a tenth of a second.
        pytest.param(POOLINGS["row, overlap and padding"], id="row", marks=pytest.mark.whole),
    ],
)
def test_second_order(case, call, mode, data_format, index_format):
    subject = Map(call, case, data_format, mode, (1, 2), index_format)
    both = {"check_fwd_over_rev": True, "check_rev_over_rev": True, "check_batched_grad": True}
    assert torch.autograd.gradgradcheck(lambda x: subject(x) ** 2, subject.x, **both)


@every_call
def test_without_a_batch_and_with_the_channels_last(call, mode):
    for leading, data_format in (((2,), "channels_first"), ((2,), "channels_last"), ((2, 2), "channels_last")):
        subject = Map(call, POOLINGS["odd"], data_format, mode, leading)
        assert torch.autograd.gradcheck(subject, subject.x, **checked)


def test_where_torch_nn_fails():
    """For repeated indices, PyTorch gives a gradient to overwritten values (issues 80204, 80827)."""
    values = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([[[2, 2, 3]]])
    for mode in ("last", "sum"):
        ours = functools.partial(unpool.max_unpool1d, indices=indices, kernel_size=2, stride=1, duplicates=mode)
        assert torch.autograd.gradcheck(ours, values, **checked)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda x: torch.nn.functional.max_unpool1d(x, indices, 2, 1), values)


def test_a_loser_has_no_gradient():
    values = torch.tensor([[5.0, 6.0, 7.0]], requires_grad=True)
    indices = torch.tensor([[1, 1, 3]])
    planes = unpool.max_unpool1d(values, indices, 2, 1)
    (gradient,) = torch.autograd.grad(planes, values, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert gradient.tolist() == [[0.0, 2.0, 4.0]]
    refused = unpool.max_unpool1d(values, torch.tensor([[1, 0, 3]]), 2, 1, duplicates="error")
    (gradient,) = torch.autograd.grad(refused, values, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert gradient.tolist() == [[2.0, 1.0, 4.0]]


# --- modes and dtypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
@modes
def test_other_dtypes(dtype, mode):
    values = torch.arange(1, 4).to(getattr(torch, dtype)).reshape(1, 3).requires_grad_()
    indices = torch.tensor([[1, 1, 3]], dtype=torch.int32)
    planes = unpool.max_unpool1d(values, indices, 2, 1, duplicates=mode)
    (gradient,) = torch.autograd.grad(planes, values, torch.arange(1, 5).to(values.dtype).reshape(1, 4))
    assert gradient.dtype == values.dtype
    assert gradient.real.tolist() == [[2.0 * (mode == "sum"), 2.0, 4.0]]


@pytest.mark.parametrize("index_dtype", ["int64", "int32"])
def test_indices_have_no_gradient(index_dtype):
    x = torch.rand((1, 2, 4, 4), requires_grad=True)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, index_dtype=index_dtype)
    assert values.requires_grad
    assert not indices.requires_grad
    assert indices.dtype == getattr(torch, index_dtype)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert_same_bits(gradient.numpy(), unpool.max_pool2d_backward(torch.ones_like(values), indices, (4, 4), 2).numpy())


def test_no_gradient_is_kept_where_none_is_wanted():
    x = torch.rand((1, 2, 4, 4), requires_grad=True)
    with torch.no_grad():
        assert not unpool.max_pool2d(x, 2).requires_grad
    with torch.inference_mode():
        assert unpool.max_pool2d(x, 2).is_inference()
    assert not unpool.max_pool2d(x.detach(), 2).requires_grad


def test_a_bad_index_is_told_in_the_forward_pass():
    values = torch.rand((1, 2), requires_grad=True)
    with pytest.raises(IndexError, match=r"indices\[0, 1\] = 9 is out of range for an output plane of 4 cells"):
        unpool.max_unpool1d(values, torch.tensor([[0, 9]]), 2)


def test_autocast():
    """Pooling and unpooling keep the dtype of their input. Layers around them may change it."""
    convolve = torch.nn.Conv2d(1, 2, 3, padding=1)
    x = torch.rand((1, 1, 5, 5), requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, indices = unpool.max_pool2d(convolve(x), 2, return_indices=True)
        planes = unpool.max_unpool2d(values, indices, 2, output_size=(5, 5))
    assert (values.dtype, indices.dtype, planes.dtype) == (torch.bfloat16, torch.int64, torch.bfloat16)
    planes.float().sum().backward()
    assert x.grad.dtype == torch.float32
    assert x.grad.abs().sum() > 0


def test_checkpoints():
    x = torch.rand((1, 2, 6, 6), dtype=torch.float64, requires_grad=True)

    def function(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True)
        return unpool.max_unpool2d(values * values, indices, 2)

    again = torch.utils.checkpoint.checkpoint(function, x, use_reentrant=False)
    expected = torch.autograd.grad(function(x).sum(), x)
    assert torch.equal(torch.autograd.grad(again.sum(), x)[0], expected[0])


# --- torch.func -------------------------------------------------------------------------------------------------------


def both(x, mode="last"):
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    return unpool.max_unpool2d(values**2, indices, 3, 2, 1, output_size=x.shape, duplicates=mode)


@modes
def test_functional_derivatives(mode):
    rng = np.random.default_rng(0)
    x, t = (torch.from_numpy(rng.standard_normal((1, 2, 5, 4))) for _ in range(2))
    function = functools.partial(both, mode=mode)

    def total(x):
        return (function(x) ** 2).sum()

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(leaf), leaf, create_graph=True)
    (product,) = torch.autograd.grad(gradient, leaf, t)
    gradient = gradient.detach()
    assert torch.equal(torch.func.grad(total)(x), gradient)
    assert torch.equal(torch.func.vjp(total, x)[1](torch.ones((), dtype=x.dtype))[0], gradient)
    assert torch.allclose(torch.func.jvp(total, (x,), (t,))[1], (gradient * t).sum())
    assert torch.allclose(torch.func.jvp(torch.func.grad(total), (x,), (t,))[1], product)
    forward, backward = torch.func.jacfwd(function)(x), torch.func.jacrev(function)(x)
    assert torch.equal(forward, backward)
    hessian = torch.func.hessian(total)(x)
    assert torch.allclose(torch.einsum("abcdefgh,efgh->abcd", hessian, t), product)
    with torch.autograd.forward_ad.dual_level():
        dual = function(torch.autograd.forward_ad.make_dual(x, t))
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    assert torch.equal(tangent, torch.func.jvp(function, (x,), (t,))[1])


INDICES = torch.tensor([[[3, 0]]])
RECORDED = {
    "pool": (lambda x: unpool.max_pool1d(x, 2), lambda x: torch.nn.functional.max_pool1d(x, 2)),
    "unpool": (
        lambda x: unpool.max_unpool1d(x[..., ::2], INDICES, 2)[..., ::2],
        lambda x: torch.zeros_like(x).scatter(-1, INDICES, x[..., ::2])[..., ::2],
    ),
    "take": (lambda x: unpool.max_unpool1d_backward(x, INDICES, 2), lambda x: x.gather(-1, INDICES)),
}


@pytest.mark.parametrize("order", ["jvp of grad", "grad of grad", "jvp of jvp", "grad of jvp", "hessian"])
@pytest.mark.parametrize("where", ["nowhere", "inside", "outside"])
@pytest.mark.parametrize("call", RECORDED)
@pytest.mark.whole  # a case takes a hundredth of a second
def test_what_is_not_recorded(order, where, call):
    """`torch.no_grad` acts at every level of `torch.func` as it does on PyTorch's own operations."""

    def derivative(call):
        def function(x):
            with torch.set_grad_enabled(where != "inside"):
                y = call(x)
            return (x[..., ::2] ** 2 * y**2).sum()

        def outer(x):
            with torch.set_grad_enabled(where != "outside"):
                if order == "jvp of grad":
                    return torch.func.jvp(torch.func.grad(function), (x,), (x,))[1]
                if order == "grad of grad":
                    return torch.func.grad(lambda x: (torch.func.grad(function)(x) ** 2).sum())(x)
                if order == "jvp of jvp":
                    return torch.func.jvp(lambda x: torch.func.jvp(function, (x,), (x,))[1], (x,), (x,))[1]
                if order == "grad of jvp":
                    return torch.func.grad(lambda x: torch.func.jvp(function, (x,), (x,))[1])(x)
                return torch.func.hessian(function)(x)

        return outer(torch.tensor([[[1.0, 2.0, 4.0, 3.0]]], dtype=torch.float64))

    ours, theirs = map(derivative, RECORDED[call])
    assert torch.allclose(ours, theirs)


@modes
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "no batch"])
@formats
def test_mapped(mode, batched, data_format):
    """`torch.vmap` equals one call for each sample, for every mapped argument and axis."""
    rng = np.random.default_rng(0)
    shape = arranged((2, 3) if batched else (3,), (6, 5), data_format)
    x = torch.from_numpy(rng.standard_normal((4, *shape)))
    named = {"kernel_size": 2, "data_format": data_format}

    def pool(x):
        return unpool.max_pool2d(x, **named, return_indices=True)

    def up(values, indices):
        return unpool.max_unpool2d(values, indices, **named, output_size=(6, 5), duplicates=mode)

    def down(x, indices):
        return unpool.max_unpool2d_backward(x, indices, **named, duplicates=mode)

    values, indices = torch.vmap(pool)(x)
    each = [pool(sample) for sample in x]
    assert torch.equal(values, torch.stack([v for v, _ in each]))
    assert torch.equal(indices, torch.stack([i for _, i in each]))
    assert torch.equal(torch.vmap(lambda x: unpool.max_pool2d(x, **named))(x), values)
    assert torch.equal(torch.vmap(up)(values, indices), torch.stack([up(*pair) for pair in each]))
    assert torch.equal(
        torch.vmap(up, in_dims=(1, None), out_dims=1)(values.movedim(0, 1), indices[0]),
        torch.stack([up(v, indices[0]) for v in values], 1),
    )
    assert torch.equal(
        torch.vmap(down, in_dims=(None, 0))(x[0], indices), torch.stack([down(x[0], i) for i in indices])
    )
    slopes = torch.vmap(torch.func.grad(lambda x: (pool(x)[0] ** 2).sum()))(x)
    assert torch.equal(slopes, torch.stack([torch.func.grad(lambda x: (pool(x)[0] ** 2).sum())(s) for s in x]))
    nested = torch.vmap(torch.vmap(pool))(x[None])[0][0]
    assert torch.equal(nested, values)


def test_mapped_over_nothing():
    values, indices = torch.vmap(lambda x: unpool.max_pool2d(x, 2, return_indices=True))(torch.ones((3, 0, 2, 4, 4)))
    assert values.shape == indices.shape == (3, 0, 2, 2, 2)


def test_a_mapped_bad_index():
    with pytest.raises(IndexError, match="= 9 is out of range for an output plane of 4 cells"):
        torch.vmap(lambda v, i: unpool.max_unpool1d(v, i, 2))(
            torch.ones((3, 1, 2)), torch.tensor([[[0, 9]]]).expand(3, 1, 2)
        )
