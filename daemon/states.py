"""Line states and modes of PackML (ISA-TR88.00.02-2022) as one pure table: (state, event) -> state.

What is not listed is refused. HOLD is for causes inside the machine (a person or the machine itself clears them),
SUSPEND for causes outside it. Beside the standard's diagram stand five HOLD transitions that OPC 30050 lists as
extensions of it (EXTENSIONS): a cause that comes while the line starts, suspends or goes on again must not wait.
"""

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
    """What moves the line: PackML's commands, and DONE, the end of an acting state."""

    RESET = "reset"
    START = "start"
    STOP = "stop"
    HOLD = "hold"
    UNHOLD = "unhold"
    SUSPEND = "suspend"
    UNSUSPEND = "unsuspend"
    ABORT = "abort"
    CLEAR = "clear"
    COMPLETE = "complete"
    DONE = "done"


class Mode(enum.IntEnum):
    """PackML unit mode numbers. Permits exist in PRODUCTION only."""

    PRODUCTION = 1
    MAINTENANCE = 2
    MANUAL = 3


_DIAGRAM = {
    (State.STOPPED, Event.RESET): State.RESETTING,
    (State.RESETTING, Event.DONE): State.IDLE,
    (State.IDLE, Event.START): State.STARTING,
    (State.STARTING, Event.DONE): State.EXECUTE,
    (State.EXECUTE, Event.HOLD): State.HOLDING,
    (State.HOLDING, Event.DONE): State.HELD,
    (State.HELD, Event.UNHOLD): State.UNHOLDING,
    (State.UNHOLDING, Event.DONE): State.EXECUTE,
    (State.EXECUTE, Event.SUSPEND): State.SUSPENDING,
    (State.SUSPENDING, Event.DONE): State.SUSPENDED,
    (State.SUSPENDED, Event.UNSUSPEND): State.UNSUSPENDING,
    (State.UNSUSPENDING, Event.DONE): State.EXECUTE,
    (State.EXECUTE, Event.COMPLETE): State.COMPLETING,
    (State.COMPLETING, Event.DONE): State.COMPLETE,
    (State.COMPLETE, Event.RESET): State.RESETTING,
    (State.STOPPING, Event.DONE): State.STOPPED,
    (State.ABORTING, Event.DONE): State.ABORTED,
    (State.ABORTED, Event.CLEAR): State.CLEARING,
    (State.CLEARING, Event.DONE): State.STOPPED,
}

EXTENSIONS = {
    (state, Event.HOLD): State.HOLDING
    for state in (State.STARTING, State.UNHOLDING, State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING)
}

_NO_STOP = {State.STOPPING, State.STOPPED, State.ABORTING, State.ABORTED, State.CLEARING}
_NO_ABORT = {State.ABORTING, State.ABORTED}

TABLE = {
    **_DIAGRAM,
    **EXTENSIONS,
    **{(state, Event.STOP): State.STOPPING for state in State if state not in _NO_STOP},
    **{(state, Event.ABORT): State.ABORTING for state in State if state not in _NO_ABORT},
}

ACTING = {state for state, event in TABLE if event is Event.DONE}

RUNNING = {
    State.EXECUTE,
    State.HOLDING,
    State.HELD,
    State.UNHOLDING,
    State.SUSPENDING,
    State.SUSPENDED,
    State.UNSUSPENDING,
}

_COMPLETES = {State.COMPLETING, State.COMPLETE}
_SUSPENDS = {State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING}
_HOLDS = {State.HOLDING, State.HELD, State.UNHOLDING}

STATES_OF = {
    Mode.PRODUCTION: frozenset(State),
    Mode.MAINTENANCE: frozenset(set(State) - _COMPLETES - _SUSPENDS),
    Mode.MANUAL: frozenset(set(State) - _COMPLETES - _SUSPENDS - _HOLDS),
}
"""What each mode has: without orders there is nothing to complete, alone there is no neighbour to wait for."""

MODE_CHANGES_IN = frozenset({State.STOPPED, State.IDLE, State.ABORTED})


def move(state: State, event: Event, mode: Mode = Mode.PRODUCTION) -> State | None:
    """Return the next state, or None when this state does not take the event in this mode."""
    target = TABLE.get((state, event))
    return target if target in STATES_OF[mode] else None


def may_change_mode(state: State, old: Mode, new: Mode) -> bool:
    """True if the line may go over to another mode in this state."""
    return old is not new and state in MODE_CHANGES_IN and state in STATES_OF[new]
