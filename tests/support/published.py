"""ENet and TASED-Net in PyTorch, with the layers, channels and windows of their papers; docs/users.md lists the papers.

`layers` is the module that pooling and unpooling are of, `torch.nn` or `unpool.torch`.  `index` has the arguments that
only the latter has.  `benchmarks/kept.py` has SegNet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# --- ENet -------------------------------------------------------------------------------------------------------------

# The convolutions in the middle of a stage's blocks: a dilation, or 5 for a row of 5 after a column of 5.
MIDDLE = (("dilated", 1), ("dilated", 2), ("rows", 5), ("dilated", 4), ("dilated", 1), ("dilated", 8), ("rows", 5))
MIDDLE += (("dilated", 16),)


def normed(channels: int, relu: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU() if relu else nn.PReLU(channels)]


class Bottleneck(nn.Module):
    """A shortcut beside three convolutions: the shortcut is pooled on the way down, and unpooled on the way up."""

    def __init__(
        self,
        layers: Any,
        before: int,
        after: int,
        middle: tuple[str, int] = ("dilated", 1),
        *,
        way: str = "along",
        relu: bool = False,
        **index: Any,
    ) -> None:
        super().__init__()
        inner, (kind, size) = before // 4, middle
        step = 2 if way == "down" else 1
        if way == "up":
            convolution = [nn.ConvTranspose2d(inner, inner, 3, 2, 1, output_padding=1, bias=False)]
        elif kind == "rows":
            half = size // 2
            convolution = [
                nn.Conv2d(inner, inner, (size, 1), padding=(half, 0), bias=False),
                nn.Conv2d(inner, inner, (1, size), padding=(0, half), bias=False),
            ]
        else:
            convolution = [nn.Conv2d(inner, inner, 3, padding=size, dilation=size, bias=False)]
        self.body = nn.Sequential(
            nn.Conv2d(before, inner, step, step, bias=False),
            *normed(inner, relu),
            *convolution,
            *normed(inner, relu),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.Dropout2d(0.1),
        )
        self.more = after - before
        self.last = nn.ReLU() if relu else nn.PReLU(after)
        self.pool = layers.MaxPool2d(2, return_indices=True, **index) if way == "down" else None
        self.unpool = layers.MaxUnpool2d(2, **index) if way == "up" else None
        if way == "up":
            self.narrow = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Any, indices: Any = None, size: Any = None) -> Any:
        shortcut, body = x, self.body(x)
        if self.pool:
            shortcut, indices = self.pool(x)
            shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.more))  # channels of zeros
            return self.last(shortcut + body), indices
        if self.unpool:
            shortcut = self.unpool(self.narrow(x), indices, output_size=size)
        return self.last(shortcut + body)


class ENet(nn.Module):
    def __init__(self, layers: Any, classes: int = 12, **index: Any) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 13, 3, 2, 1, bias=False)
        self.beside = layers.MaxPool2d(2)
        self.after = nn.Sequential(*normed(16, relu=False))
        self.down1 = Bottleneck(layers, 16, 64, way="down", **index)
        self.stage1 = nn.Sequential(*(Bottleneck(layers, 64, 64) for _ in range(4)))
        self.down2 = Bottleneck(layers, 64, 128, way="down", **index)
        self.stage2 = nn.Sequential(*(Bottleneck(layers, 128, 128, middle) for middle in MIDDLE * 2))
        self.up2 = Bottleneck(layers, 128, 64, way="up", relu=True, **index)
        self.stage4 = nn.Sequential(*(Bottleneck(layers, 64, 64, relu=True) for _ in range(2)))
        self.up1 = Bottleneck(layers, 64, 16, way="up", relu=True, **index)
        self.stage5 = Bottleneck(layers, 16, 16, relu=True)
        self.last = nn.ConvTranspose2d(16, classes, 3, 2, 1, output_padding=1)

    def forward(self, x: Any) -> Any:
        large = self.after(torch.cat([self.first(x), self.beside(x)], 1))
        x, indices1 = self.down1(large)
        middle = self.stage1(x)
        x, indices2 = self.down2(middle)
        x = self.up2(self.stage2(x), indices2, middle.shape)
        x = self.up1(self.stage4(x), indices1, large.shape)
        return self.last(self.stage5(x))


# --- TASED-Net --------------------------------------------------------------------------------------------------------

# The channels of S3D's blocks: before; alone; two pairs of a narrow and a separable convolution; after pooling.
BLOCKS = (
    (
        (192, 64, (96, 128), (16, 32), 32),
        (256, 128, (128, 192), (32, 96), 64),
    ),
    (
        (480, 192, (96, 208), (16, 48), 64),
        (512, 160, (112, 224), (24, 64), 64),
        (512, 128, (128, 256), (24, 64), 64),
        (512, 112, (144, 288), (32, 64), 64),
        (528, 256, (160, 320), (32, 128), 128),
    ),
    (
        (832, 256, (160, 320), (32, 128), 128),
        (832, 384, (192, 384), (48, 128), 128),
    ),
)
FRAMES = 32  # of a clip
OVERLAPPING = {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}


def convolved(convolution: nn.Module) -> list[nn.Module]:
    return [convolution, nn.BatchNorm3d(convolution.out_channels, eps=1e-3), nn.ReLU()]


def plain(before: int, after: int) -> list[nn.Module]:
    return convolved(nn.Conv3d(before, after, 1, bias=False))


def separable(before: int, after: int, size: int = 3, step: int = 1) -> list[nn.Module]:
    """Return a convolution over each picture, and one over time."""
    half = size // 2
    space = nn.Conv3d(before, after, (1, size, size), (1, step, step), (0, half, half), bias=False)
    time = nn.Conv3d(after, after, (size, 1, 1), (step, 1, 1), (half, 0, 0), bias=False)
    return [*convolved(space), *convolved(time)]


def restoring(before: int, after: int) -> nn.Sequential:
    """Return the transposed convolution of a level of the decoder."""
    return nn.Sequential(*convolved(nn.ConvTranspose3d(before, after, (1, 3, 3), 1, (0, 1, 1), bias=False)))


class Block(nn.Module):
    def __init__(self, layers: Any, before: int, alone: int, one: Any, two: Any, pooled: int) -> None:
        super().__init__()
        pairs = ([*plain(before, narrow), *separable(narrow, after)] for narrow, after in (one, two))
        ways = (plain(before, alone), *pairs, [layers.MaxPool3d(3, 1, 1), *plain(before, pooled)])
        self.ways = nn.ModuleList(nn.Sequential(*way) for way in ways)

    def forward(self, x: Any) -> Any:
        return torch.cat([way(x) for way in self.ways], 1)


class TASEDNet(nn.Module):
    """The encoder of S3D; its decoder unpools by the indices of features that were reduced to four points in time."""

    def __init__(self, layers: Any, **index: Any) -> None:
        super().__init__()

        def blocks(stage: int) -> nn.Sequential:
            return nn.Sequential(*(Block(layers, *channels) for channels in BLOCKS[stage]))

        def reduce(count: int) -> Any:
            return layers.MaxPool3d((count, 1, 1))

        def kept(**window: Any) -> Any:
            return layers.MaxPool3d(**window, return_indices=True, **index)

        apart = {"kernel_size": (1, 2, 2)}
        self.base1 = nn.Sequential(
            *separable(3, 64, 7, 2), layers.MaxPool3d(**OVERLAPPING), *plain(64, 64), *separable(64, 192)
        )
        self.base2, self.base3, self.base4 = map(blocks, range(3))
        self.pool2, self.pool3 = layers.MaxPool3d(**OVERLAPPING), layers.MaxPool3d(3, 2, 1)
        self.reduce2, self.reduce3, self.reduce4 = reduce(4), reduce(4), reduce(2)
        self.kept2, self.kept3, self.kept4 = kept(**OVERLAPPING), kept(**OVERLAPPING), kept(**apart)
        self.up4 = nn.Sequential(*plain(1024, 1024), *restoring(1024, 832))
        self.unpool4 = layers.MaxUnpool3d(**apart, **index)
        self.up3, self.up2 = restoring(832, 480), restoring(480, 192)
        self.unpool3, self.unpool2 = (layers.MaxUnpool3d(**OVERLAPPING, **index) for _ in range(2))
        double = {"kernel_size": (1, 4, 4), "stride": (1, 2, 2), "padding": (0, 1, 1), "bias": False}
        halve = {"kernel_size": (2, 1, 1), "stride": (2, 1, 1), "bias": False}
        self.last = nn.Sequential(
            *convolved(nn.ConvTranspose3d(192, 64, **double)),
            *convolved(nn.Conv3d(64, 64, **halve)),
            *plain(64, 4),
            *convolved(nn.Conv3d(4, 4, **halve)),
            nn.ConvTranspose3d(4, 4, **double),
            nn.Conv3d(4, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Any) -> Any:
        x = self.base1(x)
        large = self.reduce2(x)
        _, indices2 = self.kept2(large)
        x = self.base2(self.pool2(x))
        middle = self.reduce3(x)
        _, indices3 = self.kept3(middle)
        x, indices4 = self.kept4(self.reduce4(self.base3(self.pool3(x))))
        x = self.unpool4(self.up4(self.base4(x)), indices4)
        x = self.unpool3(self.up3(x), indices3, output_size=middle.shape)
        x = self.unpool2(self.up2(x), indices2, output_size=large.shape)
        return self.last(x)[:, 0, 0]
