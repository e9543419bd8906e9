"""From distances of good parts to a score that means the same in every view, and the limit that is proposed for it.

Everything here rests on good parts that the model had not seen: distances come from a fit without their fold.
  1. Each place of each kind of distance is put in spreads around its mean: edges vary more than plain glass.
  2. A picture's peak is the largest value; of the memory's distances it is the root of the summed squares of what is
     above their 99.5 % point. A fibre is odd in many places and little in each, two bubbles side by side in few.
  3. A Gumbel distribution is fitted to the peaks of each kind, which puts both kinds on one footing; to the larger of
     both another, whose quantile at the wanted share of false rejects is the limit.
  4. The logit is 0 at the limit and -4 at the middle of the good parts: the limit is a score of 0.5.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.rates import clopper_pearson
from provisioning.anomaly_memory import Array

Peaks = npt.NDArray[np.float64]

LIMIT = 0.5
GOOD_LOGIT = -4.0
FLOOR = 0.995
EULER = 0.5772156649015329
_LEAST_SHARE = 0.2
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Usual:
    """Mean and spread of one kind of distance at each place, (rows, columns) or (rows, 1)."""

    mean: Array
    spread: Array

    def standardised(self, distances: Array) -> Array:
        """Return distances in spreads around their mean."""
        return np.asarray((distances - self.mean) / self.spread, np.float32)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of distance: what is usual at each place, and location and scale of the good parts' peaks (Gumbel).

    `floor`: only what is above counts, and all of it together; None: the largest value counts.
    """

    usual: Usual
    floor: float | None
    location: float
    scale: float

    def alone(self, distances: Array) -> Array:
        """Return, for each place, the peak in scales if nothing were odd elsewhere."""
        found = self.usual.standardised(distances)
        counted = found if self.floor is None else np.maximum(found - self.floor, 0.0)
        return np.asarray((counted - self.location) / self.scale, np.float32)


@dataclass(frozen=True, slots=True)
class Limit:
    """Where the limit lies, in scales; its Gumbel distribution; how many of `n` unseen good parts reach it.

    `bound` is the upper 95 % confidence bound of the share of good parts that reach it.
    """

    at: float
    middle: float
    location: float
    scale: float
    n: int
    reached: int
    bound: float

    @property
    def gain(self) -> float:
        """Logits per scale."""
        return -GOOD_LOGIT / max(self.at - self.middle, _LEAST)

    def logits(self, peaks: Peaks) -> Peaks:
        return np.asarray((peaks - self.at) * self.gain, np.float64)


def usual_of(distances: Array) -> Usual:
    """Return what is usual of distances of good parts, (images, rows, columns or 1)."""
    floor = _LEAST_SHARE * float(distances.std()) + _LEAST
    return Usual(distances.mean(axis=0), distances.std(axis=0) + np.float32(floor))


def kind_of(distances: Array, folds: npt.NDArray[np.intp], *, summed: bool) -> tuple[Kind, Peaks]:
    """Return the kind of these distances of unseen good parts and their peaks in scales, (images,).

    Args:
        distances: (images, rows, columns or 1).
        summed: everything above the 99.5 % point counts together; else the largest value counts.
    """
    usual = usual_of(distances)
    floor = float(np.quantile([usual.standardised(image) for image in distances], FLOOR)) if summed else None
    peaks = np.zeros(len(distances))
    for fold in np.unique(folds):
        others = usual_of(distances[folds != fold])
        for index in np.flatnonzero(folds == fold):
            peaks[index] = peak_of(others.standardised(distances[index]), floor)
    location, scale = _gumbel(peaks)
    return Kind(usual, floor, location, scale), (peaks - location) / scale


def peak_of(standardised: Array, floor: float | None) -> float:
    """Return the peak of one picture: see `Kind.floor`."""
    if floor is None:
        return float(standardised.max())
    return float(np.sqrt((np.maximum(standardised - floor, 0.0) ** 2).sum()))


def propose(peaks: Peaks, false_rejects: float) -> Limit:
    """Return the limit that a share `false_rejects` of good parts should reach, from unseen peaks in scales."""
    location, scale = _gumbel(peaks)
    at = location - scale * math.log(-math.log1p(-false_rejects))
    reached = int((peaks >= at).sum())
    _, bound = clopper_pearson(reached, len(peaks))
    return Limit(at, float(np.median(peaks)), location, scale, len(peaks), reached, bound)


def _gumbel(peaks: Peaks) -> tuple[float, float]:
    """Return location and scale by probability-weighted moments (Landwehr, Matalas and Wallis 1979)."""
    ranked, n = np.sort(peaks), len(peaks)
    weighted = float((ranked * np.arange(n)).sum() / (n * (n - 1)))
    mean = float(ranked.mean())
    scale = max((2.0 * weighted - mean) / math.log(2.0), _LEAST)
    return mean - EULER * scale, scale
