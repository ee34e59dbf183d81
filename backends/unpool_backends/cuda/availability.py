"""Whether CuPy arrays can be computed on here and now: what the CUDA runtime answers, and what that means.

Importing this asks nothing.  The first question starts CUDA, which no process that is forked afterwards can use, so it
waits until somebody wants to know.
"""

from __future__ import annotations

import os
from typing import Any

from cupy.cuda import runtime

from unpool.errors import BackendUnavailableError
from unpool_backends.cuda import messages, private

# cudaError_t, of which CuPy has no names.
_INITIALIZATION_ERROR = 3
_INSUFFICIENT_DRIVER = 35
_NO_DEVICE = 100


def fault() -> BackendUnavailableError | None:
    """Say why CuPy arrays cannot be computed on on this machine now, or return None if they can."""
    try:
        runtime.getDeviceCount()  # cupy.is_available() swallows the reason, and remembers its answer
    except private.RuntimeFault as error:
        return _meaning(error)
    try:
        private.load_nvrtc()
    except Exception:  # a RuntimeError of a package beneath CuPy, another one in every version
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
