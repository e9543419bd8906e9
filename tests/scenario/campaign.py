"""`make campaign-processes`: every fault alone in a run of its own, against what `provisioning/faultplan.py` expects.

Longer than a test may be (about 15 s a fault); `make test` plays the same faults several to a run. Exit 0 only if every
batch closed that can, nothing escaped, no verdict came from another vial's pixels, and the line was in no other state.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from drivers.sim.faults import FaultName
from provisioning.faultplan import EXPECTED

STRIKES_AT = 40


@dataclass(frozen=True, slots=True)
class Played:
    """One run: its exit status and the report, empty when it left none."""

    name: FaultName
    status: int
    report: dict[str, Any]

    @property
    def fault(self) -> dict[str, Any]:
        return next(iter(self.report.get("faults", [])), {})

    @property
    def unexpected(self) -> list[str]:
        """States that the table does not name for this fault."""
        return [state for state in self.fault.get("states", []) if state not in self.fault["expected_states"]]

    @property
    def good(self) -> bool:
        expected = 0 if EXPECTED[self.name].closes else 1
        safe = bool(self.report) and not (self.report["truth"]["escaped"] or self.report["truth"]["misbound"])
        return self.status == expected and safe and bool(self.fault) and not self.unexpected


def play(name: FaultName, units: int, rate: int) -> Played:
    """Run `linewarden sim` with one fault."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--units", str(units)]
        command += ["--rate", str(rate), "--fault", f"{name}@{STRIKES_AT}", "--report", str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return Played(name, done.returncode, json.loads(path.read_bytes()) if path.exists() else {})


def row(played: Played) -> list[str]:
    """Return the cells of one run."""
    report, fault = played.report, played.fault
    if not report:
        return [played.name.value, f"failed ({played.status})", *[""] * 7]
    units, truth = report["units"], report["truth"]
    states = " ".join(fault.get("states", []))
    return [
        played.name.value,
        "yes" if report["closed"] else "no",
        str(units["in"]),
        str(units["accepted"]),
        str(truth["escaped"]),
        str(truth["misbound"]),
        f"{(fault.get('longest_permit_pause_ms') or 0) / 1000:.2f}",
        f"{states} (unexpected: {' '.join(played.unexpected)})" if played.unexpected else states,
        fault.get("resets", "").split(":")[0],
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--rate", type=int, default=600)
    parser.add_argument("--only", action="append", type=FaultName, metavar="NAME")
    parser.add_argument("--json", type=Path, default=Path("build/campaign-processes.json"), metavar="FILE")
    options = parser.parse_args()
    console = Console(width=max(Console().width, 130))
    names = options.only or list(FaultName)
    runs = [play(name, options.units, options.rate) for name in track(names, "faults", console=console)]
    table = Table(title=f"{len(runs)} faults, {options.units} vials each at {options.rate}/min", title_justify="left")
    for column in ("fault", "closed", "in", "accepted", "escaped", "misbound", "no permit for, s", "states", "resets"):
        table.add_column(column)
    for played in runs:
        table.add_row(*row(played))
    console.print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = [{"fault": p.name.value, "status": p.status, "good": p.good, "report": p.report} for p in runs]
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    bad = [played.name.value for played in runs if not played.good]
    console.print(f"not as expected: {', '.join(bad)}" if bad else "every fault as expected")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
