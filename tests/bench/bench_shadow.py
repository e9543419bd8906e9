"""What a candidate in shadow costs the line: `linewarden sim` with and without one, in turn, on this machine.

Each round plays the same vials three times: without a candidate, with it, and without once more as the control, in
another order every round. What two runs without one differ by at most is the noise; the effect is read beside it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
ARMS = ("off", "on", "control")
FIGURES = (("trigger_to_permit", "p50"), ("trigger_to_permit", "p99"), ("frame_to_verdict", "p99"))
Run = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shadow", type=Path, default=ROOT / "var" / "demo" / "bundle-other", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="interleaved rounds (default 5)")
    parser.add_argument("--units", type=int, default=600, metavar="N", help="vials of each run (default 600)")
    parser.add_argument("--rate", type=float, default=600.0, metavar="R", help="vials per minute (default 600)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench_shadow.json", metavar="FILE")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        order = ARMS[number % len(ARMS) :] + ARMS[: number % len(ARMS)]
        runs = {arm: _run(options, number + 1, shadow=arm == "on") for arm in order}
        rounds.append(runs)
        print(f"round {number + 1} of {options.rounds}: {', '.join(order)}", file=sys.stderr)
    document = {
        "machine": _machine(),
        "rate": options.rate,
        "units": options.units,
        "rounds": rounds,
        "effects": [_effect(rounds, *figure) for figure in FIGURES],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(document, Console(width=max(Console().width, 120)))
    return 0 if all(run["status"] == 0 for runs in rounds for run in runs.values()) else 1


def _run(options: argparse.Namespace, seed: int, *, shadow: bool) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        kept, path = Path(folder) / "run", Path(folder) / "report.json"
        command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--units", str(options.units)]
        command += ["--rate", str(options.rate), "--seed", str(seed), "--report", str(path), "--keep", str(kept)]
        command += ["--shadow", str(options.shadow)] if shadow else []
        before = os.getloadavg()[0]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        report = json.loads(path.read_bytes()) if path.exists() else {}
        seen = _shadow(kept) if shadow and report else {}
    return {
        "status": done.returncode,
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "latency_ms": report.get("latency_ms", {}),
        "late": report.get("late"),
        "shadow": seen,
    }


def _shadow(kept: Path) -> dict[str, int]:
    """What the candidate saw, from its own report."""
    command = [sys.executable, "-m", "provisioning.cli", "shadow", "report", "--json", "--state", str(kept)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    rounds = json.loads(done.stdout)["rounds"]
    return {name: sum(one[name] for one in rounds) for name in ("units", "dropped", "not_compared")}


def _effect(rounds: Sequence[dict[str, Run]], stage: str, percentile: str) -> dict[str, Any]:
    """Return the figure of each arm and the differences to the arm `off` of the same round, in ms."""
    values = [{arm: runs[arm]["latency_ms"].get(stage, {}).get(percentile) for arm in ARMS} for runs in rounds]
    whole = [value for value in values if None not in value.values()]
    by_arm = {arm: [value[arm] for value in whole] for arm in ARMS}
    differences = {arm: [round(value[arm] - value["off"], 3) for value in whole] for arm in ("on", "control")}
    noise = max(map(abs, differences["control"]), default=0.0)
    inside = bool(whole) and abs(median(differences["on"])) <= noise
    return {
        "figure": f"{stage} {percentile}",
        "n": len(whole),
        "ms": by_arm,
        "differences_ms": differences,
        "within_noise": inside,
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processors": len(os.sched_getaffinity(0)),
        "model": (models or ["?"])[0],
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _show(document: dict[str, Any], console: Console) -> None:
    machine = document["machine"]
    title = f"{machine['processors']} x {machine['model']}; {document['units']} vials at {document['rate']:g}/min"
    table = Table(title=title, title_justify="left")
    for name in ("median of rounds, ms", "n", *ARMS, "on - off (min..max)", "control - off (min..max)", "within noise"):
        table.add_column(name, justify="right" if name in ARMS else "left")
    for effect in document["effects"]:
        arms = [f"{median(effect['ms'][arm]):.2f}" if effect["n"] else "-" for arm in ARMS]
        spans = [_span(effect["differences_ms"][arm]) for arm in ("on", "control")]
        told = "yes" if effect["within_noise"] else "no"
        table.add_row(effect["figure"], str(effect["n"]), *arms, *spans, told)
    console.print(table)
    seen = [runs["on"]["shadow"] for runs in document["rounds"]]
    if any(2 * one.get("units", 0) < document["units"] for one in seen):
        console.print(
            "the candidate saw fewer than half of the vials: too busy or too short for these figures", style="red"
        )
    late = {arm: sum(runs[arm]["late"] or 0 for runs in document["rounds"]) for arm in ARMS}
    console.print(f"candidate per run: {seen}", markup=False, highlight=False)
    console.print(f"late units: {late}", markup=False, highlight=False)


def _span(values: Sequence[float]) -> str:
    return f"{median(values):+.2f} ({min(values):+.2f}..{max(values):+.2f})" if values else "-"


if __name__ == "__main__":
    sys.exit(main())
