"""The undocumented names of CuPy that this backend uses; its other files import them from here.

They serve to report why a machine cannot compute; a successful call needs none of them.
"""

from __future__ import annotations

from typing import Any

from unpool_backends.private_names import Names

NAMES = Names()

_runtime_error: Any = NAMES.find(
    "cupy.cuda.runtime.CUDARuntimeError",
    use="The error of the CUDA runtime, whose `status` tells the reasons apart.",
    breaks="An old driver and a missing device are reported in CUDA's words, without what to do.",
    instead="`RuntimeError`, its base class.",
)
_nvrtc_version: Any = NAMES.find(
    "cupy.cuda.nvrtc.getVersion",
    use="Loads NVRTC, and raises where there is none.",
    breaks="A machine without NVRTC counts as one that can compute, until CuPy raises at the first call.",
    instead="None: it is not loaded in advance.",
)

RuntimeFault = RuntimeError if _runtime_error is None else _runtime_error


def status(error: Any) -> int | None:
    """Return the `cudaError_t` of an error of the runtime, or None if the name of its class is missing."""
    return None if _runtime_error is None else int(error.status)


def load_nvrtc() -> None:
    """Load NVRTC, or raise; do nothing if the name is missing."""
    if _nvrtc_version is not None:
        _nvrtc_version()
