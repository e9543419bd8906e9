"""Does the recorder cost the line time? trigger -> permit with the recorder running and stopped, in turn, in one run.

    python tests/bench/bench_recorder.py [--units 900] [--rate 1200] [--json FILE]

`linewarden sim` inspects; every WINDOW_S the recorder's process is stopped (SIGSTOP) or goes on (SIGCONT), shorter than
the 500 ms after which the line holds. Each unit counts for the window in which its last camera edge fell.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from daemon.recorder.report import quantile
from provisioning.truth import read_truth

WINDOW_S = 0.3
READY_S = 120.0
MARGIN_NS = 30_000_000
Window = tuple[int, int, bool]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=900)
    parser.add_argument("--rate", type=int, default=1200, help="units a minute")
    parser.add_argument("--json", type=Path, default=Path("build/bench-recorder.json"), metavar="FILE")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        windows, status = _run(Path(folder) / "run", options.units, options.rate)
        document = _result(Path(folder) / "run" / "truth.json", windows)
    document |= {"units": options.units, "rate": options.rate, "status": status, "window_s": WINDOW_S}
    document |= {"load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(document)
    return status


def _run(folder: Path, units: int, rate: int) -> tuple[list[Window], int]:
    command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--keep", str(folder)]
    command += ["--units", str(units), "--rate", str(rate)]
    sim = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    windows: list[Window] = []
    try:
        _until_it_inspects(sim)
        recorder = _recorder_of(sim.pid)
        end = time.monotonic() + (units / rate * 60.0) - 4.0
        while time.monotonic() < end and sim.poll() is None:
            for stopped in (True, False):
                os.kill(recorder, signal.SIGSTOP if stopped else signal.SIGCONT)
                begin = time.monotonic_ns()
                time.sleep(WINDOW_S)
                windows.append((begin, time.monotonic_ns(), stopped))
        os.kill(recorder, signal.SIGCONT)
    finally:
        output, _ = sim.communicate(timeout=READY_S)
    if sim.returncode:
        print(output[-2000:], file=sys.stderr)
    return windows, sim.returncode


def _until_it_inspects(sim: subprocess.Popen[str]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and sim.stdout is not None:
        if "execute" in (line := sim.stdout.readline()):
            return
        if not line:
            break
    raise SystemExit("the simulation did not come to inspect")


def _recorder_of(pid: int) -> int:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"\0recorder\0" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise SystemExit("no recorder runs under the simulation")


def _result(truth: Path, windows: list[Window]) -> dict[str, Any]:
    spans: list[list[int]] = [[] for _ in windows]
    for seen in read_truth(truth).permits.values():
        for index, (begin, end, _) in enumerate(windows):
            if begin + MARGIN_NS <= seen.last_edge_ns < end - MARGIN_NS:
                spans[index].append(seen.seen_ns - seen.last_edge_ns)
    pairs = [
        median(stopped) - median(running)
        for stopped, running in zip(spans[::2], spans[1::2], strict=False)
        if stopped and running
    ]
    every = {
        on: sorted(s for w, found in zip(windows, spans, strict=True) if w[2] is not on for s in found)
        for on in (True, False)
    }
    return {
        "recorder_on": _summary(every[True]),
        "recorder_off": _summary(every[False]),
        "pairs": len(pairs),
        "off_minus_on_ms_median_of_pairs": round(median(pairs) / 1e6, 3),
        "spread_of_pairs_ms": round(median(abs(p - median(pairs)) for p in pairs) / 1e6, 3),
    }


def _summary(ordered: list[int]) -> dict[str, Any]:
    at = {name: round(quantile(ordered, share) / 1e6, 2) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    return {"n": len(ordered)} | at


def _show(document: dict[str, Any]) -> None:
    print(f"trigger -> permit, ms; {document['rate']}/min, {document['pairs']} pairs of {WINDOW_S:g} s windows")
    for name in ("recorder_on", "recorder_off"):
        print(f"  {name:<13} " + "  ".join(f"{key} {value}" for key, value in document[name].items()))
    off, spread = document["off_minus_on_ms_median_of_pairs"], document["spread_of_pairs_ms"]
    print(f"  off - on: median of pairs {off} ms, their spread (median deviation) {spread} ms")


if __name__ == "__main__":
    sys.exit(main())
