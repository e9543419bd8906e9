"""Binds frames to units for one camera (DESIGN section 4). Pure: events in, decisions out; the caller brings the time.

Two independent witnesses must agree before a frame is credited: the count (edges counted by the camera against edges
emitted by the PLC) and the time (exposure against edge). The count catches lost and duplicated frames, the time
catches a slip of the count; when they disagree, nobody is credited until three consecutive matches give one offset
again. A camera clock that stepped by one gap can agree with a count that slipped by one, and on an evenly spaced line
it offers three matches with the neighbour. The host's own clock is the third witness: a frame must arrive within three
quarters of the minimum gap after its edge, which no neighbour's frame can do (docs/adr/0003).
"""

from collections import OrderedDict
from dataclasses import dataclass

from daemon.units import Evidence, FrameKey, Reason, UnitId

CONFIRM = 3
REMEMBER = 64
SYNC_SHOT = "sync shot"


@dataclass(frozen=True, slots=True)
class Edge:
    """Trigger edge number `k` as the line side latched it; `unit` None for a sync shot."""

    k: int
    unit: UnitId | None
    shot: int
    at_ns: int
    uncertainty_ns: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`window_ns` = W: at most a quarter of the minimum gap. `wait_ns`: a frame or edge later than this is lost."""

    window_ns: int
    wait_ns: int


@dataclass(frozen=True, slots=True)
class Bind:
    """Credit this frame to this unit."""

    unit: UnitId
    shot: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Missing:
    """The unit gets no frame from this camera."""

    unit: UnitId
    reason: Reason
    cause: str
    shot: int = 0


@dataclass(frozen=True, slots=True)
class Stray:
    """The frame is credited to nobody."""

    key: FrameKey
    cause: str


@dataclass(frozen=True, slots=True)
class Synced:
    """Count and time agree on one offset; units are credited from the next edge on."""

    offset: int


@dataclass(frozen=True, slots=True)
class Unsynced:
    """The witnesses disagree: revoke what this camera's frames stand behind."""

    cause: str


Decision = Bind | Missing | Stray | Synced | Unsynced


@dataclass(slots=True)
class _Open:
    """An edge: `waiting` for its frame, `missed` once its unit was told that it gets none."""

    edge: Edge
    waiting: bool = True
    missed: bool = False


