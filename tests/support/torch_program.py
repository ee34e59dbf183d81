"""A PyTorch user's program, as user_program.py."""

# ruff: noqa: F841
# pyright: reportUnusedVariable=false

from __future__ import annotations

from typing import Any, Literal, assert_type

import torch
from torch import Tensor

import unpool
import unpool.torch

Pair = tuple[Tensor, Tensor]


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = unpool.torch.MaxPool2d(2, return_indices=True)
        self.unpool = unpool.torch.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        assert_type(self.pool(x), Pair)
        values, indices = self.pool(x)
        return self.unpool(values, indices, x.shape)


def right(x: Tensor, flag: bool) -> None:
    plain: unpool.torch.MaxPool2d = unpool.torch.MaxPool2d(2)
    pair: unpool.torch.MaxPool2d[Literal[True]] = unpool.torch.MaxPool2d(2, 2, 0, 1, True)
    assert_type(plain(x), Tensor)
    assert_type(pair(x), Pair)
    assert_type(unpool.torch.MaxPool2d(2, return_indices=flag)(x), Tensor | Pair)
    assert_type(unpool.max_pool2d(x, 2), Tensor)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    assert_type((values, indices), tuple[Tensor, Any])
    assert_type(unpool.max_unpool2d(values, indices, 2, output_size=x.shape), Tensor)
    assert_type(unpool.take_along_plane(x, indices), Tensor)
    assert_type(unpool.torch.replace_layers(Model()), dict[str, torch.nn.Module])


def wrong(x: Tensor, model: Model) -> None:
    print(model.pool(x).shape)  # wrong: attr-defined, reportAttributeAccessIssue
    model.unpool(model.pool(x))  # wrong: arg-type, reportArgumentType
    pair: Pair = unpool.torch.MaxPool2d(2)(x)  # wrong: assignment, reportAssignmentType
    plain: unpool.torch.MaxPool2d = model.pool  # wrong: assignment, reportAssignmentType
    unpool.torch.MaxPool2d(2, padding="sam")  # wrong: arg-type, reportArgumentType
    unpool.torch.MaxUnpool2d(2, dilations=2)  # wrong: call-arg, reportCallIssue


if __name__ == "__main__":
    photo = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Model()(photo).sum() == 5 + 7 + 13 + 15
    right(photo, False)
