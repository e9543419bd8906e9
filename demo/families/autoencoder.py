"""Autoencoder of the vial that was straightened in the graph, learnt from good units alone.

The vial stands up to 24 pixels beside the middle and leans: a residual of the raw picture would show its edges and
nothing else. So the graph measures where the vial is (the middle of what is dark, in a band at its top and one at its
foot) and shifts every row back by linear interpolation, written as a matrix product that every back end has. The
residual is compared with what good units show at the same place. The code between the halves is a short vector: what
good units never do, such as a low fill or a tilted cap, cannot pass through it.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.families.dataset import VIAL, BodySet
from demo.families.learning import Schedule, Trained, fit
from demo.families.networks import conv
from demo.spec import Pictures
from signing.manifest import Model

DARK = 110.0
TOP, FOOT = (30, 48), (120, 160)
CODE, NARROW = 32, 12
# Below this much (of 0..1) two residuals are the same: it keeps places where good units never differ from shouting.
LEAST_SPREAD = 0.003
# The logit is 0 where the distance exceeds the mean of good units by this many of their standard deviations.
SAFETY = 4.0
_AT_ONCE = 100


class Straightened(nn.Module):
    """uint8 (n, 1, rows, columns) -> (n, 1, rows / 2, columns / 2) of 0..1, the vial upright in its middle."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        across = torch.arange(columns) - (columns - 1) / 2
        middles = [sum(band) / 2 for band in (TOP, FOOT)]
        along = (torch.arange(rows) - middles[0]) / (middles[1] - middles[0])
        self.half = float(across[-1])
        self.across: Tensor
        self.along: Tensor
        self.register_buffer("across", across)
        self.register_buffer("along", along[None, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        grey = image.float()[:, 0]
        top, foot = (self._middle(grey[:, first:last]) for first, last in (TOP, FOOT))
        wanted = self.across[:, None] + top + (foot - top) * self.along
        away = wanted.clamp(-self.half, self.half) - self.across
        weights = (1.0 - torch.maximum(away, -away)).clamp(min=0.0)
        straight = (weights @ grey[..., None]).squeeze(3)[:, None] * (1.0 / 255.0)
        return functional.avg_pool2d(straight, 2)

    def _middle(self, band: Tensor) -> Tensor:
        """(n, 1, 1, 1) columns from the picture's middle to that of what is dark."""
        dark = (DARK - band).clamp(min=0.0).sum(1)
        return ((dark * self.across).sum(1) / (dark.sum(1) + 1.0))[:, None, None, None]


class Coder(nn.Module):
    """(n, 1, rows, columns) -> the same, through a vector of `CODE` numbers."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        grid = (rows // 4, columns // 4)
        size = NARROW * grid[0] * grid[1]
        down = [_layer(1, 24, 1), _layer(24, 32, 2), _layer(32, 48, 2), _layer(48, NARROW, 1), nn.Flatten()]
        self.encode = nn.Sequential(*down, nn.Linear(size, CODE))
        self.unpack, self.grid = nn.Sequential(nn.Linear(CODE, size), nn.ReLU()), (-1, NARROW, *grid)
        up = [_layer(NARROW, 48, 1), _twice(), _layer(48, 32, 1), _twice(), _layer(32, 24, 1)]
        self.decode = nn.Sequential(*up, nn.Conv2d(24, 1, 3, 1, 1))

    def forward(self, straight: Tensor) -> Tensor:
        code = self.unpack(self.encode((straight - 0.5) * 4.0)).reshape(self.grid)
        return self.decode(code) * 0.25 + 0.5


def _layer(inside: int, outside: int, stride: int) -> nn.Module:
    return nn.Sequential(conv(inside, outside, 3, stride), nn.ReLU())


def _twice() -> nn.Module:
    return nn.Upsample(scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """What is exported: logit (1, 1) and map (1, 1, rows / 2, columns / 2) of z-scores above 0.

    The distance is the root mean square of the map; the logit is (distance - `centre`) / `width`.
    """

    def __init__(self, straightened: Straightened, coder: Coder) -> None:
        super().__init__()
        self.straightened, self.coder = straightened, coder
        for name in ("usual", "spread", "centre", "width"):
            self.register_buffer(name, torch.ones(1))
        self.usual: Tensor
        self.spread: Tensor
        self.centre: Tensor
        self.width: Tensor

    def residual(self, image: Tensor) -> Tensor:
        straight = self.straightened(image)
        away = self.coder(straight) - straight
        return functional.avg_pool2d(torch.maximum(away, -away), 3, 1, 1)

    def distance(self, image: Tensor) -> tuple[Tensor, Tensor]:
        above = ((self.residual(image) - self.usual) / self.spread).clamp(min=0.0)
        return (above * above).mean((2, 3)).sqrt(), above

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        distance, above = self.distance(image)
        return (distance - self.centre) / self.width, above

    @torch.no_grad()
    def calibrate(self, pictures: Pictures) -> None:
        """Set what good units show from one half of `pictures`, (n, rows, columns), centre and width from the other."""
        first, second = (pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :])
        usual = torch.cat([self.residual(part) for part in _parts(first)])
        self.usual, self.spread = usual.mean(0), usual.std(0) + LEAST_SPREAD
        distances = torch.cat([self.distance(part)[0] for part in _parts(second)])
        self.centre, self.width = distances.mean() + SAFETY * distances.std(), distances.std()


def _parts(pictures: Pictures) -> tuple[Tensor, ...]:
    return torch.from_numpy(np.ascontiguousarray(pictures))[:, None].split(_AT_ONCE)


def train_autoencoder(schedule: Schedule, model: Model, units: BodySet, validation: BodySet) -> Trained:
    """Learn from the good training units, calibrate on the good validation units; defective ones are not looked at."""
    rows, columns = model.input.shape[2:]
    straightened, coder = Straightened(rows, columns), Coder(rows // 2, columns // 2)
    coder = coder.to(memory_format=torch.channels_last)
    with torch.no_grad():
        good = torch.cat([straightened(part) for part in _parts(units.cuts[VIAL][units.good])])

    def step(pick: Tensor, _chance: torch.Generator) -> Tensor:
        shown = good[pick].contiguous(memory_format=torch.channels_last)
        return 10.0 * (coder(shown) - shown).abs().mean()

    seconds = fit(coder, len(good), step, schedule, model.file)
    graph = Residual(straightened, coder).eval()
    graph.calibrate(validation.cuts[VIAL][validation.good])
    return Trained(graph, seconds, schedule.epochs, len(good))
