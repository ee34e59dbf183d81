"""`examples/segnet_keras.py` runs on each backend of Keras, and its losses fall."""

import re

from needs import require
from processes import python
from tree import EXAMPLES


def test_segnet_keras(tmp_path, monkeypatch):
    """Both networks learn on every backend, and the picture is written."""
    require("keras", "the example needs it")
    require("skimage", "the example takes its page from it")
    image = require("matplotlib.image", "the example draws with it")
    # Waiting OpenMP threads of PyTorch spin: beside other tests on the same cores, that takes minutes.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    picture = tmp_path / "picture.png"
    result = python(str(EXAMPLES / "segnet_keras.py"), "--quick", "--out", str(picture))
    said = re.findall(r"^(\w+): loss (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["MaxUnpooling2D", "UpSampling2D"], result.stderr
    assert all(float(last) < 0.8 * float(first) for _, first, last in said)
    drawn = image.imread(picture)
    assert drawn.shape == (1140, 1787, 4)
    assert drawn[..., :3].std() > 0.1
