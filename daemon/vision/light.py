"""The light of every frame, measured at a reference patch that no unit ever covers: out of its band, no verdict counts.

Lamps age, strobes miss, lenses are knocked; a model trained in good light says nothing about a picture in bad light.
"""

from dataclasses import dataclass

from daemon.config import Patch
from engines.engine import Frame

WEIGHT = 1.0 / 64.0
EDGE = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """Mean grey value of the patch (0..255) in one frame, and its mean over the last hundred frames or so."""

    grey: float
    trend: float
    lit: bool
    near_edge: bool


class Light:
    """Owned by thread `infer`, one for each camera with a patch."""

    def __init__(self, patch: Patch) -> None:
        self._rows = slice(patch.y, patch.y + patch.height)
        self._columns = slice(patch.x, patch.x + patch.width)
        self._low, self._high = patch.low, patch.high
        self._margin = EDGE * (patch.high - patch.low)
        self._trend = 0.0

    def look(self, image: Frame) -> Reading:
        """Measure one frame (height, width) uint8, straight from its ring slot. About 10 us for 64 x 64 px."""
        grey = float(image[self._rows, self._columns].mean())
        self._trend = self._trend + WEIGHT * (grey - self._trend) if self._trend else grey
        lit = self._low <= grey <= self._high
        near = not self._low + self._margin <= self._trend <= self._high - self._margin
        return Reading(grey, self._trend, lit, near)

    def text(self, reading: Reading) -> str:
        """Return the reading and its band for an alarm."""
        return f"patch {reading.grey:.1f}, trend {reading.trend:.1f}, band {self._low:g} to {self._high:g}"
