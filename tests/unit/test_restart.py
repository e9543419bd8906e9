"""A line that starts inside a batch: with a PLC it goes on, without one a person has to empty the machine first."""

from pathlib import Path

import pytest

from daemon.config import Station, load
from daemon.line.acts import Acts, Scene
from daemon.line.arming import Arming
from daemon.line.desk import Desk
from daemon.line.oversight import Oversight
from daemon.line.permits import LATEST_NS, Permits
from daemon.line.restart import begin
from daemon.line.rows import Rows
from daemon.line.tracking import Settings, Tracker
from daemon.line.trail import Trail
from daemon.line.unit import Finish
from daemon.messages import Act, Answer, Arm, PermitRow, Resume
from daemon.states import State
from daemon.units import Outcome, Reason, Stages, UnitId, Verdict
from provisioning.simstation import Layout, station_text

NOW = 10**9
MISSING = [UnitId(2, 0, number) for number in range(7, 17)]


def station(folder: Path, wiring: str) -> Station:
    path = folder / f"{wiring}.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout(wiring)), encoding="utf-8")
    return load(path)


class Room:
    """A line process that was told what its earlier life left."""

    def __init__(self, made: Station, resume: Resume) -> None:
        self.oversight = Oversight(made)
        self.desk = Desk(self.oversight.overrides)
        arming = Arming(lambda *_: "c")
        arming.resume(resume)
        arming.take(Arm("B1", "b", "r", "c"))
        tracker = Tracker(Settings(frozenset(), 0, 0, 0, 0))
        self.acts = Acts(self.desk, self.oversight, tracker, arming, Trail(Rows(lambda _: True)))
        begin(self.desk, self.oversight, resume, NOW)
        self.desk.drive([], True, True, NOW, clearing=self.oversight.clearance.pending)

    def press(self, kind: str, new: str = "") -> tuple[Answer, list[Finish]]:
        answer, commands = self.acts.act(Act(kind, "ann", "operator", "because", "", new), Scene([], False, 1, NOW))
        self.desk.drive([], True, True, NOW, clearing=self.oversight.clearance.pending)
        return answer, [command for command in commands if isinstance(command, Finish)]


def test_with_a_plc_a_running_batch_goes_on(tmp_path: Path) -> None:
    room = Room(station(tmp_path, "modbus-client"), Resume(2, [], 0, [], True, "EXECUTE", MISSING, 4))
    assert room.desk.state is State.EXECUTE and room.oversight.earlier.units == []


@pytest.mark.clause("ALCOA+ attributable", "IEC 62443-4-2 CR 7.4", "Annex 11 §16")
def test_without_one_the_units_are_taken_out_by_a_named_person(tmp_path: Path) -> None:
    room = Room(station(tmp_path, "diverter"), Resume(2, [], 0, [], True, "EXECUTE", MISSING, 4))
    assert room.desk.state is State.ABORTED
    first = room.desk.stops.first
    assert first and "10 units have no row (2.0.7, 2.0.8" in first.detail
    assert "the newest 4 behind the pass eye" in first.detail
    assert room.oversight.earlier.behind_gate == 4
    assert room.press("clear")[0].ok and room.desk.state is State.STOPPED
    assert "10 units are in the machine" in room.press("reset")[0].text
    assert "no eye can tell" in room.press("clear", "rejected")[0].text
    answer, rows = room.press("clear", "removed")
    assert answer.ok and [row.unit for row in rows] == MISSING
    assert {(row.outcome, row.reason) for row in rows} == {(Outcome.REMOVED, Reason.LINE_DOWN)}
    assert room.oversight.earlier.units == [] and room.oversight.clearance.pending
    assert room.press("reset")[0].ok and room.press("start")[0].ok
    assert room.desk.state is State.STARTING


def test_where_no_number_is_missing_the_machine_is_run_empty_all_the_same(tmp_path: Path) -> None:
    room = Room(station(tmp_path, "diverter"), Resume(2, [], 0, [], True, "EXECUTE"))
    assert room.desk.state is State.ABORTED and room.oversight.clearance.pending


def test_a_stopped_and_empty_line_needs_nobody(tmp_path: Path) -> None:
    room = Room(station(tmp_path, "diverter"), Resume(2, [], 0, [], False, "STOPPED"))
    assert room.desk.state is State.STOPPED and not room.oversight.clearance.pending


def test_a_second_restart_before_the_clearance_asks_again(tmp_path: Path) -> None:
    room = Room(station(tmp_path, "diverter"), Resume(2, [], 0, [], False, "ABORTED", MISSING, 4))
    assert room.desk.state is State.ABORTED and room.oversight.earlier.units == MISSING


class Wire:
    """The permits that reached the gate program."""

    def __init__(self) -> None:
        self.epoch = 5
        self.given: list[int] = []
        self.revoked: list[int] = []

    def permit(self, _lane: int, number: int) -> None:
        self.given.append(number)

    def revoke(self, _lane: int, number: int) -> None:
        self.revoked.append(number)


def row(number: int, epoch: int = 5) -> PermitRow:
    return PermitRow(0, UnitId(epoch, 0, number), "B1", "c", Verdict.ACCEPT, [], "b", Stages(last_edge_ns=NOW))


@pytest.mark.clause("ALCOA+ contemporaneous")
@pytest.mark.parametrize("after_record", [False, True])
def test_without_a_plc_a_permit_waits_until_its_row_is_durable(after_record: bool) -> None:
    wire, rows = Wire(), Rows(lambda _: True)
    permits = Permits(wire, rows, after_record=after_record)  # type: ignore[arg-type]  # only these two calls are made
    for number in (1, 2, 3):
        permits.grant(row(number), NOW)
    assert wire.given == ([] if after_record else [1, 2, 3])
    permits.revoke(UnitId(5, 0, 2))
    permits.stored(2, NOW)
    assert wire.given == ([1] if after_record else [1, 2, 3]) and wire.revoked == [2]
    permits.stored(3, NOW)
    assert wire.given == ([1, 3] if after_record else [1, 2, 3])


@pytest.mark.clause("21 CFR 11.10(f)")
def test_a_permit_of_an_older_epoch_is_not_given_late() -> None:
    wire, rows = Wire(), Rows(lambda _: True)
    permits = Permits(wire, rows, after_record=True)  # type: ignore[arg-type]  # only these two calls are made
    permits.grant(row(1), NOW)
    wire.epoch = 6
    permits.stored(1, NOW)
    assert wire.given == []


def test_an_epoch_that_begins_between_two_permits_gets_none_of_the_old_one() -> None:
    wire, rows = Wire(), Rows(lambda _: True)
    permits = Permits(wire, rows, after_record=False)  # type: ignore[arg-type]  # only these two calls are made
    permits.grant(row(1), NOW)
    wire.epoch = 6
    permits.grant(row(2), NOW)
    assert wire.given == [1]


def test_a_permit_that_waited_for_the_disk_for_too_long_is_late() -> None:
    wire, rows = Wire(), Rows(lambda _: True)
    permits = Permits(wire, rows, after_record=True)  # type: ignore[arg-type]  # only these two calls are made
    for number in (1, 2):
        permits.grant(row(number), NOW)
    permits.stored(1, NOW + LATEST_NS)
    permits.stored(2, NOW + LATEST_NS + 1)
    assert wire.given == [1]
