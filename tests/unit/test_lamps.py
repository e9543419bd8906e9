"""The stack light: dark when dead, and never two stories at once."""

from itertools import product

import pytest

from daemon.line.lamps import lamps
from daemon.states import State
from drivers.registers import Lamp

CASES = list(product(State, (False, True), (False, True), (False, True)))


@pytest.mark.parametrize("state", list(State))
def test_dark_when_dead(state: State) -> None:
    assert lamps(state, alive=False, active=True, person=True, horn=True) == Lamp(0)


@pytest.mark.parametrize(
    ("state", "colours"),
    [
        (State.EXECUTE, Lamp.GREEN),
        (State.STARTING, Lamp.GREEN),
        (State.STOPPED, Lamp(0)),
        (State.IDLE, Lamp(0)),
        (State.HELD, Lamp.AMBER),
        (State.SUSPENDED, Lamp.AMBER),
        (State.STOPPING, Lamp.AMBER),
        (State.ABORTED, Lamp.RED),
    ],
)
def test_the_state_without_alarms(state: State, colours: Lamp) -> None:
    assert lamps(state, alive=True, active=False, person=False, horn=False) == colours


def test_every_case_follows_the_rules() -> None:
    for state, active, person, horn in CASES:
        on = lamps(state, alive=True, active=active, person=person, horn=horn)
        assert bool(on & Lamp.BLUE) == person and bool(on & Lamp.HORN) == horn
        assert not active or on & Lamp.AMBER, "an alarm is always to be seen"
        assert not (on & Lamp.RED and on & Lamp.GREEN)
        assert bool(on & Lamp.RED) == (state in (State.ABORTING, State.ABORTED, State.CLEARING))
