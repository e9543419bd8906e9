"""Scores the checked-in family models on held-out rendered units: `python -m demo.families.score` (no torch).

Every unit runs through the device's own session and decoding. score.json beside this file says how well each model
ranks defective units above good ones, for the defects it was made for and, apart, for the others.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from demo.families.dataset import CUT_LIKE, HELD_OUT, LOCAL, BodySet, kept
from demo.families.spec import FOLDER, Family, load_families
from demo.families.targets import scaled
from demo.score import write_atomically
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_spec import DefectCode, difficulty_digest
from engines.heads import box_scores, decode
from engines.onnx_runtime import OnnxRuntimeSession
from engines.rates import auroc
from signing.manifest import Model

SCORE_FILE = FOLDER / "score.json"
# Scores of so many first held-out units are kept one by one, for the test to compare.
SHOWN = 40
NEAR = 8.0
SETS = FOLDER.parents[1] / "var" / "families"

Row = dict[str, Any]
Scores = npt.NDArray[np.float64]


def judged(family: Family, units: BodySet) -> tuple[Scores, Scores]:
    """(n,) the highest class score of each unit, as the device decodes it, and (n, 2) where the evidence is strongest.

    The place is x, y in pixels of the graph's input: the middle of the best box, or of the map's highest cell.
    """
    model, known = family.model, load_families()
    (pictures,) = (
        units.cuts[name] for name, like in CUT_LIKE.items() if known[like].model.preprocessing == model.preprocessing
    )
    session = OnnxRuntimeSession(model, family.path.read_bytes())
    scores, places = [], []
    for picture in track(pictures, f"scoring {model.file}"):
        session.image[0, 0] = picture
        session.run()
        said = decode(model, dict(session.results))
        best = max(said, key=lambda code: said[code])
        scores.append(said[best])
        places.append(_place(model, session.results[model.outputs[-1].name], model.classes.index(best)))
    session.close()
    return np.array(scores), np.array(places)


def _place(model: Model, output: npt.NDArray[np.float32], column: int) -> tuple[float, float]:
    if model.head == "boxes":
        left, top, right, bottom = output[0, box_scores(output)[:, column].argmax(), :4]
        return float(left + right) / 2, float(top + bottom) / 2
    cells = output[0, column]
    row, across = np.unravel_index(int(cells.argmax()), cells.shape)
    down, size = model.preprocessing.height / cells.shape[0], model.preprocessing.width / cells.shape[1]
    return (float(across) + 0.5) * size, (float(row) + 0.5) * down


def _pointing(family: Family, units: BodySet, places: Scores) -> Row:
    """Share of units with a local defect whose strongest evidence lies in its box, or within NEAR pixels of it.

    The pointing game of Zhang et al. 2018.
    """
    local = np.flatnonzero(units.having(tuple(code for code in family.sees if code in LOCAL)))
    hits = 0
    for index in local:
        corners = scaled(family.model, units.boxes[index].reshape(-1, 2)).reshape(-1, 4)
        low, high = corners[:, :2] - NEAR, corners[:, 2:] + NEAR
        hits += bool(((low <= places[index]) & (places[index] <= high)).all(axis=1).any())
    return {"pointing": {"n": len(local), "hits": hits, "near_px": NEAR}} if len(local) else {}


def family_row(family: Family, units: BodySet) -> Row:
    """One model's figures on `units`: size, digest, AUROC over the defects it sees, and per defect."""
    raw, (scores, places) = family.path.read_bytes(), judged(family, units)
    others = tuple(code for code in dict.fromkeys(units.codes) if code is not None and code not in family.sees)
    return {
        "file": family.model.file,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        **_against_good(scores, units, family.sees),
        "sees": {str(code): _against_good(scores, units, (code,)) for code in family.sees},
        "others": {str(code): _against_good(scores, units, (code,)) for code in others},
        **_pointing(family, units, places),
        "first_scores": [round(score, 6) for score in scores[:SHOWN].tolist()],
    }


def _against_good(scores: Scores, units: BodySet, codes: tuple[DefectCode, ...]) -> Row:
    bad = units.having(codes)
    chosen = bad | units.good
    return {"n": int(chosen.sum()), "defective": int(bad.sum()), "auroc": round(auroc(scores[chosen], bad[chosen]), 6)}


def rows(units: BodySet, names: list[str] | None = None) -> dict[str, Row]:
    """Figures of each family by name, from any set; called by `write_score`."""
    families = load_families()
    return {name: family_row(families[name], units) for name in names or families}


def held_out_origin(units: BodySet) -> Row:
    return {
        "seed": HELD_OUT.seed,
        "units": len(units),
        "composition": "every second unit good, the others stratified over the defects of the body view",
        "sha256": units.digest(),
        "renderer_version": RENDERER_VERSION,
        "defects_toml_sha256": difficulty_digest(),
    }


def read_score() -> Row:
    """score.json, or what it holds before the first model is scored."""
    found: Row = json.loads(SCORE_FILE.read_text(encoding="utf-8")) if SCORE_FILE.exists() else {"families": {}}
    return found


def write_score(names: list[str], units: BodySet, training: dict[str, Row]) -> Row:
    """Score `names` afresh; keep the other families' figures, and how the models were trained."""
    fresh = rows(units, names)
    before = read_score()["families"]
    for name, row in fresh.items():
        row["training"] = training.get(name) or before[name]["training"]
    families = {name: (before | fresh)[name] for name in load_families() if name in before | fresh}
    result = {"version": 1, "held_out": held_out_origin(units), "families": families}
    write_atomically(SCORE_FILE, json.dumps(result, indent=2) + "\n")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--family", action="append", choices=list(load_families()), help="only this one; repeat for more"
    )
    parser.add_argument("--sets", type=Path, default=SETS, help="folder that keeps the rendered sets")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    chosen = parser.parse_args()
    held_out = kept(HELD_OUT, chosen.sets, chosen.workers)
    result = write_score(chosen.family or list(load_families()), held_out, {})
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
