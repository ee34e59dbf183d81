"""PyTorch's tensors warn in eager calls of `unpool`, and not in layers or where PyTorch traces."""

import linecache
import warnings

import pytest
from needs import require

import unpool

torch = require("torch", "the tests of its tensors need it")

import unpool.torch  # noqa: E402

PHOTOGRAPHS = (2, 65, 6, 3)


def found(function, *arguments):
    """Return the warnings of a call about data formats."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*arguments)
    return [entry for entry in caught if entry.category is unpool.DataFormatWarning]


def pooled(x):
    return unpool.max_pool2d(x, 2)


def restored(x):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    return unpool.max_unpool2d(values, indices, 2, output_size=x.shape)


@pytest.mark.parametrize("differentiated", [False, True])
def test_an_eager_call_warns(differentiated):
    x = torch.rand(PHOTOGRAPHS, requires_grad=differentiated)
    (entry,) = found(pooled, x)
    assert (entry.filename, linecache.getline(__file__, entry.lineno).strip()) == (
        __file__,
        "return unpool.max_pool2d(x, 2)",
    )
    assert len(found(restored, x)) == 2
    assert found(pooled, torch.rand(2, 3, 65, 6)) == []


def test_layers_have_the_format_of_pytorch():
    x = torch.rand(PHOTOGRAPHS)
    for options in ({}, {"data_format": None}):
        pool = unpool.torch.MaxPool2d(2, return_indices=True, **options)
        up = unpool.torch.MaxUnpool2d(2, **options)
        assert pool.data_format == up.data_format == "channels_first"
        assert found(lambda: up(*pool(x), output_size=x.shape)) == []  # noqa: B023
        assert "data_format" not in repr(pool) + repr(up)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_program_does_not_warn(dynamic):
    """PyTorch cannot trace a warning.  Nor does the rule make it compile again for other sizes."""
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    run = torch.compile(restored, fullgraph=True, dynamic=dynamic, backend=counter)
    shapes = [PHOTOGRAPHS, (2, 90, 6, 8), (2, 9, 6, 5)] if dynamic else [PHOTOGRAPHS]
    for shape in shapes:
        x = torch.rand(shape)
        assert found(run, x) == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", unpool.DataFormatWarning)
            expected = restored(x)
        assert torch.equal(run(x), expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_does_not_warn(strict):
    class Model(torch.nn.Module):
        def forward(self, x):
            return restored(x)

    x = torch.rand(PHOTOGRAPHS)
    assert found(lambda: torch.export.export(Model(), (x,), strict=strict)) == []
