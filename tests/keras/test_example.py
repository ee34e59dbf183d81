"""`examples/segnet_keras.py` runs on each of Keras' backends: the losses that it prints fall."""

import re

from needs import require
from processes import python
from tree import EXAMPLES


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
