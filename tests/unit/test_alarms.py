"""Alarm states of ISA-18.2: what a person has seen, has put aside, and what may never be put aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.faults import TABLE
from daemon.line.alarms import LONGEST_SHELF_NS, MOST, REPEAT_NS, Alarms, AlarmState

MINUTE = 60_000_000_000
U, A, R = AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED, AlarmState.RETURNED
CAMERA = "CAMERA_LOST/body"


def _states(book: Alarms) -> dict[str, AlarmState]:
    return {alarm.name: alarm.state for alarm in book.shown()}


def _raised() -> Alarms:
    book = Alarms()
    assert book.raised("CAMERA_LOST", "body", "cable", 0, stands=True)
    return book


def test_active_acknowledged_gone() -> None:
    book = _raised()
    assert _states(book) == {CAMERA: U}
    assert book.acknowledge(CAMERA, "ann") == ""
    assert _states(book) == {CAMERA: A} and book.active
    book.returned("CAMERA_LOST", "body")
    assert _states(book) == {} and not book.active


@pytest.mark.clause("Annex 11 draft §8")
def test_gone_before_anybody_saw_it_waits_for_somebody() -> None:
    book = _raised()
    book.returned("CAMERA_LOST", "body")
    assert _states(book) == {CAMERA: R}
    assert book.acknowledge("all", "ann") == ""
    assert _states(book) == {}


def test_the_same_alarm_is_counted_and_not_repeated() -> None:
    book = Alarms()
    news = [book.raised("FRAME_LOST", "body", f"gap {n}", n, stands=False) for n in range(500)]
    assert news == [True] + [False] * 499
    (alarm,) = book.shown()
    assert (alarm.count, alarm.text, alarm.state, alarm.since_ns) == (500, "gap 499", R, 0)
    assert book.raised("FRAME_LOST", "body", "again", REPEAT_NS, stands=False), "still going on a minute later"


def test_an_alarm_that_comes_again_after_it_was_gone_is_news() -> None:
    book = _raised()
    book.acknowledge(CAMERA, "ann")
    book.returned("CAMERA_LOST", "body")
    assert book.raised("CAMERA_LOST", "body", "cable", 5, stands=True)
    assert _states(book) == {CAMERA: U}


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_stands_is_not_over_because_it_is_told_again(acknowledged: bool) -> None:
    book = _raised()
    if acknowledged:
        book.acknowledge(CAMERA, "ann")
    assert not book.raised("CAMERA_LOST", "body", "still", 5, stands=False)
    (alarm,) = book.shown()
    assert (alarm.state, alarm.stands, alarm.text) == (A if acknowledged else U, True, "still")


@pytest.mark.clause("Annex 11 draft §8")
def test_a_shelved_alarm_is_silent_until_its_time_is_over() -> None:
    book = _raised()
    assert book.shelve(CAMERA, "ann", 10 * MINUTE, 0) == ""
    assert not book.active and not book.horn
    assert not book.raised("CAMERA_LOST", "body", "cable", MINUTE // 2, stands=True)
    assert _states(book) == {CAMERA: AlarmState.SHELVED}
    assert book.tick(10 * MINUTE - 1) == []
    assert [alarm.name for alarm in book.tick(10 * MINUTE)] == [CAMERA]
    assert _states(book) == {CAMERA: U}, "its fault still stands"


def test_a_person_takes_it_off_the_shelf() -> None:
    book = _raised()
    book.shelve(CAMERA, "ann", MINUTE, 0)
    book.returned("CAMERA_LOST", "body")
    assert book.bring_back(CAMERA, "bob", 1) == ""
    assert _states(book) == {}
    assert "neither shelved" in book.bring_back(CAMERA, "bob", 2)


def test_out_of_service_until_restored() -> None:
    book = Alarms()
    assert book.take_out("STRAY_FRAME", "ann") == ""
    book.raised("STRAY_FRAME", "", "x", 0, stands=False)
    assert _states(book) == {"STRAY_FRAME": AlarmState.OUT_OF_SERVICE}
    assert book.tick(1000 * MINUTE) == []
    assert book.bring_back("STRAY_FRAME", "ann", 0) == ""


@pytest.mark.clause("Annex 11 draft §8")
@pytest.mark.parametrize("code", sorted(code for code, row in TABLE.items() if row.safety))
def test_what_guards_the_product_can_be_neither_shelved_nor_taken_out(code: str) -> None:
    book = Alarms()
    book.raised(code, "", "", 0, stands=True)
    assert "guards the product" in book.shelve(code, "ann", MINUTE, 0)
    assert "guards the product" in book.take_out(code, "ann")
    assert book.active


def test_refusals_say_what_is_wrong() -> None:
    book = _raised()
    assert "no alarm" in book.acknowledge("NO_SUCH", "ann")
    assert "no alarm" in book.shelve("NO_SUCH", "ann", MINUTE, 0)
    assert "1 to 480 minutes" in book.shelve(CAMERA, "ann", LONGEST_SHELF_NS + 1, 0)
    assert "1 to 480 minutes" in book.shelve(CAMERA, "ann", 0, 0)


def test_the_horn_sounds_for_what_stops_the_line_until_somebody_comes() -> None:
    book = _raised()
    assert not book.horn, "rejecting goes on"
    book.raised("BIN_FULL", "", "", 0, stands=True)
    assert book.horn
    book.returned("BIN_FULL", "")
    assert book.horn, "nobody came yet"
    book.raised("BIN_FULL", "", "", 1, stands=True)
    book.acknowledge("BIN_FULL", "ann")
    assert not book.horn and book.active


def test_the_most_urgent_is_shown_first_and_the_silent_last() -> None:
    book = _raised()
    for code in ("FRAME_LOST", "BIN_FULL", "GUARD_OPEN"):
        book.raised(code, "", "", 1, stands=True)
    book.shelve(CAMERA, "ann", MINUTE, 2)
    assert [alarm.code for alarm in book.shown()] == ["GUARD_OPEN", "BIN_FULL", "FRAME_LOST", "CAMERA_LOST"]


@pytest.mark.clause("Annex 11 draft §8")
def test_a_flood_of_subjects_keeps_what_stands() -> None:
    book = _raised()
    for number in range(2 * MOST):
        book.raised("TOO_CLOSE", f"1.0.{number}", "", number + 1, stands=False)
    shown = list(book.shown())
    assert len(shown) <= MOST and CAMERA in {alarm.name for alarm in shown}


@pytest.mark.clause("Annex 11 draft §8")
@given(
    st.lists(
        st.tuples(st.sampled_from(["raise", "return", "ack", "shelve", "out", "back", "tick"]), st.integers(0, 3)),
        max_size=60,
    )
)
def test_whatever_happens_a_standing_alarm_is_never_normal(script: list[tuple[str, int]]) -> None:
    book, now, stands = Alarms(), 0, False
    for act, minutes in script:
        now += minutes * MINUTE
        if act == "raise":
            book.raised("CAMERA_LOST", "body", "", now, stands=True)
            stands = True
        elif act == "return":
            book.returned("CAMERA_LOST", "body")
            stands = False
        elif act == "ack":
            book.acknowledge("all", "ann")
        elif act == "shelve":
            book.shelve(CAMERA, "ann", MINUTE, now)
        elif act == "out":
            book.take_out(CAMERA, "ann")
        elif act == "back":
            book.bring_back(CAMERA, "ann", now)
        else:
            book.tick(now)
        found = _states(book).get(CAMERA, AlarmState.NORMAL)
        assert not stands or found in (U, A, AlarmState.SHELVED, AlarmState.OUT_OF_SERVICE)
        assert stands or found not in (U, A)
