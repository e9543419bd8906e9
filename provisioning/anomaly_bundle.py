"""What a fit leaves as documents: an unsigned bundle of format 1 and the unsigned recipe that proposes its limits."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from engines.engine import Frame
from provisioning.anomaly_calibration import LIMIT
from provisioning.anomaly_features import IMAGE, cells_of
from provisioning.anomaly_fit import Fitted
from provisioning.anomaly_graph import MAP, SCORE
from provisioning.anomaly_images import Good, dataset_digest
from provisioning.golden_set import known_answers, png
from provisioning.sbom import installed_sbom
from provisioning.unsigned import build_bundle, build_recipe

ANOMALY = "anomaly"
VERSION = "1.0.0"
SBOM = "sbom.cdx.json"
GOLDEN = 4
TOLERANCE, RAW_TOLERANCE = 0.01, 0.01
DEFINITION = "looks like nothing that the good images show, or is where no good image has it"
DISTRIBUTIONS = ("numpy", "onnx", "onnxruntime", "opencv-python-headless")
# Mechanics of the line, which no image shows; the people who sign put theirs here.
LINE: dict[str, Any] = {
    "max_latency_ms": 120.0,
    "window_ms": 5.0,
    "min_gap_mm": 40.0,
    "max_gap_mm": 400.0,
    "sampling_every": 0,
    "evidence_share": 0.05,
    "stops": {"late_run": 100},
}


@dataclass(frozen=True, slots=True)
class Made:
    """One view of the bundle: what it was fitted on, what came of it, and the frames of its golden set."""

    good: Good
    fitted: Fitted
    golden: Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Label:
    """How bundle and recipe are named, for which product, and who answers for the limits."""

    name: str
    product: str
    container: str
    owner: str
    seed: int


def build(label: Label, views: Mapping[str, Made], report: bytes, out: Path) -> dict[str, str]:
    """Write `out`/bundle and `out`/recipe, unsigned; return their digests by those names.

    Args:
        report: report.json, whose digest goes into the bundle as evidence.

    Raises:
        SigningError, EngineError, OSError: nothing of it is left.
    """
    cases, sources = _golden(views)
    description = {
        "name": label.name,
        "version": VERSION,
        "models": {name: model_description(name, made.fitted) for name, made in views.items()},
        "defects": {ANOMALY: {"class": "critical", "definition": DEFINITION}},
        "golden": {"tolerance": TOLERANCE, "raw_tolerance": RAW_TOLERANCE, "cases": cases},
        "training": _training(label, views),
        "evidence": [
            {"id": "report.json", "sha256": hashlib.sha256(report).hexdigest(), "what": "how the model was fitted"}
        ],
        "sbom": SBOM,
    }
    graphs = {f"{name}.onnx": made.fitted.graph for name, made in views.items()}
    sbom = installed_sbom(label.name, VERSION)
    bundle = build_bundle(description, {**graphs, **sources, SBOM: sbom}, out / "bundle")
    return {"bundle": bundle, "recipe": build_recipe(_recipe(label, views, bundle), out / "recipe")}


def model_description(name: str, fitted: Fitted) -> dict[str, Any]:
    """Return a model of bundle.json."""
    pre = fitted.preprocessing
    rows, columns = cells_of(pre.height, pre.width)
    roi = {"x": pre.roi.x, "y": pre.roi.y, "width": pre.roi.width, "height": pre.roi.height}
    return {
        "file": f"{name}.onnx",
        "input": {"name": IMAGE, "dtype": "uint8", "shape": [1, 1, pre.height, pre.width]},
        "output": {"name": SCORE, "dtype": "float32", "shape": [1, 1]},
        "map": {"name": MAP, "dtype": "float32", "shape": [1, 1, rows, columns]},
        "head": "logit",
        "classes": [ANOMALY],
        "preprocessing": {"roi": roi, "width": pre.width, "height": pre.height, "interpolation": pre.interpolation},
    }


def golden_indices(fitted: Fitted) -> list[int]:
    """Return which pictures make the golden set: from the most usual to the oddest, evenly spread."""
    order = np.argsort(fitted.logits, kind="stable")
    return [int(order[at]) for at in np.linspace(0, len(order) - 1, GOLDEN).round().astype(int)]


def _golden(views: Mapping[str, Made]) -> tuple[list[dict[str, Any]], dict[str, bytes | Path]]:
    cases: list[dict[str, Any]] = []
    sources: dict[str, bytes | Path] = {}
    for name, made in views.items():
        answers = known_answers(model_description(name, made.fitted), made.fitted.graph, made.golden)
        for number, (frame, answer) in enumerate(zip(made.golden, answers, strict=True)):
            stem = f"golden-{name.replace('_', '-')}-{number}"
            sources |= {f"{stem}.png": png(frame), f"{stem}.f32": answer.raw}
            cases.append({"file": f"{stem}.png", "model": name, "scores": answer.scores, "raw": f"{stem}.f32"})
    return cases, sources


def _training(label: Label, views: Mapping[str, Made]) -> dict[str, Any]:
    metrics: dict[str, float] = {}
    for name, made in views.items():
        limit = made.fitted.limit
        metrics |= {f"{name[:20]}_good": limit.n, f"{name[:20]}_rejected": limit.reached}
        metrics[f"{name[:20]}_bound"] = round(limit.bound, 6)
    return {
        "code_commit": code_digest(),
        "seed": label.seed,
        "dataset_sha256": dataset_digest({name: made.good for name, made in views.items()}),
        "metrics": metrics,
        "environment": {"python": platform.python_version(), **{name: version(name) for name in DISTRIBUTIONS}},
    }


def code_digest() -> str:
    """Return the sha256 over what fits: a device has no repository whose commit could be named."""
    own = sorted(files("provisioning").iterdir(), key=lambda path: path.name)
    parts = [
        path.read_bytes() for path in own if path.name.startswith(("anomaly_", "grey_")) and path.name.endswith(".py")
    ]
    parts.append(files("engines").joinpath("backbone", "efficientnet-lite0-taps.onnx").read_bytes())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _recipe(label: Label, views: Mapping[str, Made], bundle: str) -> dict[str, Any]:
    return {
        "name": f"{label.name}-recipe",
        "version": VERSION,
        "product": label.product,
        "container": label.container,
        "bundle": bundle,
        "views": [
            {"camera": name, "model": name, "limits": {ANOMALY: _limit(label, made)}} for name, made in views.items()
        ],
        "channels": {ANOMALY: "critical"},
        **LINE,
    }


def _limit(label: Label, made: Made) -> dict[str, Any]:
    """Return the proposed limits. Good images show nothing of defects that are missed, so their bound is 1."""
    limit = made.fitted.limit
    shown = (
        f"{limit.n} good images, none with a defect: {limit.reached} would be rejected, with 95 % confidence at most "
        f"{100 * limit.bound:.2f} % of good ones; detection is not shown, see `linewarden model evaluate`"
    )
    evidence = {"set_id": shown, "n": limit.n, "bound": 1.0, "owner": label.owner}
    return {"accept_below": LIMIT, "reject_from": LIMIT, "evidence": evidence}
