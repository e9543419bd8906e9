"""The PackML table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.faults import TABLE, Latch, Reaction
from daemon.states import ACTING, Event, State, move


def test_the_way_from_stopped_to_execute() -> None:
    state: State | None = State.STOPPED
    for event in (Event.RESET, Event.DONE, Event.START, Event.DONE):
        assert state is not None
        state = move(state, event)
    assert state is State.EXECUTE


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_leaving_aborted_takes_a_clear(events: list[Event]) -> None:
    state, aborted = State.STOPPED, False
    for event in events:
        target = move(state, event)
        if target is None:
            continue
        if aborted:
            assert event is Event.CLEAR or state is State.ABORTING
        state = target
        aborted = state in (State.ABORTING, State.ABORTED)


@pytest.mark.parametrize("state", sorted(ACTING))
def test_every_acting_state_ends(state: State) -> None:
    assert move(state, Event.DONE) not in (None, state)


def test_abort_is_possible_from_everywhere_else() -> None:
    assert {s for s in State if move(s, Event.ABORT) is None} == {State.ABORTING, State.ABORTED}


def test_a_second_strike_within_the_window_latches() -> None:
    latch, second = Latch(), 1_000_000_000
    assert not latch.strike("VISION_LOST", 0)
    assert latch.strike("VISION_LOST", 5 * second)
    assert not latch.strike("VISION_LOST", 60 * second)
    latch.clear()
    assert not latch.strike("VISION_LOST", 61 * second)


def test_every_fault_says_what_to_do() -> None:
    for code, row in TABLE.items():
        assert row.code == code
        assert row.text and row.remedy
        assert row.reaction in Reaction
