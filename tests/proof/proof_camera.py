"""A camera and its process: exposes on edges, stamps with its own clock, and hands frames on as `daemon.camera` does.

The account of frame ids and the map of the clock are the product's own. What the pixels show is written into the digest
(`vial N`), which travels through vision, verdict and permit row: that is how the proof knows whose pixels stood behind
a permit.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from proof_agenda import MS, Agenda

from daemon.camera.account import Arrival, FrameAccount, FrameIds
from daemon.messages import CameraState, FrameLost, FrameSeen
from daemon.units import Evidence, FrameKey
from daemon.wire import Message
from drivers.clock import ClockMap, Reading

BUSY_NS = 1_000_000
LATCH_NS = 1_000_000_000
FIRST_LATCHES = 8
UPTIME_NS = 3_600_000_000_000
GEV_IDS = 65_535


@dataclass(frozen=True, slots=True)
class Optics:
    """Transport of a frame to the process, ns."""

    fastest_ns: int
    slowest_ns: int


@dataclass(slots=True)
class _Frame:
    raw_id: int
    count: int
    missed: int
    device_ts: int
    shows: int
    complete: bool = True
    consistent: bool = True


class Camera:
    """Owned by the World. `plan` holds what strikes the exposure or edge of a vial; 0 stands for the very next one."""

    def __init__(
        self, agenda: Agenda, name: str, optics: Optics, chance: random.Random, shows: Callable[[int], int]
    ) -> None:
        self.name = name
        self.plan: dict[int, str] = {}
        self.struck: Callable[[str, int], None] = lambda *_: None
        self.to_line: Callable[[Message], None] = lambda _: None
        self.to_vision: Callable[[Evidence, str], None] = lambda *_: None
        self.new_ring: Callable[[str, int], None] = lambda *_: None
        self.session = 0
        self.first_id = 0
        self.step_ns = 0
        self.jitter_ns = 2_000
        self.count = 0
        self.shown: dict[FrameKey, int] = {}
        self._agenda, self._optics, self._chance, self._shows = agenda, optics, chance, shows
        self._drift = chance.uniform(-50e-6, 50e-6)
        self._boot_ns = agenda.now - UPTIME_NS
        self._clock = ClockMap()
        self._account, self._ids = FrameAccount(), FrameIds()
        self._missed = self._frame_id = 0
        self._busy_until = self._next_latch = 0
        self._held: list[_Frame] = []
        self._last: _Frame | None = None

    def start(self) -> None:
        """Acquisition starts: new session, counters and frame ids from zero."""
        self.session = self._chance.randrange(1, 1 << 32)
        self.count = self._missed = 0
        self._frame_id = self.first_id
        self._account, self._ids = FrameAccount(), FrameIds()
        self._held.clear()
        self._clock.clear()
        for _ in range(FIRST_LATCHES):
            self._latch()
        self.new_ring(self.name, self.session)
        self.report()

    def lose(self) -> None:
        """The cable is pulled: the process notices and says so."""
        self.session = 0
        self.report()

    def reboot(self) -> None:
        """Power comes back: the device clock begins anew."""
        self._boot_ns = self._agenda.now
        self.step_ns = 0

    def report(self) -> None:
        """Tell the line the state of the acquisition."""
        acquires = self.session != 0
        self.to_line(CameraState(self.name, self.session, acquires, "acquires" if acquires else "does not acquire"))

    def edge(self, due_ns: int, vial: int) -> None:
        """The trigger line rises, now."""
        what = self.plan.pop(vial, "") or self.plan.pop(0, "")
        half = self._chance.randrange(4 * MS, 12 * MS)
        if what:
            self.struck(what, vial)
        if what == "edge-lost":
            return
        if what == "edge-late":
            self._agenda.after(self._chance.randrange(1 * MS, 30 * MS), lambda: self._expose(""))
            return
        if what == "edge-extra":
            self._agenda.after(half, lambda: self._expose(""))
        if what == "counter-jump":
            self.count += self._chance.choice((-1, 1, 2, -2))
        self._expose(what)

    def _expose(self, what: str) -> None:
        now = self._agenda.now
        if not self.session:
            return
        self.count += 1
        if what == "busy" or now < self._busy_until:
            self._missed += 1
            self._busy_until = max(self._busy_until, now + BUSY_NS)
            return
        self._busy_until = now + BUSY_NS
        self._frame_id += 1
        raw = (self._frame_id - 1) % GEV_IDS + 1 if self.first_id else self._frame_id
        stamp = self._device(now) + self._chance.randrange(-self.jitter_ns, self.jitter_ns + 1)
        frame = _Frame(raw, self.count, self._missed, stamp, self._shows(now))
        self._send(frame, what)

    def _send(self, frame: _Frame, what: str) -> None:
        delay = self._chance.randrange(self._optics.fastest_ns, self._optics.slowest_ns)
        held, self._held = self._held, []
        if what == "frame-lost":
            pass
        elif what == "frame-reorder":
            self._held = [frame]
        else:
            if what == "incomplete":
                frame.complete, frame.consistent, frame.count = False, False, 0
            if what == "stale" and self._last:
                frame.consistent, frame.shows = False, self._last.shows
            late = self._chance.randrange(60 * MS, 200 * MS) if what == "frame-late" else 0
            self._deliver_after(delay + late, frame)
            if what == "frame-dup":
                self._deliver_after(delay + self._chance.randrange(1, 40 * MS), frame)
        self._last = frame
        for late_one in held:
            self._deliver_after(delay + 50_000, late_one)

    def _deliver_after(self, delay_ns: int, frame: _Frame) -> None:
        session = self.session
        self._agenda.after(delay_ns, lambda: self._deliver(frame, session))

    def _deliver(self, frame: _Frame, session: int) -> None:
        if session != self.session or not session:
            return
        now = self._agenda.now
        if now >= self._next_latch:
            self._latch()
        frame_id = self._ids.continued(frame.raw_id)
        finding = self._account.delivered(frame_id)
        for lost in finding.lost:
            self.to_line(FrameLost(self._key(lost), f"frame {lost} never came"))
        if finding.arrival is Arrival.TOO_LATE:
            return
        evidence = self._evidence(frame, frame_id, now)
        self.shown[evidence.key] = frame.shows
        if finding.arrival is Arrival.NEW and frame.complete and frame.consistent:
            self.to_vision(evidence, f"vial {frame.shows}")
        self.to_line(FrameSeen(evidence))
        if not (frame.complete and frame.consistent):
            self.to_line(FrameLost(evidence.key, f"frame {frame_id}: unusable"))

    def _evidence(self, frame: _Frame, frame_id: int, now: int) -> Evidence:
        exposed_ns, uncertainty_ns = self._clock.to_monotonic(frame.device_ts)
        return Evidence(
            key=self._key(frame_id),
            edge_count=frame.count,
            missed=frame.missed,
            device_ts=frame.device_ts,
            exposed_ns=exposed_ns,
            uncertainty_ns=uncertainty_ns,
            encoder=0,
            line_status=0,
            complete=frame.complete,
            consistent=frame.consistent,
            received_ns=now,
        )

    def _key(self, frame_id: int) -> FrameKey:
        return FrameKey(self.name, self.session, frame_id)

    def _device(self, at_ns: int) -> int:
        since = at_ns - self._boot_ns
        return since + int(since * self._drift) + self.step_ns

    def _latch(self) -> None:
        now = self._agenda.now
        before, after = now - self._chance.randrange(20_000, 200_000), now
        self._clock.add(Reading(self._device(self._chance.randrange(before, after + 1)), before, after))
        self._next_latch = now + LATCH_NS
