"""rates: areas and shares against published figures, and what their bounds must be whatever the numbers."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.rates import auroc, auroc_bounds, clopper_pearson, lower_bound

# Ratings 1..5 of 58 normal and 51 abnormal CT images: Hanley and McNeil, Radiology 143 (1982) 29, table I.
NORMAL, ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
NORMAL_95 = 1.959963985
counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
sizes = st.integers(1, 400)
ratings = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


def test_clopper_pearson_agrees_with_published_values() -> None:
    """Rule of three and a table value: 0 of 111, 1 of 10 and 10 of 10 at 95 %."""
    assert clopper_pearson(0, 111) == pytest.approx((0.0, 0.03269), abs=2e-5)
    assert clopper_pearson(1, 10) == pytest.approx((0.00253, 0.44502), abs=2e-5)
    assert clopper_pearson(10, 10) == pytest.approx((0.69150, 1.0), abs=2e-5)


@pytest.mark.parametrize(("pod", "units"), [(0.95, 59), (0.99, 299), (0.995, 598), (0.999, 2995)])
def test_lower_bound_without_a_miss_is_that_of_the_closed_form(pod: float, units: int) -> None:
    """Without a miss the bound is the n-th root of 0.05: 59 units show 95 %, 58 do not."""
    assert lower_bound(units, units) == pytest.approx(0.05 ** (1 / units), abs=1e-12)
    assert lower_bound(units, units) >= pod > lower_bound(units - 1, units - 1)


@given(counts)
def test_the_bounds_of_a_share_have_the_tails_they_promise(found: tuple[int, int]) -> None:
    events, trials = found
    low, high = clopper_pearson(events, trials)
    assert 0.0 <= low <= events / trials <= high <= 1.0
    assert clopper_pearson(trials - events, trials) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    if events:
        assert _tail(range(events, trials + 1), trials, low) == pytest.approx(0.025, abs=1e-9)
        assert _tail(range(events, trials + 1), trials, lower_bound(events, trials)) == pytest.approx(0.05, abs=1e-9)
    if events < trials:
        assert _tail(range(events + 1), trials, high) == pytest.approx(0.025, abs=1e-9)


def _tail(events: range, trials: int, share: float) -> float:
    return math.fsum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in events)


def test_auroc_counts_pairs_and_halves_ties() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8])
    assert auroc(scores, np.array([False, False, True, True])) == pytest.approx(3.5 / 4)


@given(ratings)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    good = [score for score, positive in rows if not positive]
    bad = [score for score, positive in rows if positive]
    pairs = [(one > other) + (one == other) / 2 for one in bad for other in good]
    scores, positive = (np.array(column) for column in zip(*rows, strict=True))
    assert auroc(scores, positive) == pytest.approx(sum(pairs) / len(pairs))


def _published() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    scores = np.concatenate([np.repeat(range(1, 6), group) for group in (NORMAL, ABNORMAL)])
    return scores, np.repeat([False, True], (sum(NORMAL), sum(ABNORMAL)))


def test_the_published_area_and_its_published_error() -> None:
    """Hanley and McNeil found an area of 0.893 with a standard error of 0.032; the bounds lie as far around it."""
    area = auroc(*_published())
    assert round(area, 3) == 0.893
    low, high = auroc_bounds(area, sum(ABNORMAL), sum(NORMAL))
    assert (high - low) / 2 / NORMAL_95 == pytest.approx(0.032, abs=0.001)
    assert area - low > high - area


@pytest.mark.parametrize(("area", "units"), [(0.6, 40), (0.8, 25), (0.95, 100), (1.0, 30)])
def test_a_bound_is_as_many_errors_away_as_95_percent_asks(area: float, units: int) -> None:
    """The standard error of Hanley and McNeil as they wrote it, with Q1 and Q2, for two groups of one size."""
    for bound in auroc_bounds(area, units, units):
        q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)
        variance = (bound * (1 - bound) + (units - 1) * (q1 + q2 - 2 * bound**2)) / units**2
        assert bound == 1.0 or abs(area - bound) / math.sqrt(variance) == pytest.approx(NORMAL_95, rel=1e-6)


@given(st.floats(0.0, 1.0), sizes, sizes)
def test_the_bounds_of_an_area_hold_it_and_look_the_same_from_both_sides(area: float, bad: int, good: int) -> None:
    low, high = auroc_bounds(area, bad, good)
    assert 0.0 <= low <= area <= high <= 1.0
    assert auroc_bounds(1.0 - area, bad, good) == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_few_units_do_not_prove_a_perfect_area() -> None:
    assert auroc_bounds(1.0, 10, 10)[0] < auroc_bounds(1.0, 100, 100)[0] < 1.0


def test_the_bounds_of_an_area_hold_the_truth_as_often_as_they_say() -> None:
    """Scores of two normal populations whose area is known; 2000 sets of 20 and 30 units, seed 5."""
    random, truth, held = np.random.default_rng(5), 0.921350, 0
    positive = np.arange(50) >= 30
    for _ in range(2000):
        scores = random.normal(0.0, 1.0, 50) + 2.0 * positive
        low, high = auroc_bounds(auroc(scores, positive), 20, 30)
        held += low <= truth <= high
    assert 0.93 <= held / 2000 <= 0.985
