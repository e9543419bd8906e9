"""The few statistics the score needs, exact and without further libraries."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt


def auroc(scores: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve = share of (positive, negative) pairs in the right order, ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    n_positive = int(positive.sum())
    n_negative = len(scores) - n_positive
    rank_sum = float(middle[inverse][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def clopper_pearson(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided bounds of a share (Clopper and Pearson 1934), found by bisection of the binomial tails."""
    tail = (1.0 - confidence) / 2
    low = 0.0 if events == 0 else _bisect(lambda p: 1.0 - _binomial_cdf(events - 1, trials, p) < tail)
    high = 1.0 if events == trials else _bisect(lambda p: _binomial_cdf(events, trials, p) > tail)
    return low, high


def _bisect(below: Callable[[float], bool]) -> float:
    left, right = 0.0, 1.0
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if below(middle) else (left, middle)
    return (left + right) / 2


def _binomial_cdf(k: int, n: int, p: float) -> float:
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return float(k >= n)
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))
