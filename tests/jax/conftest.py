"""Fixtures that the tests of JAX's arrays share."""

import pytest
from kinds import JAXOperationsArrays


@pytest.fixture(params=["kernels", "operations"])
def _programs(request):
    """Compile programs with the CPU kernels, and without them, as for other devices."""
    if request.param == "kernels":
        yield
    else:
        import jax

        jax.clear_caches()
        with JAXOperationsArrays.without_kernels():
            yield
        jax.clear_caches()
