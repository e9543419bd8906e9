"""`linewarden sim --wiring diverter` as a person types it: no PLC, and the computer loses its power in the middle.

What the box cannot know here is which number a vial had; the report joins by the time of the infeed edge.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning import places, simstation

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 110.0


def _built() -> bool:
    try:
        simstation.demo_documents()
    except places.PlaceError:
        return False
    return True


@pytest.mark.skipif(not _built(), reason="needs the demo documents and simline.cti: make setup")
def test_a_power_cut_passes_nothing_and_a_person_brings_the_line_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--wiring", "diverter", "--units", "40"]
    command += ["--fault", "power-off@20", "--keep", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    report = json.loads((folder / "report.json").read_bytes())
    truth = report["truth"]
    assert report["closed"] and (truth["misbound"], truth["escaped"], truth["passed_not_released"]) == (0, 0, 0)
    units, acts = report["units"], [act["kind"] for act in report["acts"]]
    assert units["accepted"] > 0 and units["removed"] > 0
    assert units["in"] == sum(units[name] for name in ("accepted", "rejected", "undecided", "sampled", "removed"))
    assert acts[:2] == ["clear", "clear"] and "start" in acts
    assert all(report["restarts"][name] == 1 for name in ("line", "recorder", "vision"))
    log = json.loads((folder / "truth.json").read_bytes())
    taken = [vial["vial"] for vial in log["vials"] if vial["taken"]]
    assert len(taken) >= units["removed"]
