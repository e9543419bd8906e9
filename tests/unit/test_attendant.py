"""The simulated person: what he presses, when, and that he leaves a running line alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from daemon.messages import Act, Answer, Hello, Status
from daemon.wire import Listener, Peer
from provisioning.attendant import LONG_PATIENCE_NS, PATIENCE_NS, Attendant

MET, UNMET = ("vision connected", True, "wait"), ("vision connected", False, "wait")


class Line:
    """Stands where the line listens and writes down the acts."""

    def __init__(self, runtime: Path) -> None:
        self._listener = Listener(runtime / "line.sock")
        self._peer: Peer | None = None

    def acts(self) -> list[Act]:
        """Return what arrived, answering each act."""
        self._peer = self._peer or self._listener.accept()
        found: list[Act] = []
        while self._peer is not None and (message := self._peer.receive()) is not None:
            if isinstance(message, Act):
                found.append(message)
                self._peer.send(Answer(True, "done"))
            else:
                assert isinstance(message, Hello)
        return found

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._listener.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.close()


@pytest.fixture
def attendant(tmp_path: Path) -> Iterator[Attendant]:
    attendant = Attendant(tmp_path)
    yield attendant
    attendant.close()


def _status(state: str, conditions: list[tuple[str, bool, str]]) -> Status:
    empty: dict[str, Any] = {"counts": {}, "reasons": {}, "alarms": [], "recent": [], "latency_ms": {}, "cameras": {}}
    texts: dict[str, Any] = {"mode": "automatic", "authority": "LINEWARDEN", "batch": "B", "bundle": ""}
    return Status(state=state, epoch=1, first_out="x", conditions=conditions, unstored=0, **empty, **texts)


@pytest.mark.parametrize(
    ("state", "kind"),
    [("ABORTED", "clear"), ("STOPPED", "reset"), ("IDLE", "start"), ("HELD", "reset"), ("SUSPENDED", "reset")],
)
def test_after_some_patience_the_right_button_is_pressed_once(
    line: Line, attendant: Attendant, state: str, kind: str
) -> None:
    status = _status(state, [MET])
    assert attendant.tick(status, 0) == ""
    assert attendant.tick(status, PATIENCE_NS - 1) == ""
    assert attendant.tick(status, PATIENCE_NS).startswith(f"attendant: {kind}")
    assert attendant.tick(status, PATIENCE_NS + 1) == ""
    (act,) = line.acts()
    assert (act.kind, act.actor, bool(act.reason)) == (kind, "attendant", True)
    assert attendant.done[0].document() == {
        "at_ns": PATIENCE_NS,
        "kind": kind,
        "state": state.lower(),
        "first_out": "x",
    }


@pytest.mark.parametrize("state", ["HELD", "SUSPENDED"])
def test_a_hold_with_a_cause_is_left_to_the_device_for_a_while(line: Line, attendant: Attendant, state: str) -> None:
    status = _status(state, [MET, UNMET])
    assert [attendant.tick(status, at) for at in (0, PATIENCE_NS, LONG_PATIENCE_NS - 1)] == [""] * 3
    assert line.acts() == []
    assert attendant.tick(status, LONG_PATIENCE_NS).startswith("attendant: reset")


def test_a_running_line_is_left_alone(line: Line, attendant: Attendant) -> None:
    status = _status("EXECUTE", [MET])
    assert [attendant.tick(status, n * PATIENCE_NS) for n in range(4)] == [""] * 4
    assert line.acts() == []


def test_where_nobody_listens_nothing_was_done(attendant: Attendant) -> None:
    status = _status("STOPPED", [MET])
    attendant.tick(status, 0)
    assert attendant.tick(status, PATIENCE_NS) == ""
    assert attendant.done == []


def test_without_a_plc_he_empties_the_machine_with_his_hands_before_he_says_so(line: Line, tmp_path: Path) -> None:
    taken: list[int] = []
    attendant = Attendant(tmp_path, taken.append)
    status = replace(_status("STOPPED", [MET]), units_in_machine=9, behind_gate=4)
    attendant.tick(status, 0)
    assert attendant.tick(status, PATIENCE_NS).startswith("attendant: clear")
    assert taken == [4] and [(act.kind, act.new) for act in line.acts()] == [("clear", "removed")]
    attendant.close()


@pytest.mark.parametrize("state", ["ABORTED", "STOPPED", "IDLE"])
def test_without_planned_faults_only_a_hold_is_reset(line: Line, tmp_path: Path, state: str) -> None:
    attendant = Attendant(tmp_path, planned=False)
    for at in range(4):
        assert attendant.tick(_status(state, [MET]), at * LONG_PATIENCE_NS) == ""
    assert attendant.tick(_status("HELD", [MET]), 5 * LONG_PATIENCE_NS) == ""
    assert attendant.tick(_status("HELD", [MET]), 6 * LONG_PATIENCE_NS).startswith("attendant: reset")
    attendant.close()
