"""Scores the checked-in demo models on held-out rendered units: `python -m demo.score` (about two minutes, no torch).

Writes score.json beside this file. The held-out set is rendered afresh from its seed, never read from disk.
"""

import argparse
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from demo.dataset import CODES, Units, render_units
from demo.spec import FOLDER, SPEC_FILE, DemoSpec, ViewSpec, load_spec
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_spec import DefectCode, View, difficulty_digest
from engines.rates import auroc, clopper_pearson

HELD_OUT_SEED = 20260004
HELD_OUT_UNITS = 2000
SCORE_FILE = FOLDER / "score.json"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """Margins of a set of units: log-odds of a score minus those of its threshold; >= 0 rejects.

    `margins` is (units, all classes of all views), `names` says which view and class each column is.
    """

    margins: Floats
    names: tuple[tuple[View, DefectCode], ...]

    @property
    def unit(self) -> Floats:
        return np.asarray(self.margins.max(axis=1), np.float64)


def log_odds(scores: npt.ArrayLike) -> Floats:
    clipped = np.clip(np.asarray(scores, np.float64), 1e-7, 1.0 - 1e-7)
    return np.asarray(np.log(clipped / (1.0 - clipped)), np.float64)


def run_model(file: Path, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Scores (n, classes) of pictures (n, height, width), one by one on one thread as in production."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    rows = [session.run(["scores"], {"image": picture[None, None]})[0][0] for picture in pictures]
    return np.asarray(rows, np.float32)


def judge(spec: DemoSpec, units: Units, folder: Path = FOLDER) -> Judged:
    """Run both models over a set and compare with the thresholds of `spec`."""
    columns, names = [], []
    for view, model in spec.views.items():
        scores = run_model(folder / model.file, units.views[view])
        columns.append(log_odds(scores) - log_odds(model.thresholds))
        names += [(view, code) for code in model.classes]
    return Judged(np.concatenate(columns, axis=1), tuple(names))


def summary(spec: DemoSpec, units: Units, judged: Judged) -> dict[str, object]:
    """The figures of score.json that depend on the units."""
    rejected = judged.unit >= 0.0
    good = np.array([code is None for code in units.codes])
    classes = {str(code): _class_row(units, judged, code, spec) for code in CODES}
    return {
        "auroc": round(auroc(judged.unit, ~good), 6),
        "false_reject": share(int(rejected[good].sum()), int(good.sum())),
        "missed": share(int((~rejected[~good]).sum()), int((~good).sum())),
        "classes": classes,
    }


def _class_row(units: Units, judged: Judged, code: DefectCode, spec: DemoSpec) -> dict[str, object]:
    members = np.array([unit is code for unit in units.codes])
    good = np.array([unit is None for unit in units.codes])
    count = int(members.sum())
    strongest = judged.margins[members].argmax(axis=1)
    named = sum(judged.names[int(column)][1] is code for column in strongest)
    against_good = auroc(judged.unit[good | members], members[good | members])
    return {
        "channel": spec.channels[code],
        "missed": share(int((judged.unit[members] < 0.0).sum()), count),
        "auroc": round(against_good, 6),
        "named_right": share(named, count),
    }


def share(events: int, trials: int) -> dict[str, float | int]:
    low, high = clopper_pearson(events, trials)
    bounds = {"low95": round(low, 5), "high95": round(high, 5)}
    return {"n": trials, "count": events, "rate": round(events / trials, 5), **bounds}


def _model_row(model: ViewSpec) -> dict[str, object]:
    raw = (FOLDER / model.file).read_bytes()
    thresholds = {str(code): value for code, value in zip(model.classes, model.thresholds, strict=True)}
    return {"file": model.file, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw), "thresholds": thresholds}


def score(units: int, workers: int) -> dict[str, object]:
    """Render the held-out set and score the shipped models on it."""
    spec = load_spec()
    held_out = render_units(HELD_OUT_SEED, units, workers, "held-out units")
    origin = {
        "seed": HELD_OUT_SEED,
        "units": units,
        "composition": "every second unit good, the others stratified over the nine defect codes",
        "sha256": held_out.digest(),
        "renderer_version": RENDERER_VERSION,
        "defects_toml_sha256": difficulty_digest(),
    }
    models = {str(view): _model_row(model) for view, model in spec.views.items()}
    return {"version": 1, "held_out": origin, "models": models, **summary(spec, held_out, judge(spec, held_out))}


def write_atomically(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=HELD_OUT_UNITS)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--print-only", action="store_true", help=f"do not write {SCORE_FILE.name}")
    chosen = parser.parse_args()
    kept = {"training": json.loads(SCORE_FILE.read_text(encoding="utf-8"))["training"]} if SCORE_FILE.exists() else {}
    text = json.dumps({**score(chosen.units, chosen.workers), **kept}, indent=2) + "\n"
    if not chosen.print_only:
        write_atomically(SCORE_FILE, text)
    print(text, end="")
    print(f"spec: {SPEC_FILE}")


if __name__ == "__main__":
    main()
