"""The fixtures that several files of tests/core share."""

import pytest
from wrong_calls.messages import messages

from unpool import registry


@pytest.fixture
def nothing_loaded(monkeypatch):
    """Let every backend be loaded anew."""
    monkeypatch.setattr(registry, "LOADED", {})


@pytest.fixture
def worded(monkeypatch):
    """Return a list to which each function that builds an exception adds its name when it is called."""
    called = []

    def spy(name, function):
        def wrapper(*args, **kwargs):
            called.append(name)
            return function(*args, **kwargs)

        return wrapper

    for name, module in messages().items():
        attribute = name if hasattr(module, name) else f"_{name}"
        monkeypatch.setattr(module, attribute, spy(name, getattr(module, attribute)))
    return called


@pytest.fixture
def fails(worded):
    """Return a function that makes the call of a Case and compares the exception with it."""

    def fails(case, *args):
        with pytest.raises(case.error) as caught:
            case.call(*args)
        assert type(caught.value) is case.error
        assert case.message is None or str(caught.value) == case.message
        assert worded == [case.by]

    return fails
