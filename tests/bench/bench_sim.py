"""`make bench`: what the line in a box reaches on this machine, as a table and as JSON.

First the figures at 600/min over many units, then the highest rate at which nothing is late. Every figure carries its
envelope: n, percentile, processors, load before and after. A shared machine's milliseconds are not comparable with
another day's; the column `overhead` is, because the bare inference beside it was measured in the same run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RATES = (1200, 1800, 2400, 3000)
SECONDS_PER_RATE = 20
KEPT_KEYS = ("units", "truth", "reasons", "late", "rate_per_min", "latency_ms", "restarts", "closed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    parser.add_argument("--units", type=int, default=3000, help="vials of the run at 600/min")
    parser.add_argument("--quick", action="store_true", help="300 vials and one higher rate")
    options = parser.parse_args()
    units, rates = (300, RATES[:1]) if options.quick else (options.units, RATES)
    runs = [_run(600, units)] + [_run(rate, rate * SECONDS_PER_RATE // 60) for rate in rates]
    document = {"machine": _machine(), "runs": runs, "highest_rate_without_late": _highest(runs)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(document, Console(width=max(Console().width, 130)))
    return 0 if all(run["report"] for run in runs) else 1


def _run(rate: int, units: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--units", str(units)]
        command += ["--rate", str(rate), "--report", str(path)]
        before = os.getloadavg()[0]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        report = json.loads(path.read_bytes()) if path.exists() else {}
    return {
        "rate": rate,
        "units": units,
        "status": done.returncode,
        "load_before": round(before, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "report": {key: report[key] for key in KEPT_KEYS if key in report},
    }


def _highest(runs: list[dict[str, Any]]) -> int:
    """The highest rate of which it and every lower one closed without a late unit, 0 when none did."""
    highest = 0
    for run in runs:
        if run["status"] != 0 or run["report"]["late"]:
            break
        highest = run["rate"]
    return highest


def _machine() -> dict[str, Any]:
    models = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    processors = len(os.sched_getaffinity(0))
    return {
        "processors": processors,
        "model": (models or ["?"])[0],
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _show(document: dict[str, Any], console: Console) -> None:
    machine = document["machine"]
    table = Table(
        title=f"{machine['processors']} x {machine['model']}, Python {machine['python']}", title_justify="left"
    )
    for name in ("rate", "n", "closed", "late", "no image", "misbound", "load"):
        table.add_column(name, justify="right")
    for name in ("permit p50", "p99", "max", "bare p50", "overhead"):
        table.add_column(f"{name}, ms", justify="right")
    for run in document["runs"]:
        table.add_row(f"{run['rate']}/min", *_cells(run))
    console.print(table)
    console.print(f"highest rate without a late unit: {document['highest_rate_without_late']}/min")


def _cells(run: dict[str, Any]) -> list[str]:
    report = run["report"]
    if not report:
        return [str(run["units"]), f"failed ({run['status']})"]
    permit, bare = report["latency_ms"]["trigger_to_permit"], report["latency_ms"]["bare_inference"]
    overhead = permit["p50"] - 1.0 - bare["p50"] if permit["n"] and bare["n"] else None
    counts = [str(run["units"]), "yes" if report["closed"] else "no", str(report["late"])]
    counts += [str(report["reasons"].get("no_image", 0)), str(report["truth"]["misbound"])]
    counts.append(f"{run['load_before']}-{run['load_after']}")
    values = (permit["p50"], permit["p99"], permit["max"], bare["p50"], overhead)
    return counts + ["-" if value is None else f"{value:.1f}" for value in values]


if __name__ == "__main__":
    sys.exit(main())
