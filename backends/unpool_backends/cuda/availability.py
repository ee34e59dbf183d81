"""Test if this machine can compute on CuPy arrays now, and turn an error of the CUDA runtime into its reason.

Importing this module does not start CUDA.  The first call of `fault` does, and processes that are forked after it
cannot use CUDA.
"""

from __future__ import annotations

import os
from typing import Any

from cupy.cuda import runtime

from unpool.errors import BackendUnavailableError
from unpool_backends.cuda import messages, private

# Values of cudaError_t, which CuPy does not name.
_INITIALIZATION_ERROR = 3
_INSUFFICIENT_DRIVER = 35
_NO_DEVICE = 100


def fault() -> BackendUnavailableError | None:
    """Return the error that says why this machine cannot compute on CuPy arrays now, or None if it can."""
    try:
        runtime.getDeviceCount()  # cupy.is_available() drops the reason, and caches its result
    except private.RuntimeFault as error:
        return _meaning(error)
    try:
        private.load_nvrtc()
    except Exception:  # a RuntimeError of a package below CuPy, whose class differs between versions
        return messages.missing_nvrtc(runtime.runtimeGetVersion())
    return None


def _meaning(error: Any) -> BackendUnavailableError:
    status = private.status(error)
    if status == _INSUFFICIENT_DRIVER:
        served, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        return messages.old_driver(served, needed) if served else messages.missing_driver(needed)
    if status == _NO_DEVICE:
        return messages.no_device(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if status == _INITIALIZATION_ERROR:
        return messages.forked_after_cuda(error)
    return messages.failing_cuda(error)
