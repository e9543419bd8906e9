"""The stack light: what a person sees and hears of the line from across the hall (colours of IEC 60204-1). Pure."""

from daemon.states import State
from drivers.registers import Lamp

_RED = {State.ABORTING, State.ABORTED, State.CLEARING}
_GREEN = {State.STARTING, State.EXECUTE, State.COMPLETING, State.UNHOLDING, State.UNSUSPENDING}
_AMBER = {
    State.HOLDING, State.HELD, State.UNHOLDING, State.SUSPENDING, State.SUSPENDED, State.UNSUSPENDING, State.STOPPING
}  # fmt: skip


def lamps(state: State, *, alive: bool, active: bool, person: bool, horn: bool) -> Lamp:
    """Return the lamps that are on.

    Args:
        alive: False makes it dark: a light that somebody else holds up says nothing.
        active: an alarm stands.
        person: nothing goes on before a person acts.
        horn: an alarm that stops the line waits to be acknowledged.
    """
    if not alive:
        return Lamp(0)
    on = {
        Lamp.RED: state in _RED,
        Lamp.AMBER: state in _AMBER or active,
        Lamp.GREEN: state in _GREEN,
        Lamp.BLUE: person,
        Lamp.HORN: horn,
    }
    return Lamp(sum(lamp for lamp, lit in on.items() if lit))
