"""When uplink asks again: within bounds whatever a server says, and never all devices at once."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.uplink.schedule import JITTER, LONGEST_BACK_OFF_S, LONGEST_S, Polls, Schedule
from daemon.uplink.web import retry_after

DRAWS = st.floats(0.0, 1.0, exclude_max=True)
PERIODS = st.floats(10.0, 86_400.0)
ASKED = st.one_of(st.just(0.0), st.floats(0.0, 1e12))


@given(PERIODS, DRAWS, ASKED)
def test_after_success_it_waits_about_a_period_or_as_long_as_it_is_asked_to(
    poll_s: float, draw: float, asked_s: float
) -> None:
    wait = Schedule(poll_s).after_success(draw, asked_s)
    longest = max(poll_s, min(asked_s, LONGEST_S))
    assert poll_s * (1.0 - JITTER) <= wait <= longest * (1.0 + JITTER)
    assert wait >= min(asked_s, LONGEST_S)


@given(PERIODS, DRAWS, ASKED, st.integers(1, 10_000))
def test_after_failures_it_waits_longer_and_never_for_ever(
    poll_s: float, draw: float, asked_s: float, failures: int
) -> None:
    schedule = Schedule(poll_s)
    wait = schedule.after_failure(failures, draw, asked_s)
    assert poll_s / 2.0 <= wait <= max(poll_s, LONGEST_BACK_OFF_S) + LONGEST_S
    assert wait >= min(asked_s, LONGEST_S)
    assert wait <= schedule.after_failure(failures + 1, draw, asked_s)


@given(PERIODS, DRAWS)
def test_the_first_poll_of_a_life_comes_within_one_period(poll_s: float, draw: float) -> None:
    assert 0.0 <= Schedule(poll_s).first(draw) <= poll_s


def test_a_fleet_that_was_switched_on_at_once_does_not_ask_at_once() -> None:
    draw = random.Random(5)
    schedule = Schedule(60.0)
    seconds = Counter(int(schedule.first(draw.random())) for _ in range(6_000))
    assert len(seconds) == 60
    assert max(seconds.values()) < 160


def test_one_success_ends_the_back_off() -> None:
    polls = Polls(Schedule(60.0), 0.0)
    for _ in range(5):
        polls.failed(0.0, 0.5)
    assert polls.due_s == pytest.approx(0.75 * LONGEST_BACK_OFF_S)
    polls.succeeded(0.0, 0.5)
    polls.failed(0.0, 0.5)
    assert polls.due_s == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("120", 120.0),
        ("-5", 0.0),
        ("1e9", 0.0),
        ("soon", 0.0),
        ("9" * 400, 999_999_999.0),
        ("Thu, 01 Jan 1970 00:02:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_what_a_server_asks_for_is_read_or_left(text: str, seconds: float) -> None:
    assert retry_after(text, 100.0) == seconds
