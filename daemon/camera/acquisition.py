"""One camera from open to loss: its session, its clock, the account of its frames, and when to try again."""

import logging
import secrets
import time
from dataclasses import dataclass, replace
from typing import Final

from daemon.camera.account import Arrival, FrameAccount, FrameIds
from daemon.units import Evidence, FrameKey
from drivers.clock import ClockMap, Reading
from drivers.errors import DeviceRefused, DriverError, ProducerMissing
from drivers.frame import Grab
from drivers.ports import Camera

LATCH_NS: Final = 1_000_000_000
HEARTBEAT_NS: Final = 100_000_000
FIRST_LATCHES: Final = 8
FIRST_PAUSE_NS: Final = 50_000_000
LONGEST_PAUSE_NS: Final = 1_000_000_000
MAX_FAILURES: Final = 10
MAX_REOPENS: Final = 20
"""Each reopening costs genicam memory (0.17 MB measured); a new process costs less than a leak."""
_LOG: Final = logging.getLogger(__name__)


class GiveUp(Exception):
    """The camera cannot be won back in this process; end it and let systemd start another."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the operator should know; `frame_id` where one frame is meant."""

    text: str
    frame_id: int | None = None


class Acquisition:
    """Owned by the camera's loop. `session` is 0 while the camera does not acquire."""

    def __init__(self, name: str, camera: Camera, frame_timeout_ns: int) -> None:
        self.name: Final = name
        self.session = 0
        self._camera = camera
        self._frame_timeout_ns = max(frame_timeout_ns, HEARTBEAT_NS)
        self._clock = ClockMap()
        self._account, self._ids = FrameAccount(), FrameIds()
        self._events: list[Event] = []
        self._failures = self._reopens = 0
        self._pause_ns = FIRST_PAUSE_NS
        self._next_try_ns = self._next_latch_ns = self._next_beat_ns = 0
        self._count = self._missed = self._silent_count = 0
        self._silent_since_ns = 0

    def events(self) -> list[Event]:
        """What happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def try_start(self, now_ns: int) -> bool:
        """Open and start the camera when a try is due; True once it acquires.

        Raises:
            GiveUp: too many failures in a row, or too many reopenings in all.
            ProducerMissing: nothing that time will cure.
        """
        if now_ns < self._next_try_ns:
            return False
        if self._failures >= MAX_FAILURES or self._reopens > MAX_REOPENS:
            raise GiveUp(f"camera {self.name}: {self._failures} failures, {self._reopens} reopenings in this process")
        try:
            self._start()
        except ProducerMissing:
            raise
        except DriverError as error:
            self._failed(error, now_ns)
        return self.session != 0

    def next_grab(self, timeout_ms: int) -> Grab | None:
        """Wait for a buffer, compare clocks, ask for life. None also when the camera was lost: see `session`."""
        try:
            grab = self._camera.wait(timeout_ms)
            self._keep_watch(time.monotonic_ns(), grab)
        except DriverError as error:
            self._failed(error, time.monotonic_ns())
            return None
        return replace(grab, frame_id=self._ids.continued(grab.frame_id)) if grab else None

    def requeue(self, grab: Grab) -> None:
        """Give the buffer back to the camera."""
        try:
            self._camera.requeue(grab)
        except DriverError as error:
            self._failed(error, time.monotonic_ns())

    def admit(self, grab: Grab) -> tuple[Arrival, tuple[int, ...]]:
        """Enter a delivered buffer into the account: what it is, and which frame ids are lost for good."""
        finding = self._account.delivered(grab.frame_id)
        if finding.arrival is not Arrival.NEW:
            self._tell(f"frame came {finding.arrival.value}", grab.frame_id)
        return finding.arrival, finding.lost

    def evidence(self, grab: Grab, received_ns: int) -> Evidence:
        """What the hardware latched with this frame, its time mapped to CLOCK_MONOTONIC."""
        exposed_ns, uncertainty_ns = self._clock.to_monotonic(grab.device_ts)
        return Evidence(
            key=self.key(grab.frame_id),
            edge_count=grab.edge_count or 0,
            missed=grab.missed or 0,
            device_ts=grab.device_ts,
            exposed_ns=exposed_ns,
            uncertainty_ns=uncertainty_ns,
            encoder=grab.encoder,
            line_status=grab.line_status,
            complete=grab.complete,
            consistent=grab.consistent and grab.edge_count is not None,
            received_ns=received_ns,
        )

    def key(self, frame_id: int) -> FrameKey:
        return FrameKey(self.name, self.session, frame_id)

    def close(self) -> None:
        """Stop and let the camera go."""
        self.session = 0
        self._camera.close()

    def _start(self) -> None:
        self._camera.open()
        traits = self._camera.traits
        if not (traits.edge_counter and traits.timestamps and traits.latch):
            raise DeviceRefused(
                f"camera {self.name} has no edge counter chunk, time stamps or TimestampLatch: its frames cannot be"
                " bound to units by two witnesses; use a camera that has them"
            )
        self._camera.start()
        self._clock.clear()
        for _ in range(FIRST_LATCHES):
            self._compare_clocks()
        self._account, self._ids = FrameAccount(), FrameIds()
        self._count = self._missed = self._silent_count = 0
        self._failures, self._pause_ns = 0, FIRST_PAUSE_NS
        self.session = secrets.randbits(32) or 1
        self._tell("acquires")

    def _failed(self, error: DriverError, now_ns: int) -> None:
        self._reopens += self.session != 0
        self._failures += 1
        lost = self._account.finish()
        self._tell(f"{error}; frames lost on the way: {list(lost)}" if lost else str(error))
        self.close()
        self._next_try_ns = now_ns + self._pause_ns
        self._pause_ns = min(2 * self._pause_ns, LONGEST_PAUSE_NS)

    def _keep_watch(self, now_ns: int, grab: Grab | None) -> None:
        if grab is not None:
            self._next_beat_ns = now_ns + HEARTBEAT_NS
            self._note_counts(grab)
        elif now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + HEARTBEAT_NS
            self._beat(now_ns)
        if now_ns >= self._next_latch_ns:
            self._compare_clocks()

    def _note_counts(self, grab: Grab) -> None:
        self._count = self._silent_count = grab.edge_count or self._count
        missed = grab.missed or self._missed
        if missed > self._missed:
            self._tell(f"{missed - self._missed} triggers missed while busy, {missed} in all", grab.frame_id)
        self._missed = missed

    def _beat(self, now_ns: int) -> None:
        """Alive? And did edges come for which no frame did?"""
        counted = self._camera.alive()
        if counted is None or counted <= self._count:
            return
        if counted != self._silent_count:
            self._silent_count, self._silent_since_ns = counted, now_ns
        elif now_ns - self._silent_since_ns >= self._frame_timeout_ns:
            self._tell(f"no frame for edges {self._count + 1} to {counted}")
            self._count = counted

    def _compare_clocks(self) -> None:
        latch = self._camera.latch()
        self._clock.add(Reading(latch.device_ts, latch.before_ns, latch.after_ns))
        self._next_latch_ns = latch.after_ns + LATCH_NS

    def _tell(self, text: str, frame_id: int | None = None) -> None:
        self._events.append(Event(text, frame_id))
