"""Builds and signs the demo bundle and recipe with fresh development keys: `python -m demo.build_bundle var/demo`.

Run by `make setup`. Leaves OUT/trust (keys of this checkout alone), OUT/bundle and OUT/recipe, and a second
valid pair OUT/bundle-other, OUT/recipe-other for the fault `wrong-digest`. Done again, it keeps the keys and replaces
the rest; equal inputs give equal digests.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from demo.spec import FOLDER, DemoSpec, ViewSpec, load_spec
from signing.errors import SigningError
from signing.publish import build_bundle, build_recipe, load_private_key, make_development_keys, sign
from signing.trust import Role

SCORE_FILE = FOLDER / "score.json"
OTHER = "-other"
UNSCORED: dict[str, Any] = {
    "auroc": 0.0,
    "classes": {},
    "training": {"train_seed": 0, "train_sha256": "0" * 64},
    "held_out": {"sha256": "0" * 64, "units": 0},
}

RECIPE = {
    "product": "demo vial 2R, 13 mm crimp",
    "max_latency_ms": 120.0,
    "window_ms": 5.0,
    "min_gap_mm": 40.0,
    "max_gap_mm": 400.0,
    "sampling_every": 0,
    "evidence_share": 0.05,
    # The line in a box shares its processor with whatever else runs there: a busy moment is no fault of the device.
    "stops": {"late_run": 100},
}


def build(out: Path, score: dict[str, Any]) -> None:
    """Write everything below `out`; `score` is the content of score.json.

    Raises:
        SigningError, OSError: one line; what stood before still stands.
    """
    out.mkdir(parents=True, exist_ok=True)
    trust = out / "trust"
    if not trust.exists():
        unfinished = fresh(out / ".trust.new")
        make_development_keys(unfinished)
        unfinished.rename(trust)
    spec = load_spec()
    for suffix in ("", OTHER):
        bundle, recipe = fresh(out / f".bundle{suffix}.new"), fresh(out / f".recipe{suffix}.new")
        graphs = {model.file: (FOLDER / model.file).read_bytes() for model in spec.views.values()}
        digest = build_bundle(bundle_description(spec, score, suffix), graphs, bundle)
        build_recipe(recipe_description(spec, score, digest, suffix), recipe)
        for directory, name in ((bundle, f"bundle{suffix}"), (recipe, f"recipe{suffix}")):
            for role in Role:
                sign(directory, role, load_private_key(trust / "private" / f"{role}.pem"))
            fresh(out / name)
            directory.rename(out / name)


def bundle_description(spec: DemoSpec, score: dict[str, Any], suffix: str) -> dict[str, Any]:
    """bundle.json without document, format and files."""
    training = score["training"]
    return {
        "name": f"demo-vial{suffix}",
        "version": f"{spec.version}.0.0",
        "models": {str(view): model_description(model) for view, model in spec.views.items()},
        "provenance": {
            "seed": training["train_seed"],
            "data_sha256": training["train_sha256"],
            "score": {"auroc": score["auroc"]},
            "note": f"held-out set {score['held_out']['sha256']}, {score['held_out']['units']} rendered units",
        },
    }


def model_description(model: ViewSpec) -> dict[str, Any]:
    size, roi = model.input, model.roi
    return {
        "file": model.file,
        "input": {"name": "image", "dtype": "uint8", "shape": [1, 1, size.height, size.width]},
        "output": {"name": "scores", "dtype": "float32", "shape": [1, len(model.classes)]},
        "head": "probability",
        "classes": [str(code) for code in model.classes],
        "preprocessing": {
            "roi": {"x": roi.x, "y": roi.y, "width": roi.width, "height": roi.height},
            "width": size.width,
            "height": size.height,
            "interpolation": "area",
        },
    }


def recipe_description(spec: DemoSpec, score: dict[str, Any], bundle: str, suffix: str) -> dict[str, Any]:
    """recipe.json without document and format. The demo has no doubtful band: both limits are the threshold."""
    evidence = f"demo/score.json, held-out set {score['held_out']['sha256']}"
    return {
        "name": f"demo-recipe{suffix}",
        "version": f"{spec.version}.0.0",
        "bundle": bundle,
        "views": [
            {
                "camera": str(view),
                "model": str(view),
                "limits": {
                    str(code): {
                        "accept_below": threshold,
                        "reject_from": threshold,
                        "evidence": f"{evidence}, class {code}: missed {missed_of(score, str(code))}",
                    }
                    for code, threshold in zip(model.classes, model.thresholds, strict=True)
                },
            }
            for view, model in spec.views.items()
        ],
        "channels": {str(code): channel for code, channel in spec.channels.items()},
        **RECIPE,
    }


def missed_of(score: dict[str, Any], code: str) -> str:
    missed = score["classes"].get(code, {}).get("missed")
    return f"{missed['count']} of {missed['n']}" if missed else "not scored"


def fresh(directory: Path) -> Path:
    """Remove what an earlier, perhaps interrupted, run left there."""
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write into, for example var/demo")
    parser.add_argument("--unscored", action="store_true", help="models in training: do not ask for score.json")
    chosen = parser.parse_args()
    try:
        build(chosen.out, UNSCORED if chosen.unscored else json.loads(SCORE_FILE.read_bytes()))
    except (SigningError, OSError, KeyError) as error:
        print(f"build_bundle: {error}; restore the demo folder or run `make train-demo`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
