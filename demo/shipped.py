"""Every model that this repository ships, with what bundle.json says of it: for benches, tables and tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from demo import anomaly_model
from demo.build_bundle import model_description
from demo.families.score import read_score
from demo.families.spec import load_families
from demo.score import SCORE_FILE
from demo.spec import FOLDER, load_spec
from signing.manifest import Model

ROOT = FOLDER.parent
DEMO_FAMILY, ANOMALY_FAMILY = "demo classifier", "anomaly, good only"


@dataclass(frozen=True, slots=True)
class Shipped:
    """`graph` is the content of the .onnx file."""

    name: str
    family: str
    model: Model
    graph: bytes


def shipped() -> list[Shipped]:
    """Return the demo's models, one of every family, and the anomaly models that a fit to good vials made."""
    found = [
        _shipped(str(view), DEMO_FAMILY, msgspec.convert(model_description(model), Model), FOLDER)
        for view, model in load_spec().views.items()
    ]
    found += [
        _shipped(name, name.replace("_", " "), family.model, family.path.parent)
        for name, family in load_families().items()
    ]
    return found + [
        _shipped(f"anomaly {name}", ANOMALY_FAMILY, model, anomaly_model.FOLDER)
        for name, model in anomaly_model.models().items()
    ]


def score_of(one: Shipped) -> dict[str, Any]:
    """Return `auroc` and `n`, the held-out units behind it; of models that judge a unit together, their common ones."""
    if one.family == DEMO_FAMILY:
        found = json.loads(SCORE_FILE.read_text(encoding="utf-8"))
        return {"auroc": found["auroc"], "n": found["held_out"]["units"]}
    if one.family == ANOMALY_FAMILY:
        fitted: dict[str, Any] = json.loads(anomaly_model.SCORE_FILE.read_text(encoding="utf-8"))
        return fitted
    row: dict[str, Any] = read_score()["families"][one.name]
    return row


def _shipped(name: str, family: str, model: Model, folder: Path) -> Shipped:
    return Shipped(name, family, model, (folder / model.file).read_bytes())
