"""Taps of windows as indices of tensors: every way to run a call gives the numbers of NumPy arrays.

unpool.testing.contract tests eager calls.  PyTorch has few operations on uint16, so it has cases here.
"""

import copy
import io
import pickle
import shutil

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool.testing.compare import assert_same_bits

torch = require("torch", "the tests of its tensors need it")
require_backend("torch")

from functorch.compile import aot_function, nop  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from unpool_backends.torch import private  # noqa: E402

import unpool.torch  # noqa: E402

# The compiler, the exporter and the first forward-mode derivative raise warnings about PyTorch itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
]
seldom = pytest.mark.one_in(4)  # a case compiles a program, for seconds
SHAPE = (2, 3, 9, 7)
# The pooling arguments, the dtype that is asked for, and the one that comes.
CASES = {
    "bytes": ({"kernel_size": 2}, None, "uint8"),
    "overlap": ({"kernel_size": 3, "stride": 2, "padding": 1}, None, "uint8"),
    "same": ({"kernel_size": 3, "stride": 2, "padding": "same"}, None, "uint8"),
    "uint16": ({"kernel_size": 3, "stride": 2, "padding": 1}, "uint16", "uint16"),
    "more than 256 taps": ({"kernel_size": (17, 16), "stride": 3, "padding": 8}, None, "uint16"),
    "int32": ({"kernel_size": 2}, torch.int32, "int32"),
}
every_case = pytest.mark.parametrize(("window", "asked", "dtype"), CASES.values(), ids=CASES)


def there_and_back(window, asked=None, index_format="window", data_format="channels_first"):
    """Return a function that pools and unpools an array."""
    named = window | {"index_format": index_format, "data_format": data_format}

    def call(x):
        values, indices = unpool.max_pool2d(x, **named, index_dtype=asked, return_indices=True)
        return values, indices, unpool.max_unpool2d(values * values, indices, **named, output_size=x.shape)

    return call


def picture(shape=SHAPE, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.fixture(autouse=True)
def _afresh():
    torch.compiler.reset()


# --- programs ---------------------------------------------------------------------------------------------------------


def compiled(**named):
    return lambda call, x: torch.compile(call, fullgraph=True, **named)(x)


def exported(strict):
    """Return a function that exports a program of open sizes, saves it, and runs the one that is loaded."""

    def run(call, x):
        class Model(torch.nn.Module):
            def forward(self, x):
                return call(x)

        dim = torch.export.Dim
        shapes = ({0: dim("n"), 2: dim("h", min=4), 3: dim("w", min=4)},)
        file = io.BytesIO()
        torch.export.save(torch.export.export(Model(), (picture((3, 3, 8, 10)),), dynamic_shapes=shapes), file)
        file.seek(0)
        return torch.export.load(file).module()(x)

    return run


def by_operators(call, x):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "plainly_dispatched", lambda *tensors: False)
        return call(x)


inductor = pytest.param(
    compiled(backend="inductor"),
    marks=pytest.mark.skipif(not shutil.which("g++"), reason="inductor compiles with g++, which is not installed"),
    id="inductor",
)
WAYS = {
    "eager": lambda call, x: call(x),
    "a gradient": lambda call, x: tuple(t.detach() for t in call(x.clone().requires_grad_())),
    "operators": by_operators,
    "channels last in memory": lambda call, x: call(x.contiguous(memory_format=torch.channels_last)),
    "compiled": compiled(backend="aot_eager"),
    "compiled for all sizes": compiled(backend="aot_eager", dynamic=True),
    "make_fx": lambda call, x: make_fx(call, tracing_mode="symbolic")(picture((3, 3, 8, 10)))(x),
    "aot_function": lambda call, x: tuple(t.detach() for t in aot_function(call, nop)(x.clone().requires_grad_())),
    "exported": exported(strict=False),
    "exported, strict": exported(strict=True),
    "torch.vmap": lambda call, x: tuple(t[1] for t in torch.vmap(call)(torch.stack([-x, x]))),
    "torch.vmap without a batch": lambda call, x: torch.vmap(call)(x),
}


@seldom
@every_case
@pytest.mark.parametrize("way", [*[pytest.param(way, id=name) for name, way in WAYS.items()], inductor])
def test_results(way, window, asked, dtype):
    x = picture()
    call = there_and_back(window, asked)
    expected = there_and_back(window, dtype)(x.numpy())
    assert expected[1].dtype == dtype
    for actual, wanted in zip(way(call, x), expected, strict=True):
        assert_same_bits(actual.contiguous().numpy(), wanted)


def test_a_bad_tap_of_a_compiled_program():
    call = torch.compile(
        lambda values, taps: unpool.max_unpool2d(values, taps, 2, index_format="window"), backend="aot_eager"
    )
    taps = torch.tensor([[[0, 2], [4, 3]]], dtype=torch.uint8)
    with pytest.raises(IndexError, match=r"indices\[0, 1, 0\] = 4 is no tap of its window"):
        call(torch.ones((1, 2, 2)), taps)
    assert call(torch.ones((1, 2, 2)), taps // 2).sum() == 4


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=["plain", "channels last"])
def test_the_first_bad_tap_is_named_in_the_order_of_the_user(format):
    taps = torch.zeros((1, 2, 2, 2), dtype=torch.uint16)
    taps[0, 0, 1, 1] = taps[0, 1, 0, 0] = 300
    values = torch.ones((1, 2, 2, 2)).contiguous(memory_format=format)
    with pytest.raises(IndexError, match=r"indices\[0, 0, 1, 1\] = 300 is no tap of its window"):
        unpool.max_unpool2d(values, taps.contiguous(memory_format=format), 2, index_format="window")


