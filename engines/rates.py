"""Shares and ranks with their bounds, without further libraries: what scoring and evaluating states."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_HALVINGS = 60


def auroc(scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve = share of (positive, negative) pairs in the right order, ties count half.

    Needs at least one positive and one negative.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    n_positive = int(positive.sum())
    n_negative = len(scores) - n_positive
    rank_sum = float(middle[inverse][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def auroc_bounds(area: float, positives: int, negatives: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided bounds of an area under the ROC curve: Newcombe, Stat. Med. 25 (2006) 559, method 5.

    A bound is where the area found lies as many standard errors away as `confidence` asks for. The standard error is
    that of Hanley and McNeil, Radiology 143 (1982) 29, at the bound and not at the area found: so an area of 1 from
    few units has a lower bound below 1, which DeLong's interval has not.
    """
    normal = NormalDist().inv_cdf((1.0 + confidence) / 2)

    def too_far(bound: float) -> bool:
        return abs(area - bound) > normal * _standard_error(bound, positives, negatives)

    low = 0.0 if area == 0.0 else area * _bisect(lambda share: too_far(share * area))
    high = 1.0 if area == 1.0 else 1.0 - (1.0 - area) * _bisect(lambda share: too_far(1.0 - share * (1.0 - area)))
    return low, high


def _standard_error(area: float, positives: int, negatives: int) -> float:
    others = (positives + negatives) / 2 - 1
    spread = 1.0 + others * ((1.0 - area) / (2.0 - area) + area / (1.0 + area))
    return math.sqrt(area * (1.0 - area) * spread / (positives * negatives))


def clopper_pearson(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided bounds of a share (Clopper and Pearson 1934), found by bisection of the binomial tails."""
    tail = (1.0 - confidence) / 2
    return 1.0 - _highest(trials - events, trials, tail), _highest(events, trials, tail)


def lower_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound of a share: with `confidence` it is no lower (Clopper and Pearson 1934)."""
    return 1.0 - _highest(trials - events, trials, 1.0 - confidence)


def _highest(events: int, trials: int, tail: float) -> float:
    """Return the share at which `events` or fewer of `trials` have the probability `tail`."""
    if events == trials:
        return 1.0
    k = np.arange(events + 1)
    choose = math.lgamma(trials + 1) - np.array([math.lgamma(i + 1) + math.lgamma(trials - i + 1) for i in k.tolist()])
    return _bisect(lambda p: np.exp(choose + k * math.log(p) + (trials - k) * math.log1p(-p)).sum() > tail)


def _bisect(below: Callable[[float], bool | np.bool_]) -> float:
    """Return where `below` turns from true to false between 0 and 1, both exclusive."""
    left, right = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        left, right = (middle, right) if below(middle) else (left, middle)
    return (left + right) / 2
