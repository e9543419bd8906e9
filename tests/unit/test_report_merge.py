"""What the box knows against what the ledger says: each kind of contradiction is found, and nothing else."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioning import report
from provisioning.truth import (
    Exposure,
    LedgerUnit,
    LedgerView,
    PermitSeen,
    Truth,
    TruthError,
    UnitKey,
    Vial,
    judge,
    read_ledger,
    read_truth,
)

ROOT = Path(__file__).resolve().parents[2]
GOOD, BAD = Vial((), "pass"), Vial(("crack",), "chute")


def _frame(vial: int, digest: str = "") -> tuple[tuple[str, int, int], Exposure]:
    return ("body", vial, 1000 * vial), Exposure(vial, digest or f"d{vial}")


def _unit(number: int, outcome: str, verdict: str, reason: str, vial: int = 0, digest: str = "") -> LedgerUnit:
    vial = vial or number
    views = (LedgerView(("body", vial, 1000 * vial), digest or f"d{vial}"),)
    return LedgerUnit((1, 0, number), outcome, verdict, reason, 10**9 * number, views)


def _truth(vials: dict[int, Vial]) -> Truth:
    units: dict[UnitKey, int] = {(1, 0, n): n for n in vials}
    permits = {key: PermitSeen(10**6 * vial, 10**6 * (vial + 8)) for key, vial in units.items() if vials[vial] == GOOD}
    return Truth(dict(_frame(n) for n in vials), vials, units, permits)


TRUTH = _truth({1: GOOD, 2: GOOD, 3: BAD})
ACCEPTED = ("accepted", "accept", "none")
DEFECT = ("rejected", "reject", "defect")
CLEAN = [_unit(1, *ACCEPTED), _unit(2, *ACCEPTED), _unit(3, *DEFECT)]


def _counts(truth: Truth, ledger: list[LedgerUnit]) -> dict[str, Any]:
    document = judge(truth, ledger).document()
    return {name: count for name, count in document.items() if name != "named" and count}


def test_a_clean_batch_has_nothing_to_say() -> None:
    assert _counts(TRUTH, CLEAN) == {}


def test_an_accepted_defect_is_missed() -> None:
    ledger = [*CLEAN[:2], _unit(3, *ACCEPTED)]
    assert _counts(TRUTH, ledger) == {"missed_defects": 1}


def test_a_good_vial_rejected_by_the_model_is_a_false_reject_one_rejected_by_a_fault_is_none() -> None:
    assert _counts(TRUTH, [_unit(1, *DEFECT), *CLEAN[1:]]) == {"false_rejects": 1, "passed_not_released": 1}
    late = _unit(1, "rejected", "reject", "late")
    truth = replace(TRUTH, vials={**TRUTH.vials, 1: Vial((), "chute")})
    assert _counts(truth, [late, *CLEAN[1:]]) == {}


def test_a_verdict_from_another_vials_frame_is_misbound() -> None:
    assert _counts(TRUTH, [_unit(1, *ACCEPTED, vial=2), *CLEAN[1:]]) == {"misbound": 1}


def test_a_rejection_from_another_vials_frame_is_misbound_too() -> None:
    assert _counts(TRUTH, [*CLEAN[:2], _unit(3, *DEFECT, vial=1)])["misbound"] == 1


def test_the_right_frame_with_other_pixels_is_misbound() -> None:
    assert _counts(TRUTH, [_unit(1, *ACCEPTED, digest="d2"), *CLEAN[1:]]) == {"misbound": 1}


def test_a_frame_the_camera_never_made_is_misbound() -> None:
    assert _counts(TRUTH, [_unit(1, *ACCEPTED, vial=77), *CLEAN[1:]]) == {"misbound": 1}


def test_a_verdict_on_a_phantom_is_misbound() -> None:
    truth = replace(TRUTH, units={**TRUTH.units, (1, 0, 1): 0})
    assert _counts(truth, CLEAN)["misbound"] == 1


def test_frames_behind_a_unit_that_was_rejected_for_mismatch_credit_nobody() -> None:
    caught = _unit(3, "rejected", "reject", "mismatch", vial=1)
    assert _counts(TRUTH, [*CLEAN[:2], caught]) == {}


def test_a_vial_past_the_gate_that_no_row_releases_is_found() -> None:
    truth = replace(TRUTH, vials={**TRUTH.vials, 3: Vial(("crack",), "pass")})
    document = judge(truth, CLEAN).document()
    assert (document["passed_not_released"], document["named"]) == (1, {"passed_not_released": ["vial 3"]})
    assert _counts(TRUTH, CLEAN[1:]) == {"passed_not_released": 1}


@pytest.mark.parametrize("outcome", ["quarantined", "escaped"])
def test_a_released_vial_that_has_to_be_found_again_is_known(outcome: str) -> None:
    assert _counts(TRUTH, [_unit(1, outcome, "accept", "line_down"), *CLEAN[1:]]) == {}


def test_what_the_box_calls_escaped_is_escaped() -> None:
    truth = replace(TRUTH, vials={**TRUTH.vials, 2: Vial((), "pass", escaped=True)})
    assert _counts(truth, CLEAN) == {"escaped": 1}


def _recorders(**changes: Any) -> dict[str, Any]:
    empty = {"n": 0, "p50": None, "p99": None, "p999": None, "max": None}
    stages = ("trigger_to_frame", "frame_to_verdict", "trigger_to_permit", "bare_inference")
    return {"closed": True, "truth": None, "latency_ms": dict.fromkeys(stages, empty), "faults": []} | changes


def test_completing_adds_what_the_box_measured_and_changes_no_number_of_the_daemon() -> None:
    control = {"body": [5_000_000, 7_000_000], "crimp": [1_000_000, 3_000_000]}
    merged = report.complete(_recorders(units={"in": 3}), TRUTH, CLEAN, {"faults": [], "restarts": {}}, control)
    assert merged["units"] == {"in": 3}
    assert merged["latency_ms"]["trigger_to_permit"] == {"n": 2, "p50": 8.0, "p99": 8.0, "p999": 8.0, "max": 8.0}
    assert merged["latency_ms"]["bare_inference"]["max"] == 3.0
    assert merged["latency_ms"]["bare_inference_by_camera"]["body"]["max"] == 7.0
    assert merged["restarts"] == {}


def test_the_pause_around_a_fault_is_between_two_permits() -> None:
    fault = {"name": "kill-vision", "begin_ns": 1_200_000_000, "end_ns": 1_900_000_000}
    merged = report.complete(_recorders(), TRUTH, CLEAN, {"faults": [fault]}, {})
    assert merged["faults"][0]["longest_permit_pause_ms"] == 1000.0


@pytest.mark.parametrize(
    ("closed", "escaped", "misbound", "good"),
    [(True, 0, 0, True), (False, 0, 0, False), (True, 1, 0, False), (True, 0, 1, False)],
)
def test_only_a_closed_batch_without_escapes_and_misbinding_is_good(
    closed: bool, escaped: int, misbound: int, good: bool
) -> None:
    truth = {"escaped": escaped, "misbound": misbound, "missed_defects": 1, "false_rejects": 1}
    assert report.good(_recorders(closed=closed, truth=truth)) is good
    assert not report.good(_recorders(closed=closed, truth=None))


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("older")
    report.write({"closed": True}, path)
    assert json.loads(path.read_text()) == {"closed": True}
    assert list(tmp_path.iterdir()) == [path]


def test_the_ledger_is_read_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(path)
    database.executescript((ROOT / "docs/interfaces/ledger-schema-v1.sql").read_text(encoding="utf-8"))
    text = (
        "(1, 0, ?, ?, 'c', 'accepted', 'accept', 'none', 'none', '', 'line', 'b', 0, 0, 0, 0, 0, 0, 0, 0, 77,"
        " 0, 0, 'ntp', x'')"
    )
    for batch, number in (("A", 1), ("B", 2)):
        database.execute(f"INSERT INTO unit VALUES {text}", (number, batch))
    database.execute("INSERT INTO unit_view VALUES (1, 0, 1, 0, 'body', 0, 0, 'body', 5, 6, 7, 'pixels', '{}')")
    database.commit()
    database.close()
    view = LedgerView(("body", 6, 7), "pixels")
    assert read_ledger(path, "A") == [LedgerUnit((1, 0, 1), "accepted", "accept", "none", 77, (view,))]


def test_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("nonsense")
    with pytest.raises(TruthError, match="not a readable ledger"):
        read_ledger(path, "A")
    with pytest.raises(TruthError, match="not the box's log"):
        read_truth(path)
    path.write_text('{"truth_version": 2}')
    with pytest.raises(TruthError, match="truth version 2"):
        read_truth(path)
