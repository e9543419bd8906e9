"""The demo classifier: a small convolution net that sees where small defects are while it learns.

The stem is coarse (7x7, stride 4), the head takes the maximum beside the mean: 2-4 pixel particles survive both.
A map of the local defects (particle, fibre, crack, scratch) at 1/16 of the input is trained on their known positions;
its maxima go into the scores.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDE = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """Layer widths at strides 4, 8, 16; how many classes; which of them are local."""

    widths: tuple[int, int, int]
    classes: int
    local: tuple[int, ...]
    grid: tuple[int, int]


class VialNet(nn.Module):
    """(n, 1, height, width) grey levels 0..255 -> logits (n, classes), local logits (n, local, height/16, width/16)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first, second, third = shape.widths
        self.features = nn.Sequential(
            *_layer(1, first, 7, 4),
            *_layer(first, first, 3, 1),
            *_layer(first, second, 3, 2),
            *_layer(second, second, 3, 1),
            *_layer(second, third, 3, 2),
            *_layer(third, third, 3, 1),
        )
        self.where = nn.Conv2d(third, len(shape.local), 1)
        self.context = nn.Sequential(*_layer(third, third, 3, 1))
        rows, columns = shape.grid
        self.cells = nn.AvgPool2d((rows, columns), (rows, columns))
        self.drop = nn.Dropout(0.1)
        self.head = nn.LazyLinear(shape.classes)
        select = torch.zeros(len(shape.local), shape.classes)
        select[range(len(shape.local)), shape.local] = 1.0
        self.register_buffer("select", select)
        nn.init.constant_(self.where.bias, -4.0)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.features((image.float() - 120.0) * (1.0 / 60.0))
        where = self.where(found)
        wide = self.context(found)
        strongest = where.amax((2, 3))
        parts = torch.cat([self.cells(wide).flatten(1), wide.amax((2, 3)), strongest], 1)
        return self.head(self.drop(parts)) + strongest @ self.select, where


class Scorer(nn.Module):
    """What is exported: scores (n, classes), 0 to 1."""

    def __init__(self, net: VialNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.net(image)[0])


def _layer(inside: int, outside: int, kernel: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    ]
