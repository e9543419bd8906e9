"""What people may do to the line: who, when, and what becomes of the units in the machine."""

from pathlib import Path

import pytest
from acts_room import HOLD, LOADED, PERMITTED, RUN, Room
from msgspec.structs import replace as put

from daemon.config import Station, load
from daemon.faults import INPUT_UNITS, Reaction
from daemon.line.conditions import Condition
from daemon.line.tracking import Revoke
from daemon.line.unit import Finish, Seen, TrackedUnit, finish
from daemon.states import State
from daemon.units import Outcome, Reason, StopRules, UnitId
from drivers.plc_link import Snapshot
from drivers.registers import load_map
from provisioning.simstation import Layout, station_text


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout()))
    return load(path)


@pytest.fixture
def room(station: Station) -> Room:
    return Room(station)


@pytest.mark.clause("Annex 11 draft §12.2", "Annex 11 §12.4", "Annex 11 §9", "ALCOA+ attributable")
def test_nobody_acts_without_a_name_and_a_reason(room: Room) -> None:
    assert "actor and a reason" in room.refused("start", actor="")
    assert "actor and a reason" in room.refused("start", reason="")


@pytest.mark.clause("21 CFR 11.10(g)")
@pytest.mark.parametrize("kind", ["clear", "reset"])
def test_no_machine_clears_or_resets(room: Room, kind: str) -> None:
    room.running().aborted()
    assert "named person" in room.refused(kind, role="machine")


@pytest.mark.clause("21 CFR 11.10(f)")
def test_no_start_without_a_batch(station: Station) -> None:
    assert "no batch is open" in Room(station, batch="").refused("start")


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §5")
def test_no_start_with_a_recipe_that_does_not_fit(room: Room) -> None:
    room.oversight.configure(put(LOADED, min_gap_mm=10.0))
    assert "73 units a lane; at most 48" in room.refused("start")


@pytest.mark.clause("21 CFR 11.10(f)")
def test_no_start_while_something_stands_that_would_abort_at_once(room: Room) -> None:
    room.found = [Condition("GUARD_OPEN", "guard_closed", False)]
    assert "guard closed; close the guard" in room.refused("start")


def test_every_act_is_on_record_with_person_and_reason(room: Room) -> None:
    room.running()
    assert "start by ann: because" in [note.text for note in room.desk.alarms if note.code == "ACT"]


@pytest.mark.clause("21 CFR 11.10(f)")
def test_an_abort_takes_clear_a_word_on_the_units_reset_and_start(room: Room) -> None:
    room.running().units(3).aborted()
    assert "clear it first" in room.refused("reset")
    assert "takes a stopped line: state ABORTED" in room.refused("clear", "removed")
    room.ok("clear")
    room.drive(1)
    assert room.desk.state is State.STOPPED
    assert "3 units are in the machine" in room.refused("reset")
    assert "reset first" in room.refused("start")
    room.ok("clear", "removed")
    assert "reset first" in room.refused("start")
    room.ok("reset")
    room.drive(1)
    room.ok("start")
    assert room.drive(2) == RUN | HOLD, "the empty-line run"
    assert room.desk.state is State.STARTING and not room.desk.permits
    assert [room.oversight.clearance.run(at, ()) for at in (0, 20_000)] == [False, True]
    room.drive(1)
    assert room.desk.state is State.EXECUTE


@pytest.mark.clause("ALCOA+ attributable")
def test_removed_units_are_finished_once_by_a_named_person(room: Room) -> None:
    room.running().units(3)
    room.permit(2)
    room.aborted().ok("clear")
    room.drive(1)
    commands = room.ok("clear", "removed")
    finished = [command for command in commands if isinstance(command, Finish)]
    assert [(f.unit.number, f.outcome, f.reason) for f in finished] == [
        (n, Outcome.REMOVED, Reason.LINE_FAULT) for n in (1, 2, 3)
    ]
    assert [command.unit.number for command in commands if isinstance(command, Revoke)] == [2]
    assert len(room.tracker) == 0 and room.ok("clear", "removed") == []
    (note, _) = [note.text for note in room.desk.alarms if note.code == "CLEARED"]
    assert note == "3 units removed by ann: because: 7.0.1 7.0.2 7.0.3"


def test_a_unit_for_which_the_gate_was_open_keeps_the_plcs_flag(room: Room) -> None:
    room.running().units(1)
    room.permit(1)
    room.tracker.encoder(2000 + 11_800)
    room.aborted().ok("clear")
    room.drive(1)
    (last,) = [command for command in room.ok("clear", "removed") if isinstance(command, Finish)]
    assert (last.outcome, last.flags) == (Outcome.REMOVED, PERMITTED)


