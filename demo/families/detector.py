"""Anchor-free detector in the manner of YOLOX (Ge et al. 2021): decoupled head, strides 8 and 16, decoded in the graph.

Places near the middle of a box are its positives: those of stride 8 for small boxes, those of stride 16 for large ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.families.dataset import LIQUID, BodySet
from demo.families.learning import Schedule, Step, Trained, fit
from demo.families.networks import BasicBlock, Normalised, conv
from demo.families.targets import box_targets
from signing.manifest import Model

STRIDES = (8, 16)
WIDTH = 32
SMALL = 40.0
REACH = 1.5


def _layer(inside: int, outside: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(inside, outside, kernel, stride), nn.SiLU())


class Head(nn.Module):
    """(n, width, h, w) -> (n, h*w, 4 + 1 + classes) raw numbers: box, objectness, classes."""

    def __init__(self, width: int, classes: int, places: int) -> None:
        super().__init__()
        self.shape = (-1, places, 5 + classes)
        self.named = nn.Sequential(_layer(width, width, 3), nn.Conv2d(width, classes, 1))
        self.placed = _layer(width, width, 3)
        self.box, self.object = nn.Conv2d(width, 4, 1), nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.object.bias, -4.0)

    def forward(self, features: Tensor) -> Tensor:
        placed = self.placed(features)
        parts = [self.box(placed), self.object(placed), self.named(features)]
        return torch.cat(parts, 1).permute(0, 2, 3, 1).reshape(self.shape)


class Detector(nn.Module):
    """uint8 (n, 1, height, width) -> raw numbers (n, places, 5 + classes); `decoded` makes boxes of them."""

    def __init__(self, classes: int, height: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            Normalised(), _layer(1, 16, 7, 4), BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 32, 1)
        )
        self.coarse = nn.Sequential(BasicBlock(32, 64, 2), BasicBlock(64, 64, 1))
        self.narrow, self.merge = _layer(64, WIDTH, 1), _layer(32 + WIDTH, WIDTH, 3)
        places, strides = zip(*(_places(height // s, width // s, s) for s in STRIDES), strict=True)
        self.heads = nn.ModuleList(Head(WIDTH, classes, len(of_stride)) for of_stride in places)
        self.places: Tensor
        self.strides: Tensor
        self.register_buffer("places", torch.cat(places))
        self.register_buffer("strides", torch.cat(strides))

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        coarse = self.narrow(self.coarse(fine))
        above = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        levels = self.merge(torch.cat([fine, above], 1)), coarse
        return torch.cat([head(level) for head, level in zip(self.heads, levels, strict=True)], 1)

    def corners(self, raw: Tensor) -> Tensor:
        """(n, places, 4) left, top, right, bottom in pixels of the input."""
        middle = self.places + raw[..., :2] * self.strides
        half = raw[..., 2:4].clamp(-4.0, 4.0).exp() * self.strides * 0.5
        return torch.cat([middle - half, middle + half], 2)


class Decoded(nn.Module):
    """What is exported: (1, places, 5 + classes), corners then probabilities."""

    def __init__(self, net: Detector) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        raw = self.net(image)
        return torch.cat([self.net.corners(raw), raw[..., 4:].sigmoid()], 2)


def _places(rows: int, columns: int, stride: int) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    middles = (torch.stack([x, y], 2).reshape(-1, 2) + 0.5) * stride
    return middles, torch.full((rows * columns, 1), float(stride))


def detector_step(net: Detector, model: Model, units: BodySet) -> Step:
    pictures = torch.from_numpy(units.cuts[LIQUID])[:, None]
    boxes, classes = (torch.from_numpy(each) for each in box_targets(model, units))
    width = float(model.preprocessing.width)

    def step(pick: Tensor, chance: torch.Generator) -> Tensor:
        image, wanted = pictures[pick].float(), boxes[pick]
        if torch.rand(1, generator=chance) < 0.5:
            image, wanted = image.flip(3), _mirrored(wanted, width)
        gain = 0.9 + 0.2 * torch.rand((len(pick), 1, 1, 1), generator=chance)
        raw = net((image * gain).clamp(0.0, 255.0).contiguous(memory_format=torch.channels_last))
        return _loss(net, raw, wanted, classes[pick])

    return step


def _mirrored(boxes: Tensor, width: float) -> Tensor:
    return torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], 2)


def _loss(net: Detector, raw: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Objectness everywhere; box (generalised IoU, Rezatofighi et al. 2019) and class where a defect is."""
    image, place, which = _assigned(net, boxes, classes).nonzero(as_tuple=True)
    found = torch.zeros(raw.shape[:2])
    found[image, place] = 1.0
    objects = functional.binary_cross_entropy_with_logits(raw[..., 4], found, reduction="sum")
    apart = 1.0 - _giou(net.corners(raw)[image, place], boxes[image, which])
    named = functional.one_hot(classes[image, which], raw.shape[2] - 5).float()
    names = functional.binary_cross_entropy_with_logits(raw[image, place, 5:], named, reduction="sum")
    return (objects + 2.0 * apart.sum() + names) / (found.sum() + 10.0)


def _assigned(net: Detector, boxes: Tensor, classes: Tensor) -> Tensor:
    """(n, places, boxes) which place answers for which box."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    small = (boxes[..., 2:] - boxes[..., :2]).amax(2) < SMALL
    level = torch.where(small, float(STRIDES[0]), float(STRIDES[1]))
    away = (net.places[None, :, None] - middle[:, None]).abs().amax(3)
    near = away < REACH * net.strides[None]
    return near & (net.strides[None] == level[:, None]) & (classes >= 0)[:, None]


def _giou(one: Tensor, other: Tensor) -> Tensor:
    inner = torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])
    outer = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    both, hull = inner.clamp(min=0.0).prod(1), outer.prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - both
    return both / union - (hull - union) / hull


def train_detector(schedule: Schedule, model: Model, units: BodySet, _validation: BodySet) -> Trained:
    net = Detector(len(model.classes), model.preprocessing.height, model.preprocessing.width)
    net = net.to(memory_format=torch.channels_last)
    seconds = fit(net, len(units), detector_step(net, model, units), schedule, model.file)
    return Trained(Decoded(net), seconds, schedule.epochs, len(units))
