"""What the campaign found in the product, each as the smallest case that shows it."""

import pytest
from campaign_main import names_of
from proof_case import draw, play
from proof_faults import FAULTS
from proof_verdict import Outcomes
from proof_world import World
from small_parts import LIMITS, VIEW

from daemon.line.tracking import Tracker
from daemon.line.unit import Finish, Seen
from daemon.messages import Judged
from daemon.recorder.batch import expected, subtract
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict


def _unit(number: int) -> UnitId:
    return UnitId(2, 0, number)


def _permitted(tracker: Tracker, number: int, encoder: int) -> None:
    unit, key = _unit(number), FrameKey("body", 7, number)
    tracker.created(unit, encoder, 0, None)
    tracker.edge(unit, VIEW, 0)
    tracker.bound(unit, VIEW, Evidence(key, number, 0, 0, 0, 0, 0, 0, True, True, 0))
    view = JudgedView(VIEW, key, 0, "", {})
    tracker.judged(
        Judged(unit, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", [view], "bundle", "recipe", 0, 0, 0, 0),
        1,
        None,
        ours=True,
    )


def _finishes(commands: list[object]) -> dict[int, Outcome]:
    return {command.unit.number: command.outcome for command in commands if isinstance(command, Finish)}


def test_after_the_plc_forgot_bodies_in_the_chute_are_the_youngest_of_those_that_may_have_passed() -> None:
    tracker = Tracker(LIMITS)
    for number in (1, 2, 3):
        _permitted(tracker, number, number * 1200)
    tracker.encoder(9000)
    tracker.memory_lost()
    assert _finishes([*tracker.stray_chute(2, 0)]) == {3: Outcome.REJECTED, 2: Outcome.REJECTED}
    assert _finishes([*tracker.give_up_orphans(0)]) == {1: Outcome.QUARANTINED}


@pytest.mark.parametrize(("durable", "outcome"), [(True, Outcome.ACCEPTED), (False, Outcome.QUARANTINED)])
def test_a_unit_that_the_gate_passed_by_its_permit_while_the_line_was_down_did_not_escape(
    durable: bool, outcome: Outcome
) -> None:
    tracker = Tracker(LIMITS)
    tracker.created(_unit(1), 0, 0, Reason.LINE_DOWN)
    told = Seen(_unit(1), True, False, False, True, False, 0, 0)
    assert _finishes([*tracker.closed(told, durable)]) == {1: outcome}


@pytest.mark.parametrize("seed", [10_000_002, 4])
def test_a_heartbeat_that_comes_late_on_an_old_connection_is_no_loss_of_the_plcs_memory(seed: int) -> None:
    """The PLC grants an epoch to the old request; the driver took that for a PLC that had forgotten its own."""
    world, out = play(draw(seed, ("link-slow",) * 3))
    assert out.wrong == []
    assert [alarm.text for alarm in world.recorder.alarms if alarm.code == "PLC_MEMORY"] == []


LATER = ("pair-swapped", "verdict-other-pair")
"""Faults that the campaign did not know when it found these cases."""


def _again(case: int) -> tuple[World, Outcomes]:
    """Play a case of the campaign that was once wrong."""
    then = [name for name in FAULTS if name not in LATER]
    return play(draw(20261122 * 10_000_000 + case, names_of(case, then), then))


@pytest.mark.parametrize("case", [839, 4394])
def test_an_old_request_and_ours_again_between_two_reads_is_no_restart_of_the_plc(case: int) -> None:
    """The driver read the rings a second time, and a unit had two rows with two reasons."""
    world, out = _again(case)
    assert out.wrong == []
    assert not [row.code for row in world.recorder.alarms if row.code in ("PLC_MEMORY", "PLC_RESTARTED")]


def test_a_body_that_the_infeed_eye_missed_is_told_of_when_it_falls_into_the_chute() -> None:
    world, out = _again(4877)
    assert out.wrong == []
    assert [row.code for row in world.recorder.alarms].count("STRAY_BODY") == 1


def test_rows_that_two_failures_lost_are_named_by_the_closing_rule() -> None:
    """The disk took nothing, the PLC restarted with empty rings, and the supply failed: nobody has those rows."""
    world, out = _again(962)
    lost = [unit.number for unit, told in world.units.items() if told.closed and unit not in world.recorder.units]
    assert out.wrong == [] and lost
    assert [
        (run.first, run.last) for lane in world.recorder.lanes() for run in subtract(expected(lane), lane.runs)
    ] == [(lost[0], lost[-1])]


def test_a_permit_taken_back_too_late_is_an_escape_and_the_alarm_says_so() -> None:
    world, out = _again(164)
    assert out.wrong == []
    escaped = [row.text for row in world.recorder.alarms if row.code == "ESCAPED"]
    assert len(escaped) == 3 and all("before its permit could be taken back (unsynced)" in text for text in escaped)
