"""A user's program: right uses, which also run, and wrong ones, which type checkers have to flag.

The comment of a wrong line has mypy's code and pyright's rule.
"""

# ruff: noqa: F841
# pyright: strict, reportUnusedVariable=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from typing import Any, Literal, assert_type

import numpy as np
from numpy.typing import NDArray

import unpool

Image = NDArray[np.float32]
Pair = tuple[Image, Any]


class Nowhere:
    """A backend of the user."""

    def pool(self, input: Any, plan: unpool.Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        raise NotImplementedError

    def scatter(self, values: Any, indices: Any, plan: unpool.Plan[Any], duplicates: str, out: Any) -> Any:
        raise NotImplementedError

    def gather(self, grad: Any, indices: Any, plan: unpool.Plan[Any], duplicates: str, out: Any) -> Any:
        raise NotImplementedError


def functions(x: Image, flag: bool) -> Image:
    assert_type(unpool.max_pool2d(x, 2), Image)
    assert_type(unpool.max_pool2d(x, kernel_size=(2, 2), padding="same", data_format="NHWC"), Image)
    assert_type(unpool.max_pool2d(x, 2, return_indices=flag), Image | Pair)
    assert_type(unpool.max_pool2d(x, 2, 2, 0, 1, False, True), Pair)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    assert_type(unpool.max_pool2d(x, 2, return_indices=True, out=(values, indices)), Pair)
    assert_type(unpool.max_pool2d_backward(values, indices, x.shape, 2), Image)
    assert_type(unpool.max_unpool2d_backward(x, indices, 2, duplicates="sum", validate="windows"), Image)
    assert_type(unpool.take_along_plane(x, indices), Image)
    taps = unpool.convert_indices(indices, "pytorch", "window", output_size=x.shape, kernel_size=2)
    return unpool.max_unpool2d(values, taps, 2, output_size=x.shape, index_format="window", out=np.empty_like(x))


def objects(x: Image, flag: bool) -> Image:
    plain: unpool.MaxPool2d = unpool.MaxPool2d(2)
    either: unpool.MaxPool2d[bool] = unpool.MaxPool2d(2, return_indices=flag)
    pool: unpool.MaxPool2d[Literal[True]] = unpool.MaxPool2d(2, return_indices=True)
    assert_type(plain(x), Image)
    assert_type(either(x), Image | Pair)
    assert_type(pool(x), Pair)
    assert_type(dataclasses.replace(pool, kernel_size=4)(x), Pair)
    pools: list[unpool.MaxPool2d[bool]] = [plain, either, pool]
    backend: unpool.Backend = Nowhere()
    assert isinstance(backend, unpool.Backend)
    return unpool.MaxUnpool2d(pools[0].kernel_size)(*pool(x), x.shape)


def wrong_functions(x: Image, indices: NDArray[np.int64]) -> None:
    print(unpool.max_pool2d(x, 2, return_indices=True).shape)  # wrong: attr-defined, reportAttributeAccessIssue
    pair: Pair = unpool.max_pool2d(x, 2)  # wrong: assignment, reportAssignmentType
    unpool.max_pool2d([[1.0, 2.0]], 2)  # wrong: call-overload, reportArgumentType
    unpool.max_pool2d(x, 2.0)  # wrong: call-overload, reportArgumentType
    unpool.max_pool2d(x, 2, padding="sam")  # wrong: arg-type, reportArgumentType
    unpool.max_pool2d(x, 2, data_format="NHCW")  # wrong: call-overload, reportArgumentType
    unpool.max_pool2d(x, 2, return_index=True)  # wrong: call-overload, reportCallIssue
    unpool.max_unpool2d(x, 2)  # wrong: call-arg, reportCallIssue
    unpool.max_unpool2d(x, 2, 2)  # wrong: arg-type, reportArgumentType
    unpool.max_unpool2d(x, indices, 2, duplicates="mean")  # wrong: arg-type, reportArgumentType
    unpool.convert_indices(indices, "plane", "numpy", output_size=x.shape)  # wrong: arg-type, reportArgumentType


def wrong_objects(x: Image) -> None:
    pool = unpool.MaxPool2d(2, return_indices=True)
    print(pool(x).shape)  # wrong: attr-defined, reportAttributeAccessIssue
    pair: Pair = unpool.MaxPool2d(2)(x)  # wrong: assignment, reportAssignmentType
    plain: unpool.MaxPool2d = pool  # wrong: assignment, reportAssignmentType
    pool.kernel_size = 3  # wrong: misc, reportAttributeAccessIssue
    unpool.MaxPool2d(2, padding="sam")  # wrong: arg-type, reportArgumentType
    unpool.MaxUnpool2d(2)(pool(x))  # wrong: type-var, reportArgumentType
    unpool.MaxUnpool2d(2, dilations=2)  # wrong: call-arg, reportCallIssue
    backend: unpool.Backend = unpool  # wrong: assignment, reportAssignmentType


if __name__ == "__main__":
    photo = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert functions(photo, False).sum() == objects(photo, True).sum() == 5 + 7 + 13 + 15
