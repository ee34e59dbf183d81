"""The programs in examples/ run, and what they say of themselves is so."""

import re
from pathlib import Path

import pytest
from needs import require
from processes import python

EXAMPLES = Path(__file__).parent.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the tests run away from the source tree, where the examples are not", allow_module_level=True)


def test_jax_layers():
    """Both nets learn."""
    require("equinox", "the example is about it")
    require("flax", "the example is about it")
    result = python(str(EXAMPLES / "jax_layers.py"))
    said = re.findall(r"^(\w+): mean squared error (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["Equinox", "Flax"], result.stderr
    assert all(float(last) < 0.7 * float(first) for _, first, last in said)


def test_segnet_keras(tmp_path, monkeypatch):
    """Both nets learn, whatever Keras runs on, and the picture is there."""
    require("keras", "the example is about it")
    require("skimage", "the example's page is from it")
    image = require("matplotlib.image", "the example draws with it")
    # PyTorch's threads wait for each other in a loop, which takes minutes where other tests want the same cores.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    picture = tmp_path / "picture.png"
    result = python(str(EXAMPLES / "segnet_keras.py"), "--quick", "--out", str(picture))
    said = re.findall(r"^(\w+): loss (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["MaxUnpooling2D", "UpSampling2D"], result.stderr
    assert all(float(last) < 0.8 * float(first) for _, first, last in said)
    drawn = image.imread(picture)
    assert drawn.shape == (1140, 1787, 4)
    assert drawn[..., :3].std() > 0.1
