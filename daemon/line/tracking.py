"""The life of each unit between the infeed eye and the eyes behind the gate. Pure: events in, commands out.

A unit begins rejected: nothing but a Grant command can let it pass, and only `judged` issues one, when every condition
holds at that moment. What the PLC's eyes saw closes the unit, exactly once.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.line.unit import Finish, Permit, Seen, TrackedUnit, finish, legacy_outcome_of, outcome_of, stages_of
from daemon.messages import Judged
from daemon.units import Evidence, FrameKey, Outcome, Reason, Stages, UnitId, Verdict, ViewKey
from drivers.registers import signed_delta

MAX_IN_FLIGHT = 48
LOST_FACTOR = 2
FRESH_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Geometry in encoder counts from the infeed eye; `latency_ns` from the last view's edge to the permit."""

    views: frozenset[ViewKey]
    bundle: str
    min_gap_counts: int
    decision_counts: int
    margin_counts: int
    latency_ns: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Give the permit: AUTOMATIC only."""

    unit: UnitId
    judged: Judged
    stages: Stages


@dataclass(frozen=True, slots=True)
class WouldPermit:
    """SHADOW and PROPOSE: a permit would have been given. No output takes this type."""

    unit: UnitId
    judged: Judged
    stages: Stages


@dataclass(frozen=True, slots=True)
class Revoke:
    """Write zero over the permit."""

    unit: UnitId


@dataclass(frozen=True, slots=True)
class Forget:
    """vision need not keep this frame."""

    key: FrameKey


@dataclass(frozen=True, slots=True)
class Escape:
    """A unit may have got past the gate without a permit: stop the line."""

    unit: UnitId
    cause: str


Command = Grant | WouldPermit | Revoke | Forget | Finish | Escape


class Tracker:
    """Owned by the line loop; one for all lanes. `encoder` arguments are the PLC's u32 counts."""

    def __init__(self, settings: Settings, acting: bool = True) -> None:
        self._settings = settings
        self._acting = acting
        self._units: OrderedDict[UnitId, TrackedUnit] = OrderedDict()
        self._orphans: deque[TrackedUnit] = deque()
        self._released: deque[TrackedUnit] = deque()
        self._last: dict[int, TrackedUnit] = {}
        self._encoder = 0

    def __len__(self) -> int:
        return len(self._units) + self.orphans

    def configure(self, settings: Settings) -> None:
        """Take the views and limits of a newly armed recipe; only between batches."""
        self._settings = settings

    def encoder(self, counts: int) -> None:
        """The furthest that the belt can be by now, from its last reading, its speed and the age of the reading."""
        self._encoder = counts & 0xFFFFFFFF

    def created(self, unit: UnitId, encoder: int, at_ns: int, refuse: Reason | None) -> list[Command]:
        """The infeed eye saw a unit; `refuse` is why the line can not accept anything now, if so."""
        if unit in self._units:
            return []
        entry = TrackedUnit(unit, at_ns, encoder, refuse)
        before = self._last.get(unit.lane)
        commands: list[Command] = []
        if before and signed_delta(encoder, before.encoder) < self._settings.min_gap_counts:
            commands += self._reject(before, Reason.TOO_CLOSE)
            entry.reason = Reason.TOO_CLOSE
        if len(self._units) >= MAX_IN_FLIGHT:
            entry.reason = Reason.LINE_FAULT
        self._units[unit] = self._last[unit.lane] = entry
        return commands

    def edge(self, unit: UnitId, view: ViewKey, at_ns: int) -> None:
        """A camera was triggered for this unit."""
        entry = self._units.get(unit)
        if entry:
            entry.edges.add(view)
            entry.last_edge_ns = max(entry.last_edge_ns, at_ns)

    def bound(self, unit: UnitId, view: ViewKey, evidence: Evidence) -> list[Command]:
        """The binding credited a frame to this unit."""
        entry = self._units.get(unit)
        if not entry or view in entry.views:
            return [Forget(evidence.key)]
        entry.views[view] = evidence.key
        return []

    def missing(self, unit: UnitId, reason: Reason) -> list[Command]:
        """The unit can not be accepted: a view is missing."""
        entry = self._units.get(unit)
        return self._reject(entry, reason) if entry else []

    def distrust(self, camera: str) -> list[Command]:
        """A camera lost synchronisation: no unspent permit that rests on its frames stands."""
        commands: list[Command] = []
        for entry in self._units.values():
            if any(view.camera == camera for view in entry.views):
                commands += self._reject(entry, Reason.UNSYNCED)
        return commands

    def void_all(self, reason: Reason) -> list[Command]:
        """Link or epoch is gone: who has no permit gets none.

        The PLC zeroes the permits by itself; one that it consumed before was rightly given and stands.
        """
        open_units = [entry for entry in self._units.values() if entry.permit is not Permit.GRANTED]
        return [command for entry in open_units for command in self._reject(entry, reason)]

    def judged(self, judged: Judged, now_ns: int, refuse: Reason | None) -> list[Command]:
        """A verdict arrived. Grant only if every condition holds; `refuse` is why the line permits nothing now."""
        entry = self._units.get(judged.unit)
        if not entry or entry.judged:
            return []
        reason = self._objection(entry, judged, now_ns) or refuse
        if reason is not Reason.MISMATCH:
            entry.judged = judged
        if reason:
            return self._reject(entry, reason)
        if not self._acting:
            return [WouldPermit(entry.id, judged, stages_of(entry, 0))]
        entry.permit, entry.permit_ns = Permit.GRANTED, now_ns
        return [Grant(entry.id, judged, stages_of(entry, 0))]

    def _objection(self, entry: TrackedUnit, judged: Judged, now_ns: int) -> Reason | None:
        used = {view.view: view.key for view in judged.views}
        if entry.reason:
            return entry.reason
        if judged.bundle != self._settings.bundle or any(entry.views.get(v) != key for v, key in used.items()):
            return Reason.MISMATCH
        if judged.verdict is not Verdict.ACCEPT:
            return judged.reason if judged.reason is not Reason.NONE else Reason.ENGINE_FAULT
        if used.keys() != self._settings.views or entry.edges != self._settings.views:
            return Reason.NO_IMAGE
        return Reason.LATE if self._is_late(entry, now_ns) else None

    def _is_late(self, entry: TrackedUnit, now_ns: int) -> bool:
        return now_ns > entry.last_edge_ns + self._settings.latency_ns or self._at_gate(entry)

    def _at_gate(self, entry: TrackedUnit) -> bool:
        travelled = signed_delta(self._encoder, entry.encoder)
        return travelled >= self._settings.decision_counts - self._settings.margin_counts

    def tick(self, now_ns: int, silent: Reason, read_ns: int) -> list[Command]:
        """Mark what is late. `silent` is the reason for a unit whose views came and whose verdict did not.

        The PLC's rings are read up to `read_ns`; a unit far behind the gate whose closing is not among them is lost.
        """
        commands = self._lost(now_ns) if now_ns - read_ns < FRESH_NS else []
        for entry in self._units.values():
            if entry.reason or entry.permit is not Permit.NONE or not self._overdue(entry, now_ns):
                continue
            complete = entry.views.keys() == self._settings.views
            commands += self._reject(entry, silent if complete else Reason.NO_IMAGE)
        return commands

    def _lost(self, now_ns: int) -> list[Command]:
        """Finish the units of which the PLC never said where they went."""
        far = LOST_FACTOR * self._settings.decision_counts
        commands: list[Command] = []
        for entry in [e for e in self._units.values() if signed_delta(self._encoder, e.encoder) > far > 0]:
            del self._units[entry.id]
            seen = Seen(entry.id, False, True, False, False, False, 0, now_ns)
            commands.append(finish(entry, seen, Outcome.QUARANTINED, entry.reason or Reason.LINE_FAULT))
        return commands

    def _overdue(self, entry: TrackedUnit, now_ns: int) -> bool:
        if self._at_gate(entry):
            return True
        return entry.edges == self._settings.views and now_ns > entry.last_edge_ns + self._settings.latency_ns

    def _reject(self, entry: TrackedUnit, reason: Reason) -> list[Command]:
        """Fix the first reason; take back a permit that is not spent and let vision drop the frames."""
        if entry.permit is Permit.GRANTED and self._at_gate(entry):
            entry.permit = Permit.SPENT
        if entry.permit is Permit.SPENT:
            return [Revoke(entry.id)]
        commands: list[Command] = []
        if not entry.reason:
            entry.reason = reason
            if not entry.judged:
                commands += [Forget(key) for key in entry.views.values()]
        if entry.permit is Permit.GRANTED:
            entry.permit = Permit.REVOKED
            commands.append(Revoke(entry.id))
        return commands

    def closed(self, seen: Seen, permitted: bool) -> list[Command]:
        """The PLC closed a unit. `permitted`: a durable permit row of an earlier life of the line stands for it."""
        entry = self._units.pop(seen.unit, None)
        if entry is None or (permitted and entry.reason is Reason.LINE_DOWN):
            return self._closed_unknown(seen, permitted)
        outcome, reason = outcome_of(entry, seen) if self._acting else legacy_outcome_of(entry, seen)
        commands: list[Command] = [finish(entry, seen, outcome, reason)]
        if not entry.judged:
            commands += [Forget(key) for key in entry.views.values()]
        if outcome is Outcome.ESCAPED:
            commands.append(Escape(entry.id, "seen past the gate without a permit" if seen.passed else "seen nowhere"))
        return commands

    def _closed_unknown(self, seen: Seen, permitted: bool) -> list[Command]:
        entry = TrackedUnit(seen.unit, 0, 0, Reason.LINE_DOWN)
        diverted = (seen.chute and not seen.passed) or (seen.phantom and not seen.permitted)
        if seen.passed and seen.permitted and not seen.chute:
            outcome = Outcome.ACCEPTED if permitted else Outcome.QUARANTINED
        else:
            outcome = Outcome.REJECTED if diverted else Outcome.ESCAPED
        reason = Reason.NONE if outcome is Outcome.ACCEPTED else Reason.LINE_DOWN
        commands: list[Command] = [finish(entry, seen, outcome, reason, source="plc")]
        if outcome is Outcome.ESCAPED:
            commands.append(Escape(seen.unit, "went by while the line was down and was not seen in the chute"))
        return commands

    def memory_lost(self) -> None:
        """The PLC forgot its units: they wait as orphans for the eyes behind the gate to count them.

        The gate rests at divert, so only a unit that was past the decision with its permit can still come out good.
        """
        for entry in self._units.values():
            released = entry.permit in (Permit.GRANTED, Permit.SPENT) and self._past_decision(entry)
            (self._released if released else self._orphans).append(entry)
        self._units.clear()
        self._last.clear()

    def stray_chute(self, bodies: int, at_ns: int) -> list[Command]:
        """The chute eye saw bodies that no unit of the PLC accounts for: they are the oldest orphans."""
        return [
            self._finish_orphan(self._orphans or self._released, Outcome.REJECTED, at_ns)
            for _ in range(min(bodies, self.orphans))
        ]

    def stray_pass(self, bodies: int, at_ns: int) -> tuple[list[Command], int]:
        """The pass eye saw such bodies: released orphans. Return also how many are nobody's."""
        known = min(bodies, len(self._released))
        return [self._finish_orphan(self._released, Outcome.ACCEPTED, at_ns) for _ in range(known)], bodies - known

    def give_up_orphans(self, at_ns: int) -> list[Command]:
        """Nobody knows where the remaining orphans are."""
        return [
            self._finish_orphan(self._orphans or self._released, Outcome.QUARANTINED, at_ns)
            for _ in range(self.orphans)
        ]

    @property
    def orphans(self) -> int:
        return len(self._orphans) + len(self._released)

    @staticmethod
    def _finish_orphan(orphans: "deque[TrackedUnit]", outcome: Outcome, at_ns: int) -> Finish:
        entry = orphans.popleft()
        passed = outcome is Outcome.ACCEPTED
        seen = Seen(entry.id, passed, not passed, outcome is Outcome.REJECTED, passed, False, 0, at_ns)
        return finish(entry, seen, outcome, Reason.NONE if passed else entry.reason or Reason.LINE_FAULT)

    def _past_decision(self, entry: TrackedUnit) -> bool:
        return signed_delta(self._encoder, entry.encoder) >= self._settings.decision_counts

    def open_units(self) -> Iterable[UnitId]:
        """Yield the units in flight, oldest first."""
        return self._units.keys()
