"""A seeded world for the binding: vials, edges, one camera, and everything DESIGN section 4 says can go wrong.

The world knows which vial stood before the lens at each exposure. `run` plays one case against a Binder and returns
what was credited wrongly; the binder itself never sees a vial.
"""

import random
from dataclasses import dataclass, field

from daemon.line.binding import Bind, Binder, Decision, Edge, Settings, Synced
from daemon.units import Evidence, FrameKey, UnitId

MS = 1_000_000
MIN_GAP_NS = 40 * MS
WINDOW_NS = MIN_GAP_NS // 4
WAIT_NS = 60 * MS
POLL_NS = 8 * MS
FAULTS = (
    "edge lost",
    "edge extra",
    "edge late",
    "count slip",
    "plc edge lost",
    "plc edge extra",
    "frame lost",
    "frame dup",
    "frame reorder",
    "frame late",
    "incomplete",
    "stale",
    "busy",
    "camera restart",
    "counter reset unseen",
    "plc restart",
    "clock drift",
)


@dataclass
class Case:
    """One case: times of the vials and the faults by vial index."""

    seed: int
    units: int = 14
    jitter: float = 0.9
    faults: dict[int, str] = field(default_factory=dict)


@dataclass
class Verdict:
    """What a case came to."""

    misbound: list[str]
    bound: int
    units: int
    synced: int


def make_case(seed: int) -> Case:
    """Draw a case: gaps from the minimum up, none to three faults at random vials."""
    rng = random.Random(seed)
    case = Case(seed, jitter=rng.choice((0.0, 0.3, 0.9)))
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
        case.faults[rng.randrange(5, case.units)] = rng.choice(FAULTS)
    return case


def _times(case: Case, rng: random.Random) -> list[int]:
    at, times = 1_000 * MS, []
    for _ in range(case.units):
        at += MIN_GAP_NS + int(rng.random() * case.jitter * MIN_GAP_NS)
        times.append(at)
    return times


class World:
    """Builds the time-ordered events of one case; `truth` maps a frame key to the unit before the lens."""

    def __init__(self, case: Case) -> None:
        self.rng = random.Random(case.seed)
        self.case = case
        self.truth: dict[FrameKey, UnitId] = {}
        self.events: list[tuple[int, int, str, object]] = []
        self.session, self.count, self.frame_id, self.k, self.missed = 1, 0, 0, 0, 0
        self.epoch, self.drift_ns = 1, 0
        self._held: Evidence | None = None

    def add(self, at_ns: int, kind: str, what: object) -> None:
        self.events.append((at_ns, len(self.events), kind, what))

    def play(self) -> list[tuple[int, int, str, object]]:
        self.add(0, "session", self.session)
        for index, at_ns in enumerate(_times(self.case, self.rng)):
            self._vial(index, at_ns, self.case.faults.get(index, ""))
        return sorted(self.events, key=lambda e: e[:2])

    def _vial(self, index: int, at_ns: int, fault: str) -> None:
        self._before(at_ns, fault)
        unit = UnitId(self.epoch, 0, index + 1)
        if fault != "plc edge lost":
            self._plc_edge(unit, at_ns)
        if fault == "plc edge extra":
            self._plc_edge(UnitId(self.epoch, 0, 10_000 + index), at_ns + MIN_GAP_NS // 2)
        if fault != "edge lost":
            late = int(self.rng.uniform(0.3, 0.9) * MIN_GAP_NS) if fault == "edge late" else 0
            self._exposure(unit, at_ns + late, fault, in_view=late < MIN_GAP_NS // 2)
        if fault == "edge extra":
            self._exposure(unit, at_ns + MIN_GAP_NS // 2, "", in_view=False)

    def _before(self, at_ns: int, fault: str) -> None:
        if fault == "camera restart":
            self.session, self.count, self.frame_id = self.session + 1, 0, 0
            self.add(at_ns - 20 * MS, "session", self.session)
        if fault == "counter reset unseen":
            self.count = 0
        if fault == "count slip":
            self.count += self.rng.choice((-1, 1))
        if fault == "plc restart":
            self.k, self.epoch = 0, self.epoch + 1
            self.add(at_ns - 20 * MS, "plc restart", None)
        if fault == "clock drift":
            self.drift_ns += self.rng.choice((-1, 1)) * self.rng.randrange(MIN_GAP_NS)

    def _plc_edge(self, unit: UnitId, at_ns: int) -> None:
        self.k += 1
        edge = Edge(self.k, unit, 0, at_ns, MS // 10)
        self.add(at_ns + self.rng.randrange(POLL_NS), "edge", edge)

    def _exposure(self, unit: UnitId, at_ns: int, fault: str, in_view: bool) -> None:
        self.count += 1
        if fault == "busy":
            self.missed += 1
            return
        self.frame_id += 1
        key = FrameKey("cam", self.session, self.frame_id)
        self.truth[key] = unit if in_view else UnitId(0, 0, 0)
        if fault == "frame lost":
            return
        late = WAIT_NS * 2 if fault == "frame late" else self.rng.randrange(2 * MS, 12 * MS)
        shown = at_ns + self.drift_ns + self.rng.randrange(-MS, MS)
        evidence = Evidence(
            key, self.count, self.missed, at_ns, shown, MS // 5, 0, 0, fault != "incomplete", fault != "stale", 0
        )
        self._deliver(at_ns + late, evidence, fault)

    def _deliver(self, at_ns: int, evidence: Evidence, fault: str) -> None:
        if self._held is not None:
            self.add(at_ns + MS, "frame", self._held)
            self._held = None
        if fault == "frame reorder":
            self._held = evidence
            return
        self.add(at_ns, "frame", evidence)
        if fault == "frame dup":
            self.add(at_ns + self.rng.randrange(60 * MS), "frame", evidence)


def run(case: Case, binder_class: type[Binder] = Binder) -> Verdict:
    """Play one case; misbound names every frame credited to another unit than the one before the lens."""
    world = World(case)
    binder = binder_class(Settings(WINDOW_NS, WAIT_NS))
    verdict = Verdict([], 0, case.units, 0)
    now = 0
    for now, _order, kind, what in world.play():
        binder.feed(now - POLL_NS)
        _note(verdict, world, _step(binder, kind, what, now))
    for _ in range(4):
        now += WAIT_NS
        binder.feed(now - POLL_NS)
        _note(verdict, world, binder.tick(now))
    return verdict


def _step(binder: Binder, kind: str, what: object, now: int) -> list[Decision]:
    if isinstance(what, Edge):
        return binder.edge(what, now)
    if isinstance(what, Evidence):
        return binder.frame(replace_received(what, now), now)
    return binder.plc_restarted() if kind == "plc restart" else binder.session(int(str(what)))


def replace_received(evidence: Evidence, now: int) -> Evidence:
    fields = {name: getattr(evidence, name) for name in evidence.__struct_fields__}
    return Evidence(**{**fields, "received_ns": now})


def _note(verdict: Verdict, world: World, decisions: list[Decision]) -> None:
    for decision in decisions:
        if isinstance(decision, Bind):
            verdict.bound += 1
            shown = world.truth[decision.evidence.key]
            if shown != decision.unit:
                verdict.misbound.append(f"{decision.evidence.key} shows {shown}, credited to {decision.unit}")
        verdict.synced += isinstance(decision, Synced)


__all__ = ["FAULTS", "Case", "make_case", "run"]