class Binder:
    """Owned by the line loop; one per camera. Every method returns the decisions that follow from the event."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = 0
        self._offset: int | None = None
        self._streak: list[int] = []
        self._edges: OrderedDict[int, _Open] = OrderedDict()
        self._frames: OrderedDict[FrameKey, Evidence] = OrderedDict()
        self._used: OrderedDict[FrameKey, None] = OrderedDict()
        self._feed_ns = 0

    @property
    def synced(self) -> bool:
        return self._offset is not None

    @property
    def waits(self) -> bool:
        """True while a frame waits for its edge."""
        return bool(self._frames)

    def configure(self, settings: Settings) -> None:
        """Take the window of a newly armed recipe."""
        self._settings = settings

    def feed(self, until_ns: int) -> None:
        """Every edge before this time was handed over; a frame without an edge is no contradiction before that."""
        self._feed_ns = until_ns

    def session(self, session: int) -> list[Decision]:
        """A new acquisition began (0 = none): its counts have nothing to do with the old ones."""
        if session == self._session:
            return []
        self._session = session
        return self._lose_sync("new camera session" if session else "camera not acquiring")

    def plc_restarted(self) -> list[Decision]:
        """The edge numbers begin anew."""
        decisions = self._lose_sync("PLC restarted")
        self._edges.clear()
        return decisions

    def edge(self, edge: Edge, now_ns: int) -> list[Decision]:
        """The line side latched an edge."""
        decisions: list[Decision] = []
        last = next(reversed(self._edges.values())) if self._edges else None
        if last and edge.k != last.edge.k + 1:
            decisions += self._lose_sync(f"edge {edge.k} follows edge {last.edge.k}")
        self._edges[edge.k] = entry = _Open(edge)
        if last and edge.at_ns - last.edge.at_ns < 4 * self._settings.window_ns - self._settings.window_ns // 8:
            decisions += self._miss(last, Reason.TOO_CLOSE, "next unit too close")
            decisions += self._miss(entry, Reason.TOO_CLOSE, "unit before too close")
        while len(self._edges) > REMEMBER:
            self._edges.popitem(last=False)
        if not self.synced:
            decisions += self._miss(entry, Reason.UNSYNCED, "camera not synchronised")
        return decisions + self.tick(now_ns)

    def frame(self, evidence: Evidence, now_ns: int) -> list[Decision]:
        """The camera delivered a frame."""
        refused = self._refuse(evidence)
        self._remember(evidence.key)
        if refused:
            return [Stray(evidence.key, refused)]
        if evidence.exposed_ns - evidence.uncertainty_ns > evidence.received_ns:
            cause = "exposed after it was received: the camera clock is wrong"
            return [Stray(evidence.key, cause), *self._lose_sync(cause)]
        self._frames[evidence.key] = evidence
        if len(self._frames) > REMEMBER:
            return self._lose_sync("too many frames wait for their edges")
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[Decision]:
        """Resolve what can be resolved and give up what waited too long. Called after every event and each poll."""
        decisions: list[Decision] = []
        for key in list(self._frames):
            if key in self._frames:
                decisions += self._credit(self._frames[key], now_ns) if self.synced else self._match(key, now_ns)
        return decisions + self._expire(now_ns)

    def _refuse(self, evidence: Evidence) -> str:
        if evidence.key.session != self._session or not self._session:
            return "frame of another session"
        if evidence.key in self._used:
            return "frame id seen before"
        if not evidence.complete:
            return "incomplete frame"
        if not evidence.consistent:
            return "stale buffer: chunk and buffer information disagree"
        if evidence.uncertainty_ns > self._settings.window_ns // 4:
            return f"exposure time known to {evidence.uncertainty_ns / 1e6:.1f} ms only"
        return ""

    def _remember(self, key: FrameKey) -> None:
        self._used[key] = None
        while len(self._used) > 4 * REMEMBER:
            self._used.popitem(last=False)

    def _credit(self, evidence: Evidence, now_ns: int) -> list[Decision]:
        """Synced: count and time must name the same edge, and only that one."""
        k = self._count_says(evidence)
        if k not in self._edges:
            return self._unknown_edge(evidence, k, now_ns)
        entry = self._edges[k]
        apart_ns = evidence.exposed_ns - entry.edge.at_ns
        if abs(apart_ns) > self._settings.window_ns:
            return self._lose_sync(f"count says edge {k}, time is {apart_ns / 1e6:.1f} ms from it")
        if not self._time_agrees(evidence, entry.edge):
            del self._frames[evidence.key]
            age_ms, known_ms = (evidence.received_ns - entry.edge.at_ns) / 1e6, entry.edge.uncertainty_ns / 1e6
            return [Stray(evidence.key, f"arrived {age_ms:.1f} ms after its edge, known to {known_ms:.1f} ms")]
        if not self._alone(evidence, entry.edge):
            return self._lose_sync(f"edge {k} is ambiguous")
        del self._frames[evidence.key]
        if entry.missed or not entry.waiting:
            return [Stray(evidence.key, f"edge {k} was given up or used")]
        entry.waiting = False
        unit = entry.edge.unit
        return [Stray(evidence.key, SYNC_SHOT)] if unit is None else [Bind(unit, entry.edge.shot, evidence)]

    def _unknown_edge(self, evidence: Evidence, k: int, now_ns: int) -> list[Decision]:
        if self._near(evidence):
            return self._lose_sync(f"time names an edge, the count edge {k} that is not known")
        if self._feed_ns > evidence.received_ns and now_ns - evidence.received_ns > self._settings.wait_ns:
            return self._lose_sync(f"the camera counted edge {k}, the line did not")
        return []

    def _match(self, key: FrameKey, now_ns: int) -> list[Decision]:
        """Unsynced: collect unambiguous matches by time until CONFIRM consecutive ones give one offset."""
        evidence = self._frames[key]
        near = self._near(evidence)
        if not near and now_ns - evidence.received_ns <= self._settings.wait_ns:
            return []
        del self._frames[key]
        if len(near) != 1 or not near[0].waiting or not self._alone(evidence, near[0].edge):
            self._streak = []
            return [Stray(key, "no single edge fits")]
        near[0].waiting = False
        offset = evidence.edge_count - near[0].edge.k
        self._streak = [*self._streak, offset] if set(self._streak) <= {offset} else [offset]
        stray = Stray(key, "camera not synchronised" if near[0].edge.unit else SYNC_SHOT)
        if len(self._streak) < CONFIRM:
            return [stray]
        self._offset, self._streak = offset, []
        return [stray, Synced(offset)]

    def _count_says(self, evidence: Evidence) -> int:
        return evidence.edge_count - (self._offset or 0)

    def _time_agrees(self, evidence: Evidence, edge: Edge) -> bool:
        window, age = self._settings.window_ns, evidence.received_ns - edge.at_ns
        known = evidence.uncertainty_ns + edge.uncertainty_ns <= window // 2
        arrived = -edge.uncertainty_ns <= age <= 3 * window
        return known and arrived and abs(evidence.exposed_ns - edge.at_ns) <= window

    def _alone(self, evidence: Evidence, edge: Edge) -> bool:
        """True when no other edge fits the frame and no other waiting frame fits the edge."""
        frames = [f for f in self._frames.values() if f is not evidence and self._time_agrees(f, edge)]
        return not frames and [o.edge for o in self._near(evidence)] == [edge]

    def _near(self, evidence: Evidence) -> list[_Open]:
        window, at_ns = self._settings.window_ns, evidence.exposed_ns
        near = [o for o in self._edges.values() if -window <= at_ns - o.edge.at_ns <= window]
        return [o for o in near if self._time_agrees(evidence, o.edge)]

    def _expire(self, now_ns: int) -> list[Decision]:
        decisions: list[Decision] = []
        overdue_ns = now_ns - self._settings.wait_ns
        for entry in [entry for entry in self._edges.values() if entry.waiting]:
            if entry.edge.at_ns < overdue_ns:
                entry.waiting, self._streak = False, []
                decisions += self._miss(entry, Reason.NO_IMAGE, "no frame for this edge")
        return decisions

    @staticmethod
    def _miss(entry: _Open, reason: Reason, cause: str) -> list[Decision]:
        """Tell the unit of an edge, once, that it gets no frame; the edge may go on as a witness of the time."""
        if entry.missed or entry.edge.unit is None:
            return []
        entry.missed = True
        return [Missing(entry.edge.unit, reason, cause, entry.edge.shot)]

    def _lose_sync(self, cause: str) -> list[Decision]:
        """Nobody is credited from here on; those who wait are told, in order."""
        decisions: list[Decision] = [Unsynced(cause)] if self.synced else []
        self._offset, self._streak = None, []
        for key in self._frames:
            decisions.append(Stray(key, cause))
        self._frames.clear()
        for entry in self._edges.values():
            if entry.waiting:
                decisions += self._miss(entry, Reason.UNSYNCED, cause)
        return decisions
