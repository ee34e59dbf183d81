"""What every file of tests shares: the `backend` fixture, and how hypothesis searches."""

import os
from importlib.util import find_spec

import needs
import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure():
    missing = [module for module in needs.promised() if find_spec(module) is None]
    if missing:
        raise pytest.UsageError(f"UNPOOL_REQUIRE promises what is not installed: {', '.join(missing)}")


class Arrays:
    """One kind of array: how it is made of a NumPy array, and how it becomes one again."""

    name: str

    def asarray(self, array):
        raise NotImplementedError

    def tonumpy(self, array):
        raise NotImplementedError

    def call(self, function, *arguments, **named):
        """Call a public function with NumPy arrays turned into this kind, and its results turned back."""

        def there(argument):
            return self.asarray(argument) if isinstance(argument, np.ndarray) else argument

        result = function(*map(there, arguments), **{name: there(argument) for name, argument in named.items()})
        return tuple(map(self._back, result)) if isinstance(result, tuple) else self._back(result)

    def _back(self, result):
        assert type(result) is type(self.asarray(np.zeros(1)))  # array kind in is array kind out
        return self.tonumpy(result)


class NumPyArrays(Arrays):
    name = "cpu"

    def asarray(self, array):
        return array

    def tonumpy(self, array):
        return array


# To test another backend, add its kind of array here; the constructor calls `require` for what it imports.
KINDS = {"cpu": NumPyArrays}


@pytest.fixture(scope="session", params=KINDS)
def backend(request):
    return KINDS[request.param]()
