"""The classifiers: residual network, EfficientNet-Lite style network, vision transformer.

All three end in a map of logits, classes x 17 x 14, one cell for 16 x 16 pixels of the input. A class scores the map's
maximum plus a learnt multiple of its mean, so the map says exactly where the score came from: a class-activation map
(Zhou et al. 2016) without a second pass.
"""

import torch
from torch import Tensor, nn

Widths = tuple[int, int, int]


class Normalised(nn.Module):
    """uint8 grey levels to about -2..2, in the graph and so under the bundle's signature."""

    def forward(self, image: Tensor) -> Tensor:
        return (image.float() - 120.0) * (1.0 / 60.0)


class MapHead(nn.Module):
    """(n, width, h, w) features -> logits (n, classes) and their map (n, classes, h, w)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.where = nn.Conv2d(width, classes, 1)
        nn.init.constant_(self.where.bias, -4.0)
        self.share = nn.Parameter(torch.zeros(classes))
        self.offset = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        where = self.where(features)
        return where.amax((2, 3)) + self.share * where.mean((2, 3)) + self.offset, where


def conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias and its batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outside)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a short cut (He et al. 2016, figure 2)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and inside == outside
        self.short: nn.Module = nn.Identity() if same else conv(inside, outside, 1, stride)
        self.long = nn.Sequential(conv(inside, outside, 3, stride), nn.ReLU(), conv(outside, outside, 3))
        self.last = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.short(features) + self.long(features))


def resnet(classes: int, widths: Widths = (16, 32, 64)) -> nn.Module:
    """Stem 7x7 of stride 4, then five basic blocks at strides 4, 8 and 16."""
    first, second, third = widths
    return nn.Sequential(
        Normalised(),
        conv(1, first, 7, 4),
        nn.ReLU(),
        BasicBlock(first, first, 1),
        BasicBlock(first, second, 2),
        BasicBlock(second, second, 1),
        BasicBlock(second, third, 2),
        BasicBlock(third, third, 1),
        MapHead(third, classes),
    )


class MbConv(nn.Module):
    """Inverted residual (Sandler et al. 2018) as EfficientNet-Lite has it: ReLU6, no squeeze-and-excite."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = inside * widen
        self.short = stride == 1 and inside == outside
        self.body = nn.Sequential(
            conv(inside, wide, 1),
            nn.ReLU6(),
            conv(wide, wide, kernel, stride, groups=wide),
            nn.ReLU6(),
            conv(wide, outside, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.body(features)
        return features + found if self.short else found


def efficientnet_lite(classes: int, widths: Widths = (16, 24, 40)) -> nn.Module:
    """Stem 7x7 of stride 4, then inverted residuals at strides 4, 8 and 16; kernels of 3 and 5 as in the original."""
    first, second, third = widths
    return nn.Sequential(
        Normalised(),
        conv(1, first, 7, 4),
        nn.ReLU6(),
        MbConv(first, first, 3, 1, 2),
        MbConv(first, second, 5, 2, 4),
        MbConv(second, second, 5, 1, 4),
        MbConv(second, third, 5, 2, 4),
        MbConv(third, third, 5, 1, 4),
        MbConv(third, third, 3, 1, 4),
        conv(third, 128, 1),
        nn.ReLU6(),
        MapHead(128, classes),
    )


class Attention(nn.Module):
    """Every patch looks at every other (Vaswani et al. 2017, section 3.2), in operators that every back end has."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.split = (-1, tokens, heads, width // heads)
        self.joined = (-1, tokens, width)
        self.ask, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        ask, key, value = (self._split(part(tokens)) for part in (self.ask, self.key, self.value))
        weights = (ask @ key.transpose(2, 3) * self.split[3] ** -0.5).softmax(3)
        mixed = (weights @ value).transpose(1, 2).reshape(self.joined)
        return self.out(mixed)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(self.split).transpose(1, 2)


class Layer(nn.Module):
    """Normalise, attend, add; normalise, think, add (pre-norm, Dosovitskiy et al. 2021, figure 1)."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), Attention(tokens, width, heads))
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attend(tokens)
        return tokens + self.think(tokens)


class VisionTransformer(nn.Module):
    """Patches of 16 x 16 pixels, learnt positions, pre-norm layers; a logit per class and patch."""

    def __init__(self, classes: int, grid: tuple[int, int], width: int, layers: int) -> None:
        super().__init__()
        tokens = grid[0] * grid[1]
        self.rows = (-1, tokens, width)
        self.cells = (-1, *grid, width)
        self.normalised = Normalised()
        self.patches = nn.Sequential(conv(1, 24, 7, 4), nn.ReLU(), nn.Conv2d(24, width, 4, 4))
        self.places = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(tokens, width, 4) for _ in range(layers)), nn.LayerNorm(width))
        self.head = MapHead(width, classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.patches(self.normalised(image)).permute(0, 2, 3, 1).reshape(self.rows)
        found = self.layers(patches + self.places).reshape(self.cells).permute(0, 3, 1, 2)
        return self.head(found)


def vit(classes: int, grid: tuple[int, int] = (17, 14), width: int = 96, layers: int = 3) -> nn.Module:
    return VisionTransformer(classes, grid, width, layers)
