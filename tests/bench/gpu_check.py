"""What only a GPU machine can show of the TensorRT back end: does it run, give the same numbers, and how fast.

    PYTHONPATH=. python tests/bench/gpu_check.py --json build/gpu-check.json

For each shipped model and back end: the same frame 1,000 times must give identical bytes; the outputs against ONNX
Runtime's, worst difference over the golden frames; latency of our session and of the same calls without our code, in
interleaved pairs. Where there is no GPU it says what is missing and every row is `unrun` (exit 0); `--cpu` then still
measures ONNX Runtime. A row that fails, or a frame that does not repeat, is exit 1.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gpu_subjects import Opened, Subject, open_onnx_runtime, open_tensor_rt, subjects
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo.build_bundle import RAW_TOLERANCE
from engines.cuda import BODIES, Gpu, open_cuda
from engines.engine import allocate
from engines.equivalence import compare
from engines.errors import EngineError
from engines.golden import raw_bytes
from engines.model_engine import ModelEngine
from engines.plan_digest import processor
from engines.plan_file import BuildOptions
from engines.tensor_rt_api import LIBRARIES, load_library
from signing.utc import utc_text

RUN, UNRUN, FAILED = "run", "unrun", "failed"
REFERENCE = "onnxruntime"
WARM = 20
WIDTH = 140


@dataclass
class Row:
    """One model on one back end. Latencies in microseconds of one call, image in host memory to results there."""

    model: str
    backend: str
    state: str = UNRUN
    reason: str = ""
    repeats: int = 0
    identical: bool | None = None
    worst_absolute: float | None = None
    worst_relative: float | None = None
    frames: int = 0
    pairs: int = 0
    bare_us: dict[str, float] = field(default_factory=dict)
    ours_us: dict[str, float] = field(default_factory=dict)
    overhead_us: float | None = None
    plan_bytes: int = 0
    build_s: float = 0.0


@dataclass
class Machine:
    """What is here. A value is what was found, or the line that says why there is nothing."""

    utc: str
    processor: str
    load: list[float]
    runtimes: dict[str, str]
    cuda: dict[str, str]
    gpu: dict[str, str | int] | None


def look() -> tuple[Machine, Gpu | None]:
    """Say what of NVIDIA's is installed here, and which GPU it reaches."""
    runtimes = {name: _said(lambda name=name: load_library(name).version) for name in LIBRARIES}
    found: list[Gpu] = []
    cuda = {body: _said(lambda body=body: _gpu_name(body, found)) for body in BODIES}
    gpu = found[0] if found else None
    load = [round(value, 2) for value in os.getloadavg()]
    return Machine(utc_text(datetime.now(UTC)), processor(), load, runtimes, cuda, asdict(gpu) if gpu else None), gpu


