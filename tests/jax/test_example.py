"""`examples/jax_layers.py` runs, and the losses that it prints fall."""

import re

from needs import require
from processes import python
from tree import EXAMPLES


def test_jax_layers():
    """Both nets learn."""
    require("equinox", "the example is about it")
    require("flax", "the example is about it")
    result = python(str(EXAMPLES / "jax_layers.py"))
    said = re.findall(r"^(\w+): mean squared error (\S+) at first, (\S+) after", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["Equinox", "Flax"], result.stderr
    assert all(float(last) < 0.7 * float(first) for _, first, last in said)
