"""`linewarden sim`: the line in a box and the daemons, started as production does, from the first vial to the report.

One loop, no thread. `Simulation.play` reads as the way of a batch; everything that goes on beside it (restarts, faults,
the view) happens in `_turn`. Whatever ends the run, `close` leaves no process, socket or link behind.
"""

import contextlib
import os
import selectors
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from daemon import ledger_file
from daemon.ledger_file import LedgerUnreadable
from daemon.messages import Act, Answer, Ask, Report, Status
from daemon.wire import Message
from drivers.sim.faults import FaultName, Order
from provisioning import places, simswap, unitfile
from provisioning.attendant import Attendant
from provisioning.boxlink import Box
from provisioning.errors import CommandFailed
from provisioning.faultplan import label
from provisioning.faultplay import FaultPlayer
from provisioning.owners import Owner
from provisioning.simstation import Documents, Layout, Run, prepare, publish, withdraw
from provisioning.snapshot import ProcessLine, Snapshot
from provisioning.supervisor import Event, Kind, Phase, Places, Supervisor
from provisioning.view import View

TURN_S = 0.02
STATUS_NS = 200_000_000
STATUS_LOST_NS = 1_000_000_000
RETRY_NS = 100_000_000
BOX_READY_S = 90.0
DAEMONS_READY_S = 60.0
ACT_S = 30.0
CLOSE_S = 15.0
ARCHIVE_S = 2.0
ARCHIVED = "SELECT (SELECT max(size) FROM archived) > (SELECT max(closed_entry) FROM batch)"
GRACE_S = 60.0
POOL_NAME = "pool"
MOST_RESTARTS = 20


class SimError(CommandFailed):
    """The simulation cannot go on; one line that says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for. `rate` in units per minute; `shadow`: bundle and recipe of a candidate."""

    units: int
    rate: float
    seed: int
    faults: tuple[Order, ...]
    report: Path | None
    headless: bool
    keep: Path | None
    layout: Layout = Layout()
    swap: simswap.Swap | None = None
    shadow: tuple[Path, Path] | None = None