def _said(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except EngineError as error:
        return f"missing: {error}"


def _gpu_name(body: str, found: list[Gpu]) -> str:
    cuda = open_cuda(body)
    found.append(cuda.gpu)
    cuda.close()
    return f"{cuda.gpu.name}, compute capability {cuda.gpu.capability}, driver {cuda.gpu.driver}"


def missing(machine: Machine, backend: str) -> str:
    """Return why `backend` cannot run here, "" if it can."""
    said = machine.runtimes.get(backend, "")
    if said.startswith("missing"):
        return said
    if backend != REFERENCE and machine.gpu is None:
        return "no GPU: " + "; ".join(said.removeprefix("missing: ") for said in machine.cuda.values())
    return ""


def measure(row: Row, opened: Opened, reference: ModelEngine, subject: Subject, chosen: argparse.Namespace) -> None:
    row.repeats = chosen.repeats
    row.identical = repeats(opened.engine, subject, chosen.repeats)
    if opened.engine is not reference:
        compared = compare(reference, opened.engine, subject.frames, subject.name)
        row.frames = len(compared)
        row.worst_absolute = max(found.worst_absolute for found in compared)
        row.worst_relative = max(found.worst_relative for found in compared)
    row.plan_bytes, row.build_s = opened.plan_bytes, round(opened.build_s, 3)
    latency(row, opened, chosen.pairs)
    row.reason = _wrong(row)
    row.state = FAILED if row.reason else RUN


def _wrong(row: Row) -> str:
    if not row.identical:
        return "the same frame gave other bytes"
    if row.worst_relative is not None and not row.worst_relative <= RAW_TOLERANCE:
        return f"{row.worst_relative:.3g} away from ONNX Runtime, more than {RAW_TOLERANCE:g}"
    return ""


def repeats(engine: ModelEngine, subject: Subject, times: int) -> bool:
    """Return whether one frame gives the same bytes every time, with another frame between."""
    out = allocate(engine.outputs)
    (_, frame), (_, other), *_ = subject.frames
    seen = set()
    for _ in range(times):
        engine.infer(frame, out)
        seen.add(raw_bytes(subject.model, out))
        engine.infer(other, out)
    return len(seen) == 1


def latency(row: Row, opened: Opened, pairs: int) -> None:
    """Time our session against the bare calls, one of each in turn, the first of a pair changing."""
    for _ in range(WARM):
        opened.bare()
        opened.session.run()
    bare, ours = [], []
    for number in range(pairs):
        for kept, call in ((bare, opened.bare), (ours, opened.session.run))[:: 1 if number % 2 else -1]:
            started = time.perf_counter_ns()
            call()
            kept.append((time.perf_counter_ns() - started) / 1000)
    row.pairs, row.bare_us, row.ours_us = pairs, percentiles(bare), percentiles(ours)
    row.overhead_us = round(statistics.median(mine - its for mine, its in zip(ours, bare, strict=True)), 2)


def percentiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def check(machine: Machine, gpu: Gpu | None, chosen: argparse.Namespace) -> list[Row]:
    """Return one row per model and back end, in that order."""
    rows = []
    for subject in track(subjects(), "models", console=Console(stderr=True), transient=True):
        for backend in (REFERENCE, *LIBRARIES):
            row = Row(subject.name, backend, reason=missing(machine, backend))
            if not row.reason and gpu is None and not chosen.cpu:
                row.reason = "no GPU to compare it with; --cpu measures it alone"
            if not row.reason:
                run(row, subject, gpu, chosen)
            rows.append(row)
    return rows


def run(row: Row, subject: Subject, gpu: Gpu | None, chosen: argparse.Namespace) -> None:
    reference = open_onnx_runtime(subject)
    opened = reference
    try:
        if gpu is not None and row.backend != REFERENCE:
            opened = open_tensor_rt(subject, load_library(row.backend), gpu, BuildOptions(level=chosen.level))
        measure(row, opened, reference.engine, subject, chosen)
    except EngineError as error:
        row.state, row.reason = FAILED, str(error)
    finally:
        opened.held.close()
        for engine in {id(opened): opened.engine, id(reference): reference.engine}.values():
            engine.close()


def show(machine: Machine, rows: list[Row], console: Console) -> None:
    console.print(f"{machine.utc}  {machine.processor}  load {machine.load}  Python {platform.python_version()}")
    for name, said in (*machine.runtimes.items(), *machine.cuda.items()):
        console.print(f"  {name:14} {said}", highlight=False, markup=False)
    table = Table(
        "model", "back end", "state", "identical", "worst abs", "worst rel", "bare p50/p99 us", "ours p50/p99 us"
    )
    for row in rows:
        table.add_row(
            row.model,
            row.backend,
            row.state,
            "" if row.identical is None else f"{row.identical} ({row.repeats}x)",
            "" if row.worst_absolute is None else f"{row.worst_absolute:.2e}",
            "" if row.worst_relative is None else f"{row.worst_relative:.2e}",
            " / ".join(f"{value:.0f}" for value in row.bare_us.values()),
            " / ".join(f"{value:.0f}" for value in row.ours_us.values()),
        )
    console.print(table)
    for reason in dict.fromkeys(f"{row.backend}: {row.state}: {row.reason}" for row in rows if row.reason):
        console.print(reason, highlight=False, markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--repeats", type=int, default=1000, metavar="N", help="times one frame is given (1000)")
    parser.add_argument("--pairs", type=int, default=300, metavar="N", help="pairs of timed calls (300)")
    parser.add_argument("--level", type=int, default=3, metavar="0-5", help="TensorRT's optimisation level (3)")
    parser.add_argument("--cpu", action="store_true", help="measure ONNX Runtime where there is no GPU, too")
    chosen = parser.parse_args()
    machine, gpu = look()
    rows = check(machine, gpu, chosen)
    show(machine, rows, Console(width=None if sys.stdout.isatty() else WIDTH))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n")
    return int(any(row.state == FAILED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
