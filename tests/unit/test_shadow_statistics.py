"""The paired test: exact values from fractions, and its error rate under looking after every pair."""

import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.shadow_statistics import ALPHA, Decision, log_e_value, mcnemar_exact, paired

SEED = 20261123


def _p(fewer: int, more: int) -> Fraction:
    n = fewer + more
    return min(Fraction(1), 2 * Fraction(sum(math.comb(n, k) for k in range(min(fewer, more) + 1)), 2**n))


@pytest.mark.parametrize(
    ("fewer", "more", "known"),
    [(1, 8, 0.0390625), (0, 5, 0.0625), (0, 6, 0.03125), (3, 3, 1.0), (0, 0, 1.0), (10, 2, 0.03857421875)],
)
def test_mcnemar_has_its_known_values(fewer: int, more: int, known: float) -> None:
    """Hand-sized: 2 * (1 + 9) / 2^9, 2 / 2^5, 2 / 2^6, and 2 * (1 + 12 + 66) / 2^12."""
    assert mcnemar_exact(fewer, more) == pytest.approx(known, rel=1e-12)
    assert float(_p(fewer, more)) == known


def test_mcnemar_is_exact_on_either_side_and_for_thousands() -> None:
    for fewer, more in ((7, 19), (19, 7), (0, 40), (480, 520), (2450, 2600)):
        assert mcnemar_exact(fewer, more) == pytest.approx(float(_p(fewer, more)), rel=1e-9)


def test_the_e_value_is_the_product_of_what_laplace_would_have_predicted() -> None:
    """Bayes' rule one pair at a time: probability (seen + 1) / (n + 2), doubled; in any order of the pairs."""
    generator = random.Random(SEED)
    for fewer, more in ((0, 7), (4, 9), (12, 3), (40, 41)):
        kinds = [0] * fewer + [1] * more
        generator.shuffle(kinds)
        seen, product = [0, 0], Fraction(1)
        for kind in kinds:
            product *= 2 * Fraction(seen[kind] + 1, sum(seen) + 2)
            seen[kind] += 1
        assert math.exp(log_e_value(fewer, more)) == pytest.approx(float(product), rel=1e-9)


def test_its_mean_is_one_where_there_is_no_difference() -> None:
    for n in (1, 5, 30):
        mean = sum(math.comb(n, k) * math.exp(log_e_value(n - k, k)) for k in range(n + 1)) / 2**n
        assert mean == pytest.approx(1.0, rel=1e-9)


def _border(n: int, shows: Callable[[int, int], bool]) -> int:
    """The largest smaller count of n pairs that shows a difference, -1 where none does."""
    found = -1
    while 2 * (found + 1) <= n and shows(found + 1, n - found - 1):
        found += 1
    return found


def _ever(generator: random.Random, share: float, borders: Sequence[int]) -> int:
    """Look after every pair; return after how many a difference was seen, 0 for never."""
    more = 0
    for n in range(1, len(borders)):
        more += generator.random() < share
        if min(more, n - more) <= borders[n]:
            return n
    return 0


def test_looking_after_every_pair_keeps_its_error_rate_and_that_of_mcnemar_does_not() -> None:
    pairs, runs = 300, 2000
    by_e = [_border(n, lambda a, b: log_e_value(a, b) >= -math.log(ALPHA)) for n in range(pairs + 1)]
    by_p = [_border(n, lambda a, b: mcnemar_exact(a, b) <= ALPHA) for n in range(pairs + 1)]
    generator = random.Random(SEED)
    wrong = sum(_ever(generator, 0.5, by_e) > 0 for _ in range(runs)) / runs
    naive = sum(_ever(generator, 0.5, by_p) > 0 for _ in range(runs)) / runs
    print(f"seed {SEED}: wrongly decided {wrong:.4f} by the e-value, {naive:.4f} by McNemar looked at every time")
    assert wrong <= ALPHA < 3 * ALPHA < naive
    found = [_ever(generator, 0.7, by_e) for _ in range(500)]
    assert sum(one > 0 for one in found) / len(found) > 0.95


def test_the_decision_names_the_side_and_how_far_it_is() -> None:
    assert paired(2, 40).decision is Decision.MORE
    assert paired(40, 2).decision is Decision.LESS
    assert paired(40, 2).needed == 0
    undecided = paired(3, 6)
    assert undecided.decision is Decision.NONE
    assert undecided.needed is not None
    total = 9 + undecided.needed
    assert paired(round(total / 3), total - round(total / 3)).decision is Decision.MORE
    assert paired(5, 5).needed is None
    assert paired(0, 0).decision is Decision.NONE
    one_sided = paired(0, 0).needed
    assert one_sided is not None
    assert paired(0, one_sided).decision is Decision.MORE
    assert paired(0, one_sided - 1).decision is Decision.NONE


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_both_sides_are_treated_alike_and_large_counts_are_numbers(fewer: int, more: int) -> None:
    one, other = paired(fewer, more), paired(more, fewer)
    assert (one.e_value, one.mcnemar_p, one.needed) == pytest.approx((other.e_value, other.mcnemar_p, other.needed))
    assert 0.0 <= one.mcnemar_p <= 1.0
    assert one.e_value > 0.0
