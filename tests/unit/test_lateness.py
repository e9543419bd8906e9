"""The histogram of the line's wake-ups."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.line.lateness import STEP_NS, STEPS, Lateness


def test_nothing_measured_yet() -> None:
    assert Lateness().take() == {"n": 0.0, "max": 0.0}


def test_taking_begins_anew() -> None:
    late = Lateness()
    late.add(5 * STEP_NS)
    assert late.take()["n"] == 1
    assert late.take()["n"] == 0


def test_what_is_beyond_the_last_step_keeps_its_maximum() -> None:
    late = Lateness()
    late.add(10 * STEPS * STEP_NS)
    assert late.take()["max"] == 10 * STEPS * STEP_NS / 1e3


@given(st.lists(st.integers(-STEP_NS, STEPS * STEP_NS - 1), min_size=1, max_size=300))
def test_percentiles_are_right_to_one_step(samples: list[int]) -> None:
    late = Lateness()
    for sample in samples:
        late.add(sample)
    found, ordered = late.take(), sorted(max(sample, 0) for sample in samples)
    assert found["max"] == max(0, *samples) / 1e3 if max(samples) > 0 else True
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        rank = next(i for i in range(1, len(ordered) + 1) if i >= share * len(ordered))
        exact = ordered[rank - 1] / 1e3
        assert exact <= found[name] <= exact + STEP_NS / 1e3 or found[name] == found["max"]
