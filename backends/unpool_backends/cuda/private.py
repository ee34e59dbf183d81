"""The names of CuPy that this backend uses without their being documented; no other file of it uses one.

They word the reason why a machine cannot compute; a call that works needs none of them.
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
    """Return the `cudaError_t` of an error of the runtime; None where the name is gone."""
    return None if _runtime_error is None else int(error.status)


def load_nvrtc() -> None:
    """Load NVRTC, or raise; do nothing where the name is gone."""
    if _nvrtc_version is not None:
        _nvrtc_version()
