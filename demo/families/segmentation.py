"""Small U-Net (Ronneberger et al. 2015): a mask per class at a quarter of the input."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.families.dataset import BodySet
from demo.families.learning import Schedule, Trained, train_mapped
from demo.families.networks import BasicBlock, Normalised, Widths, conv
from signing.manifest import Model


def _layer(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(conv(inside, outside, 3), nn.ReLU())


class UNet(nn.Module):
    """uint8 (n, 1, height, width) -> logits of classes, (n, classes), and of cells, (n, classes, height/4, width/4)."""

    def __init__(self, classes: int, widths: Widths = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.quarter = nn.Sequential(Normalised(), conv(1, first, 7, 4), nn.ReLU(), BasicBlock(first, first, 1))
        self.eighth = nn.Sequential(BasicBlock(first, second, 2), BasicBlock(second, second, 1))
        self.sixteenth = nn.Sequential(BasicBlock(second, third, 2), BasicBlock(third, third, 1))
        self.up_eighth = _layer(second + third, second)
        self.up_quarter = _layer(first + second, first)
        self.where = nn.Conv2d(first, classes, 1)
        nn.init.constant_(self.where.bias, -4.0)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(image)
        eighth = self.eighth(quarter)
        merged = self.up_eighth(torch.cat([eighth, _twice(self.sixteenth(eighth))], 1))
        where = self.where(self.up_quarter(torch.cat([quarter, _twice(merged)], 1)))
        return where.amax((2, 3)), where


class Masked(nn.Module):
    """What is exported: probabilities (1, classes, height/4, width/4)."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.net(image)[1])


def _twice(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def train_segmentation(schedule: Schedule, model: Model, units: BodySet, _validation: BodySet) -> Trained:
    net = UNet(len(model.classes))
    rows, columns = model.output.shape[2:]
    seconds = train_mapped(net, (rows, columns), schedule, model, units)
    return Trained(Masked(net), seconds, schedule.epochs, len(units))
