"""`examples/round_trip.py`: every runtime has the bits of the eager model, and a wrong one is counted."""

import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require, require_backend
from processes import python
from tree import EXAMPLES

require("torch", "the model is one of PyTorch")
for module in ("onnxscript", "onnxruntime", "litert_torch", "ai_edge_litert"):
    require(module, "the model is exported and run with it, in the env `all`")
image = require("matplotlib.image", "the example draws with it, and takes its photograph from it")
require_backend("torch")

PATH = str(EXAMPLES / "round_trip.py")


def test_round_trip(tmp_path):
    picture = tmp_path / "picture.png"
    result = python(PATH, "--quick", "--out", str(picture))
    assert result.returncode == 0, result.stderr
    found = re.findall(r"^(.+): (\S+) of (\S+) cells differ$", result.stdout, re.MULTILINE)
    assert found == [(name, "0", "3,185") for name in ("ONNX, MaxUnpool", "ONNX, portable", "LiteRT")]
    drawn = image.imread(picture)
    assert drawn.shape == (465, 1359, 4)
    assert drawn[..., :3].std() > 0.1


@pytest.mark.parametrize("wrong", [np.nextafter(np.float32(3), np.float32(4)), 0.0], ids=["a bit", "a value"])
def test_a_wrong_cell_is_counted(wrong):
    cells_that_differ = SimpleNamespace(**runpy.run_path(PATH)).cells_that_differ
    expected = np.full((1, 1, 40, 50), 3, "float32")
    result = expected.copy()
    assert cells_that_differ(result, expected) == "0 of 2,000 cells differ"
    result[0, 0, 7, [1, 8]] = wrong
    assert cells_that_differ(result, expected) == "2 of 2,000 cells differ"
