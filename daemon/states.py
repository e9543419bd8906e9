"""Line states of PackML (ISA-TR88.00.02) as one pure table: (state, event) -> state. What is not listed is refused."""

import enum


class State(enum.IntEnum):
    """PackML state numbers."""

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Event(enum.StrEnum):
    """What moves the line; DONE is the end of an acting state."""

    RESET = "reset"
    START = "start"
    STOP = "stop"
    HOLD = "hold"
    UNHOLD = "unhold"
    SUSPEND = "suspend"
    UNSUSPEND = "unsuspend"
    ABORT = "abort"
    CLEAR = "clear"
    DONE = "done"


_MOVES = {
    (State.STOPPED, Event.RESET): State.RESETTING,
    (State.RESETTING, Event.DONE): State.IDLE,
    (State.IDLE, Event.START): State.STARTING,
    (State.STARTING, Event.DONE): State.EXECUTE,
    (State.EXECUTE, Event.HOLD): State.HOLDING,
    (State.HOLDING, Event.DONE): State.HELD,
    (State.HELD, Event.UNHOLD): State.UNHOLDING,
    (State.UNHOLDING, Event.DONE): State.EXECUTE,
    (State.UNHOLDING, Event.HOLD): State.HOLDING,
    (State.EXECUTE, Event.SUSPEND): State.SUSPENDING,
    (State.SUSPENDING, Event.DONE): State.SUSPENDED,
    (State.SUSPENDED, Event.UNSUSPEND): State.UNSUSPENDING,
    (State.UNSUSPENDING, Event.DONE): State.EXECUTE,
    (State.UNSUSPENDING, Event.SUSPEND): State.SUSPENDING,
    (State.SUSPENDED, Event.HOLD): State.HOLDING,
    (State.STOPPING, Event.DONE): State.STOPPED,
    (State.ABORTING, Event.DONE): State.ABORTED,
    (State.ABORTED, Event.CLEAR): State.CLEARING,
    (State.CLEARING, Event.DONE): State.STOPPED,
}

_NO_STOP = {State.STOPPING, State.STOPPED, State.ABORTING, State.ABORTED, State.CLEARING}
_NO_ABORT = {State.ABORTING, State.ABORTED}

ACTING = {state for state, event in _MOVES if event is Event.DONE}

RUNNING = {
    State.EXECUTE,
    State.HOLDING,
    State.HELD,
    State.UNHOLDING,
    State.SUSPENDING,
    State.SUSPENDED,
    State.UNSUSPENDING,
}


def move(state: State, event: Event) -> State | None:
    """Return the next state, or None when this state does not take the event."""
    if event is Event.ABORT:
        return None if state in _NO_ABORT else State.ABORTING
    if event is Event.STOP:
        return None if state in _NO_STOP else State.STOPPING
    return _MOVES.get((state, event))
