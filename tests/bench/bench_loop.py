"""How late the line's loop wakes, against the same loop in C at the same priority on the same processor.

Both under full inference load (one process a processor runs the demo model without pause), in turns, never at once: the
line polls the box's PLC over Modbus TCP; while the control runs, the line is stopped. Five pairs; what counts is the
median of the ratios at p99 (DESIGN section 8). Needs the right to SCHED_FIFO, and says so when it has not.
"""

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from provisioning import control, places
from provisioning.owners import OwnerError, ask_status
from provisioning.simstation import LOOKS, Layout, demo_documents, prepare

FIFO = 40
PAIRS = 5
MOST = 3.0
POOL = "pool"
HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each turn")
    parser.add_argument("--json", type=Path, default=Path("build/bench-loop.json"), metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "control"
        subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program, HERE / "loop_control.c"], check=True)
        pairs = measure(program, Path(folder) / "run", options.seconds)
    ratios = [pair["line"]["p99"] / max(pair["control"]["p99"], 1.0) for pair in pairs]
    document = {"pairs": pairs, "median_ratio_p99": statistics.median(ratios), "load": os.getloadavg(), "most": MOST}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    show(document, Console(width=110))
    return 0 if document["median_ratio_p99"] <= MOST else 1


def measure(program: Path, keep: Path, seconds: float) -> list[dict[str, Any]]:
    """Play the turns and return what each measured, us."""
    processor = max(os.sched_getaffinity(0))
    run = prepare(demo_documents(), keep, 600.0, Layout())
    loads = [multiprocessing.Process(target=infer_for_ever, daemon=True) for _ in os.sched_getaffinity(0)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(start_box(run))
        environment = os.environ | {"RUNTIME_DIRECTORY": str(run.runtime), "STATE_DIRECTORY": str(run.state)}
        for name in ("recorder", "line"):
            command = [sys.executable, "-I", "-m", "daemon", name, str(run.station)]
            processes.append(subprocess.Popen(command, env=environment, cwd="/"))
        line = processes[-1].pid
        until_polling(run.runtime)
        for load in loads:
            load.start()
        pin(line, processor)
        pairs = []
        for _ in range(PAIRS):
            pairs.append(
                {"line": line_turn(run.runtime, seconds), "control": control_turn(program, processor, seconds, line)}
            )
        return pairs
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        for load in loads:
            if load.pid:
                load.terminate()
                load.join()


def start_box(run: Any) -> "subprocess.Popen[bytes]":
    command = [
        sys.executable,
        "-I",
        "-m",
        "drivers.sim.box",
        str(run.station),
        "--truth",
        str(run.truth),
        "--units",
        "1",
    ]
    command += ["--pool", str(places.working() / POOL), "--cameras", str(run.cameras), "--priority"]
    box = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
    assert box.stdout is not None
    while b'"ready"' not in box.stdout.readline():
        if box.poll() is not None:
            raise SystemExit("the line in a box did not start")
    return box


def until_polling(runtime: Path) -> None:
    """Wait until the line has agreed on an epoch with the PLC."""
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        try:
            if ask_status(runtime).epoch:
                return
        except OwnerError:
            pass
        time.sleep(0.1)
    raise SystemExit("the line did not reach the PLC")


def infer_for_ever() -> None:
    demo = demo_documents()
    pool = sorted((places.working() / POOL).glob("pool-*"))[0]
    pictures = {look: pool / f"{look}.npy" for look, *_ in LOOKS}
    while True:
        control.measure(demo.bundle, demo.recipe, demo.trust, pictures)


def pin(pid: int, processor: int) -> None:
    os.sched_setaffinity(pid, {processor})
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(FIFO))
    except PermissionError:
        raise SystemExit("SCHED_FIFO is not allowed here: run as root, or give CAP_SYS_NICE") from None


def line_turn(runtime: Path, seconds: float) -> dict[str, float]:
    ask_status(runtime)
    time.sleep(seconds)
    return ask_status(runtime).loop_us


def control_turn(program: Path, processor: int, seconds: float, line: int) -> dict[str, float]:
    os.kill(line, signal.SIGSTOP)
    try:
        with subprocess.Popen([program, str(seconds)], stdout=subprocess.PIPE) as running:
            pin(running.pid, processor)
            return dict(json.loads(running.communicate()[0]))
    finally:
        os.kill(line, signal.SIGCONT)
        time.sleep(0.5)


def show(document: dict[str, Any], console: Console) -> None:
    table = Table(
        "pair", "who", "n", "p50 us", "p99 us", "p99.9 us", "max us", title="loop lateness under inference load"
    )
    for number, pair in enumerate(document["pairs"], start=1):
        for who, row in pair.items():
            table.add_row(
                str(number), who, f"{row['n']:.0f}", *(f"{row[key]:.0f}" for key in ("p50", "p99", "p99.9", "max"))
            )
    console.print(table)
    ratio = document["median_ratio_p99"]
    console.print(f"line / control at p99: median of {PAIRS} pairs {ratio:.2f} (at most {MOST:g})", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