class Simulation:
    """One run. Owns the loop, the box, the supervisor and the snapshot."""

    def __init__(self, options: Options, documents: Documents, view: View) -> None:
        self.run: Run = prepare(documents, options.keep, options.rate, options.layout)
        self._options = options
        self._trust = documents.trust
        self._view = view
        self._selector = selectors.DefaultSelector()
        log = self.run.log
        self._supervisor = Supervisor(Places(self.run.runtime, self.run.state, log), self._selector)
        self._box: Box | None = None
        self._line = Owner(self.run.runtime, "line")
        self._recorder = Owner(self.run.runtime, "recorder")
        self._asked_ns = 0
        self._drawn_ns = 0
        self._line_free = True
        self._attended = False
        self._box_said: set[str] = set()
        self._answers: dict[str, list[Message]] = {"line": [], "recorder": []}
        now = time.monotonic_ns()
        self.snapshot = Snapshot(options.units, options.rate, options.seed, options.faults, now, now)
        cameras = [("camera@", camera) for camera in options.layout.cameras]
        for name, instance in (("recorder", ""), ("line", ""), ("vision", ""), ("uplink", ""), *cameras):
            unit = unitfile.read(places.unit_files() / f"linewarden-{name}.service", instance)
            self._supervisor.add(unit, command_here(unit.command, self.run.station))
        self._player = FaultPlayer(self._supervisor, self.run, documents, "".join(cameras[0]))
        hands = self._take_out if options.layout.wiring == "diverter" else None
        self._attendant = Attendant(self.run.runtime, hands, planned=bool(options.faults))

    def play(self) -> dict[str, Any]:
        """Run the batch from opening to closing and return the recorder's report.

        Raises:
            SimError, BoxError: the run cannot go on.
        """
        publish(self.run)
        self._phase("rendering the vials")
        self._box = Box(self._box_command(), self.run.log / "box.log", self._selector)
        self._until(lambda: "ready" in self._box_said, BOX_READY_S, "the line in a box to be ready")
        self._phase("starting the daemons")
        self._supervisor.start()
        self._until(lambda: self._supervisor.ready, DAEMONS_READY_S, "the daemons to be ready")
        self._phase("opening the batch")
        batch = f"SIM-{self._options.seed}-{self.run.folder.name}"
        self._act(self._recorder, _act("batch-open", batch), ACT_S)
        self._act(self._line, _act("start", ""), ACT_S)
        self._phase("inspecting")
        self._attended = True
        limit = 60.0 * self._options.units / self._options.rate * 2 + GRACE_S
        if self._options.swap:
            self._swap(self._options.swap, batch, limit)
        self._until(lambda: "done" in self._box_said, limit, "the last vial to leave the line")
        self._attended = False
        self._phase("closing the batch")
        with contextlib.suppress(SimError):
            self._act(self._line, _act("stop", ""), ACT_S)
            self._until(lambda: self._stands, CLOSE_S, "the line to stop")
            self._act(self._recorder, _act("batch-close", batch), CLOSE_S)
            self._until(self._batch_archived, ARCHIVE_S, "the archive")
        return self._report()

    def _swap(self, swap: simswap.Swap, batch: str, limit: float) -> None:
        """Stage the other pair beside the running line, and have it take over by QA's order at its unit."""
        simswap.stage(swap, self._trust, self.run.state)
        self._until(
            lambda: self.snapshot.infeed >= swap.unit or "done" in self._box_said, limit, "the unit of the swap"
        )
        order = simswap.ordered(batch, simswap.digests(swap), self._trust, _actor())
        self._act(self._recorder, order, ACT_S)
        self.snapshot.tell(f"swapped to {swap.bundle.name} after unit {self.snapshot.infeed}")

    def findings(self) -> dict[str, Any]:
        """Return what this run adds to the report: faults played, acts of the attendant, restarts by process."""
        return {
            "faults": self._player.documents(),
            "acts": [done.document() for done in self._attendant.done],
            "restarts": self.restarts(),
        }

    def restarts(self) -> dict[str, int]:
        """Return how often each process was restarted."""
        return {service.name: service.restarts for service in self._supervisor.services}

    def close(self) -> None:
        """End everything this run started. Idempotent."""
        self._view.close()
        for owner in (self._line, self._recorder, self._player, self._attendant):
            owner.close()
        self._supervisor.close()
        if self._box is not None:
            self._box.close()
        self._selector.close()
        withdraw(self.run)
        shutil.rmtree(self.run.runtime, ignore_errors=True)

    @property
    def _stands(self) -> bool:
        status = self.snapshot.status
        return status is not None and status.state in ("STOPPED", "ABORTED")

    def _take_out(self, behind: int) -> None:
        if self._box is not None:
            self._box.take_out(behind)

    def _turn(self) -> None:
        self._selector.select(min(self._supervisor.wait_s(), TURN_S))
        self.snapshot.now_ns = time.monotonic_ns()
        for event in self._supervisor.tick():
            self._happened(event)
        for said in self._box.poll() if self._box else ():
            self._box_says(said)
        self._hear()
        status = self.snapshot.status
        self._player.tick(self.snapshot.now_ns, status.state.lower() if status else "")
        if status and self._attended and (did := self._attendant.tick(status, self.snapshot.now_ns)):
            self.snapshot.tell(did)
        if self.snapshot.now_ns - self._drawn_ns >= STATUS_NS:
            self._show()

    def _show(self) -> None:
        self._drawn_ns = self.snapshot.now_ns
        self.snapshot.playing = self._player.playing
        self.snapshot.processes = tuple(
            ProcessLine(s.name, s.phase.value, s.restarts, s.status) for s in self._supervisor.services
        )
        self._view.draw(self.snapshot)

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise SimError(f"waited {seconds:.0f} s for {what}{self._why()}; logs in {self.run.log}")
            self._turn()

    def _why(self) -> str:
        """Return the line's own words on why nothing moves, or the last words of a process that is not ready."""
        status = self.snapshot.status
        if status is not None:
            missing = next((f"{name}: {todo}" for name, met, todo in status.conditions if not met), status.first_out)
            return f" (line is {status.state}; {missing or 'every condition is met'})"
        waiting = [s for s in self._supervisor.services if s.phase is not Phase.READY and s.phase is not Phase.DOWN]
        lines = [f"{s.name}: {' '.join(self._supervisor.last_lines(s.name, 1)) or s.phase}" for s in waiting]
        return f" ({'; '.join(lines)})" if lines else ""

    def _happened(self, event: Event) -> None:
        if event.kind is Kind.REFUSED:
            raise SimError(f"{event.name} refuses to run: {event.text}")
        if event.kind is Kind.EXITED and self.restarts().get(event.name, 0) >= MOST_RESTARTS:
            raise SimError(f"{event.name} ended {MOST_RESTARTS} times, last with {event.text}; logs in {self.run.log}")
        if event.kind is not Kind.READY or self.restarts().get(event.name):
            kind = "" if event.kind is Kind.NOTE else f"{event.kind} "
            self.snapshot.tell(f"{event.name}: {kind}{event.text}")

    def _box_says(self, said: dict[str, Any]) -> None:
        kind = str(said.get("event", ""))
        self._box_said.add(kind)
        if kind in ("infeed", "progress"):
            self.snapshot.infeed = int(said.get("unit", said.get("created", self.snapshot.infeed)))
        elif kind in ("fault", "fault-begin"):
            order = Order(FaultName(said["name"]), int(said["unit"]))
            self._player.begin(order, self.snapshot.now_ns)
            self.snapshot.tell(f"fault {label(order)} begins")
        elif kind == "fault-end":
            self._player.end(Order(FaultName(said["name"]), int(said["unit"])), self.snapshot.now_ns)
        elif kind == "note":
            self.snapshot.tell(f"box: {said['text']}")

    def _hear(self) -> None:
        now = self.snapshot.now_ns
        if self._supervisor.ready or self._line.connected:
            waited = now - self._asked_ns
            if waited >= (STATUS_LOST_NS if self._asked_ns and not self._line_free else STATUS_NS):
                self._asked_ns = now
                self._line_free = False
                self._line.send(Ask("status"))
        for owner in (self._line, self._recorder):
            while (message := owner.receive()) is not None:
                self._heard(owner, message)

    def _heard(self, owner: Owner, message: Message) -> None:
        if isinstance(message, Status):
            self.snapshot.take(message)
            self._line_free = True
        else:
            self._answers[owner.process].append(message)

    def _act(self, owner: Owner, act: Act, seconds: float) -> None:
        """Repeat an act until its owner takes it."""
        end, refusal = time.monotonic() + seconds, f"{owner.process} did not answer"
        while time.monotonic() < end:
            answer = self._exchange(owner, act)
            if isinstance(answer, Answer) and answer.ok:
                return
            refusal = answer.text if isinstance(answer, Answer) else refusal
            self._pause()
        raise SimError(f"{owner.process} refused '{act.kind}' for {seconds:.0f} s: {refusal}")

    def _exchange(self, owner: Owner, message: Act | Ask) -> Message | None:
        answers = self._answers[owner.process]
        answers.clear()
        end = time.monotonic() + 1.0
        if owner.send(message):
            while not answers and time.monotonic() < end and owner.connected:
                self._turn()
        return answers[0] if answers else None

    def _pause(self) -> None:
        end = time.monotonic_ns() + RETRY_NS
        while time.monotonic_ns() < end:
            self._turn()

    def _report(self) -> dict[str, Any]:
        end = time.monotonic() + CLOSE_S
        while time.monotonic() < end:
            answer = self._exchange(self._recorder, Ask("report"))
            if isinstance(answer, Report):
                return dict(msgspec.json.decode(answer.document))
            self._pause()
        raise SimError(f"recorder gave no batch report within {CLOSE_S:.0f} s; logs in {self.run.log}")

    def _batch_archived(self) -> bool:
        """True once it is on record that the archive has the closed batch."""
        with contextlib.suppress(LedgerUnreadable), ledger_file.reading(self.run.state / ledger_file.LEDGER) as db:
            return bool(db.execute(ARCHIVED).fetchone()[0])
        return False

    def _phase(self, text: str) -> None:
        self.snapshot.phase = text
        self.snapshot.now_ns = time.monotonic_ns()
        self._show()

    def _box_command(self) -> list[str]:
        options = self._options
        command = [sys.executable, "-I", "-X", "faulthandler", "-m", "drivers.sim.box", str(self.run.station)]
        command += ["--units", str(options.units), "--rate", str(options.rate), "--seed", str(options.seed)]
        command += ["--pool", str(places.working() / POOL_NAME), "--cameras", str(self.run.cameras)]
        command += ["--truth", str(self.run.truth), "--priority"]
        return command + [word for fault in options.faults for word in ("--fault", label(fault))]


def command_here(command: tuple[str, ...], station: Path) -> list[str]:
    """Return a unit's ExecStart with this machine's interpreter and station file, and nothing else changed."""
    interpreter, *rest = command
    if Path(interpreter).name != "python":
        raise SimError(f"the unit file starts {interpreter}, not a python")
    return [sys.executable, *(str(station) if word == "/etc/linewarden/station.toml" else word for word in rest)]


def _act(kind: str, new: str) -> Act:
    return Act(kind, _actor(), "operator", "linewarden sim", "", new)


def _actor() -> str:
    return os.environ.get("USER") or "simulator"
