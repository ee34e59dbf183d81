"""`remembered` caches results, but never for symbols and never while PyTorch traces."""

import sys
from types import SimpleNamespace

import pytest

from unpool.tracing import remembered, traced


class SymInt:
    """A stand-in for PyTorch's symbolic size, which has no hash."""

    __hash__ = None


def counted():
    """Return a function that is `remembered`, and the list of the arguments that it was computed for."""
    seen = []

    @remembered(maxsize=8)
    def double(sizes, factor=2):
        seen.append(sizes)
        if factor is None:
            raise TypeError("no factor")
        return [sizes] * factor

    return double, seen


def torch(compiling, modes=0):
    compiler = SimpleNamespace(is_compiling=lambda: compiling)
    return SimpleNamespace(compiler=compiler, _C=SimpleNamespace(_len_torch_dispatch_stack=lambda: modes))


@pytest.mark.parametrize("module", [None, torch(False)], ids=["without PyTorch", "with PyTorch"])
def test_a_call_is_remembered(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "torch", module) if module else monkeypatch.delitem(sys.modules, "torch", False)
    double, seen = counted()
    assert double((1, 2)) is double((1, 2))
    assert seen == [(1, 2)]
    double.cache_clear()
    double((1, 2))
    assert len(seen) == 2
    assert not traced()


@pytest.mark.parametrize("module", [torch(True), torch(False, modes=1)], ids=["compiler", "dispatch mode"])
def test_nothing_is_remembered_while_pytorch_traces(monkeypatch, module):
    double, seen = counted()
    kept = double((1, 2))
    monkeypatch.setitem(sys.modules, "torch", module)
    assert double((1, 2)) is not kept
    double((3,))
    monkeypatch.delitem(sys.modules, "torch")
    double((3,))
    assert seen == [(1, 2), (1, 2), (3,), (3,)]


@pytest.mark.parametrize("sizes", [SymInt(), (SymInt(), 2), ((1, SymInt()), 2)], ids=["alone", "in a tuple", "deeper"])
def test_symbols_are_not_remembered(sizes):
    double, seen = counted()
    for _ in range(2):
        assert double(sizes) == [sizes] * 2
    assert len(seen) == 2


def test_errors_come_out_and_are_not_remembered():
    double, seen = counted()
    for _ in range(2):
        with pytest.raises(TypeError, match="no factor"):
            double((1,), None)
    with pytest.raises(TypeError, match="unhashable"):
        double([1])
    assert seen == [(1,), (1,)]
