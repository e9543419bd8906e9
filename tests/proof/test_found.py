"""What the campaign found in the product, each as the smallest case that shows it."""

import pytest
from proof_case import draw, play
from small_parts import LIMITS, VIEW

from daemon.line.tracking import Tracker
from daemon.line.unit import Finish, Seen
from daemon.messages import Judged
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict


def _unit(number: int) -> UnitId:
    return UnitId(2, 0, number)


def _permitted(tracker: Tracker, number: int, encoder: int) -> None:
    unit, key = _unit(number), FrameKey("body", 7, number)
    tracker.created(unit, encoder, 0, None)
    tracker.edge(unit, VIEW, 0)
    tracker.bound(unit, VIEW, Evidence(key, number, 0, 0, 0, 0, 0, 0, True, True, 0))
    view = JudgedView(VIEW, key, 0, "", {})
    tracker.judged(Judged(unit, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", [view], "bundle", 0, 0, 0, 0), 1, None)


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
