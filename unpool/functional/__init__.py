"""The public functions: thirteen signatures and their documentation; `unpool.calls` does the work."""

from unpool.functional.gradients import (
    max_pool1d_backward,
    max_pool2d_backward,
    max_pool3d_backward,
    max_unpool1d_backward,
    max_unpool2d_backward,
    max_unpool3d_backward,
)
from unpool.functional.pooling import max_pool1d, max_pool2d, max_pool3d
from unpool.functional.taking import take_along_plane
from unpool.functional.unpooling import max_unpool1d, max_unpool2d, max_unpool3d

__all__ = [
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "max_unpool1d",
    "max_unpool1d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "max_unpool3d",
    "max_unpool3d_backward",
    "take_along_plane",
]
