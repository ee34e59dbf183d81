"""`unpool.keras` where the backend that Keras imports is not installed.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import pytest
from needs import require
from processes import python

keras = require("keras", "the tests of its layers need it")

from keras_ways import BACKEND  # noqa: E402

from unpool.extras import install_command  # noqa: E402

# The first argument names a package that must not be found, as if it were not installed.
PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import unpool
assert not hasattr(unpool, "keras")
"""
WAYS = {
    "import unpool.keras": "BackendUnavailableError",
    "from unpool import keras": "BackendUnavailableError",
    "from unpool.keras import addons": "BackendUnavailableError",
    "unpool.keras": "AttributeError",
}


@pytest.mark.skipif(BACKEND not in ("tensorflow", "torch", "jax"), reason="the backend is not one of three")
@pytest.mark.parametrize(("way", "error"), WAYS.items())
def test_a_missing_backend_of_keras_is_named(way, error):
    result = python("-c", PROGRAM + way, BACKEND)
    last = result.stderr.splitlines()[-1]
    assert f"{error}: the backend of Keras must be installed, got '{BACKEND}', which is not: " in last
    assert last.endswith(f"run {install_command(BACKEND)}")


@pytest.mark.parametrize("found", [(), ("jax",), ("torch", "jax")], ids=str)
def test_the_other_backends_that_are_installed_are_named(found, monkeypatch):
    from unpool.keras import messages

    monkeypatch.setattr(messages, "find_spec", lambda name: name in found or None)
    text = str(messages.missing_keras_backend("tensorflow"))
    assert ("set KERAS_BACKEND" in text) is bool(found)
    assert " or ".join(found) in text


def test_a_missing_part_of_keras_is_not_taken_for_its_backend():
    result = python("-c", f"{PROGRAM.rpartition('assert')[0]}import unpool.keras", "rich")
    assert "\nModuleNotFoundError: No module named 'rich'" in result.stderr
    assert "BackendUnavailableError" not in result.stderr


def test_addons_are_an_attribute():
    result = python("-c", "import unpool.keras; unpool.keras.addons.MaxUnpooling2D()")
    assert result.returncode == 0, result.stderr
