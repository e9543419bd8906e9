"""`make families`: every family the device runs, with the model that is shipped for it.

Size and score as demo/score.json, demo/families/score.json and demo/anomaly/score.json have them (scripts in the
repository made them, on held-out rendered units); latency is measured here and now, on ONNX Runtime, one thread; the
last column is NVIDIA's own parser and builder (tensorrt-rtx) making a plan of the graph for SM80, which needs no GPU.
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo.shipped import ROOT, Shipped, score_of, shipped
from engines.engine import allocate
from engines.errors import EngineError
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import BuildOptions
from engines.tensor_rt_api import Library, load_library
from engines.tensor_rt_build import build_plan

RTX, TARGET = "tensorrt-rtx", "SM80"
OPTIONS = BuildOptions(workspace_mb=256)
CALLS = 100
COLUMNS = ("family", "model", "head", "input", "kB", "AUROC", "n", "p50 ms", "p99 ms", "RTX plan")
ROWS_PX, COLUMNS_PX = 1024, 1280

Row = dict[str, Any]


def latency(one: Shipped) -> list[float]:
    """Return ms of CALLS calls of the device's engine on a whole frame, preprocessing included."""
    engine = ModelEngine(one.model, OnnxRuntimeSession(one.model, one.graph), hashlib.sha256(one.graph).hexdigest())
    frame = np.random.default_rng(1).integers(0, 256, (ROWS_PX, COLUMNS_PX), np.uint8)
    out, took = allocate(engine.outputs), []
    for _ in range(CALLS):
        begin = time.monotonic_ns()
        engine.infer(frame, out)
        took.append((time.monotonic_ns() - begin) / 1e6)
    engine.close()
    return took


def rtx_build(one: Shipped, library: Library | EngineError) -> str:
    if isinstance(library, EngineError):
        return f"unrun: {library}"
    try:
        built = build_plan(library, one.graph, one.model, OPTIONS, TARGET)
    except EngineError as error:
        return f"no: {error}"
    return f"ok, {built.layers} layers, {len(built.plan) // 1000} kB"


def row_of(one: Shipped, library: Library | EngineError) -> Row:
    took, score = latency(one), score_of(one)
    return {
        "family": one.family,
        "model": one.name,
        "head": one.model.head,
        "input": "x".join(map(str, one.model.input.shape[2:])),
        "bytes": len(one.graph),
        "auroc": score["auroc"],
        "n": score["n"],
        "p50_ms": round(statistics.median(took), 3),
        "p99_ms": round(float(np.percentile(took, 99)), 3),
        "rtx": rtx_build(one, library),
    }


def library_or_reason() -> Library | EngineError:
    try:
        return load_library(RTX)
    except EngineError as error:
        return error


def show(rows: list[Row], console: Console) -> None:
    table = Table(title=f"families, latency over {CALLS} calls at load {os.getloadavg()[0]:.1f}")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("kB", "AUROC", "n", "p50 ms", "p99 ms") else "left")
    for row in rows:
        figures = (f"{row['bytes'] / 1000:.0f}", f"{row['auroc']:.6f}", f"{row['n']}")
        times = (f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}")
        table.add_row(row["family"], row["model"], row["head"], row["input"], *figures, *times, row["rtx"])
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "families.json", metavar="FILE")
    chosen = parser.parse_args()
    library = library_or_reason()
    rows = [row_of(one, library) for one in track(shipped(), "families")]
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    show(rows, Console(width=max(Console().width, 140)))
    return 0 if all(row["rtx"].startswith(("ok", "unrun")) for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
