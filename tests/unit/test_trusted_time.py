"""Time for expiry: never before what was signed or is on record, and a strange clock is told of."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from signing.trusted_time import FAR_AHEAD, Clock, trusted_now

NOW = datetime(2030, 1, 7, 12, 0, tzinfo=UTC)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@given(TIMES, st.none() | TIMES, st.none() | TIMES)
def test_it_is_the_latest_of_the_three(clock: datetime, signed: datetime | None, record: datetime | None) -> None:
    times = [time for time in (clock, signed, record) if time is not None]
    assert trusted_now(clock, signed, record).now == max(times)


@given(TIMES, TIMES, TIMES)
def test_setting_the_clock_back_gains_nothing(clock: datetime, back: datetime, record: datetime) -> None:
    true, set_back = max(clock, record), min(back, record)
    assert trusted_now(set_back, None, true).now == true


def test_a_clock_set_back_is_told_of() -> None:
    told = trusted_now(NOW - timedelta(days=30), NOW, None)
    assert told.clock is Clock.BACK and "2029-12-08" in told.text and "set it" in told.text


def test_a_clock_far_ahead_is_believed_and_told_of() -> None:
    told = trusted_now(NOW + FAR_AHEAD + timedelta(days=1), NOW, NOW - timedelta(days=5))
    assert told.clock is Clock.AHEAD and told.now > NOW + FAR_AHEAD and "61 days" in told.text


def test_an_ordinary_clock_is_not_spoken_of() -> None:
    for clock in (NOW, NOW + timedelta(days=30), NOW - timedelta(minutes=4)):
        told = trusted_now(clock, NOW, NOW - timedelta(days=1))
        assert (told.clock, told.text) == (Clock.GOOD, "")
    assert trusted_now(NOW, None, None).text == ""
