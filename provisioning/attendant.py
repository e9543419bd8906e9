"""The person beside the simulated line: brings it back after a fault that the device must not clear by itself.

He acts as a person at the panel would, through Act to the owner, and everything he did is in the report. In a run
without planned faults he resets a line that holds, as a busy computer may make it; one that aborts is a finding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.messages import Act, Answer, Status
from provisioning.owners import Owner

PATIENCE_NS = 500_000_000
LONG_PATIENCE_NS = 2_500_000_000
ACTS = {"aborted": "clear", "stopped": "reset", "idle": "start", "held": "reset", "suspended": "reset"}
MAY_CLEAR_ITSELF = {"held", "suspended"}


@dataclass(frozen=True, slots=True)
class Done:
    """One thing the person did, the state he found and why the line was in it."""

    at_ns: int
    kind: str
    state: str
    first_out: str

    def document(self) -> dict[str, Any]:
        return {"at_ns": self.at_ns, "kind": self.kind, "state": self.state, "first_out": self.first_out}


@dataclass(slots=True)
class Attendant:
    """Owned by the loop of `linewarden sim`. `hands` empties the machine and takes back the newest n that passed."""

    runtime: Path
    hands: Callable[[int], None] | None = None
    planned: bool = True
    done: list[Done] = field(default_factory=list)
    _owner: Owner | None = None
    _state: str = ""
    _since_ns: int = 0

    def tick(self, status: Status, now_ns: int) -> str:
        """Look at the line; return what was done now, "" for nothing."""
        self._drain()
        state = status.state.lower()
        if state != self._state:
            self._state, self._since_ns = state, now_ns
        if state not in (ACTS if self.planned else MAY_CLEAR_ITSELF) or now_ns - self._since_ns < _patience_ns(
            state, status
        ):
            return ""
        self._since_ns = now_ns
        if state == "stopped" and status.units_in_machine and not status.empty_run:
            return self._clear(status, now_ns)
        return self._press(ACTS[state], status, now_ns, "")

    def _clear(self, status: Status, now_ns: int) -> str:
        """Say what becomes of the units in the machine: the PLC diverts them, or without one he takes them out."""
        if self.hands is None:
            return self._press("clear", status, now_ns, "rejected")
        self.hands(status.behind_gate)
        return self._press("clear", status, now_ns, "removed")

    def close(self) -> None:
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _press(self, kind: str, status: Status, now_ns: int, new: str) -> str:
        if self._owner is None:
            self._owner = Owner(self.runtime, "line")
        if not self._owner.send(
            Act(kind, "attendant", "operator", f"after {status.first_out or 'a restart'}", "", new)
        ):
            return ""
        self.done.append(Done(now_ns, kind, status.state.lower(), status.first_out))
        return f"attendant: {kind} ({status.first_out or 'line restarted'})"

    def _drain(self) -> None:
        while self._owner is not None and isinstance(self._owner.receive(), Answer):
            pass


def _patience_ns(state: str, status: Status) -> int:
    """A hold with a cause is left to the device for longer, not for ever: a camera gets in step only with vials."""
    missing = any(not met for _, met, _ in status.conditions)
    return LONG_PATIENCE_NS if state in MAY_CLEAR_ITSELF and missing else PATIENCE_NS
