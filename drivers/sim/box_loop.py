"""The one loop of the line in a box: scans on a timer, Modbus and cameras when they have something.

A scan happens at its nominal time in the simulated world even when this process wakes late: missed scans are made up
first, with the exact latches and before any request that came meanwhile, so that a late wake-up can delay a permit and
never let one be seen early, and never moves the gate.
"""

import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from drivers.gate.plc_bank import Bank
from drivers.sim.box_cameras import Cameras, Head
from drivers.sim.box_faults import FaultPlay
from drivers.sim.box_fronts import Front
from drivers.sim.box_setup import RunSpec
from drivers.sim.box_talk import Listener, Speaker
from drivers.sim.faults import Schedule
from drivers.sim.machine import SCAN_NS, Machine, Turn
from drivers.sim.ticker import Ticker
from drivers.sim.truth import TruthLog

LATE_NS = 10_000_000
PROGRESS_NS = 250_000_000
MAKE_UP_NS = 2_000_000_000


@dataclass(slots=True)
class Parts:
    """What the box is made of; the loop owns them."""

    station: str
    run: RunSpec
    pool_key: str
    defects: list[list[str]]
    machine: Machine
    bank: Bank
    front: Front
    cameras: Cameras
    schedule: Schedule
    inputs: Mapping[str, int]

    def close(self) -> None:
        self.front.close()
        self.cameras.close()


@dataclass(slots=True)
class Strain:
    """How well the simulation itself keeps time."""

    scans: int = 0
    late: int = 0
    latest_ns: int = 0
    skipped_ns: int = 0
    begin_ns: int = field(default_factory=time.monotonic_ns)
    cpu_ns: int = field(default_factory=time.process_time_ns)

    def document(self) -> dict[str, Any]:
        return {
            "scans": self.scans,
            "late_scans": self.late,
            "latest_ms": round(self.latest_ns / 1e6, 3),
            "skipped_ms": round(self.skipped_ns / 1e6, 3),
            "cpu_s": round((time.process_time_ns() - self.cpu_ns) / 1e9, 3),
            "wall_s": round((time.monotonic_ns() - self.begin_ns) / 1e9, 3),
        }


class BoxLoop:
    """Runs until `stop`, the quit command, or the end of standard input."""

    def __init__(self, parts: Parts, speaker: Speaker, listener: Listener) -> None:
        self._parts = parts
        self._machine = parts.machine
        self._cameras = parts.cameras
        self._speaker = speaker
        self._listener = listener
        self._truth = TruthLog()
        self._faults = FaultPlay(parts.schedule, parts.machine, parts.front, parts.cameras, parts.inputs)
        self._strain = Strain()
        self._stopped = False
        self._done = False
        self._progress_ns = 0
        parts.bank.refresh = lambda: self._machine.refresh(time.monotonic_ns())

    def stop(self) -> None:
        """End the loop soon; may be called from a signal handler."""
        self._stopped = True

    def run(self) -> None:
        """Play the line. The first scan is one period from now."""
        self._strain = Strain()
        due_ns = time.monotonic_ns() + SCAN_NS
        ticker = Ticker(SCAN_NS)
        services: dict[int, Callable[[], None]] = {}
        for head in self._cameras.heads:
            services[head.feed.fileno()] = partial(self._expose, head)
        services[self._parts.front.fileno()] = self._parts.front.service
        if self._listener.fileno() >= 0:
            services[self._listener.fileno()] = self._listener.service
        try:
            with select.epoll() as epoll:
                for fd in (ticker.fileno(), *services):
                    epoll.register(fd, select.EPOLLIN)
                self._speaker.say("ready", port=self._parts.front.port, pool=self._parts.pool_key)
                while not (self._stopped or self._listener.quit):
                    ready = epoll.poll()
                    ticker.take()
                    due_ns = self._make_up(due_ns, time.monotonic_ns())
                    for fd, _ in ready:
                        if fd in services:
                            services[fd]()
                    self._by_hand()
        finally:
            ticker.close()

    def document(self) -> dict[str, Any]:
        """Return the truth log (docs/interfaces/truth.md)."""
        run, belt, heads = self._parts.run, self._machine.belt, self._cameras.heads
        stray_pass, stray_chute = self._machine.plc.strays
        box = self._strain.document() | {
            "edges_unsent": {head.name: head.unsent for head in heads},
            "truth_lost": {head.name: head.feed.truth_lost for head in heads},
        }
        return {
            "run": {
                "units": run.units,
                "rate_per_min": run.rate_per_min,
                "seed": run.seed,
                "pool": self._parts.pool_key,
                "station": self._parts.station,
            },
            "pictures": {head.name: head.digests for head in heads},
            "vials": self._truth.vials(belt.vials, self._parts.defects),
            "exposures": self._truth.exposures,
            "units": self._truth.unit_documents(),
            "plc": {"epochs": self._truth.epochs(), "stray_pass": stray_pass, "stray_chute": stray_chute},
            "faults": self._truth.faults,
            "box": box,
        }

    def _make_up(self, due_ns: int, now_ns: int) -> int:
        """Run every scan that is due; returns when the next one is."""
        lag_ns = now_ns - due_ns
        if lag_ns < 0:
            return due_ns
        self._strain.late += lag_ns > LATE_NS
        self._strain.latest_ns = max(self._strain.latest_ns, lag_ns)
        if lag_ns > MAKE_UP_NS:
            self._strain.skipped_ns += lag_ns
            due_ns = now_ns
        while due_ns <= now_ns:
            self._scan(due_ns)
            due_ns += SCAN_NS
        return due_ns

    def _scan(self, at_ns: int) -> None:
        self._strain.scans += 1
        self._faults.tick(at_ns, self._speaker, self._truth)
        turn = self._machine.scan(at_ns)
        self._parts.front.scan(at_ns)
        if turn.scenes:
            self._cameras.show(turn.scenes)
        if turn.infeed or turn.created or turn.pulses or turn.events:
            self._tell(turn, at_ns)
        if at_ns >= self._progress_ns:
            self._progress_ns = at_ns + PROGRESS_NS
            self._progress()
        self._speaker.flush()

    def _tell(self, turn: Turn, at_ns: int) -> None:
        for unit, vial in turn.created:
            self._truth.created(unit, vial)
        for event in turn.events:
            self._truth.event(event, time.monotonic_ns())
        for vial in turn.infeed:
            self._speaker.say("infeed", unit=vial)
            self._faults.infeed(vial, at_ns, self._speaker, self._truth)
        for pulse in turn.pulses:
            self._truth.edge(pulse.unit, pulse.due_ns)
            if self._cameras.trigger(pulse):
                self._faults.struck(pulse.vial, at_ns, self._speaker, self._truth)

    def _by_hand(self) -> None:
        """A person beside the machine empties it."""
        orders, self._listener.take_out = self._listener.take_out, []
        for behind in orders:
            self._speaker.say("taken-out", bodies=self._machine.belt.take_out(behind))

    def _expose(self, head: Head) -> None:
        self._truth.exposures.extend(self._cameras.exposures(head))

    def _progress(self) -> None:
        belt, plc = self._machine.belt, self._machine.plc
        passed, diverted = belt.ended
        counts = {"created": len(belt.vials), "passed": passed, "diverted": diverted, "on_belt": belt.on_belt}
        self._speaker.say("progress", **counts, late_scans=self._strain.late)
        if not self._done and belt.exhausted and belt.on_belt == 0 and plc.in_flight == 0 and self._machine.running:
            self._done = True
            stray_pass, stray_chute = plc.strays
            self._speaker.say("done", **counts, stray_pass=stray_pass, stray_chute=stray_chute)
