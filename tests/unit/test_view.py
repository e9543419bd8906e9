"""The views: what a person sees is in the picture, at every terminal width, in every state."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from daemon.messages import Status
from provisioning.snapshot import ProcessLine, Snapshot
from provisioning.view import PlainView, picture, status_picture

S = 10**9


def _status(**changes: Any) -> Status:
    values: dict[str, Any] = {
        "state": "EXECUTE",
        "mode": "automatic",
        "authority": "LINEWARDEN",
        "batch": "B-1",
        "epoch": 2,
        "first_out": "",
        "conditions": [("PLC connected", True, "check the cable"), ("vision connected", True, "wait")],
        "counts": {"in": 12, "accepted": 9, "rejected": 3, "escaped": 0},
        "reasons": {"defect": 2, "late": 1},
        "alarms": [(5 * S, "FRAME_LOST", "a frame was lost")],
        "recent": [("2.0.8", "accepted", "none", ""), ("2.0.9", "rejected", "defect", "missing_cap")],
        "latency_ms": {"n": 9.0, "p50": 8.25, "p99": 21.5, "max": 30.0},
        "cameras": {"body": "in step"},
        "unstored": 0,
        "bundle": "demo 1",
    }
    return Status(**(values | changes))


def _snapshot(status: Status | None = None) -> Snapshot:
    snapshot = Snapshot(300, 600.0, 1, (), 0, 17 * S, "inspecting", 12)
    snapshot.processes = (ProcessLine("vision", "ready", 1, "inspecting"), ProcessLine("line", "waiting", 2, ""))
    snapshot.tell("vision: restarted")
    if status is not None:
        snapshot.take(status)
    return snapshot


def _drawn(renderable: Any, width: int = 110) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_picture_shows_counts_rejects_latency_alarms_progress_and_state() -> None:
    text = _drawn(picture(_snapshot(_status())))
    for expected in (
        "EXECUTE",
        "12/300",
        "00:17",
        "accepted",
        "2.0.9",
        "missing cap",
        "8.2",
        "21.5",
        "a frame was lost",
    ):
        assert expected in text
    assert "vision: restarted" in text
    assert re.search(r"vision +ready +1", text)


@pytest.mark.parametrize("width", [60, 80, 110, 200])
@pytest.mark.parametrize("status", [None, _status(), _status(recent=[], latency_ms={"n": 0.0}, alarms=[])])
def test_no_line_is_wider_than_the_terminal(width: int, status: Status | None) -> None:
    lines = _drawn(picture(_snapshot(status)), width).splitlines()
    assert max(map(len, lines)) <= width


def test_a_unit_is_shown_once_however_often_it_is_reported() -> None:
    snapshot = _snapshot(_status())
    snapshot.take(_status())
    snapshot.take(_status(recent=[("2.0.9", "rejected", "defect", "crack"), ("2.0.10", "accepted", "none", "")]))
    assert [unit for unit, *_ in snapshot.strip] == ["2.0.8", "2.0.9", "2.0.10"]
    assert [unit for unit, *_ in snapshot.rejects] == ["2.0.9"]


def test_plain_progress_tells_every_event_once() -> None:
    output = io.StringIO()
    view = PlainView(Console(file=output, width=100))
    snapshot = _snapshot(_status())
    for _ in range(3):
        view.draw(snapshot)
    assert output.getvalue().count("vision: restarted") == 1
    assert output.getvalue().count("execute: 12/300 vials; 12 in, 9 accepted, 3 rejected; 1 late") == 1


def test_status_shows_the_first_cause() -> None:
    text = _drawn(status_picture(_status(state="HELD", first_out="vision connected")))
    assert "HELD" in text
    assert "vision connected" in text
