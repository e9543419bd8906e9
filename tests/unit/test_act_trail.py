"""Every act, done or refused, is on record before it is answered, and nothing a person writes can keep it out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acts_room import Room
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.acts import LONGEST, LONGEST_REASON
from daemon.config import Station, load
from daemon.states import State
from daemon.wire import decode, encode
from provisioning.simstation import Layout, station_text


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout()))
    return load(path)


@pytest.fixture
def room(station: Station) -> Room:
    room = Room(station)
    room.desk.alarm("FRAME_LOST", "body: gap", room.now)
    return room


def stopped_with_units(room: Room) -> Room:
    room.running().units(3).aborted().ok("clear")
    room.drive(1)
    return room


def as_it_is(room: Room) -> Room:
    return room


def held(room: Room) -> Room:
    room.running().ok("hold")
    room.drive()
    return room


def cleared(room: Room) -> Room:
    stopped_with_units(room).ok("clear", "rejected")
    return room


def shelved(room: Room) -> Room:
    room.ok("shelve", "FRAME_LOST/body 10")
    return room


def acknowledged(room: Room) -> Room:
    room.ok("acknowledge", "all")
    return room


LATCHED = ", latched HOLD_BY_PERSON"
UNITS = "3 units: 7.0.1 7.0.2 7.0.3"
LOST = "FRAME_LOST/body"
DONE: list[tuple[Callable[[Room], Room], str, str, str, str]] = [
    (as_it_is, "start", "", "STOPPED", "STARTING"),
    (Room.running, "stop", "", "EXECUTE", "STOPPING"),
    (Room.running, "complete", "", "EXECUTE", "COMPLETING"),
    (Room.running, "hold", "", "EXECUTE", f"EXECUTE{LATCHED}"),
    (Room.running, "abort", "", "EXECUTE", "ABORTING, reset owed"),
    (held, "reset", "", f"HELD{LATCHED}", "HELD"),
    (lambda room: room.running().aborted(), "clear", "", "ABORTED, reset owed", "CLEARING, reset owed"),
    (cleared, "reset", "", "STOPPED, reset owed", "RESETTING"),
    (stopped_with_units, "clear", "removed", UNITS, "removed"),
    (stopped_with_units, "clear", "rejected", UNITS, "rejected"),
    (as_it_is, "mode", "maintenance", "production", "maintenance"),
    (as_it_is, "acknowledge", LOST, f"{LOST} returned", f"{LOST} normal"),
    (as_it_is, "acknowledge", "all", f"{LOST} returned", f"{LOST} normal"),
    (acknowledged, "acknowledge", "all", "no alarm waits", "no alarm waits"),
    (as_it_is, "shelve", f"{LOST} 10", f"{LOST} returned", f"{LOST} shelved for 10 minutes"),
    (as_it_is, "out-of-service", LOST, f"{LOST} returned", f"{LOST} out_of_service"),
    (shelved, "restore", LOST, f"{LOST} shelved", f"{LOST} normal"),
]


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 §9", "Annex 11 §12.4", "Annex 11 draft §12.1")
@pytest.mark.clause("Annex 11 draft §12.2", "ALCOA+ attributable", "IEC 62443-4-2 CR 2.8")
@pytest.mark.parametrize(("before", "kind", "new", "old", "made"), DONE)
def test_an_act_leaves_one_row_with_who_what_before_after_and_why(
    room: Room, before: Callable[[Room], Room], kind: str, new: str, old: str, made: str
) -> None:
    before(room).audited()
    answer, _ = room.do(kind, new)
    (row,) = room.audited()
    assert (row.what, row.who, row.role, row.why) == (kind, "ann", "operator", "because")
    assert (row.old, row.new, row.done, row.answer) == (old, made, True, answer.text)
    assert row.at_ns == room.now and row.seq > 0


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 draft §12.1", "ALCOA+ complete", "IEC 62443-4-2 CR 2.8")
@pytest.mark.parametrize(
    ("kind", "new", "changes", "old", "asked"),
    [
        ("reset", "", {}, "ABORTED, reset owed", ""),
        ("start", "", {}, "ABORTED, reset owed", ""),
        ("clear", "removed", {}, "0 units", "removed"),
        ("clear", "thrown away", {}, "0 units", "thrown away"),
        ("clear", "", {"role": "machine"}, "ABORTED, reset owed", ""),
        ("mode", "party", {}, "production", "party"),
        ("acknowledge", "ESCAPED", {}, "ESCAPED normal", "ESCAPED"),
        ("shelve", "ESCAPED 10", {}, "ESCAPED normal", "ESCAPED 10"),
        ("out-of-service", "NOPE", {}, "NOPE normal", "NOPE"),
        ("restore", LOST, {}, f"{LOST} returned", LOST),
        ("batch-open", "B7", {}, "ABORTED, reset owed", "B7"),
        ("frobnicate", "x", {}, "ABORTED, reset owed", "x"),
    ],
)
def test_a_refused_act_leaves_one_row_with_the_refusal(
    room: Room, kind: str, new: str, changes: dict[str, str], old: str, asked: str
) -> None:
    room.running().aborted().audited()
    text = room.refused(kind, new, **changes)
    (row,) = room.audited()
    assert (row.what, row.who, row.why, row.done, row.answer) == (kind, "ann", "because", False, text)
    assert (row.old, row.new) == (old, asked)


@pytest.mark.clause("Annex 11 draft §12.2", "ALCOA+ attributable")
@pytest.mark.parametrize("blank", ["", " ", " \t ", "\u00a0\u2003", "...", "\u200b"])
def test_blanks_and_dots_are_neither_a_person_nor_a_reason(room: Room, blank: str) -> None:
    for field, kept, instead in (
        ("actor", "who", "nobody"),
        ("reason", "why", "no reason given"),
        ("role", "role", blank),
    ):
        assert "needs" in room.refused("start", **{field: blank})
        (row,) = room.audited()
        assert (getattr(row, kept), row.done) == (instead, False)
    assert room.desk.state is State.STOPPED


@pytest.mark.parametrize("field", [field for field in LONGEST if field != "signature"])
def test_a_text_that_is_too_long_is_refused_in_one_line_and_cut_in_the_row(room: Room, field: str) -> None:
    text = room.refused(**({"kind": "start"} | {field: "\U0001f9ea" + "猫" * 60_000}))
    assert text == f"the {field} has 60001 characters: at most {LONGEST[field]} go on record, say it shorter"
    (row,) = room.audited()
    assert len(encode(row)) < 30_000 and not row.done
    assert any("(60001 characters)" in getattr(row, name) for name in ("what", "who", "role", "why", "new"))


@pytest.mark.clause("ALCOA+ complete")
def test_the_longest_reason_is_taken_and_stands_whole(room: Room) -> None:
    answer, _ = room.do("start", reason="猫" * LONGEST_REASON)
    (row,) = room.audited()
    assert answer.ok and row.why == "猫" * LONGEST_REASON


@pytest.mark.clause("ALCOA+ legible")
@pytest.mark.parametrize("reason", ["a\nstop by bob: b", "a\x1b[2Jb", "a\u2028b", "a\0b"])
def test_a_reason_is_one_line(room: Room, reason: str) -> None:
    assert "control characters" in room.refused("start", reason=reason)
    assert room.audited()[0].why == reason


@pytest.mark.clause("Annex 11 §6", "21 CFR 11.10(f)")
def test_what_the_asker_saw_must_still_be_so(room: Room) -> None:
    assert room.refused("start", old="HELD") == "it is STOPPED now, not HELD: look again"
    assert room.do("start", old="STOPPED")[0].ok
    assert [(row.old, row.done) for row in room.audited()] == [("STOPPED", False), ("STOPPED", True)]


@pytest.mark.clause("Annex 11 §6", "21 CFR 11.10(f)")
def test_a_clearance_of_units_that_came_after_the_look_is_refused(room: Room) -> None:
    stopped_with_units(room)
    assert "it is 3 units: 7.0.1" in room.refused("clear", "removed", old="2 units")
    assert len(room.tracker) == 3
    assert room.do("clear", "removed", old="3 units")[0].ok


@pytest.mark.clause("21 CFR 11.10(f)")
def test_nothing_is_lifted_before_the_recorder_said_what_is_on_record(room: Room) -> None:
    room.arming.ready = False
    for kind, new in (("start", ""), ("reset", ""), ("clear", ""), ("mode", "manual")):
        assert "has not said yet" in room.refused(kind, new)
    room.ok("abort")
    assert [row.done for row in room.audited()] == [False] * 4 + [True]


# ---- whatever is written --------------------------------------------------------------------------------------------

KINDS = ["start", "stop", "reset", "hold", "abort", "complete", "clear", "mode", "acknowledge", "shelve"]
NEWS = ["", "removed", "rejected", "maintenance", "production", "all", "FRAME_LOST/body 5", "STRAY_FRAME"]
TEXTS = st.one_of(
    st.just("because"), st.text(max_size=20), st.text(min_size=1, max_size=3).map(lambda text: text * 3400)
)
ASKED = st.fixed_dictionaries(
    {
        "kind": st.one_of(st.sampled_from(KINDS), st.text(max_size=5)),
        "new": st.one_of(st.sampled_from(NEWS), TEXTS),
        "actor": st.one_of(st.just("ann"), TEXTS),
        "role": st.one_of(st.sampled_from(["operator", "machine"]), TEXTS),
        "reason": TEXTS,
        "old": st.one_of(st.just(""), TEXTS),
    }
)


def what_acts_change(room: Room) -> tuple[Any, ...]:
    desk = room.desk
    alarms = [(alarm.name, alarm.state) for alarm in desk.book.shown()]
    return desk.state, desk.mode, set(desk.latched), desk.reset_owed, alarms, len(room.tracker)


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 draft §12.1", "Annex 11 draft §12.3", "ALCOA+ contemporaneous")
@settings(max_examples=120, deadline=None)
@given(st.lists(ASKED, min_size=1, max_size=6))
def test_whatever_the_text_nothing_is_done_without_a_row_before_the_answer(
    station: Station, acts: list[dict[str, str]]
) -> None:
    room = Room(station).running().units(2)
    room.desk.alarm("FRAME_LOST", "body: gap", room.now)
    room.audited()
    for act in acts:
        before, waiting = what_acts_change(room), len(room.rows)
        answer, commands = room.do(**act)
        assert len(room.rows) == waiting + 1, "the row waits for the recorder when the answer is given"
        (row,) = room.audited()
        assert (row.done, row.answer) == (answer.ok, answer.text)
        assert row.who.strip() and row.why.strip() and decode(encode(row)) == row
        assert row.done or (what_acts_change(room) == before and not commands)
        if row.done:
            assert (row.what, row.who, row.role, row.why) == (act["kind"], act["actor"], act["role"], act["reason"])
        room.drive(2)
