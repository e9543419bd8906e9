"""The paired test of two models that judged the same units. Pure.

Only the units that one accepts and the other does not say which of them rejects more: `fewer` that only the active pair
rejects, `more` that only the candidate rejects. Where both reject equally often, each of those units is equally likely
to be of either kind, whatever came before it (McNemar, Psychometrika 12, 1947: 153-157).

Looking every day and stopping when it looks good makes a p-value wrong, and this one not: the e-value below is a
martingale with mean 1 where there is no difference, so it exceeds 1/alpha at any time ever with probability alpha at
most (Ville 1939; Robbins, Ann. Math. Statist. 41, 1970: 1397-1409; Ramdas et al., Statist. Sci. 38, 2023: 576-601).
The exact p-value is for a test whose end was fixed before it began.
"""

import enum
import math
from dataclasses import dataclass

ALPHA = 0.05
MOST_PAIRS = 10_000_000


class Decision(enum.StrEnum):
    """What the pairs so far show."""

    MORE = "candidate rejects more"
    LESS = "candidate rejects less"
    NONE = "no difference shown yet"


@dataclass(frozen=True, slots=True)
class Paired:
    """The outcome of a test. `needed`: so many more discordant pairs of the present ratio would show a difference; None
    where that ratio shows none, 0 where it is shown.
    """

    fewer: int
    more: int
    e_value: float
    mcnemar_p: float
    decision: Decision
    needed: int | None


def paired(fewer: int, more: int, alpha: float = ALPHA) -> Paired:
    """Test discordant pairs. `alpha`: probability of ever seeing a difference where there is none."""
    decision = Decision.NONE
    if log_e_value(fewer, more) >= -math.log(alpha):
        decision = Decision.MORE if more > fewer else Decision.LESS
    found = math.exp(min(log_e_value(fewer, more), 700.0))
    return Paired(fewer, more, found, mcnemar_exact(fewer, more), decision, _needed(fewer, more, alpha))


def log_e_value(fewer: int, more: int) -> float:
    """Return the logarithm of the e-value against "each kind is equally likely".

    The likelihood ratio of the pairs, averaged over every other probability alike (uniform prior, beta-binomial):
    integral of p^more (1-p)^fewer dp / 2^-n = 2^n / ((n + 1) * (n choose more)), n = fewer + more.
    """
    n = fewer + more
    return n * math.log(2.0) - math.log(n + 1) - _log_choose(n, more)


def mcnemar_exact(fewer: int, more: int) -> float:
    """Return the two-sided exact p-value of the binomial test of p = 1/2, doubled smaller tail, 1 at most."""
    n = fewer + more
    tail = math.fsum(math.exp(_log_choose(n, k) - n * math.log(2.0)) for k in range(min(fewer, more) + 1))
    return min(1.0, 2.0 * tail)


def _needed(fewer: int, more: int, alpha: float) -> int | None:
    """Return how many more discordant pairs show a difference if they come in the present ratio; of none, all alike."""
    if log_e_value(fewer, more) >= -math.log(alpha):
        return 0
    n, share = fewer + more, max(fewer, more) / (fewer + more) if fewer + more else 1.0
    if share == 0.5:
        return None

    def shows(total: int) -> bool:
        larger = round(share * total)
        return log_e_value(total - larger, larger) >= -math.log(alpha)

    above = max(1, n)
    while not shows(above):
        if above > MOST_PAIRS:
            return None
        above *= 2
    below = above // 2
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if shows(middle) else (middle, above)
    return max(1, above - n)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
