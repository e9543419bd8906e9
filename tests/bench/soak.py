"""`make soak`: half an hour of inspection, watching memory, descriptors and threads of every process of the device.

Grown is what, after the first fifth, rises by more than its allowance over the rest, judged by the medians of the first
and the last tenth of the samples: a leak shows there, a passing burst does not. Allowance: 4 MiB of private memory and
4 descriptors a process. The simulator and its box keep a record of every vial and are shown, not judged. Exit status 0
iff nothing of the device grew and the batch closed clean.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ALLOWED = {"private_kib": 4096, "fds": 4, "threads": 0}
WARM_UP = 0.2
RATE = 600
DEVICE = {"line", "vision", "recorder", "camera"}
MARKS = DEVICE | {"drivers.sim.box", "sim"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="seconds between two samples")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"), metavar="FILE")
    options = parser.parse_args()
    units = round(options.minutes * RATE)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "provisioning.cli", "sim", "--units", str(units), "--rate", str(RATE)]
        command += ["--headless", "--report", str(report)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
            samples = watch(run, options.every, options.minutes)
        truth = json.loads(report.read_text())["truth"] if report.exists() else None
    growth = {
        name: grown(series) for name, series in samples.items() if len(series) >= len(next(iter(samples.values()))) // 2
    }
    document = {"minutes": options.minutes, "rate": RATE, "exit": run.returncode, "truth": truth, "growth": growth}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document | {"samples": samples}, indent=1) + "\n", encoding="utf-8")
    show(document, Console(width=100))
    return (
        0
        if run.returncode == 0 and not any(row["grew"] for name, row in growth.items() if name.split()[0] in DEVICE)
        else 1
    )


def watch(run: "subprocess.Popen[bytes]", every: float, minutes: float) -> dict[str, list[dict[str, int]]]:
    """Sample every process of the run until it ends."""
    samples: dict[str, list[dict[str, int]]] = {}
    with Progress() as progress:
        task = progress.add_task("soaking", total=minutes * 60)
        while run.poll() is None:
            for pid in (run.pid, *children(run.pid)):
                if found := sample(pid):
                    name, values = found
                    samples.setdefault(f"{name} {pid}", []).append(values)
            time.sleep(every)
            progress.advance(task, every)
    return samples


def children(pid: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [grandchild for child in found for grandchild in children(child)]


def sample(pid: int) -> tuple[str, dict[str, int]] | None:
    """Return the process's name and its figures; None when it is gone or not one of the device's."""
    place = Path(f"/proc/{pid}")
    try:
        words = (place / "cmdline").read_bytes().decode().split("\0")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
        fds = len(list((place / "fd").iterdir()))
    except OSError:
        return None
    name = next((word for word in words if word in MARKS), "")
    if not name or "RssAnon" not in status:
        return None
    last = words[-2] if name == "camera" else ""
    figures = {"private_kib": int(status["RssAnon"].split()[0]), "fds": fds, "threads": int(status["Threads"])}
    return f"{name} {last}".strip(), figures


def grown(series: list[dict[str, int]]) -> dict[str, Any]:
    """Return first and last median of each figure after the warm-up, and which grew beyond its allowance."""
    kept = series[int(len(series) * WARM_UP) :]
    tenth = max(1, len(kept) // 10)
    ends = {key: [statistics.median(s[key] for s in part) for part in (kept[:tenth], kept[-tenth:])] for key in ALLOWED}
    grew = [key for key, (first, last) in ends.items() if last - first > ALLOWED[key]]
    return {**ends, "samples": len(series), "grew": grew}


def show(document: dict[str, Any], console: Console) -> None:
    table = Table(
        "process",
        "samples",
        "private MiB",
        "descriptors",
        "threads",
        "grew",
        title=f"soak of {document['minutes']:g} min",
    )
    for name, row in document["growth"].items():
        rss = " -> ".join(f"{value / 1024:.1f}" for value in row["private_kib"])
        others = [" -> ".join(f"{value:.0f}" for value in row[key]) for key in ("fds", "threads")]
        table.add_row(name, str(row["samples"]), rss, *others, ", ".join(row["grew"]) or "no")
    console.print(table)
    console.print(f"exit {document['exit']}, truth {document['truth']}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
