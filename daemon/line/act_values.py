"""What an act is about, before and after it: the audit trail's old and new. Pure."""

from collections.abc import Callable, Iterable, Sequence

from daemon.line.alarms import Alarms
from daemon.line.desk import Desk
from daemon.messages import Act
from daemon.units import UnitId

NAMED = 64
ON_ALARMS = ("acknowledge", "shelve", "out-of-service", "restore")


def look(act: Act, desk: Desk, in_machine: Callable[[], Sequence[UnitId]]) -> Callable[[], str]:
    """Return a way to see what the act is about: the same before and after it."""
    if act.kind == "mode":
        return lambda: _mode(desk)
    if act.kind in ON_ALARMS:
        names = _alarms(act, desk.book)
        return lambda: ", ".join(f"{name} {desk.book.state(name).value}" for name in names) or "no alarm waits"
    if act.kind == "clear" and act.new:
        units = in_machine()
        return lambda: f"{len(units)} units: {named(units)}" if units else "0 units"
    return lambda: _state(desk)


def agrees(asked: str, now: str) -> bool:
    """True if what the asker saw is so now; he may leave it out, or what follows a comma or a colon."""
    return asked in ("", now) or now.startswith((f"{asked},", f"{asked}:"))


def after(act: Act, now: str) -> str:
    """Return what an act that was done made of it."""
    if act.kind == "clear" and act.new:
        return act.new
    return f"{now} for {act.new.rpartition(' ')[2]} minutes" if act.kind == "shelve" else now


def named(units: Iterable[UnitId]) -> str:
    """Return the names of the first NAMED units."""
    names = [str(unit) for unit in units]
    return " ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")


def _alarms(act: Act, book: Alarms) -> list[str]:
    if act.kind == "shelve":
        return [act.new.rpartition(" ")[0]]
    return book.waiting() if act.new == "all" else [act.new]


def _mode(desk: Desk) -> str:
    return desk.mode.name.lower()


def _state(desk: Desk) -> str:
    latched = f", latched {' '.join(sorted(desk.latched))}" if desk.latched else ""
    return f"{desk.state.name}{latched}{', reset owed' if desk.reset_owed else ''}"
