"""The line state follows its conditions; what comes twice, or is an abort, waits for a person."""

from dataclasses import replace

import pytest

from daemon.faults import TABLE, Reaction
from daemon.line.clearance import LONGEST_NS
from daemon.line.conditions import Facts, conditions
from daemon.line.desk import START_NS, Desk
from daemon.states import State
from drivers.registers import Command

RUN, HOLD, ABORT, SYNC, RESET = Command

S = 1_000_000_000
GOOD = Facts(
    link=True,
    plc_alive=True,
    plc_right=True,
    epoch=7,
    key_fits=True,
    recorder=True,
    stored=True,
    batch="B1",
    vision=True,
    loaded=True,
    armed_is_loaded=True,
    cameras=(("body", True, True), ("crimp", True, True)),
)
OUT_OF_STEP = replace(GOOD, cameras=(("body", True, False), ("crimp", True, True)))


class Room:
    """A desk and the time."""

    def __init__(self) -> None:
        self.desk, self.now = Desk(), 100 * S

    def drive(self, facts: Facts = GOOD, seconds: float = 0.01, empty: bool = False, clearing: bool = False) -> int:
        self.now += int(seconds * S)
        synced = all(step for _name, _on, step in facts.cameras)
        return self.desk.drive(conditions(facts), synced, empty, self.now, clearing=clearing)

    def running(self) -> "Room":
        assert self.desk.act("start", self.now, "operator") == ""
        for _ in range(3):
            self.drive()
        assert self.desk.state is State.EXECUTE
        return self


def test_a_stopped_line_neither_runs_nor_reacts() -> None:
    room = Room()
    assert room.drive(replace(GOOD, link=False)) == RESET
    assert room.desk.state is State.STOPPED
    assert not room.desk.alarms


def test_starting_on_an_empty_belt_asks_for_sync_shots_and_waits_for_step() -> None:
    room = Room()
    room.desk.act("start", room.now, "operator")
    assert room.drive(OUT_OF_STEP, empty=True) == SYNC
    assert room.desk.state is State.STARTING
    room.drive(GOOD, empty=True)
    assert room.drive() & RUN


def test_starting_does_not_wait_for_ever() -> None:
    room = Room()
    room.desk.act("start", room.now, "operator")
    room.drive(OUT_OF_STEP, START_NS / S + 1, empty=True)
    assert room.desk.state is State.EXECUTE


@pytest.mark.parametrize(
    "facts", [replace(GOOD, recorder=False), replace(GOOD, stored=False), replace(GOOD, armed_is_loaded=False)]
)
def test_what_must_not_go_on_holds_the_infeed_and_goes_on_by_itself_once(facts: Facts) -> None:
    room = Room().running()
    room.drive(facts)
    assert room.drive(facts) == RUN | HOLD
    assert room.desk.state is State.HELD
    assert room.desk.first_out
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE


@pytest.mark.parametrize("facts", [replace(GOOD, link=False), replace(GOOD, plc_alive=False), replace(GOOD, epoch=0)])
def test_without_the_plc_the_line_is_suspended(facts: Facts) -> None:
    room = Room().running()
    room.drive(facts)
    room.drive(facts)
    assert room.desk.state is State.SUSPENDED
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE


@pytest.mark.parametrize("facts", [replace(GOOD, vision=False, loaded=False), OUT_OF_STEP])
def test_what_only_rejects_lets_the_line_run(facts: Facts) -> None:
    room = Room().running()
    assert room.drive(facts) == RUN
    assert room.desk.state is State.EXECUTE


def test_a_fault_with_two_conditions_strikes_once() -> None:
    room = Room().running()
    room.drive(replace(GOOD, vision=False, loaded=False))
    room.drive(replace(GOOD, loaded=False))
    room.drive()
    assert not room.desk.latched


def test_the_second_time_within_the_window_latches_until_a_person_resets() -> None:
    room, lost = Room().running(), replace(GOOD, vision=False, loaded=False)
    for facts in (lost, GOOD, lost, GOOD, GOOD, GOOD):
        room.drive(facts, 1.0)
    assert room.desk.state is State.HELD
    assert room.desk.latched == {"VISION_LOST"}
    assert room.desk.act("reset", room.now, "operator") == ""
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE


def test_an_escape_aborts_and_only_clear_reset_and_start_lead_back() -> None:
    room = Room().running()
    room.desk.alarm("ESCAPED", "unit 7.0.9", room.now)
    assert room.drive() & ABORT
    for _ in range(5):
        room.drive(seconds=60)
    assert room.desk.state is State.ABORTED
    assert room.desk.act("start", room.now, "operator") != ""
    assert room.desk.act("clear", room.now, "operator") == ""
    assert room.drive() & RESET
    assert room.desk.state is State.STOPPED
    assert "reset first" in room.desk.act("start", room.now, "operator")
    assert room.desk.act("reset", room.now, "operator") == ""
    assert room.drive() & RESET
    room.running()


