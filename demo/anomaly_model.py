"""Fits the demo's anomaly models to good vials and scores them: `python -m demo.anomaly_model` (minutes, no torch).

The same fit as `linewarden model fit-anomaly` on GOOD rendered vials. demo/anomaly receives a graph for each view,
models.json with what bundle.json says of them, and score.json: UNITS held-out vials, every second one good, the others
stratified over the defects. A unit scores as its worst view does; from 0 (in log-odds) on it is rejected.
`--keep-models` scores what is there; of what it was fitted on, score.json then keeps saying what it said.
"""

import argparse
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from demo.dataset import CODES, code_of
from demo.good_vials import SEED as GOOD_SEED
from demo.good_vials import write_good_vials
from demo.score import share, write_atomically
from demo.spec import FOLDER as DEMO
from demo.spec import Pictures, load_spec
from drivers.sim.render import RENDERER_VERSION, render_views
from drivers.sim.render_sample import sample_vial
from drivers.sim.render_spec import DefectCode, View, difficulty_digest, load_difficulty
from engines.engine import allocate
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.rates import auroc, auroc_bounds
from provisioning.anomaly_bundle import Label, code_digest
from provisioning.anomaly_order import Order, run
from signing.manifest import BUNDLE_DOCUMENT, Model, Region

FOLDER = DEMO / "anomaly"
MODELS_FILE, SCORE_FILE = FOLDER / "models.json", FOLDER / "score.json"
GOOD, UNITS = 200, 900
FIT_SEED, HELD_OUT_SEED = 1, 20260705
FALSE_REJECT = 0.005
EXCEEDING = 5


def rendered(seed: int, index: int, code: DefectCode | None) -> dict[str, Pictures]:
    """Raw frames of one vial by view."""
    rules = load_difficulty()
    frames = render_views(sample_vial(seed, index, (code,) if code else (), rules), rules)
    return dict(zip((str(View.BODY), str(View.CRIMP)), frames, strict=True))


def fit() -> None:
    """Run the command on rendered good vials and keep its graphs and what bundle.json says of them."""
    regions = {str(view): Region(*dataclasses.astuple(spec.roi)) for view, spec in load_spec().views.items()}
    with tempfile.TemporaryDirectory() as folder:
        good, out = Path(folder) / "good", Path(folder) / "out"
        write_good_vials(good, GOOD, GOOD_SEED)
        label = Label("demo-anomaly", "demo vial", "2R vial", "nobody", FIT_SEED)
        run(Order(good, out, label, regions, FALSE_REJECT), Console(stderr=True))
        described = json.loads((out / "bundle" / BUNDLE_DOCUMENT).read_bytes())["models"]
        FOLDER.mkdir(exist_ok=True)
        for model in described.values():
            shutil.copyfile(out / "bundle" / model["file"], FOLDER / model["file"])
    write_atomically(MODELS_FILE, json.dumps(described, indent=2) + "\n")


def models() -> dict[str, Model]:
    """Return what bundle.json says of each model, by view."""
    return msgspec.json.decode(MODELS_FILE.read_bytes(), type=dict[str, Model])


class Scorer:
    """The engines of all views, as the device runs them."""

    def __init__(self) -> None:
        self._models = models()
        self._engines = {name: _engine(model) for name, model in self._models.items()}

    def log_odds(self, frames: Mapping[str, Pictures]) -> float:
        """Return the score of a unit: the log-odds of its worst view."""
        found = []
        for name, model in self._models.items():
            out = allocate(model.outputs)
            self._engines[name].infer(frames[name], out)
            found.append(float(out[model.output.name].max()))
        return max(found)

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()


def score(units: int = UNITS) -> dict[str, Any]:
    """Return the figures of score.json for freshly rendered held-out units."""
    scorer, codes = Scorer(), [code_of(index) for index in range(units)]
    odds = [scorer.log_odds(rendered(HELD_OUT_SEED, index, codes[index])) for index in track(range(units), "scoring")]
    scorer.close()
    return {**_held_out(units), **_figures(np.array(odds), codes)}


def _engine(model: Model) -> ModelEngine:
    raw = (FOLDER / model.file).read_bytes()
    return ModelEngine(model, OnnxRuntimeSession(model, raw), hashlib.sha256(raw).hexdigest())


def _fitted() -> dict[str, Any]:
    """Return what was fitted, and on what; the code is that which runs here."""
    files = {model.file: (FOLDER / model.file).read_bytes() for model in models().values()}
    return {
        "version": 1,
        "models": {name: {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)} for name, raw in files.items()},
        "fitted_on": {"seed": GOOD_SEED, "units": GOOD, "fit_seed": FIT_SEED, "code_sha256": code_digest()},
    }


def _held_out(units: int) -> dict[str, Any]:
    return {
        "held_out": {
            "seed": HELD_OUT_SEED,
            "units": units,
            "composition": "every second unit good, the others stratified over the nine defect codes",
            "renderer_version": RENDERER_VERSION,
            "defects_toml_sha256": difficulty_digest(),
        },
    }


def _figures(odds: npt.NDArray[np.float64], codes: list[DefectCode | None]) -> dict[str, Any]:
    """Return areas, and shares at the proposed limit and at the lowest that at most EXCEEDING good units exceed."""
    good = np.array([code is None for code in codes])
    limit = float(np.sort(odds[good])[-1 - EXCEEDING])
    members = {str(code): np.array([one is code for one in codes]) for code in CODES}
    return {
        "n": len(codes),
        "false_reject": _reached(odds[good] >= 0.0),
        "good_exceeding": _reached(odds[good] > limit),
        **_found(odds, good, ~good, limit),
        "classes": {name: _found(odds, good, member, limit) for name, member in members.items()},
    }


def _found(
    odds: npt.NDArray[np.float64], good: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], limit: float
) -> dict[str, Any]:
    area = auroc(odds[good | bad], bad[good | bad])
    bounds = auroc_bounds(area, int(bad.sum()), int(good.sum()))
    return {
        "auroc": round(area, 6),
        "auroc_bounds": [round(bound, 6) for bound in bounds],
        "found": _reached(odds[bad] >= 0.0),
        "found_where_good_exceed": _reached(odds[bad] > limit),
    }


def _reached(those: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return share(int(those.sum()), len(those))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep-models", action="store_true", help="only score")
    chosen = parser.parse_args()
    if chosen.keep_models:
        fitted = {name: json.loads(SCORE_FILE.read_bytes())[name] for name in ("version", "models", "fitted_on")}
    else:
        fit()
        fitted = _fitted()
    text = json.dumps({**fitted, **score()}, indent=2) + "\n"
    write_atomically(SCORE_FILE, text)
    print(text, end="")


if __name__ == "__main__":
    main()
