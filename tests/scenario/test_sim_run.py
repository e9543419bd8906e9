"""`linewarden sim` as a person types it: the box and all daemons for real, clean and with every fault.

What may depend on the machine's speed (late units, milliseconds) is not asserted here; that a batch closes, that
nothing escapes and that no verdict comes from another vial's pixels must hold however slow the machine is.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drivers.sim.faults import FaultName
from provisioning import cli, places, simstation
from provisioning.faultplan import EXPECTED

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/interfaces/report-v1.schema.json").read_bytes())
LIMIT_S = 110.0
SIM = (sys.executable, "-m", "provisioning.cli", "sim", "--headless")

F = FaultName
ROUNDS = {
    "edges and frames": (
        20,
        (
            *(F.EDGE_LOST, F.EDGE_EXTRA, F.EDGE_LATE, F.BUSY_TRIGGER, F.DOUBLE_TRIGGER),
            *(F.FRAME_LOST, F.FRAME_DUP, F.FRAME_REORDER, F.INCOMPLETE_FRAME, F.STALE_BUFFER),
        ),
    ),
    "cameras": (50, (F.CAMERA_LOSS, F.CAMERA_RESTART, F.KILL_CAMERA, F.HANG_CAMERA)),
    "vision": (50, (F.KILL_VISION, F.HANG_VISION, F.LATE_VERDICT, F.WRONG_DIGEST)),
    "recorder and plc": (
        50,
        (F.RECORDER_FULL, F.KILL_RECORDER, F.HANG_RECORDER, F.PLC_LINK_DOWN, F.PLC_RESTART, F.RESTART_SAME_NUMBERS),
    ),
    "line and inputs": (50, (F.KILL_LINE, F.HANG_LINE, F.POWER_OFF, F.GUARD_OPEN, F.LIGHT_OUT)),
}
"""Faults of one run, and the vials between two of them: time for the one before to be over, and to be in step again."""
CAMPAIGN_ONLY = {F.AIR_LOW, F.BIN_FULL, F.REJECT_INHIBITED, F.CHUTE_BLIND}
"""As `inputs`, or leaving the batch open: `make campaign` plays them."""


def _built() -> bool:
    try:
        simstation.demo_documents()
    except places.PlaceError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _built(), reason="needs the demo documents and simline.cti: make setup")


def _sim(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*SIM, "--keep", str(folder), *arguments]
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def _report(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    Draft202012Validator(SCHEMA).validate(document)
    return document


def _assert_clean(folder: Path, done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    report = _report(folder)
    assert report["closed"]
    assert (report["truth"]["misbound"], report["truth"]["escaped"]) == (0, 0)
    units = report["units"]
    assert units["in"] == sum(units[name] for name in ("accepted", "rejected", "undecided", "sampled", "removed"))
    return report


@pytest.mark.clause("21 CFR 211.188")
def test_a_batch_runs_closes_and_leaves_report_and_pictures(tmp_path: Path) -> None:
    folder, copy = tmp_path / "run", tmp_path / "r.json"
    done = _sim(folder, "--units", "60", "--rate", "1200", "--seed", "5", "--report", str(copy))
    report = _assert_clean(folder, done)
    assert report["units"]["in"] == report["plc"]["created"] == 60
    assert report["plc"]["passed"] == report["units"]["accepted"] > 0
    assert report["latency_ms"]["trigger_to_permit"]["n"] >= report["units"]["accepted"]
    assert report["latency_ms"]["bare_inference"]["n"] >= 200
    assert json.loads(copy.read_bytes()) == report
    assert (folder / "rejects" / "contact-sheet.png").exists()
    assert str(copy) in done.stdout
    assert not (folder / simstation.RUNTIME_LINK).is_symlink()


@pytest.mark.clause("21 CFR 211.188", "21 CFR 11.70")
def test_a_signed_swap_inside_the_batch_costs_no_unit(tmp_path: Path) -> None:
    """What depends on the machine's speed is that a unit is late; that each is judged by its own side does not."""
    other = simstation.demo_documents().other_bundle
    done = _sim(tmp_path / "run", "--units", "60", "--rate", "1200", "--swap-bundle", f"{other}@25")
    report = _assert_clean(tmp_path / "run", done)
    first, second = report["sublots"]
    assert first["units"]["in"] + second["units"]["in"] == 60 and first["bundle"] != second["bundle"]
    assert first["places"][0]["last"] + 1 == second["places"][0]["first"] > 25
    assert (first["signed_by"], second["signed_by"]) == (None, "Anna Berg")
    assert second["units"]["accepted"] > 0 and report["restarts"] == dict.fromkeys(report["restarts"], 0)
    assert "mismatch" not in report["reasons"]
    assert "Anna Berg" in done.stdout


def test_the_rounds_play_every_fault() -> None:
    played = sorted(fault for _, faults in ROUNDS.values() for fault in faults)
    assert played == sorted(set(FaultName) - CAMPAIGN_ONLY)


@pytest.mark.clause("Annex 11 §16", "21 CFR 211.192")
@pytest.mark.parametrize("name", ROUNDS)
def test_under_faults_the_batch_closes_and_nothing_escapes(name: str, tmp_path: Path) -> None:
    between, faults = ROUNDS[name]
    orders = [word for n, fault in enumerate(faults) for word in ("--fault", f"{fault}@{15 + between * n}")]
    done = _sim(tmp_path / "run", "--units", str(45 + between * len(faults)), "--rate", "1000", *orders)
    report = _assert_clean(tmp_path / "run", done)
    assert [fault["name"] for fault in report["faults"]] == list(faults)
    for fault in report["faults"]:
        assert fault["end_ns"], f"{fault['name']} was not over at the end"
        assert fault["resets"] == EXPECTED[FaultName(fault["name"])].resets.value


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.4")
@pytest.mark.parametrize("document", ["bundle", "recipe"])
def test_a_flipped_byte_in_any_file_ends_the_run_before_it_begins(
    document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = getattr(simstation.demo_documents(), document)
    for number, path in enumerate(sorted(path for path in original.rglob("*") if path.is_file())):
        copy = tmp_path / f"{document}-{number}"
        shutil.copytree(original, copy)
        damaged = copy / path.relative_to(original)
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        orders = ("--units", "10", f"--{document}", str(copy))
        assert cli.main(("sim", "--headless", "--keep", str(tmp_path / "run"), *orders)) == 1, path
        said = capsys.readouterr()
        assert (said.out, len(said.err.splitlines())) == ("", 1), said
        assert not (tmp_path / "run").exists()
    done = _sim(tmp_path / "run", *orders)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said.err)


def _await(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _ask(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "provisioning.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_a_running_line_can_be_asked_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runtime = folder / simstation.RUNTIME_LINK
    command = [*SIM, "--keep", str(folder), "--units", "5000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sim:
        _await(lambda: '"EXECUTE"' in _ask("status", "--json", "--runtime", str(runtime)).stdout)
        assert "LINEWARDEN" in _ask("status", "--runtime", str(runtime)).stdout
        _await(lambda: _ask("why", "--runtime", str(runtime)).returncode == 0)
        started = runtime.resolve()
        sim.send_signal(signal.SIGINT)
        _, errors = sim.communicate(timeout=LIMIT_S)
    assert (sim.returncode, errors.decode()) == (130, "linewarden: stopped\n")
    assert not started.exists()
    assert _mentioning(str(folder)) == []


def _mentioning(text: str) -> list[str]:
    """Command lines of living processes that name `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in words:
                found.append(words)
    return found
