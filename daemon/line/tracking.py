"""The life of each unit between the infeed eye and the eyes behind the gate. Pure: events in, commands out.

A unit begins rejected: nothing but a Grant command can let it pass, and only `judged` issues one, when every condition
holds at that moment. What the PLC's eyes saw closes the unit, exactly once.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from daemon.line.unit import (
    CHANNELS,
    Finish,
    Permit,
    Seen,
    TrackedUnit,
    channel_for,
    finish,
    how_it_escaped,
    legacy_outcome_of,
    outcome_of,
    stages_of,
)
from daemon.messages import Judged
from daemon.units import Channel, Evidence, FrameKey, Outcome, Reason, Stages, UnitId, Verdict, ViewKey
from drivers.gate.plc_carrier import Carrier
from drivers.registers import signed_delta

MAX_IN_FLIGHT = 48
LOST_FACTOR = 2
FRESH_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Geometry in encoder counts from the infeed eye; `latency_ns` from the last view's edge to the permit.

    Of a lane's good units every `sampling_every`-th is taken as a sample, 0 = none. Beyond `max_gap_counts` (0 = no
    limit) a unit's predecessor says nothing about it. On a `carrier` units are whole pockets apart.
    """

    views: frozenset[ViewKey]
    min_gap_counts: int
    decision_counts: int
    margin_counts: int
    latency_ns: int
    sampling_every: int = 0
    max_gap_counts: int = 0
    carrier: Carrier | None = None


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
class Divert:
    """Tell the PLC into which reject channel a unit goes that will not be accepted. It never lets one pass."""

    unit: UnitId
    channel: Channel


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A unit was seen in a reject channel that was not the one it was sent to."""

    unit: UnitId
    channel: int


@dataclass(frozen=True, slots=True)
class Forget:
    """vision need not keep this frame, or this region of it (None: any)."""

    key: FrameKey
    region: int | None = None


@dataclass(frozen=True, slots=True)
class Escape:
    """A unit may have got past the gate without a permit: stop the line."""

    unit: UnitId
    cause: str


Command = Grant | WouldPermit | Revoke | Divert | Misplaced | Forget | Finish | Escape


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
        self._good: Counter[int] = Counter()

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
        entry = TrackedUnit(unit, at_ns, encoder)
        before = self._last.get(unit.lane)
        commands: list[Command] = []
        if before and (odd := self._odd(signed_delta(encoder, before.encoder))):
            commands += self._reject(before, odd)
            refuse = odd
        if sum(other.lane == unit.lane for other in self._units) >= MAX_IN_FLIGHT:
            refuse = Reason.LINE_FAULT
        self._units[unit] = self._last[unit.lane] = entry
        return commands + (self._reject(entry, refuse) if refuse else [])

    def _odd(self, gap: int) -> Reason | None:
        """Why two units that follow each other by that gap cannot both be where they seem to be; both are rejected."""
        settings = self._settings
        if gap < settings.min_gap_counts:
            return Reason.TOO_CLOSE
        if settings.carrier is None or gap > settings.max_gap_counts > 0:
            return None
        return None if settings.carrier.holds(gap % settings.carrier.turn) else Reason.PHANTOM

    def edge(self, unit: UnitId, view: ViewKey, at_ns: int) -> None:
        """A camera was triggered for this unit."""
        entry = self._units.get(unit)
        if entry:
            entry.edges.add(view.role)
            entry.last_edge_ns = max(entry.last_edge_ns, at_ns)

    def bound(self, unit: UnitId, view: ViewKey, evidence: Evidence) -> list[Command]:
        """The binding credited a frame to this unit."""
        entry = self._units.get(unit)
        if not entry or view.role in entry.roles:
            return [Forget(evidence.key, view.region)]
        entry.views[view] = evidence.key
        entry.roles.add(view.role)
        return []

    def missing(self, unit: UnitId, reason: Reason) -> list[Command]:
        """The unit can not be accepted: a view is missing."""
        entry = self._units.get(unit)
        return self._reject(entry, reason) if entry else []

    def distrust(self, camera: str) -> list[Command]:
        """A camera lost synchronisation: no unspent permit that rests on its frames stands."""
        commands: list[Command] = []
        for entry in self._units.values():
            if any(key.camera == camera for key in entry.views.values()):
                commands += self._reject(entry, Reason.UNSYNCED)
        return commands

    def void_all(self, reason: Reason) -> list[Command]:
        """Link or epoch is gone: who has no permit gets none.

        The PLC zeroes the permits by itself; one that it consumed before was rightly given and stands.
        """
        open_units = [entry for entry in self._units.values() if entry.permit is not Permit.GRANTED]
        return [command for entry in open_units for command in self._reject(entry, reason)]

    def revoke_all(self, reason: Reason) -> list[Command]:
        """Nothing in the machine may be accepted any more: take back every permit that is not spent."""
        return [command for entry in self._units.values() for command in self._reject(entry, reason)]

    def judged(self, judged: Judged, now_ns: int, refuse: Reason | None, *, ours: bool) -> list[Command]:
        """A verdict arrived, `ours`: from what judges this unit. Grant only if every condition holds; `refuse` is why
        the line permits nothing now."""
        entry = self._units.get(judged.unit)
        if not entry or entry.judged:
            return []
        reason = self._objection(entry, judged, now_ns, ours) or refuse
        if reason is not Reason.MISMATCH:
            entry.judged = judged
        if reason:
            return self._reject(entry, reason)
        if not self._acting:
            return [WouldPermit(entry.id, judged, stages_of(entry, 0))]
        if self._sampled(entry.id.lane):
            entry.permit = Permit.WITHHELD
            return self._divert(entry)
        entry.permit, entry.permit_ns = Permit.GRANTED, now_ns
        return [Grant(entry.id, judged, stages_of(entry, 0))]

    def _sampled(self, lane: int) -> bool:
        """Count a good unit; True for every n-th of its lane."""
        self._good[lane] += 1
        return self._settings.sampling_every > 0 and self._good[lane] % self._settings.sampling_every == 0

    def _divert(self, entry: TrackedUnit) -> list[Command]:
        """Tell the PLC the unit's channel, again only when it changed."""
        channel = channel_for(entry)
        if not self._acting or channel is entry.channel:
            return []
        entry.channel = channel
        return [Divert(entry.id, channel)]

    def _objection(self, entry: TrackedUnit, judged: Judged, now_ns: int, ours: bool) -> Reason | None:
        used = {view.view: view.key for view in judged.views}
        if entry.reason:
            return entry.reason
        if not ours or any(entry.views.get(v) != key for v, key in used.items()):
            return Reason.MISMATCH
        if judged.verdict is not Verdict.ACCEPT:
            return judged.reason if judged.reason is not Reason.NONE else Reason.ENGINE_FAULT
        if {view.role for view in used} != self._settings.views or entry.edges != self._settings.views:
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
            complete = entry.roles == self._settings.views
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
                commands += [Forget(key, view.region) for view, key in entry.views.items()]
        if entry.permit is Permit.GRANTED:
            entry.permit = Permit.REVOKED
            commands.append(Revoke(entry.id))
        return commands + self._divert(entry)

    def closed(self, seen: Seen, permitted: bool) -> list[Command]:
        """The PLC closed a unit. `permitted`: a durable permit row of an earlier life of the line stands for it."""
        known = self._units.pop(seen.unit, None)
        entry = known or TrackedUnit(seen.unit, 0, 0, Reason.LINE_DOWN)
        if self._acting and entry.reason is Reason.LINE_DOWN:
            return self._closed_unknown(seen, permitted)
        outcome, reason = outcome_of(entry, seen) if self._acting else legacy_outcome_of(entry, seen)
        commands: list[Command] = [finish(entry, seen, outcome, reason, source="line" if known else "plc")]
        if not entry.judged:
            commands += [Forget(key, view.region) for view, key in entry.views.items()]
        if outcome is Outcome.ESCAPED:
            commands.append(Escape(entry.id, how_it_escaped(entry, seen)))
        if seen.chute and seen.channel not in (0, CHANNELS.get(entry.channel, 0)):
            commands.append(Misplaced(entry.id, seen.channel))
        return commands

    def _closed_unknown(self, seen: Seen, permitted: bool) -> list[Command]:
        entry = TrackedUnit(seen.unit, 0, 0, Reason.LINE_DOWN)
        diverted = (seen.chute and not seen.passed) or (seen.phantom and not seen.permitted)
        if seen.passed and seen.permitted and not seen.chute:
            outcome = Outcome.ACCEPTED if permitted else Outcome.QUARANTINED
        else:
            sampled = seen.chute and seen.channel == CHANNELS[Channel.SAMPLE]
            kept = Outcome.SAMPLED if sampled else Outcome.REJECTED
            outcome = kept if diverted else Outcome.ESCAPED
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

    def stray_chute(self, bodies: int, at_ns: int, lane: int | None = None) -> list[Command]:
        """The chute eye saw bodies that no unit of the PLC accounts for: the lane's oldest orphans (None: any).

        Then the youngest of those that may have been released: the gate fell behind the last one that passed.
        """
        youngest = deque(reversed(self._released))
        diverted = self._oldest(bodies, lane, self._orphans, youngest)
        self._released = deque(reversed(youngest))
        return [self._finish_orphan(entry, Outcome.REJECTED, at_ns) for entry in diverted]

    def stray_pass(self, bodies: int, at_ns: int, lane: int | None = None) -> tuple[list[Command], int]:
        """The pass eye saw such bodies: released orphans. Return also how many are nobody's."""
        oldest = self._oldest(bodies, lane, self._released)
        known: list[Command] = [self._finish_orphan(entry, Outcome.ACCEPTED, at_ns) for entry in oldest]
        return known, bodies - len(known)

    def give_up_orphans(self, at_ns: int) -> list[Command]:
        """Nobody knows where the remaining orphans are."""
        oldest = self._oldest(self.orphans, None, self._orphans, self._released)
        return [self._finish_orphan(entry, Outcome.QUARANTINED, at_ns) for entry in oldest]

    def remove_all(self, permitted_flag: int, at_ns: int) -> list[Command]:
        """A person took everything out; what the PLC forgot behind its decision may have passed before, nobody knows.
        `permitted_flag`: what the PLC notes of a unit for which it opened the gate."""
        commands: list[Command] = [self._finish_orphan(e, Outcome.QUARANTINED, at_ns) for e in self._released]
        for entry in (*self._orphans, *self._units.values()):
            opened = entry.permit in (Permit.GRANTED, Permit.SPENT) and self._past_decision(entry)
            flags = permitted_flag if opened else 0
            seen = Seen(entry.id, opened, not opened, False, False, False, flags, at_ns)
            commands += self._reject(entry, Reason.LINE_FAULT)
            commands.append(finish(entry, seen, Outcome.REMOVED, entry.reason or Reason.LINE_FAULT))
        for queue in (self._released, self._orphans, self._units, self._last):
            queue.clear()
        return commands

    @staticmethod
    def _oldest(count: int, lane: int | None, *queues: "deque[TrackedUnit]") -> list[TrackedUnit]:
        """Take the oldest orphans of a lane, from the first queue before the next."""
        found = [(queue, entry) for queue in queues for entry in queue if lane in (None, entry.id.lane)][:count]
        for queue, entry in found:
            queue.remove(entry)
        return [entry for _, entry in found]

    @property
    def orphans(self) -> int:
        return len(self._orphans) + len(self._released)

    @staticmethod
    def _finish_orphan(entry: TrackedUnit, outcome: Outcome, at_ns: int) -> Finish:
        passed = outcome is Outcome.ACCEPTED
        seen = Seen(entry.id, passed, not passed, outcome is Outcome.REJECTED, passed, False, 0, at_ns)
        return finish(entry, seen, outcome, Reason.NONE if passed else entry.reason or Reason.LINE_FAULT)

    def _past_decision(self, entry: TrackedUnit) -> bool:
        return signed_delta(self._encoder, entry.encoder) >= self._settings.decision_counts

    def in_machine(self) -> list[UnitId]:
        """Return every unit that is under way, those that the PLC forgot first."""
        return [entry.id for entry in (*self._released, *self._orphans, *self._units.values())]

    def open_units(self) -> Iterable[UnitId]:
        """Yield the units in flight, oldest first."""
        return self._units.keys()
