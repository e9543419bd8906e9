"""What the line does by itself is on record with or without a batch, each thing once, and never without bound."""

from pathlib import Path
from typing import Any

import pytest
from acts_room import ACT, LOADED, Room
from line_world import LineWorld, camera
from line_world import station as line_station
from msgspec.structs import replace as put

from daemon.config import Station, load
from daemon.faults import TABLE
from daemon.line.arming import Arming
from daemon.line.changes import Changes
from daemon.line.conditions import Facts
from daemon.line.desk import Note
from daemon.line.trail import (
    AGAIN_NS,
    COUNTED_NS,
    KEPT,
    MOST_ACTS,
    MOST_NOTES,
    MOST_REFUSED,
    MOST_ROWS,
    NOT_LISTED,
    NOTES,
)
from daemon.messages import AlarmRow, Answer, Arm, GapRow, Loaded, PlcTotals, Resume, UnitRow
from daemon.records import AuditRow
from daemon.states import State
from daemon.units import LineMode
from daemon.wire import Message, encode
from provisioning.simstation import Layout, station_text


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout()))
    return load(path)


@pytest.fixture
def room(station: Station) -> Room:
    return Room(station)


# ---- more than can be recorded one by one ---------------------------------------------------------------------------


def counted(rows: list[AuditRow]) -> int:
    """How many things the rows that count stand for."""
    found = [row.new.split("; ") for row in rows if row.what == NOT_LISTED]
    return sum(int(text.split(" x ")[0]) for texts in found for text in texts)


@pytest.mark.clause("ALCOA+ complete", "IEC 62443-4-2 CR 2.10")
def test_a_storm_of_refusals_is_counted_to_the_last_and_cannot_hold_the_line(room: Room) -> None:
    for number in range(10_000):
        room.refused("reset", role="machine", actor=f"ann {number % 20}")
    assert len(room.rows) == MOST_REFUSED and not room.rows.overdue(room.now)
    room.now += COUNTED_NS
    told = room.audited()
    room.trail.notes([], room.arming, room.now)
    told += room.audited()
    assert len(told) - 1 + counted(told) == 10_000
    room.refused("reset", role="machine")
    assert len(room.audited()) == 1, "and then they are listed again"


def test_who_acts_as_fast_as_he_can_does_not_hold_the_line_either(room: Room) -> None:
    done = [room.do("acknowledge", "all")[0].ok for _ in range(1000)]
    assert done.count(True) == MOST_ACTS and not room.rows.overdue(room.now)
    told = room.audited()
    room.now += COUNTED_NS
    room.trail.notes([], room.arming, room.now)
    told += room.audited()
    assert [row.done for row in told].count(True) == MOST_ACTS + 1 and len(told) - 1 + counted(told) == 1000
    room.ok("acknowledge", "all")


@pytest.mark.clause("IEC 62443-4-2 CR 2.10", "Annex 11 draft §12.3")
def test_with_a_full_trail_a_person_can_stop_the_line_and_nothing_else(room: Room) -> None:
    room.running()
    for _ in range(MOST_ROWS):
        room.rows.put(AlarmRow(0, 0, "X", "", "", None), 0)
    assert room.trail.full
    for kind, new in (("acknowledge", "all"), ("reset", ""), ("out-of-service", "STRAY_FRAME")):
        assert "too many rows wait" in room.refused(kind, new)
    room.ok("abort")
    assert room.desk.state is State.ABORTING


@pytest.fixture
def outside(station: Station) -> Room:
    """No batch is open."""
    return Room(station, batch="")


def notes(room: Room, *codes: str, text: str = "t") -> None:
    room.trail.notes([Note(room.now, code, text, State.STOPPED) for code in codes], room.arming, room.now)


def codes(room: Room) -> list[str]:
    """Codes of the alarm rows since the last call; the recorder acknowledges."""
    room.audited()
    return [row.code for row in room.sent if isinstance(row, AlarmRow)]


@pytest.mark.clause("Annex 11 draft §12.3", "Annex 11 draft §8", "ALCOA+ complete")
def test_outside_of_a_batch_alarms_and_changes_are_recorded_too(outside: Room) -> None:
    outside.ok("mode", "maintenance")
    outside.desk.alarm("PLC_RESTARTED", "new epoch", outside.now)
    outside.desk.note("PEER_LOST", "vision vision: closed", outside.now)
    outside.trail.notes(outside.desk.fresh, outside.arming, outside.now)
    assert codes(outside) == ["MODE", "PLC_RESTARTED", "PEER_LOST"]