@pytest.mark.clause("21 CFR 11.10(h)")
def test_the_wrong_plc_aborts_however_early_it_was_known() -> None:
    room, wrong = Room(), replace(GOOD, plc_right=False)
    room.drive(wrong)
    room.desk.act("start", room.now, "operator")
    for _ in range(4):
        room.drive(wrong)
    assert room.desk.state is State.ABORTED


def test_start_while_stopping_is_refused_and_units_stay_on_the_belt() -> None:
    room = Room().running()
    room.desk.act("stop", room.now, "operator")
    assert room.desk.act("start", room.now, "operator") != ""
    assert room.drive(empty=False) & RUN


def test_stop_lets_the_belt_run_empty() -> None:
    room = Room().running()
    room.desk.act("stop", room.now, "operator")
    assert room.drive(empty=True) == RUN | HOLD
    assert room.drive(seconds=1, empty=False) == RUN | HOLD
    room.drive(empty=True)
    assert room.desk.state is State.STOPPED


def test_a_line_restarted_inside_a_batch_goes_on_at_once() -> None:
    room = Room()
    room.desk.resume(room.now)
    assert room.desk.state is State.EXECUTE
    assert room.drive(OUT_OF_STEP) == RUN


def test_a_quiet_alarm_says_the_same_only_once_a_second() -> None:
    room = Room().running()
    for _ in range(10):
        room.desk.alarm("FRAME_LOST", "body: gap", room.now, quiet=True)
    assert [a.code for a in room.desk.alarms].count("FRAME_LOST") == 1


BAD_INPUTS = {
    name: replace(GOOD, inputs=((name, False),))
    for name in ("guard_closed", "air_ok", "bin_ok", "rejects_enabled", "confirm_eyes_ok")
}


@pytest.mark.parametrize("name", ["bin_ok", "rejects_enabled", "confirm_eyes_ok"])
def test_an_input_that_a_person_must_see_to_holds_until_he_resets(name: str) -> None:
    room = Room().running()
    for facts in (BAD_INPUTS[name], BAD_INPUTS[name], GOOD, GOOD, GOOD):
        room.drive(facts)
    assert room.desk.state is State.HELD
    room.desk.act("reset", room.now, "operator")
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE


def test_a_reset_while_the_bin_is_still_full_changes_nothing() -> None:
    room = Room().running()
    for _ in range(3):
        room.drive(BAD_INPUTS["bin_ok"])
        room.desk.act("reset", room.now, "operator")
    room.drive(BAD_INPUTS["bin_ok"])
    assert room.drive() == RUN | HOLD
    assert room.desk.state is State.HELD


def test_low_air_recovers_by_itself_once_a_minute() -> None:
    room, low = Room().running(), BAD_INPUTS["air_ok"]
    for facts in (low, low, GOOD, GOOD, GOOD):
        room.drive(facts)
    assert room.desk.state is State.EXECUTE
    for facts in (low, low, GOOD, GOOD, GOOD):
        room.drive(facts)
    assert (room.desk.state, room.desk.latched) == (State.HELD, {"AIR_LOW"})


def test_an_open_guard_aborts_even_while_starting() -> None:
    room = Room()
    room.desk.act("start", room.now, "operator")
    room.drive(BAD_INPUTS["guard_closed"], clearing=True)
    assert room.desk.state is State.ABORTED
    assert room.drive() & ABORT


@pytest.mark.parametrize("by", ["units", "time"])
def test_reject_and_run_ends_in_a_hold_that_a_person_lifts(by: str) -> None:
    row, room, lost = TABLE["VISION_LOST"], Room().running(), replace(GOOD, vision=False, loaded=False)
    room.drive(lost)
    room.desk.turned_away += row.max_units - 1
    room.drive(lost, row.max_s / 2)
    assert room.desk.state is State.EXECUTE
    room.desk.turned_away += by == "units"
    room.drive(lost, row.max_s if by == "time" else 0.01)
    room.drive(lost)
    assert (room.desk.state, room.desk.latched) == (State.HELD, {"REJECT_LIMIT"})
    assert [cause.code for cause in room.desk.stops.causes] == ["REJECT_LIMIT"]
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.HELD
    room.desk.act("reset", room.now, "operator")
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE


def test_the_first_cause_stays_first_and_those_after_it_are_kept_until_a_reset() -> None:
    room = Room().running()
    room.drive(BAD_INPUTS["air_ok"])
    room.drive(replace(BAD_INPUTS["air_ok"], recorder=False))
    room.desk.alarm("ESCAPED", "unit 1.0.7", room.now)
    for _ in range(4):
        room.drive(replace(GOOD, link=False))
    codes = [cause.code for cause in room.desk.stops.causes]
    assert codes == ["AIR_LOW", "RECORDER_LOST", "ESCAPED"]
    assert room.desk.first_out == "AIR_LOW"
    room.desk.act("clear", room.now, "operator")
    room.drive()
    room.desk.act("reset", room.now, "operator")
    assert (room.desk.stops.causes, room.desk.first_out) == ([], "")


