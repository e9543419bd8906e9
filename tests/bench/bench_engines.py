"""What the device's engine adds to a bare call of its runtime, family by family and back end by back end.

    PYTHONPATH=. python tests/bench/bench_engines.py --json build/bench-engines.json

Bare: OpenCV's area resize of the region into the bound input and one call of the runtime, nothing else. Ours:
`Engine.infer`, which does the same and refuses foreign frames, forgets old scores, times itself and hands the outputs
over. Calls alternate, so that whatever else runs on the machine meets both; a round is CALLS pairs, the figure is the
median of ROUNDS rounds. Then preprocessing alone, what a second of idleness costs with and without keep-warm, and how
long it takes until the demo bundle may inspect: load its trust, verify it, load its engines, run its golden set.
"""

import argparse
import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo.shipped import ROOT, Shipped, shipped
from engines.canary import Canary
from engines.engine import Frame, allocate
from engines.load import load
from engines.model_engine import ModelEngine
from engines.onnx_plan import OnnxPlanMaker
from engines.onnx_runtime import OnnxRuntimeSession
from engines.plan_file import CheckedPlan
from engines.preprocess import Preprocessor
from engines.tensor_rt_build import evidence_of
from signing.keyring import load_trust
from signing.manifest import Preprocessing, Region
from signing.sealed import open_directory
from signing.verify import verify

ROUNDS, CALLS = 5, 60
IDLE_S, IDLE_CALLS = 1.0, 8
LOADS = 5
ROWS, COLUMNS = 1024, 1280
LARGE = Preprocessing(Region(0, 0, COLUMNS, ROWS), 256, 256, "area")
MS = 1e6

Row = dict[str, Any]


def frame_for(model: Shipped) -> Frame:
    roi = model.model.preprocessing.roi
    size = max(ROWS, roi.y + roi.height), max(COLUMNS, roi.x + roi.width)
    return np.random.default_rng(7).integers(0, 256, size, np.uint8)


