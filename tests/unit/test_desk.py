"""The line state follows its conditions; what comes twice, or is an abort, waits for a person."""

from dataclasses import replace

import pytest

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

    def drive(self, facts: Facts = GOOD, seconds: float = 0.01, empty: bool = False) -> int:
        self.now += int(seconds * S)
        synced = all(step for _name, _on, step in facts.cameras)
        return self.desk.drive(conditions(facts), synced, empty, self.now)

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


def test_an_escape_aborts_and_only_clear_and_start_lead_back() -> None:
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
    room.running()


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
