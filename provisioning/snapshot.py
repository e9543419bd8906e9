"""What there is to see of a running simulation, gathered by its loop and drawn by view.py."""

from collections import deque
from dataclasses import dataclass, field

from daemon.messages import Status
from drivers.sim.faults import Order

SHOWN_EVENTS = 6
STRIP = 240
KEPT_REJECTS = 8
ACCEPTED = "accepted"

Recent = tuple[str, str, str, str]
"""Unit, outcome, reason, defect, as in daemon.messages.Status."""


@dataclass(frozen=True, slots=True)
class ProcessLine:
    """One process as the view shows it."""

    name: str
    phase: str
    restarts: int
    text: str


@dataclass(slots=True)
class Snapshot:
    """Owned by the loop of `linewarden sim`; the view only reads it. Times in ns of CLOCK_MONOTONIC."""

    units: int
    rate: float
    seed: int
    planned: tuple[Order, ...]
    started_ns: int
    now_ns: int = 0
    phase: str = "preparing"
    infeed: int = 0
    status: Status | None = None
    processes: tuple[ProcessLine, ...] = ()
    playing: tuple[str, ...] = ()
    events: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=SHOWN_EVENTS))

    strip: deque[Recent] = field(default_factory=lambda: deque(maxlen=STRIP))
    rejects: deque[Recent] = field(default_factory=lambda: deque(maxlen=KEPT_REJECTS))

    def take(self, status: Status) -> None:
        """Keep a status, and the units in it that were not seen before."""
        self.status = status
        known = {unit for unit, *_ in self.strip}
        for row in status.recent:
            if row[0] not in known:
                self.strip.append(row)
                if row[1] != ACCEPTED:
                    self.rejects.append(row)

    @property
    def elapsed_s(self) -> float:
        return (self.now_ns - self.started_ns) / 1e9

    def tell(self, text: str) -> None:
        """Add one line to what happened."""
        self.events.append((self.now_ns, text))
