"""What tests need besides NumPy: skipped where it is missing, a failure where the environment promised it.

UNPOOL_REQUIRE is that promise: a comma list of backends (``cpu,torch``) or modules (``ml_dtypes``), set in tox.ini.
"""

import os
from importlib import import_module

import pytest

from unpool.registry import BUILT_IN, why_not


def promised():
    """Return the modules that UNPOOL_REQUIRE promises; a backend's name stands for its framework."""
    names = [name.strip() for name in os.environ.get("UNPOOL_REQUIRE", "").split(",")]
    return {framework(name) for name in names if name}


def framework(name):
    """Return the package that a backend is for; a plugin has its package's name."""
    return BUILT_IN[name].framework if name in BUILT_IN else name


def require(module, reason):
    """Import a module that a test, or a file of tests, is about; `reason` says what cannot be tested without it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # One that is there and does not import is broken, not missing: that is never a reason to skip.
        if error.name != module.partition(".")[0]:
            raise
    if module.partition(".")[0] in promised():
        pytest.fail(f"UNPOOL_REQUIRE promises {module}, which is not installed ({reason})", pytrace=False)
    pytest.skip(f"{module} is not installed: {reason}", allow_module_level=True)


def require_backend(name):
    """Skip, or fail where it was promised, if a backend whose framework is installed does not work on this machine."""
    reason = why_not(name)
    if reason is None:
        return
    if framework(name) in promised():
        pytest.fail(f"UNPOOL_REQUIRE promises {name}: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
