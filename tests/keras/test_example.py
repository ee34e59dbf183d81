"""`examples/segnet_keras.py` on a backend of Keras: its short form shows that unpooling gives sharper masks."""

import re

from needs import require
from processes import python
from tree import EXAMPLES


def test_segnet_keras(tmp_path, monkeypatch):
    """Both networks learn, unpooling finds far more of the ink, and the picture is written."""
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

    scores = dict(re.findall(r"^(\w+) +[\d.]+% +([\d.]+)% +[\d.]+%$", result.stdout, re.MULTILINE))
    unpooled, sampled = (float(scores[name]) for name in ("MaxUnpooling2D", "UpSampling2D"))
    assert unpooled > 75, "mean IoU of the ink and the paper, in percent"
    assert unpooled > sampled + 15

    drawn = image.imread(picture)
    assert drawn.shape == (1140, 1787, 4)
    mask = drawn[528:723, 34:1165, :3].mean()
    assert 0.8 < mask < 0.95, "some ink, on white"
