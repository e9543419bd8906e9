"""`linewarden why` and `alarms`: first cause first, what came after it, and what to do, in the operator's language."""

import io
from typing import Any

import pytest
from rich.console import Console

from daemon.catalogue import LANGUAGES, catalogue
from daemon.messages import AlarmLine, Status
from provisioning.why import alarm_list, all_is_well, explanation

S = 10**9


def _status(**changes: Any) -> Status:
    values: dict[str, Any] = {
        "state": "EXECUTE", "mode": "automatic", "authority": "LINEWARDEN", "batch": "B-1", "epoch": 2, "first_out": "",
        "conditions": [("PLC connected", True, "check the cable"), ("camera body acquires", True, "check its cable")],
        "condition_keys": [("link", ""), ("camera_acquires", "body")],
        "counts": {}, "reasons": {}, "alarms": [], "recent": [], "latency_ms": {}, "cameras": {}, "unstored": 0,
        "bundle": "demo 1",
    }  # fmt: skip
    return Status(**(values | changes))


def _drawn(renderable: Any, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


HELD = _status(
    state="HELD",
    stopped=True,
    causes=[(S, "BIN_FULL", ""), (2 * S, "FRAME_LOST", "body: gap")],
    latched=["BIN_FULL"],
    conditions=[("PLC connected", True, "check the cable"), ("camera body acquires", False, "check its cable")],
)


def test_first_cause_then_the_others_then_the_conditions() -> None:
    lines = _drawn(explanation(HELD)).splitlines()
    assert lines[0].startswith("The line is held. First cause: the reject bin is full. 1 of 2 conditions are not met:")
    assert lines[1] == "  -> empty the reject bin, then reset"
    assert lines[2] == "  then: a frame was lost: body: gap -> check the camera link if this comes often"
    assert lines[3] == "A person must reset: BIN_FULL."
    assert lines[5].split("  ")[:1] == ["met"] and "check the PLC's" not in lines[5]
    assert "not met" in lines[6] and "camera body acquires" in lines[6] and "check its cable and supply" in lines[6]


def test_the_same_in_chinese() -> None:
    text = _drawn(explanation(HELD, catalogue("zh")))
    for words in ("已保持", "首要原因:剔除箱已满", "清空剔除箱", "随后:丢失一帧图像", "相机 body 正在采集", "不满足"):
        assert words in text
    assert "the reject bin" not in text


def test_an_abort_says_clear_reset_and_who_is_still_in_the_machine() -> None:
    status = _status(state="ABORTED", stopped=True, causes=[(S, "GUARD_OPEN", "")], reset_owed=True, units_in_machine=4)
    text = _drawn(explanation(status))
    assert "First cause: the guard is open." in text
    assert "clears first (`linewarden clear`), then resets, then starts" in text
    assert "4 units are still in the machine" in text
    cleared = _drawn(explanation(_status(state="STOPPED", units_in_machine=4, empty_run="line clearance by ann")))
    assert "The next start begins with an empty-line run: line clearance by ann." in cleared


def test_a_stop_that_is_over_is_told_as_such() -> None:
    text = _drawn(explanation(_status(causes=[(S, "AIR_LOW", "")])))
    assert "Last stop, over by itself: air pressure is low. Every condition is met." in text


@pytest.mark.parametrize(
    ("state", "says"), [("EXECUTE", "Every condition is met."), ("STOPPED", "a person may reset and start it")]
)
def test_why_says_when_nothing_is_missing(state: str, says: str) -> None:
    assert says in _drawn(explanation(_status(state=state)))


def test_only_an_executing_line_with_every_condition_is_well() -> None:
    assert all_is_well(_status())
    assert not all_is_well(HELD) and not all_is_well(_status(state="STOPPED"))


ALARMS = [
    AlarmLine("BIN_FULL", "BIN_FULL", "unacknowledged", S, 3, "", "", 0),
    AlarmLine("FRAME_LOST/body", "FRAME_LOST", "returned", S, 120, "body: gap", "", 0),
    AlarmLine("CAMERA_LOST/crimp", "CAMERA_LOST", "shelved", S, 1, "crimp", "ann", 61 * S),
]


def test_alarms_with_state_count_and_who_shelved_them() -> None:
    lines = _drawn(alarm_list(_status(standing=ALARMS, now_ns=S))).splitlines()
    names = [" ".join(line.split()[:2]) for line in lines[1:]]
    assert names == ["BIN_FULL active,", "FRAME_LOST/body gone,", "CAMERA_LOST/crimp shelved"]
    assert "120" in lines[2] and "a frame was lost: body: gap" in lines[2]
    assert "shelved 2 min (ann)" in lines[3]
    assert "No alarm stands" in _drawn(alarm_list(_status()))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [60, 100])
def test_no_language_breaks_the_picture(language: str, width: int) -> None:
    texts = catalogue(language)
    for picture in (explanation(HELD, texts), alarm_list(_status(standing=ALARMS), texts)):
        assert _drawn(picture, width)