def bare_call(session: OnnxRuntimeSession, preprocessing: Preprocessing, frame: Frame) -> Callable[[], None]:
    """Past everything of ours: the runtime's own session and binding."""
    roi, image = preprocessing.roi, session.image[0, 0]
    region = frame[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    size, runtime, binding = (preprocessing.width, preprocessing.height), session._session, session._binding

    def call() -> None:
        cv2.resize(region, size, dst=image, interpolation=cv2.INTER_AREA)
        runtime.run_with_iobinding(binding)

    return call


def pairs(bare: Callable[[], object], ours: Callable[[], object]) -> tuple[list[int], list[int]]:
    """Return ns of CALLS calls each, alternating, each first in every second pair."""
    took: tuple[list[int], list[int]] = ([], [])
    for turn in range(CALLS):
        order = (0, 1) if turn % 2 else (1, 0)
        for which in order:
            begin = time.monotonic_ns()
            (bare, ours)[which]()
            took[which].append(time.monotonic_ns() - begin)
    return took


def compared(bare: Callable[[], object], ours: Callable[[], object]) -> Row:
    rounds = [pairs(bare, ours) for _ in range(ROUNDS)]
    p50s = [(statistics.median(one) / MS, statistics.median(other) / MS) for one, other in rounds]
    everything = [np.concatenate([one[which] for one in rounds]) / MS for which in (0, 1)]
    return {
        "calls": ROUNDS * CALLS,
        "bare_p50_ms": round(statistics.median(bare for bare, _ in p50s), 4),
        "ours_p50_ms": round(statistics.median(ours for _, ours in p50s), 4),
        "ratio": round(statistics.median(ours / bare for bare, ours in p50s), 4),
        "bare_p99_ms": round(float(np.percentile(everything[0], 99)), 4),
        "ours_p99_ms": round(float(np.percentile(everything[1], 99)), 4),
    }


def plain(one: Shipped) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(one.model, one.graph)


def planned(one: Shipped) -> OnnxRuntimeSession:
    """The graph as ONNX Runtime optimised it beforehand."""
    maker, digest = OnnxPlanMaker(), hashlib.sha256(one.graph).hexdigest()
    built = maker.build(one.model, one.graph)
    return maker.session(
        one.model, CheckedPlan(built.plan, evidence_of(built, maker.source(digest), datetime.now(UTC)))
    )


def engine_row(one: Shipped, opened: Callable[[Shipped], OnnxRuntimeSession]) -> Row:
    """Two sessions of the same graph: one inside the engine, one bare."""
    frame, digest = frame_for(one), hashlib.sha256(one.graph).hexdigest()
    bare = opened(one)
    engine = ModelEngine(one.model, opened(one), digest)
    out = allocate(engine.outputs)
    row = compared(bare_call(bare, one.model.preprocessing, frame), lambda: engine.infer(frame, out))
    row |= {"name": one.name, "family": one.family, "backend": f"{engine.info.backend} {engine.info.version}"}
    bare.close()
    engine.close()
    return row


def preprocessing_row() -> Row:
    frame = np.random.default_rng(7).integers(0, 256, (ROWS, COLUMNS), np.uint8)
    preprocessor, buffer = Preprocessor(LARGE), np.zeros((256, 256), np.uint8)

    def bare() -> None:
        cv2.resize(frame, (256, 256), dst=buffer, interpolation=cv2.INTER_AREA)

    return compared(bare, lambda: preprocessor.fill(frame))


def idle_row(one: Shipped) -> Row:
    """The first call after IDLE_S without any, with calls that keep the engine warm every 0.2 s and without."""
    frame = frame_for(one)
    engine = ModelEngine(one.model, OnnxRuntimeSession(one.model, one.graph), hashlib.sha256(one.graph).hexdigest())
    out = allocate(engine.outputs)
    found: dict[str, list[float]] = {"steady": [], "cold": [], "kept_warm": []}
    for _ in track(range(IDLE_CALLS), "first call after a pause"):
        for kind in ("cold", "kept_warm"):
            for _ in range(round(IDLE_S / 0.2)):
                time.sleep(0.2)
                if kind == "kept_warm":
                    engine.keep_warm()
            found[kind].append(engine_ms(engine, frame, out))
            found["steady"] += [engine_ms(engine, frame, out) for _ in range(5)]
    engine.close()
    return {"model": one.name, "n": IDLE_CALLS} | {k: round(statistics.median(v), 3) for k, v in found.items()}


def engine_ms(engine: ModelEngine, frame: Frame, out: dict[str, Any]) -> float:
    begin = time.monotonic_ns()
    engine.infer(frame, out)
    return (time.monotonic_ns() - begin) / MS


def loading_row() -> Row:
    """From nothing to a bundle that may inspect."""
    demo, seconds = ROOT / "var" / "demo", []
    for _ in range(LOADS):
        begin = time.monotonic()
        trust = load_trust(demo / "trust", production=False)
        with open_directory(demo / "bundle") as fd:
            bundle = verify(fd, trust)
        engines = [(name, load(bundle, name)) for name in bundle.manifest.models]
        cases = len(Canary(bundle, engines))
        seconds.append(time.monotonic() - begin)
        for _, engine in engines:
            engine.close()
    return {
        "n": LOADS,
        "golden_cases": cases,
        "median_s": round(statistics.median(seconds), 3),
        "max_s": round(max(seconds), 3),
    }


def unrun() -> Iterator[Row]:
    """Back ends that this machine cannot run are rows too."""
    for name in ("tensorrt", "tensorrt-rtx"):
        yield {"backend": name, "unrun": "needs a GPU: see `make gpu-check` and docs/measurements"}


def show(document: Row, console: Console) -> None:
    table = Table(
        title=f"Engine.infer against the bare runtime ({ROUNDS} rounds of {CALLS} alternating pairs, medians)"
    )
    for name in ("family", "model", "back end", "bare p50", "ours p50", "ratio", "bare p99", "ours p99"):
        table.add_column(name, justify="left" if name in ("family", "model", "back end") else "right")
    for row in document["engines"]:
        names = ("bare_p50_ms", "ours_p50_ms", "ratio", "bare_p99_ms", "ours_p99_ms")
        table.add_row(row["family"], row["name"], row["backend"], *(f"{row[name]:.3f}" for name in names))
    for row in document["unrun"]:
        table.add_row("all", "all", row["backend"], "unrun", "unrun", "", "", "")
    console.print(table)
    pre, load_row = document["preprocessing"], document["demo_bundle"]
    console.print(
        f"preprocessing 1280x1024 -> 256x256: p50 {pre['ours_p50_ms']:.3f} ms, bare {pre['bare_p50_ms']:.3f} ms"
    )
    for row in document["idle"]:
        told = f"after {IDLE_S:g} s: {row['cold']} ms, kept warm {row['kept_warm']} ms, steady {row['steady']} ms"
        console.print(f"first call of {row['model']} {told} (medians, n={row['n']})")
    told = f"median {load_row['median_s']} s, max {load_row['max_s']} s (n={load_row['n']})"
    console.print(f"trust, verify, load, {load_row['golden_cases']} golden cases of the demo bundle: {told}")
    console.print(f"load average {document['load']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-engines.json", metavar="FILE")
    chosen = parser.parse_args()
    models = shipped()
    document: Row = {
        "load": [round(value, 2) for value in os.getloadavg()],
        "engines": [engine_row(one, opened) for one in track(models, "families") for opened in (plain, planned)],
        "unrun": list(unrun()),
        "preprocessing": preprocessing_row(),
        "idle": [idle_row(one) for one in models if one.name in ("body", "resnet")],
        "demo_bundle": loading_row(),
    }
    document["load_after"] = [round(value, 2) for value in os.getloadavg()]
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    show(document, Console(width=max(Console().width, 120)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
