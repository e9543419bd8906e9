"""The PackML table is the standard's diagram, and the table of faults is whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.faults import INPUTS, STOPS, TABLE, Latch, Reaction
from daemon.states import ACTING, EXTENSIONS, MODE_CHANGES_IN, STATES_OF, Event, Mode, State, may_change_mode, move

# The arrows of the diagram in ISA-TR88.00.02, written down a second time: from, event, to.
DIAGRAM = """
Stopped reset Resetting      Resetting done Idle          Idle start Starting          Starting done Execute
Execute hold Holding         Holding done Held            Held unhold Unholding        Unholding done Execute
Execute suspend Suspending   Suspending done Suspended    Suspended unsuspend Unsuspending
Unsuspending done Execute    Execute complete Completing  Completing done Complete     Complete reset Resetting
Stopping done Stopped        Aborting done Aborted        Aborted clear Clearing       Clearing done Stopped
Idle stop Stopping           Starting stop Stopping       Execute stop Stopping        Completing stop Stopping
Complete stop Stopping       Resetting stop Stopping      Holding stop Stopping        Held stop Stopping
Unholding stop Stopping      Suspending stop Stopping     Suspended stop Stopping      Unsuspending stop Stopping
Idle abort Aborting          Starting abort Aborting      Execute abort Aborting       Completing abort Aborting
Complete abort Aborting      Resetting abort Aborting     Holding abort Aborting       Held abort Aborting
Unholding abort Aborting     Suspending abort Aborting    Suspended abort Aborting     Unsuspending abort Aborting
Stopping abort Aborting      Stopped abort Aborting       Clearing abort Aborting
"""
# The five arrows to Holding that OPC 30050 lists as extensions.
MORE = "Starting Unholding Suspending Suspended Unsuspending"


def _arrows() -> dict[tuple[State, Event], State]:
    words = iter(DIAGRAM.split())
    found = {(State[a.upper()], Event(e)): State[b.upper()] for a, e, b in zip(words, words, words, strict=True)}
    return found | {(State[name.upper()], Event.HOLD): State.HOLDING for name in MORE.split()}


def test_the_numbers_are_those_of_the_standard() -> None:
    assert [state.value for state in State] == list(range(1, 18))
    assert (State.STOPPED, State.IDLE, State.EXECUTE, State.ABORTED, State.HELD, State.COMPLETE) == (2, 4, 6, 9, 11, 17)
    assert [(mode.name, mode.value) for mode in Mode] == [("PRODUCTION", 1), ("MAINTENANCE", 2), ("MANUAL", 3)]


@pytest.mark.parametrize("state", list(State))
def test_every_arrow_of_the_diagram_and_no_other(state: State) -> None:
    arrows = _arrows()
    assert {event: move(state, event) for event in Event} == {event: arrows.get((state, event)) for event in Event}


def test_the_extensions_are_named() -> None:
    assert {state.name.title() for state, _ in EXTENSIONS} == set(MORE.split())


@pytest.mark.parametrize("mode", list(Mode))
def test_no_mode_leads_into_a_state_that_it_lacks_and_none_is_a_dead_end(mode: Mode) -> None:
    for state in STATES_OF[mode]:
        reached = {target for event in Event if (target := move(state, event, mode)) is not None}
        assert reached and reached <= STATES_OF[mode]


def test_what_each_mode_lacks() -> None:
    assert STATES_OF[Mode.PRODUCTION] == set(State)
    lacks = {mode: {state.name for state in set(State) - STATES_OF[mode]} for mode in Mode}
    alone = {"COMPLETING", "COMPLETE", "SUSPENDING", "SUSPENDED", "UNSUSPENDING"}
    assert lacks[Mode.MAINTENANCE] == alone
    assert lacks[Mode.MANUAL] == alone | {"HOLDING", "HELD", "UNHOLDING"}


@pytest.mark.clause("21 CFR 11.10(f)")
def test_the_mode_changes_at_standstill_only() -> None:
    assert {State.STOPPED, State.IDLE, State.ABORTED} == MODE_CHANGES_IN
    for state in State:
        for old in Mode:
            for new in Mode:
                assert may_change_mode(state, old, new) == (old is not new and state in MODE_CHANGES_IN)


@pytest.mark.clause("21 CFR 11.10(f)")
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


def test_a_second_strike_of_the_same_subject_within_the_window_latches() -> None:
    latch, second = Latch(), 1_000_000_000
    assert not latch.strike("CAMERA_LOST", 0, "body")
    assert not latch.strike("CAMERA_LOST", 1, "crimp")
    assert latch.strike("CAMERA_LOST", 5 * second, "body")
    assert not latch.strike("CAMERA_LOST", 60 * second, "body")
    latch.clear()
    assert not latch.strike("CAMERA_LOST", 61 * second, "body")
    assert latch.strike("BIN_FULL", 0), "a person must reset it the first time"


def test_every_fault_is_consistent() -> None:
    assert set(INPUTS.values()) <= set(TABLE)
    for code, row in TABLE.items():
        assert row.code == code
        assert row.person <= (row.reaction is Reaction.HOLD), "only a hold waits for a reset of its own"
        assert row.bars <= (row.reaction in STOPS)
        assert bool(row.max_units or row.max_s) == (row.reaction is Reaction.REJECT), "rejecting has an end"
        assert row.safety or row.reaction not in (Reaction.ABORT, Reaction.SUSPEND)
