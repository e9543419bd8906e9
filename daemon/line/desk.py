"""The line's state: which PackML state and mode, why, what holds it, who has to act. Pure: the caller brings time and
facts."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon import states
from daemon.faults import (
    ABORT_BY_PERSON,
    HOLD_BY_PERSON,
    INPUT_S,
    INPUT_UNITS,
    STOP_BY_PERSON,
    STOPS,
    TABLE,
    Latch,
    Reaction,
)
from daemon.line.alarms import Alarms, Key
from daemon.line.clearance import LONGEST_NS
from daemon.line.conditions import Condition
from daemon.line.firstout import FirstOut
from daemon.line.lamps import lamps
from daemon.states import ACTING, Event, Mode, State, may_change_mode, move
from drivers.registers import Command, Lamp

RUN, HOLD, ABORT, SYNC, RESET = Command
QUIET_NS = 1_000_000_000
START_NS = 5_000_000_000
SHOTS_NS = 600_000_000
STOP_NS = 500_000_000
RESTARTED = "since before the line restarted"
RUNNING = states.RUNNING | {State.STOPPING, State.COMPLETING}
EMPTYING = {State.STOPPING, State.COMPLETING}
LASTING = {State.STARTING, *EMPTYING}
CLOSED_INFEED = {State.HOLDING, State.HELD, State.SUSPENDING, State.SUSPENDED, *EMPTYING}
PERMITTING = {State.EXECUTE, State.HOLDING, State.HELD, State.UNHOLDING, *EMPTYING}


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the record: an alarm, an act or a change of state. `at_ns` CLOCK_MONOTONIC."""

    at_ns: int
    code: str
    text: str
    state: State


