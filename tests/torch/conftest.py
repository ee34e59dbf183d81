"""What the tests of PyTorch share: its rules of export to ONNX, made once."""

from copy import copy
from functools import cache
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def rules_of_onnx():
    """Keep PyTorch's own rules of export: each export makes them anew from their sources, which takes most of it."""
    if not (find_spec("torch") and find_spec("onnxscript")):
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = cache(ONNXRegistry.from_torchlib)

    def kept(**options):
        registry = copy(made(**options))
        registry.functions = {name: list(rules) for name, rules in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(kept))
        yield