def test_rejected_units_stay_under_way_without_a_permit(room: Room) -> None:
    room.running().units(3)
    room.permit(1)
    room.aborted().ok("clear")
    room.drive(1)
    commands = room.ok("clear", "rejected")
    assert [command.unit.number for command in commands if isinstance(command, Revoke)] == [1]
    assert not [command for command in commands if isinstance(command, Finish)] and len(room.tracker) == 3
    assert room.oversight.clearance.pending


@pytest.mark.clause("21 CFR 11.10(f)")
def test_line_clearance_takes_a_line_that_stands(room: Room) -> None:
    room.running()
    assert "state EXECUTE, belt stands" in room.refused("clear", "removed")
    room.ok("stop")
    room.drive()
    room.belt_runs = True
    assert "state STOPPED, belt runs" in room.refused("clear", "removed")
    assert "say removed" in room.refused("clear", "thrown away")


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10")
def test_the_mode_changes_when_stopped_and_permits_only_in_production(room: Room) -> None:
    assert "no mode" in room.refused("mode", "party")
    room.ok("mode", "maintenance")
    room.running()
    assert not room.desk.permits
    assert "stop first" in room.refused("mode", "production")
    room.ok("stop")
    room.drive()
    room.ok("mode", "production")
    assert room.running().desk.permits


def test_alarms_are_acknowledged_shelved_and_restored_by_acts(room: Room) -> None:
    room.desk.alarm("FRAME_LOST", "body: gap", room.now)
    room.ok("acknowledge", "FRAME_LOST/body")
    room.ok("shelve", "FRAME_LOST/body 10")
    room.ok("restore", "FRAME_LOST/body")
    room.ok("out-of-service", "STRAY_FRAME")
    assert "for how many minutes" in room.refused("shelve", "FRAME_LOST/body")
    assert "guards the product" in room.refused("shelve", "ESCAPED 10")


def test_a_reset_counts_rows_of_equal_results_anew(room: Room) -> None:
    room.oversight.configure(put(LOADED, stops=StopRules(consecutive_rejects=2)))
    room.running()

    def closes(n: int) -> list[str]:
        entry, told = TrackedUnit(UnitId(7, 0, n), 0, 0), Seen(UnitId(7, 0, n), False, True, True, False, False, 0, 0)
        finished = finish(entry, told, Outcome.REJECTED, Reason.DEFECT)
        return [code for code, _ in room.oversight.finished(finished, "crack")]

    assert closes(1) == []
    room.ok("reset")
    assert closes(2) == [] and closes(3) == ["CONSECUTIVE_REJECTS"]


def test_a_station_may_choose_another_reaction_for_its_inputs(station: Station) -> None:
    inputs = [put(entry, reaction="abort") if entry.name == "bin_ok" else entry for entry in station.inputs]
    room = Room(put(station, inputs=inputs)).running()
    assert room.desk.reaction("BIN_FULL") is Reaction.ABORT and room.desk.reaction("AIR_LOW") is Reaction.HOLD
    room.found = [Condition("BIN_FULL", "bin_ok", False)]
    room.drive()
    assert room.desk.state is State.ABORTED


FULL = [Condition("BIN_FULL", "bin_ok", False)]


def _with(station: Station, reaction: str) -> Room:
    inputs = [put(entry, reaction=reaction) if entry.name == "bin_ok" else entry for entry in station.inputs]
    return Room(put(station, inputs=inputs)).running()


def test_an_input_that_only_alarms_holds_nothing(station: Station) -> None:
    room = _with(station, "alarm")
    room.found = FULL
    room.drive(20)
    assert (room.desk.state, room.desk.latched) == (State.EXECUTE, set())
    assert [alarm.code for alarm in room.desk.book.shown()] == ["BIN_FULL"]


def test_an_input_for_which_the_station_rejects_does_so_for_a_while_then_holds(station: Station) -> None:
    room = _with(station, "reject and run")
    room.oversight.snapshot(_full(station), State.EXECUTE)
    assert room.oversight.barred
    room.found = FULL
    room.drive()
    assert room.desk.state is State.EXECUTE
    room.desk.turned_away += INPUT_UNITS
    room.drive()
    assert (room.desk.state, room.desk.latched) == (State.HELD, {"REJECT_LIMIT"})


def _full(station: Station) -> Snapshot:
    bit = next(entry.bit for entry in station.inputs if entry.name == "bin_ok")
    return Snapshot(dict.fromkeys(load_map().registers, 0) | {"inputs": 0xFFFF & ~(1 << bit)}, [], 0)