@dataclass(slots=True)
class Desk:
    """Owned by the line loop. `overrides` are the station's reactions to its inputs, by code.

    `turned_away` counts units that were not accepted, for reactions that may go on only for so many of them.
    """

    overrides: Mapping[str, Reaction] = field(default_factory=dict)
    state: State = State.STOPPED
    mode: Mode = Mode.PRODUCTION
    stops: FirstOut = field(default_factory=FirstOut)
    latched: set[str] = field(default_factory=set)
    reset_owed: bool = False
    book: Alarms = field(default_factory=Alarms)
    alarms: deque[Note] = field(default_factory=lambda: deque(maxlen=50))
    fresh: list[Note] = field(default_factory=list)
    turned_away: int = 0
    _latch: Latch = field(default_factory=Latch)
    _quiet: dict[Key, int] = field(default_factory=dict)
    _until_reset: set[Key] = field(default_factory=set)
    _unmet: dict[Key, tuple[int, int]] = field(default_factory=dict)
    _ran: bool = False
    _clearing: bool = False
    _starting_since: int = 0
    _stopping_since: int = 0

    @property
    def first_out(self) -> str:
        """The first cause of the present stop, as CODE detail; "" while the line runs."""
        cause = self.stops.first
        return f"{cause.code} {cause.detail}".strip() if cause else ""

    @property
    def permits(self) -> bool:
        """True while permits may be given as far as state, mode and faults that wait for a person go."""
        return self.state in PERMITTING and self.mode is Mode.PRODUCTION and not self.barred

    @property
    def barred(self) -> bool:
        """True while a fault stands, until a person resets it, with which nothing may be accepted."""
        return any(TABLE[code].bars for code in self.latched if code in TABLE)

    def reaction(self, code: str) -> Reaction:
        """Return what the line does about a fault: the table's, or the station's own for its inputs."""
        return self.overrides.get(code, TABLE[code].reaction)

    def alarm(self, code: str, text: str, now_ns: int, *, quiet: bool = False) -> None:
        """Raise a momentary fault of the table; its subject is what stands before a colon in `text`.

        One that stops the line for a person stands until he resets.
        `quiet` counts a repetition without a line in the record, unless the fault took permits back.
        """
        subject = text.partition(":")[0] if ":" in text else ""
        if self._latch.strike(code, now_ns, subject):
            self._latches(code, now_ns)
        stands = code in self.latched or self.reaction(code) is Reaction.ABORT
        news = self.book.raised(code, subject, text, now_ns, stands=stands)
        if stands:
            self._until_reset.add((code, subject))
        recent = now_ns - self._quiet.get((code, subject), -QUIET_NS) < QUIET_NS
        if news or not quiet or (TABLE[code].revokes and not recent):
            self._quiet[code, subject] = now_ns
            self.note(code, text, now_ns)
        if stands:
            self.stops.add(code, text, now_ns)
        if self.reaction(code) is Reaction.ABORT:
            self._move(Event.ABORT, now_ns, code)

    def act(self, kind: str, now_ns: int, who: str) -> str:
        """A person's reset, start, stop, hold, abort, clear or complete. Return "" when done, or why not."""
        if kind == "reset":
            return self._reset(now_ns, who)
        if kind == "start":
            return self._start(now_ns, who)
        if kind == "hold" and self.state is State.EXECUTE:
            self._latches(HOLD_BY_PERSON, now_ns)
            self.stops.add(HOLD_BY_PERSON, who, now_ns)
            return ""
        if kind in ("stop", "complete", "abort", "clear") and self._move(Event(kind), now_ns, who):
            self._pressed(kind, now_ns, who)
            return ""
        return f"{kind} is not possible in state {self.state.name}"

    def change_mode(self, name: str, now_ns: int, who: str) -> str:
        """A person changes the PackML mode. Return "" when done, or why not in one line."""
        if name.upper() not in Mode.__members__:
            return f"there is no mode {name!r}: production, maintenance or manual"
        new = Mode[name.upper()]
        if not may_change_mode(self.state, self.mode, new):
            return f"mode {new.name} is not possible now: stop first (state {self.state.name}, mode {self.mode.name})"
        self.mode = new
        self.note("MODE", f"{new.name} by {who}", now_ns)
        return ""

    def resume(self, now_ns: int, *, emptying: bool = False) -> None:
        """The line restarted inside a batch: go on at once, vials are on the belt. `emptying`: it was about to stop."""
        self._start(now_ns, "")
        self._move(Event.DONE, now_ns, "the line restarted inside a batch")
        if emptying:
            self.act("stop", now_ns, "before the line restarted")

    def aborted_before(self, now_ns: int) -> None:
        """The line was aborted in its earlier life: a restart does not lift that."""
        self.state, self.reset_owed = State.ABORTED, True
        self.note("STATE", "ABORTED: still, after a restart of the line", now_ns)

    def latched_before(self, codes: Iterable[str], now_ns: int) -> None:
        """These latched in an earlier life of the line and no person reset it since."""
        for code in codes:
            self.latched.add(code)
            self.stops.add(code, RESTARTED, now_ns)
            if code in TABLE:
                self.book.raised(code, "", RESTARTED, now_ns, stands=True)
                self._until_reset.add((code, ""))

    def another_batch(self, now_ns: int) -> None:
        """A batch was opened or closed: nobody started the line in this one. Its record begins with an odd mode."""
        if self.state in (State.STARTING, *states.RUNNING) and self._move(Event.STOP, now_ns, "another batch"):
            self._stopping_since = now_ns
        if self.mode is not Mode.PRODUCTION:
            self.note("MODE", f"{self.mode.name} at the opening of the batch", now_ns)

    def in_mode(self, name: str, now_ns: int) -> None:
        """The line was in that PackML mode ("" = none on record), which a restart does not change."""
        if name in Mode.__members__ and Mode[name] is not self.mode:
            self.mode = Mode[name]
            self.note("MODE", f"{name} still, {RESTARTED}", now_ns)

    def drive(
        self, found: Sequence[Condition], synced: bool, empty: bool, now_ns: int, *, clearing: bool = False
    ) -> Command:
        """Let the conditions move the state; return the command bits for the PLC.

        `empty`: no unit is under way; `clearing`: an empty-line run must come before the start, or is on.
        """
        if self._clearing and not clearing:
            self._starting_since = now_ns
        self._clearing = clearing
        self._notice(found, now_ns)
        reactions = {self._allowed(c, now_ns) for c in found if not c.met}
        if self.state in RUNNING or (self.state is State.STARTING and Reaction.ABORT in reactions):
            self._react(reactions, now_ns)
        self._finish_acting(synced, empty, now_ns)
        for alarm in self.book.tick(now_ns):
            self.note("UNSHELVED", f"{alarm.name}: its time is over", now_ns)
        ready = not synced and not clearing and all(c.met for c in found if c.code != "CAMERA_UNSYNCED")
        return self._bits(ready and (now_ns - self._starting_since) // SHOTS_NS % 2 == 0)

    def lamps(self, alive: bool) -> Lamp:
        """Return the stack light."""
        person = bool(self.latched) or self.reset_owed or self.state is State.ABORTED
        return lamps(self.state, alive=alive, active=self.book.active, person=person, horn=self.book.horn)

    def note(self, code: str, text: str, now_ns: int) -> None:
        """Put a line into the record without reacting to it."""
        line = Note(now_ns, code, text, self.state)
        self.alarms.append(line)
        self.fresh.append(line)

    def _latches(self, code: str, now_ns: int) -> None:
        if code not in self.latched:
            self.latched.add(code)
            self.note("LATCHED", code, now_ns)

    def _pressed(self, kind: str, now_ns: int, who: str) -> None:
        if kind in ("stop", "complete"):
            self._stopping_since = now_ns
        if kind in ("stop", "abort"):
            self.stops.add(STOP_BY_PERSON if kind == "stop" else ABORT_BY_PERSON, who, now_ns)

    def _reset(self, now_ns: int, who: str) -> str:
        if self.state in (State.ABORTING, State.ABORTED, State.CLEARING):
            return "the line is aborted: clear it first, then reset"
        self._latch.clear()
        self._unmet.clear()
        for key in self._until_reset:
            self.book.returned(*key)
        self._until_reset.clear()
        self.latched.clear()
        self.stops.reset()
        self.reset_owed = False
        self.note("RESET", f"reset by {who}", now_ns)
        self._move(Event.RESET, now_ns, who)
        return ""

    def _start(self, now_ns: int, who: str) -> str:
        if self.reset_owed or (self.latched and self.state is State.STOPPED):
            return "a person must reset first: see `linewarden why`"
        if self._move(Event.RESET, now_ns, who):
            self._move(Event.DONE, now_ns, "")
        if not self._move(Event.START, now_ns, who):
            return f"start is not possible in state {self.state.name}"
        self._starting_since = now_ns
        return ""

    def _notice(self, found: Sequence[Condition], now_ns: int) -> None:
        unmet: dict[Key, Condition] = {}
        for condition in found:
            if not condition.met:
                unmet.setdefault((condition.code, condition.subject), condition)
        for key in [key for key in self._unmet if key not in unmet]:
            del self._unmet[key]
            self.book.returned(*key)
        runs = self.state in RUNNING
        for key in [key for key in unmet if runs and key not in self._unmet]:
            self._came(unmet[key], now_ns)
        self._ran = runs

    def _came(self, condition: Condition, now_ns: int) -> None:
        """A condition is not met (any more). What was so before the line ran counts as no strike of its own."""
        code, subject = condition.code, condition.subject
        text = condition.detail
        self._unmet[code, subject] = (now_ns, self.turned_away)
        if self.book.raised(code, subject, text, now_ns, stands=True) or TABLE[code].revokes:
            self.note(code, text, now_ns)
        milder = code in self.overrides and self.overrides[code] not in STOPS
        if not milder and (self._ran or TABLE[code].person) and self._latch.strike(code, now_ns, subject):
            self._latches(code, now_ns)
        if self.reaction(code) in STOPS or code in self.latched:
            self.stops.add(code, text, now_ns)

    def _allowed(self, condition: Condition, now_ns: int) -> Reaction:
        """Return the reaction to an unmet condition; reject and run becomes a hold at its limits."""
        code, subject = condition.code, condition.subject
        reaction, row = self.reaction(code), TABLE[code]
        since = self._unmet.get((code, subject))
        if reaction is not Reaction.REJECT or since is None:
            return reaction
        units, ns = self.turned_away - since[1], now_ns - since[0]
        most, longest_s = (INPUT_UNITS, INPUT_S) if code in self.overrides else (row.max_units, row.max_s)
        if (most and units >= most) or (longest_s and ns >= longest_s * 1e9):
            if "REJECT_LIMIT" not in self.latched:
                self.alarm("REJECT_LIMIT", f"{code} {subject}: {units} units, {ns / 1e9:.0f} s", now_ns)
            return Reaction.HOLD
        return reaction

    def _react(self, reactions: set[Reaction], now_ns: int) -> None:
        if Reaction.ABORT in reactions:
            self._move(Event.ABORT, now_ns, self.first_out)
        hold = Reaction.HOLD in reactions or bool(self.latched)
        suspend = Reaction.SUSPEND in reactions
        if self.state is State.EXECUTE and suspend:
            self._pause(Event.SUSPEND, now_ns)
        elif self.state in (State.EXECUTE, State.UNHOLDING, State.SUSPENDED) and hold and not suspend:
            self._pause(Event.HOLD, now_ns)
        elif self.state is State.SUSPENDED and not suspend:
            self._move(Event.UNSUSPEND, now_ns, "")
        elif self.state is State.HELD and not hold:
            self._move(Event.UNHOLD, now_ns, "")

    def _pause(self, event: Event, now_ns: int) -> None:
        """A mode without this pause stops instead."""
        if not self._move(event, now_ns, self.first_out) and self._move(Event.STOP, now_ns, self.first_out):
            self._stopping_since = now_ns

    def _finish_acting(self, synced: bool, empty: bool, now_ns: int) -> None:
        if self.state is State.STARTING and self._clearing and now_ns - self._starting_since > LONGEST_NS:
            self.alarm("CLEARANCE", "the empty-line run found no end", now_ns)
        waits = {
            State.STARTING: self._clearing or (not synced and empty and now_ns - self._starting_since < START_NS),
            State.STOPPING: not empty or now_ns - self._stopping_since < STOP_NS,
            State.COMPLETING: not empty or now_ns - self._stopping_since < STOP_NS,
        }
        if self.state in ACTING and not waits.get(self.state, False):
            self._move(Event.DONE, now_ns, self.first_out)
            if self.state is State.EXECUTE:
                self.stops.runs()

    def _bits(self, shoot: bool) -> Command:
        bits = RUN if self.state in RUNNING else Command(0)
        if self.state in CLOSED_INFEED:
            bits |= HOLD
        if self.state in (State.ABORTING, State.ABORTED):
            bits |= ABORT
        if self.state is State.STARTING and self._clearing:
            bits |= RUN | HOLD
        if self.state is State.STARTING and shoot:
            bits |= SYNC
        if self.state in (State.STOPPED, State.CLEARING, State.RESETTING, State.IDLE, State.COMPLETE):
            bits |= RESET
        return bits

    def _move(self, event: Event, now_ns: int, why: str) -> bool:
        target = move(self.state, event, self.mode)
        if target is None:
            return False
        self.state = target
        if target is State.ABORTING:
            self.reset_owed = True
        if target not in ACTING or target in LASTING:
            self.note("STATE", f"{target.name}{': ' + why if why else ''}", now_ns)
        return True
