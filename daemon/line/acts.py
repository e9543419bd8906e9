"""What people may do to the line, and what follows. Pure: an act in, an answer and the tracker's commands out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.acts import LONGEST, clipped, recorded, unfit
from daemon.catalogue import catalogue
from daemon.faults import Reaction
from daemon.line import act_values
from daemon.line.arming import Arming
from daemon.line.conditions import Condition
from daemon.line.desk import Desk
from daemon.line.oversight import Oversight
from daemon.line.tracking import Command, Tracker
from daemon.line.trail import Trail
from daemon.messages import Act, Answer
from daemon.states import State
from daemon.units import Outcome, Reason, UnitId

MINUTE_NS = 60_000_000_000
MACHINE = "machine"
REMOVED, REJECTED = Outcome.REMOVED.value, Outcome.REJECTED.value
ALWAYS = {"stop", "hold", "abort"}
LIFTING = {"start", "reset", "clear", "mode"}


@dataclass(frozen=True, slots=True)
class Scene:
    """What the line knows at the moment of an act."""

    found: Sequence[Condition]
    belt_runs: bool
    permitted_flag: int
    now: int


class Acts:
    """Owned by Control. Every act, done or refused, is on record with its person and reason before it is answered."""

    def __init__(self, desk: Desk, oversight: Oversight, tracker: Tracker, arming: Arming, trail: Trail) -> None:
        self._desk = desk
        self._oversight = oversight
        self._tracker = tracker
        self._arming = arming
        self._trail = trail
        self._commands: list[Command] = []

    def act(self, act: Act, scene: Scene) -> tuple[Answer, list[Command]]:
        """Do one act. The commands are the caller's to carry out, whatever the answer."""
        self._commands = []
        look = act_values.look(act, self._desk, self._in_machine)
        before = look()
        refusal = self._objection(act, before) or self._doer(act)(act, scene)
        if not refusal:
            new = f" {act.new}" if act.new else ""
            self._desk.note("ACT", f"{act.kind}{new} by {act.actor}: {act.reason}", scene.now)
        answer = Answer(not refusal, refusal or f"{act.kind}: {self._desk.state.name}")
        new = clipped(act.new, LONGEST["new"]) if refusal else act_values.after(act, look())
        self._trail.act(recorded(act, before, new, answer, scene.now))
        return answer, self._commands

    def _objection(self, act: Act, before: str) -> str:
        """Return what stands against an act, whatever it is; "" for nothing."""
        if refusal := unfit(act):
            return refusal
        if act.kind in ("clear", "reset") and act.role == MACHINE:
            return f"{act.kind} takes a named person: no machine does it"
        if act.kind in LIFTING and not self._arming.ready:
            return "the recorder has not said yet what is on record: wait for it, or start it"
        if act.kind not in ALWAYS and self._trail.full:
            return "too many rows wait for the recorder: see that it runs, then act"
        if not act_values.agrees(act.old, before):
            return f"it is {clipped(before, LONGEST['new'])} now, not {clipped(act.old, LONGEST['new'])}: look again"
        return ""

    def _in_machine(self) -> list[UnitId]:
        return [*self._oversight.earlier.units, *self._tracker.in_machine()]

    def _doer(self, act: Act) -> Callable[[Act, Scene], str]:
        book = self._desk.book
        doers: dict[str, Callable[[Act, Scene], str]] = {
            "start": self._start,
            "reset": self._reset,
            "clear": self._clear,
            "mode": lambda act, scene: self._desk.change_mode(act.new, scene.now, act.actor),
            "acknowledge": lambda act, _: book.acknowledge(act.new, act.actor),
            "shelve": self._shelve,
            "out-of-service": lambda act, _: book.take_out(act.new, act.actor),
            "restore": lambda act, scene: book.bring_back(act.new, act.actor, scene.now),
        }
        return doers.get(act.kind, lambda act, scene: self._desk.act(act.kind, scene.now, act.actor))

    def _in_the_way(self) -> str:
        """After an abort: why a person cannot go on before he said what became of the units in the machine."""
        units = len(self._tracker) + len(self._oversight.earlier.units)
        if not self._desk.reset_owed or not units or self._oversight.clearance.pending:
            return ""
        return f"{units} units are in the machine: say what became of them with `linewarden clear`"

    def _start(self, act: Act, scene: Scene) -> str:
        if not self._arming.batch:
            return "no batch is open: open one with the recorder first"
        if self._oversight.misfit:
            return self._oversight.misfit
        stopping = [c for c in scene.found if not c.met and self._desk.reaction(c.code) is Reaction.ABORT]
        if stopping:
            entry = catalogue().condition(stopping[0].key, stopping[0].detail)
            return f"not met: {entry.text}; {entry.remedy}"
        return self._desk.act("start", scene.now, act.actor)

    def _reset(self, act: Act, scene: Scene) -> str:
        if self._desk.state is State.STOPPED and (refusal := self._in_the_way()):
            return refusal
        refusal = self._desk.act("reset", scene.now, act.actor)
        if not refusal:
            self._oversight.reset()
        return refusal

    def _clear(self, act: Act, scene: Scene) -> str:
        """PackML's Clear leaves Aborted; with a disposition it is line clearance, at standstill."""
        if not act.new:
            return self._desk.act("clear", scene.now, act.actor)
        if act.new not in (REMOVED, REJECTED):
            return f"clear {act.new!r}: say {REMOVED} (taken out by hand) or {REJECTED} (left to the reject channel)"
        if self._desk.state is not State.STOPPED or scene.belt_runs:
            return f"line clearance takes a stopped line: state {self._desk.state.name}, belt {_moves(scene.belt_runs)}"
        earlier = self._oversight.earlier
        if refusal := earlier.refusal(act.new):
            return refusal
        units = self._in_machine()
        if act.new == REMOVED:
            self._commands = list(self._tracker.remove_all(scene.permitted_flag, scene.now))
            self._commands += earlier.removed(scene.now)
            self._oversight.clearance.take_out(units)
        else:
            self._commands = self._tracker.revoke_all(Reason.LINE_FAULT)
        names = act_values.named(units)
        self._desk.note("CLEARED", f"{len(units)} units {act.new} by {act.actor}: {act.reason}: {names}", scene.now)
        self._oversight.clearance.require(f"line clearance by {act.actor}")
        return ""

    def _shelve(self, act: Act, scene: Scene) -> str:
        name, _, minutes = act.new.rpartition(" ")
        if not minutes.isdecimal():
            return f"shelve {act.new!r}: name the alarm and for how many minutes"
        return self._desk.book.shelve(name, act.actor, int(minutes) * MINUTE_NS, scene.now)


def _moves(runs: bool) -> str:
    return "runs" if runs else "stands"
