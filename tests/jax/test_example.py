"""The examples of JAX: layers of Equinox and Flax learn, and the "where" restores what the "what" alone cannot."""

import re

from needs import require
from processes import python
from tree import EXAMPLES


def test_jax_layers():
    """Both networks learn."""
    require("equinox", "the example needs it")
    require("flax", "the example needs it")
    result = python(str(EXAMPLES / "jax_layers.py"))
    said = re.findall(r"^(\w+): mean squared error (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["Equinox", "Flax"], result.stderr
    assert all(float(last) < 0.7 * float(first) for _, first, last in said)


def test_what_where(tmp_path):
    """Both nets learn; unpooling restores far better; and letters take the shape of the "where"."""
    require("jax", "the example trains with it")
    require("tqdm", "the example shows its progress with it")
    image = require("matplotlib.image", "the example draws with it")
    picture = tmp_path / "picture.png"
    result = python(str(EXAMPLES / "what_where.py"), "--quick", "--out", str(picture))
    said = re.findall(r"^([\w ]+): loss (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["What alone", "What and where"], result.stderr
    assert all(float(last) < 0.3 * float(first) for _, first, last in said)
    assert "What and where: 100%" in result.stderr, "the progress bar"

    alone, both = (float(ratio) for ratio in re.findall(r"^What.*? (\S+) dB$", result.stdout, re.MULTILINE))
    assert both > 16
    assert both > alone + 3
    own, other = re.search(r"^Where of the next letter +(\S+) dB, and (\S+) dB", result.stdout, re.MULTILINE).groups()
    assert float(other) > float(own) + 2

    drawn = image.imread(picture)
    assert drawn.shape[2] == 4
    assert drawn[..., :3].std() > 0.1


def test_a_picture_that_cannot_be_written_ends_the_example_before_its_training(tmp_path):
    require("jax", "the example trains with it")
    require("tqdm", "the example shows its progress with it")
    require("matplotlib", "the example draws with it")
    result = python(str(EXAMPLES / "what_where.py"), "--out", str(tmp_path / "missing" / "picture.png"))
    assert result.returncode == 1
    assert "FileNotFoundError" in result.stderr
    assert "What alone" not in result.stderr, "the progress bar of the training"