def test_a_stop_that_was_over_by_itself_stays_readable_until_the_next_one() -> None:
    room = Room().running()
    for facts in (BAD_INPUTS["air_ok"], BAD_INPUTS["air_ok"], GOOD, GOOD, GOOD):
        room.drive(facts)
    assert not room.desk.stops.stopped and [c.code for c in room.desk.stops.causes] == ["AIR_LOW"]
    room.drive(replace(GOOD, link=False))
    assert room.desk.stops.stopped and [c.code for c in room.desk.stops.causes] == ["PLC_LINK"]


@pytest.mark.clause("Annex 11 draft §8", "Annex 11 §13")
def test_every_stop_has_a_cause() -> None:
    for facts in (*BAD_INPUTS.values(), replace(GOOD, link=False), replace(GOOD, stored=False)):
        room = Room().running()
        for _ in range(3):
            room.drive(facts)
        assert room.desk.state is not State.EXECUTE
        assert room.desk.stops.first is not None
    for kind in ("stop", "abort", "hold"):
        room = Room().running()
        assert room.desk.act(kind, room.now, "ann") == ""
        room.drive()
        assert room.desk.state is not State.EXECUTE
        assert room.desk.first_out == f"{kind.upper()}_BY_PERSON ann"


def test_an_empty_line_run_comes_before_everything_else_of_a_start() -> None:
    room = Room()
    room.desk.act("start", room.now, "operator")
    for _ in range(5):
        assert room.drive(OUT_OF_STEP, 1.0, empty=True, clearing=True) == RUN | HOLD
    assert room.desk.state is State.STARTING
    assert room.drive(OUT_OF_STEP, empty=True) == SYNC, "its time for sync shots begins after the run"
    room.drive()
    assert room.desk.state is State.EXECUTE


def test_an_empty_line_run_without_end_aborts() -> None:
    room = Room()
    room.desk.act("start", room.now, "operator")
    room.drive(seconds=LONGEST_NS / S - 1, clearing=True)
    assert room.desk.state is State.STARTING
    room.drive(seconds=2, clearing=True)
    assert room.desk.state is State.ABORTED and room.desk.first_out.startswith("CLEARANCE")


def test_complete_empties_the_belt_and_waits_for_a_reset() -> None:
    room = Room().running()
    assert room.desk.act("complete", room.now, "operator") == ""
    assert room.drive(empty=False) == RUN | HOLD
    room.drive(seconds=1, empty=True)
    assert room.desk.state is State.COMPLETE
    assert not room.drive() & RUN
    room.desk.act("reset", room.now, "operator")
    room.drive()
    assert room.desk.state is State.IDLE


def test_a_mode_without_a_pause_stops_instead() -> None:
    room = Room()
    assert room.desk.change_mode("maintenance", room.now, "ann") == ""
    room.running()
    room.drive(replace(GOOD, link=False))
    assert room.desk.state in (State.STOPPING, State.STOPPED)


@pytest.mark.clause("IEC 62443-4-2 CR 7.4", "21 CFR 11.10(f)")
def test_a_restart_of_the_line_does_not_lift_an_abort() -> None:
    room = Room()
    room.desk.aborted_before(room.now)
    assert room.drive() & ABORT
    assert room.desk.act("start", room.now, "operator") != ""
    assert room.desk.act("reset", room.now, "operator") != ""
    assert room.desk.act("clear", room.now, "operator") == ""
    room.drive()
    assert "reset first" in room.desk.act("start", room.now, "operator")


@pytest.mark.clause("ALCOA+ complete", "Annex 11 §13")
def test_what_took_permits_back_is_always_on_record() -> None:
    room = Room().running()
    for _ in range(3):
        room.now += 2 * S
        room.desk.alarm("CAMERA_UNSYNCED", "body: count", room.now, quiet=True)
        room.desk.alarm("FRAME_LOST", "body: gap", room.now, quiet=True)
    codes = [note.code for note in room.desk.alarms]
    assert (codes.count("CAMERA_UNSYNCED"), codes.count("FRAME_LOST")) == (3, 1)


def test_the_table_of_the_desk_is_the_table_of_faults() -> None:
    assert {code: Desk().reaction(code) for code in TABLE} == {code: row.reaction for code, row in TABLE.items()}
    assert Desk({"BIN_FULL": Reaction.ALARM}).reaction("BIN_FULL") is Reaction.ALARM


def test_a_plc_that_stopped_by_itself_holds_the_line_and_is_named() -> None:
    room = Room().running()
    stopped = replace(GOOD, plc_aborted=True)
    for _ in range(3):
        room.drive(stopped)
    assert room.desk.state is State.HELD
    assert "PLC_ABORTED" in room.desk.first_out
    for _ in range(3):
        room.drive()
    assert room.desk.state is State.EXECUTE