@every_case
def test_conversions(window, asked, dtype):
    x = picture()
    _, taps, _ = there_and_back(window, asked)(x)
    _, cells, _ = there_and_back(window, None, "plane")(x)
    named = window | {"output_size": SHAPE}
    assert torch.equal(unpool.convert_indices(taps, "window", "plane", **named), cells)
    back = unpool.convert_indices(cells, "plane", "window", **named)
    assert torch.equal(back.to(torch.int64), taps.to(torch.int64))
    taps[1, 2, 0, 1] = 300 - 50 * (dtype == "uint8")
    with pytest.raises(IndexError, match=r"indices\[1, 2, 0, 1\] = (250|300) "):
        unpool.convert_indices(taps, "window", "plane", **named)


# --- derivatives ------------------------------------------------------------------------------------------------------


def total(call):
    return lambda x: (call(x)[2] ** 2 * x).sum()


DERIVATIVES = {
    "gradient": lambda call, x: torch.func.grad(total(call))(x),
    "jvp": lambda call, x: torch.func.jvp(call, (x,), (x.flip(-1),))[1][2],
    "hessian times a tangent": lambda call, x: torch.func.jvp(torch.func.grad(total(call)), (x,), (x.flip(-1),))[1],
    "gradients of samples": lambda call, x: torch.vmap(torch.func.grad(total(call)))(x),
    "third order": lambda call, x: third(call, x),
    "compiled": lambda call, x: torch.compile(torch.func.grad(total(call)), fullgraph=True, backend="aot_eager")(x),
}


def third(call, x):
    x = x.clone().requires_grad_()
    result = total(call)(x)
    for _ in range(3):
        (result,) = torch.autograd.grad((result**2).sum(), x, create_graph=True)
    return result.detach()


@seldom
@every_case
@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=DERIVATIVES)
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_derivatives_are_those_by_plane(derivative, window, asked, dtype, data_format):
    x = picture((2, 9, 7, 3) if data_format == "channels_last" else SHAPE)
    by_taps = there_and_back(window, asked, data_format=data_format)
    by_plane = there_and_back(window, None, "plane", data_format)
    assert torch.equal(derivative(by_taps, x), derivative(by_plane, x))


# --- layers -----------------------------------------------------------------------------------------------------------

RANKS = pytest.mark.parametrize("rank", [1, 2, 3])


def layers(rank, *arguments, index_format="window", **named):
    pool, up = (getattr(unpool.torch, f"Max{kind}{rank}d") for kind in ("Pool", "Unpool"))
    return (
        pool(*arguments, return_indices=True, index_format=index_format, **named),
        up(*arguments, index_format=index_format, **named),
    )


@RANKS
def test_layers(rank):
    x = picture((2, 3, *(9, 8, 7)[:rank])).requires_grad_()
    results = []
    for index_format in ("window", "plane"):
        pool, up = layers(rank, 3, 2, 1, index_format=index_format)
        values, indices = pool(x)
        planes = up(values, indices, output_size=x.shape)
        assert indices.dtype == {"window": torch.uint8, "plane": torch.int64}[index_format]
        results.append((values, planes, *torch.autograd.grad((planes**2).sum(), x)))
        traced = torch.fx.symbolic_trace(up)
        assert torch.equal(traced(values, indices, x.shape), planes)
    for by_taps, by_plane in zip(*results, strict=True):
        assert torch.equal(by_taps, by_plane)


@RANKS
def test_layers_show_and_keep_the_format(rank):
    for layer in layers(rank, 2):
        assert repr(layer).endswith(", index_format='window')")
        for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert repr(copied) == repr(layer)
        assert not layer.state_dict()
    pool = getattr(unpool.torch, f"MaxPool{rank}d")(2, index_format="window", index_dtype=torch.uint16)
    assert repr(pool).endswith(", index_format='window', index_dtype='uint16')")


def test_attributes_are_what_is_used():
    """The dtype follows the number of taps, unless it was asked for."""
    pool, up = unpool.torch.MaxPool2d(2, return_indices=True), unpool.torch.MaxUnpool2d(2)
    x = picture((1, 2, 40, 34))
    expected = up(*pool(x))
    pool.index_format = up.index_format = "window"
    assert pool(x)[1].dtype == torch.uint8
    assert torch.equal(up(*pool(x)), expected)
    pool.kernel_size = pool.stride = (17, 17)
    assert pool(x)[1].dtype == torch.uint16


def test_layers_that_were_pickled_without_a_format_have_plane():
    for layer, by_plane in zip(layers(2, 2), layers(2, 2, index_format="plane"), strict=True):
        state = layer.__dict__.copy()
        del state["index_format"]
        old = type(layer).__new__(type(layer))
        old.__setstate__(state)
        assert repr(old) == repr(by_plane)


@pytest.mark.parametrize("name", ["MaxPool2d", "MaxUnpool2d"])
def test_wrong_formats_are_met_where_they_are_written(name):
    with pytest.raises(ValueError, match="`index_format` must be one of 'plane', 'window', got 'taps'"):
        getattr(unpool.torch, name)(2, index_format="taps")


def test_a_window_of_more_taps_than_its_dtype_holds():
    with pytest.raises(ValueError, match="`index_dtype` must hold every tap of a window, got 'uint8' for 289 taps"):
        unpool.torch.MaxPool2d(17, index_format="window", index_dtype=torch.uint8)
