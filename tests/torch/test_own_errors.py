"""The errors of PyTorch itself that docs/errors.md lists: each call below still raises the words of the page."""

import re

import pytest
from needs import require, require_backend
from tree import ROOT

import unpool

torch = require("torch", "it raises these errors")
require_backend("torch")

import unpool.torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch warns about its exporter, and about TorchScript
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## PyTorch's own errors\n(.+?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]


class Net(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def pooled(x):
    return unpool.max_pool2d(x, 2, return_indices=True)


def badly_pooled(x):
    return unpool.max_pool2d(x, 0)


def exported(function, table):
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    options = {"dynamo": True, "custom_translation_table": table, "verbose": False}
    torch.onnx.export(Net(function).eval(), (torch.rand(1, 2, 8, 6),), **options)


# The words of the page, and a call that raises them.
CALLS = {
    "unpool.modules.MaxPool2d is not a Module subclass": lambda: torch.nn.Sequential(unpool.MaxPool2d(2)),
    "'MaxPool2d' object has no attribute 'to'": lambda: unpool.MaxPool2d(2).to("cpu"),
    "Compiled functions can't take variable number of arguments or use keyword-only arguments with defaults": (
        lambda: torch.jit.script(pooled)
    ),
    "Observed exception": lambda: torch.compile(badly_pooled, fullgraph=True, backend="eager")(torch.rand(1, 2, 3, 4)),
    "'SymbolicTensor' object has no attribute 'device'": lambda: exported(pooled, unpool.torch.decompositions()),
    "'function' object has no attribute 'items'": lambda: exported(pooled, unpool.torch.onnx_translations),
    "No ONNX function found for <OpOverload(op='aten.adaptive_max_pool2d'": (
        lambda: exported(unpool.torch.AdaptiveMaxPool2d(3), unpool.torch.onnx_translations())
    ),
}


@pytest.mark.parametrize("words", CALLS)
def test_an_error_has_the_words_of_the_page(words):
    with pytest.raises(Exception, match=re.escape(words)) as raised:
        CALLS[words]()
    if words == "Observed exception":
        assert type(raised.value).__name__ == "Unsupported"
        assert "raised exception ValueError('`kernel_size` must be between 1 and" in str(raised.value)


def test_each_entry_is_raised():
    entries = [entry.partition(": ")[0] for entry in re.split(r"^- ", SECTION, flags=re.MULTILINE)[1:]]
    named = [words for entry in entries for words in re.findall(r"`(.+?)`", entry.replace("\n  ", " "))]
    assert set(named) - {"NotSupportedError", "Unsupported"} == set(CALLS)
