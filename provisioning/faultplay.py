"""Plays the supervisor's faults: signals to processes, another bundle, a full ledger. Each clears itself.

The box says when a planned vial trips the infeed eye; `begin` does the first step, `tick` the later ones. Owned by the
loop of `linewarden sim`.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.messages import Act
from drivers.sim.faults import Executor, Order
from provisioning.faultplan import EXPECTED, label
from provisioning.owners import Owner
from provisioning.simstation import Documents, Run, repoint
from provisioning.supervisor import Phase, Supervisor

MS = 1_000_000
LATE_NS = 300 * MS
FULL_NS = 1_000 * MS
OTHER_BUNDLE_NS = 1_500 * MS
TOO_FEW_PAGES = "1"
NO_QUOTA = "0"

Step = tuple[int, Callable[[], None]]


@dataclass(slots=True)
class Record:
    """One fault as it goes into the report. `states` are the line states seen while it lasted."""

    planned: Order
    begin_ns: int
    end_ns: int = 0
    states: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    over: Callable[[], bool] = lambda: False

    @property
    def lasts(self) -> bool:
        return self.end_ns == 0

    def document(self) -> dict[str, Any]:
        """Return the entry of the report's `faults`."""
        expected = EXPECTED[self.planned.name]
        return {
            "name": self.planned.name.value,
            "unit": self.planned.unit,
            "player": self.planned.spec.executor.value,
            "begin_ns": self.begin_ns,
            "end_ns": self.end_ns or None,
            "expected_states": list(expected.states),
            "resets": expected.resets.value,
            "states": self.states,
        }


class FaultPlayer:
    """Owns the records of all faults of a run, the box's included."""

    def __init__(self, supervisor: Supervisor, run: Run, documents: Documents, first_camera: str) -> None:
        self._first_camera = first_camera
        self._supervisor = supervisor
        self._run = run
        self._documents = documents
        self._recorder = Owner(run.runtime, "recorder")
        self.records: list[Record] = []

    def begin(self, planned: Order, now_ns: int) -> None:
        """Begin a fault; one of the box is only written down."""
        record = Record(planned, now_ns)
        self.records.append(record)
        if planned.spec.executor is Executor.SUPERVISOR:
            self._first_steps(record, now_ns)
            self._take_steps(record, now_ns)

    def end(self, planned: Order, now_ns: int) -> None:
        """The box says that its fault is over."""
        for record in self.records:
            if record.planned == planned and record.lasts:
                record.end_ns = now_ns

    def tick(self, now_ns: int, line_state: str) -> None:
        """Take the steps that are due, and see which faults are over."""
        while self._recorder.receive() is not None:
            pass
        for record in self.records:
            if not record.lasts:
                continue
            if line_state and line_state not in record.states:
                record.states.append(line_state)
            self._take_steps(record, now_ns)
            if not record.steps and record.over():
                record.end_ns = now_ns

    @property
    def playing(self) -> tuple[str, ...]:
        return tuple(label(record.planned) for record in self.records if record.lasts)

    def documents(self) -> list[dict[str, Any]]:
        """Return all faults as the report lists them."""
        return [record.document() for record in self.records]

    def close(self) -> None:
        self._recorder.close()

    def _first_steps(self, record: Record, now_ns: int) -> None:
        action, _, target = record.planned.name.partition("-")
        process = self._first_camera if target == "camera" else target
        if action in ("kill", "hang"):
            self._strike(record, process, signal.SIGKILL if action == "kill" else signal.SIGSTOP, now_ns)
        elif record.planned.name == "power-off":
            off_ns = record.planned.spec.duration_ms * MS
            names = [service.name for service in self._supervisor.services]
            back = [self._back(name, 1) for name in names]
            record.steps = [(now_ns, lambda: self._supervisor.power_off(off_ns))]
            record.over = lambda: all(one() for one in back)
        elif record.planned.name == "late-verdict":
            record.steps = [
                (now_ns, lambda: self._signal("vision", signal.SIGSTOP)),
                (now_ns + LATE_NS, lambda: self._signal("vision", signal.SIGCONT)),
            ]
            record.over = lambda: True
        elif record.planned.name == "recorder-full":
            record.steps = [
                (now_ns, lambda: self._quota(TOO_FEW_PAGES)),
                (now_ns + FULL_NS, lambda: self._quota(NO_QUOTA)),
            ]
            record.over = lambda: True
        elif record.planned.name == "wrong-digest":
            documents = self._documents
            record.steps = [
                (now_ns, lambda: self._exchange(documents.other_bundle, documents.other_recipe)),
                (now_ns + OTHER_BUNDLE_NS, lambda: self._exchange(documents.bundle, documents.recipe)),
            ]
            record.over = self._back("vision", 2)

    def _strike(self, record: Record, process: str, number: signal.Signals, now_ns: int) -> None:
        record.steps = [(now_ns, lambda: self._signal(process, number))]
        record.over = self._back(process, 1)

    def _back(self, process: str, restarts: int) -> Callable[[], bool]:
        """Return the condition `process was restarted so many times from now on and is ready`."""
        service = next(s for s in self._supervisor.services if s.name == process)
        wanted = service.restarts + restarts
        return lambda: service.restarts >= wanted and service.phase is Phase.READY

    def _take_steps(self, record: Record, now_ns: int) -> None:
        while record.steps and record.steps[0][0] <= now_ns:
            _, step = record.steps.pop(0)
            step()

    def _signal(self, process: str, number: signal.Signals) -> None:
        self._supervisor.signal(process, number)

    def _exchange(self, bundle: Path, recipe: Path) -> None:
        repoint(self._run.bundle, bundle.resolve())
        repoint(self._run.recipe, recipe.resolve())
        self._signal("vision", signal.SIGKILL)

    def _quota(self, pages: str) -> None:
        act = Act("record-quota", "simulator", "engineer", "fault recorder-full", "", pages)
        self._recorder.send(act)
