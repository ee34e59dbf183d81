"""`examples/jax_layers.py` runs, and its losses fall."""

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