@pytest.mark.clause("ALCOA+ complete")
def test_the_same_line_again_and_again_is_recorded_once_a_minute_and_counted(outside: Room) -> None:
    seen, total = 0, 0
    for _ in range(1000):
        notes(outside, "PEER_LOST", "STATE")
        outside.now += AGAIN_NS // 100
        told = codes(outside)
        seen += told.count("PEER_LOST")
        assert told.count("STATE") == 1, "what the next life needs is never left out"
        total += counted([row for row in outside.sent if isinstance(row, AuditRow)])
    outside.now += COUNTED_NS
    notes(outside)
    total += counted(outside.audited())
    assert seen == 10 and seen + total == 1000


@pytest.mark.clause("IEC 62443-4-2 CR 2.10")
def test_without_recorder_and_batch_rows_do_not_grow_without_bound(outside: Room) -> None:
    for number in range(5000):
        notes(outside, "PEER_LOST", text=f"camera {number}")
        outside.now += COUNTED_NS
    assert len(outside.rows) == MOST_NOTES
    listed = len(codes(outside))
    notes(outside)
    assert listed + counted(outside.audited()) == 5000


@pytest.mark.clause("ALCOA+ complete", "Annex 11 draft §8", "21 CFR 211.188")
def test_in_a_batch_nothing_is_left_out(room: Room) -> None:
    for _ in range(MOST_ROWS // 2):
        notes(room, "PEER_LOST", "CAMERA_UNSYNCED")
    assert len(codes(room)) == MOST_ROWS


def test_in_a_batch_without_a_recorder_all_that_a_restart_needs_is_kept(room: Room) -> None:
    for _ in range(MOST_ROWS):
        notes(room, "PEER_LOST", "ESCAPED", "STATE")
    found = codes(room)
    assert (found.count("ESCAPED"), found.count("STATE")) == (MOST_ROWS, MOST_ROWS)
    listed = found.count("PEER_LOST")
    room.now += COUNTED_NS
    notes(room)
    assert listed + counted(room.audited()) == MOST_ROWS


def test_before_the_recorder_told_what_it_has_nothing_takes_its_permits_back(station: Station) -> None:
    """A restarted line has given no permit yet: its cameras are out of step, the durable permits stand."""
    room = Room(station, batch="")
    room.arming = Arming(lambda *_: "c")
    notes(room, "CAMERA_UNSYNCED", "PEER_LOST")
    assert codes(room) == ["PEER_LOST"]
    room.arming.resume(Resume(0, []))
    room.arming.take(Arm("B", "b", "r", "c"))
    notes(room, "CAMERA_UNSYNCED", *KEPT)
    assert sorted(codes(room)) == sorted(["CAMERA_UNSYNCED", *KEPT])


def test_a_text_of_any_length_fits_the_wire(room: Room) -> None:
    notes(room, "PEER_LOST", text="n" * 60_000)
    codes(room)
    (row,) = [row for row in room.sent if isinstance(row, AlarmRow)]
    assert row.text.endswith("... (60000 characters)") and len(encode(row)) < 3000


class NoBatch(LineWorld):
    """The whole line, and the recorder has no batch open; `kept` is what it was sent.

    The PLC's registers are read once before its first scan, so the key switch is told of twice.
    """

    def __init__(self) -> None:
        self.kept: list[Message] = []
        super().__init__(line_station([camera("body", 0, 150.0)]), vials=3)

    def to_recorder(self, message: Message) -> bool:
        self.kept.append(message)
        return super().to_recorder(message)

    def _greet(self) -> None:
        super()._greet()
        armed = next(message for message in self._inbox if isinstance(message, Arm))
        self._inbox[self._inbox.index(armed)] = Arm("", "", "", "")

    def turn(self, times: int = 20) -> list[str]:
        """Codes of the alarm rows that came."""
        before = len(self.kept)
        for _ in range(times):
            self.step()
        return [row.code for row in self.kept[before:] if isinstance(row, AlarmRow)]

    def press(self, kind: str) -> Answer:
        return self.control.act(put(ACT, kind=kind), self.now)


def test_a_line_without_a_batch_tells_all_but_totals_and_each_once() -> None:
    world = NoBatch()
    begun = ["LINE_STARTED", "PEER_FOUND", "PEER_FOUND", "LOADED", "CAMERA", "EPOCH", "KEY_SWITCH", "KEY_SWITCH"]
    assert sorted(world.turn(100)) == sorted(begun)
    assert world.turn(1000) == []
    assert "no batch is open" in world.press("start").text and world.press("abort").ok
    assert world.turn().count("STATE") == 1
    for _ in range(3):
        world.control.gone("vision", "vision", "closed", world.now)
    assert world.turn() == ["PEER_LOST"]
    assert {row.code for row in world.kept if isinstance(row, AlarmRow)} <= {*NOTES, *TABLE}
    assert not [row for row in world.kept if isinstance(row, PlcTotals | UnitRow | GapRow)]
    acts = [(row.what, row.done, row.new) for row in world.kept if isinstance(row, AuditRow)]
    assert acts == [("start", False, ""), ("abort", True, "ABORTING, reset owed")]


# ---- changes --------------------------------------------------------------------------------------------------------

FACTS = Facts(
    link=False, plc_alive=False, plc_right=True, epoch=0, key_fits=True, recorder=False, stored=True, batch="",
    vision=False, loaded=False, armed_is_loaded=False, cameras=(),
)  # fmt: skip


class Watched:
    """Facts that a test changes, one at a time."""

    def __init__(self) -> None:
        self.changes, self.facts, self.sessions = Changes(LineMode.SHADOW), FACTS, {"body": 0}
        self.loaded: Loaded | None = None

    def says(self, **change: Any) -> list[str]:
        """Change something and return what is told; looking again tells nothing."""
        fields = {name: getattr(self.facts, name) for name in self.facts.__slots__}
        self.facts = Facts(**(fields | change))
        told = self.changes.since(self.facts, self.loaded, self.sessions)
        assert self.changes.since(self.facts, self.loaded, dict(self.sessions)) == []
        return [f"{code} {text}" for code, text in told]


@pytest.mark.clause("IEC 62443-4-2 CR 2.8", "Annex 11 draft §12.3")
def test_each_change_is_told_once() -> None:
    watched = Watched()
    assert watched.says() == ["LINE_STARTED a process of line begins, line mode shadow"]
    assert watched.says(recorder=True) == ["PEER_FOUND recorder"]
    assert watched.says(link=True, key=0) == ["KEY_SWITCH inspection authority LEGACY"]
    assert watched.says(epoch=5) == ["EPOCH epoch 5 is agreed with the PLC"]
    assert watched.says(key=2) == ["KEY_SWITCH inspection authority LINEWARDEN"]
    assert watched.says(key=9) == ["KEY_SWITCH inspection authority unknown (9)"]
    assert watched.says(epoch=0) == ["EPOCH the epoch is over, no other is agreed yet"]
    assert watched.says(epoch=6) == ["EPOCH epoch 6 is agreed with the PLC"]
    assert watched.says(link=False, epoch=0) == [], "PLC_LINK tells of it"
    assert watched.says(link=True, epoch=7) == ["EPOCH epoch 7 is agreed with the PLC"]
    assert watched.says(plc_right=False) == ["PLC not the station's PLC or register map"]
    assert watched.says(plc_right=True) == ["PLC the station's PLC and register map"]
    assert watched.says(plc_aborted=True) == ["PLC it says that it is aborted"]
    assert watched.says(plc_aborted=False) == ["PLC it is not aborted"]
    assert watched.says(recorder=False) == [], "PEER_LOST tells of it"
    assert watched.says(recorder=True, stored=False) == ["PEER_FOUND recorder"]


@pytest.mark.clause("Annex 11 §10", "IEC 62443-4-2 CR 2.8")
def test_another_model_or_camera_is_told_of() -> None:
    watched = Watched()
    watched.says()
    watched.loaded = put(LOADED, bundle="b" * 64, recipe="r" * 64)
    assert watched.says(vision=True) == [
        "PEER_FOUND vision",
        f"LOADED bundle bundle {'b' * 12}, recipe recipe {'r' * 12}",
    ]
    watched.sessions["body"] = 7
    assert watched.says() == ["CAMERA body acquires, session 7"]
    watched.sessions["body"] = 8
    assert watched.says() == ["CAMERA body acquires, session 8"]
    watched.sessions["body"] = 0
    assert watched.says() == ["CAMERA body does not acquire"]
