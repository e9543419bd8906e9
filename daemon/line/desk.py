"""The line's state: which PackML state, why, what holds it, who has to act. Pure: the caller brings time and facts."""

from collections import deque
from dataclasses import dataclass, field

from daemon import states
from daemon.faults import TABLE, Latch, Reaction
from daemon.line.conditions import Condition
from daemon.states import ACTING, Event, State, move
from drivers.registers import Command

RUN, HOLD, ABORT, SYNC, RESET = Command
QUIET_NS = 1_000_000_000
START_NS = 5_000_000_000
SHOTS_NS = 600_000_000
STOP_NS = 500_000_000
RUNNING = states.RUNNING | {State.STOPPING}
CLOSED_INFEED = {State.HOLDING, State.HELD, State.SUSPENDING, State.SUSPENDED, State.STOPPING}
PERMITTING = {State.EXECUTE, State.HOLDING, State.HELD, State.UNHOLDING, State.STOPPING}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm or change of state. `at_ns` CLOCK_MONOTONIC."""

    at_ns: int
    code: str
    text: str
    state: State


@dataclass(slots=True)
class Desk:
    """Owned by the line loop."""

    state: State = State.STOPPED
    first_out: str = ""
    latched: set[str] = field(default_factory=set)
    alarms: deque[Alarm] = field(default_factory=lambda: deque(maxlen=50))
    fresh: list[Alarm] = field(default_factory=list)
    _latch: Latch = field(default_factory=Latch)
    _quiet: dict[str, int] = field(default_factory=dict)
    _unmet: set[str] = field(default_factory=set)
    _starting_since: int = 0
    _stopping_since: int = 0

    def alarm(self, code: str, text: str, now_ns: int, *, quiet: bool = False) -> None:
        """Raise a fault of the table. `quiet` raises the same text at most once a second."""
        key = f"{code} {text.partition(':')[0]}" if quiet else ""
        if quiet and now_ns - self._quiet.get(key, -QUIET_NS) < QUIET_NS:
            return
        if quiet:
            self._quiet[key] = now_ns
        row = TABLE[code]
        self.note(code, f"{row.text}: {text}", now_ns)
        if self._latch.strike(code, now_ns):
            self.latched.add(code)
        if row.reaction is Reaction.ABORT:
            self._move(Event.ABORT, now_ns, code)

    def act(self, kind: str, now_ns: int, who: str) -> str:
        """A person's reset, start, stop, abort or clear. Return "" when done, or one line that says why not."""
        if kind == "clear" and self._move(Event.CLEAR, now_ns, who):
            return ""
        if kind == "reset":
            return self._reset(now_ns, who)
        if kind == "start":
            return self._start(now_ns, who)
        if kind == "stop" and self._move(Event.STOP, now_ns, who):
            self._stopping_since = now_ns
            return ""
        if kind == "abort" and self._move(Event.ABORT, now_ns, who):
            return ""
        return f"{kind} is not possible in state {self.state.name}"

    def resume(self, now_ns: int) -> None:
        """The line restarted inside a batch: go on at once, vials are on the belt."""
        self._start(now_ns, "")
        self._move(Event.DONE, now_ns, "the line restarted inside a batch")

    def drive(self, found: list[Condition], synced: bool, empty: bool, now_ns: int) -> int:
        """Let the conditions move the state; return the command bits for the PLC."""
        self._notice(found, now_ns)
        causes = {TABLE[c.code].reaction for c in found if not c.met}
        if self.state in RUNNING:
            self._react(causes, now_ns)
        self._finish_acting(synced, empty, now_ns)
        ready = not synced and all(c.met for c in found if c.code != "CAMERA_UNSYNCED")
        return self._bits(ready and (now_ns - self._starting_since) // SHOTS_NS % 2 == 0)

    def _reset(self, now_ns: int, who: str) -> str:
        self._latch.clear()
        self.latched.clear()
        self.first_out = ""
        self.note("RESET", f"reset by {who}", now_ns)
        self._move(Event.RESET, now_ns, who)
        return ""

    def _start(self, now_ns: int, who: str) -> str:
        if self._move(Event.RESET, now_ns, who):
            self._move(Event.DONE, now_ns, "")
        if not self._move(Event.START, now_ns, who):
            return f"start is not possible in state {self.state.name}"
        self._starting_since = now_ns
        return ""

    def _notice(self, found: list[Condition], now_ns: int) -> None:
        unmet: dict[str, str] = {}
        for condition in found:
            if not condition.met:
                unmet.setdefault(condition.code, condition.name)
        for code in [code for code in unmet if code not in self._unmet and self.state in RUNNING]:
            self.first_out = self.first_out or unmet[code]
            self.alarm(code, unmet[code], now_ns)
        self._unmet = set(unmet)

    def _react(self, causes: set[Reaction], now_ns: int) -> None:
        if Reaction.ABORT in causes:
            self._move(Event.ABORT, now_ns, self.first_out)
        hold = Reaction.HOLD in causes or bool(self.latched)
        suspend = Reaction.SUSPEND in causes
        if self.state is State.EXECUTE and suspend:
            self._move(Event.SUSPEND, now_ns, self.first_out)
        elif self.state is State.SUSPENDED and not suspend:
            self._move(Event.UNSUSPEND, now_ns, "")
        elif self.state in (State.EXECUTE, State.UNHOLDING) and hold:
            self._move(Event.HOLD, now_ns, ", ".join(sorted(self.latched)) or self.first_out)
        elif self.state is State.HELD and not hold:
            self._move(Event.UNHOLD, now_ns, "")

    def _finish_acting(self, synced: bool, empty: bool, now_ns: int) -> None:
        waits = {
            State.STARTING: not synced and empty and now_ns - self._starting_since < START_NS,
            State.STOPPING: not empty or now_ns - self._stopping_since < STOP_NS,
        }
        if self.state in ACTING and not waits.get(self.state, False):
            self._move(Event.DONE, now_ns, "")
            if self.state is State.EXECUTE:
                self.first_out = ""

    def _bits(self, shoot: bool) -> int:
        bits = RUN if self.state in RUNNING else 0
        if self.state in CLOSED_INFEED:
            bits |= HOLD
        if self.state in (State.ABORTING, State.ABORTED):
            bits |= ABORT
        if self.state is State.STARTING and shoot:
            bits |= SYNC
        if self.state in (State.STOPPED, State.CLEARING, State.RESETTING, State.IDLE):
            bits |= RESET
        return bits

    def _move(self, event: Event, now_ns: int, why: str) -> bool:
        target = move(self.state, event)
        if target is None:
            return False
        self.state = target
        if target not in ACTING:
            self.note("STATE", f"{target.name}{': ' + why if why else ''}", now_ns)
        elif target is State.ABORTING:
            self.first_out = self.first_out or why
        return True

    def note(self, code: str, text: str, now_ns: int) -> None:
        """Put a line into the alarm list without reacting to it."""
        alarm = Alarm(now_ns, code, text, self.state)
        self.alarms.append(alarm)
        self.fresh.append(alarm)
