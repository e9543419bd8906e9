"""Builds and signs the demo bundle and recipe with fresh development keys: `python -m demo.build_bundle var/demo`.

Run by `make setup`. Leaves OUT/trust (keys of this checkout alone), OUT/bundle and OUT/recipe, and a second
valid pair OUT/bundle-other, OUT/recipe-other for the fault `wrong-digest`. Done again, it keeps the keys and replaces
the rest; equal inputs give equal digests.
"""

import argparse
import hashlib
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.explain import MAP, map_shape
from demo.golden import golden_frames
from demo.spec import FOLDER, DemoSpec, ViewSpec, load_spec
from engines.errors import EngineError
from fleet.building import DEVELOPERS, make_development_keys
from fleet.errors import FleetError
from fleet.people import open_signer
from fleet.signatures import Words, sign_directory
from provisioning.anomaly_bundle import LINE
from provisioning.golden_set import known_answers, png
from provisioning.sbom import installed_sbom
from provisioning.unsigned import build_bundle, build_recipe
from signing.errors import SigningError
from signing.keyring import load_trust
from signing.trust import Role

SCORE_FILE = FOLDER / "score.json"
OTHER = "-other"
SBOM = "sbom.cdx.json"
# The commit whose demo/train.py learnt the weights; demo/explain.py added the heat map, which changes no score.
TRAINED_BY = "7a2ebd2f76e9501fd4cb9738d60f3167132f8337"
# Between machines of other processors the rounding of one convolution moves a score by some 1e-5.
TOLERANCE = 0.001
RAW_TOLERANCE = 0.005
MEANING = {Role.QA: "approval", Role.RELEASE: "release"}
UNSCORED: dict[str, Any] = {
    "auroc": 0.0,
    "classes": {},
    "training": {"train_seed": 0, "train_sha256": "0" * 64, "torch": "none"},
    "held_out": {"sha256": "0" * 64, "units": 0},
}
NOT_SCORED = {"n": 1, "high95": 1.0}

# Of LINE, `late_run`: the line in a box shares its processor with whatever else runs there: a busy moment is no fault
# of the device.
RECIPE = {"product": "demo vial 2R, 13 mm crimp", "container": "2R vial", **LINE}
DEFECTS = {
    "particle": ("critical", "a foreign body in the liquid or on its surface"),
    "fibre": ("critical", "a foreign thread in the liquid, longer than it is wide"),
    "crack": ("critical", "a break in the glass, through it or not"),
    "low_fill": ("critical", "liquid level below the lower limit"),
    "high_fill": ("critical", "liquid level above the upper limit"),
    "missing_stopper": ("critical", "no stopper under the cap"),
    "missing_cap": ("critical", "no crimp cap"),
    "crooked_cap": ("major", "crimp cap tilted beyond what a good crimp shows"),
    "scratched_crimp": ("minor", "a scratch in the crimp's metal"),
}


def build(out: Path, score: dict[str, Any]) -> None:
    """Write everything below `out`; `score` is the content of score.json.

    Raises:
        FleetError, SigningError, EngineError, OSError: one line; what stood before still stands.
    """
    out.mkdir(parents=True, exist_ok=True)
    _keys(out / "trust")
    spec = load_spec()
    graphs = {model.file: (FOLDER / model.file).read_bytes() for model in spec.views.values()}
    golden, pictures = golden_set(spec, graphs)
    for suffix in ("", OTHER):
        bundle, recipe = fresh(out / f"bundle{suffix}.new"), fresh(out / f"recipe{suffix}.new")
        description = bundle_description(spec, score, suffix) | {"golden": golden}
        sbom = installed_sbom(description["name"], description["version"])
        digest = build_bundle(description, {**graphs, **pictures, SBOM: sbom}, bundle)
        build_recipe(recipe_description(spec, score, digest, suffix), recipe)
        for directory, name in ((bundle, f"bundle{suffix}"), (recipe, f"recipe{suffix}")):
            for role in Role:
                _sign(directory, role, out / "trust" / "private" / f"{role}.pem")
            fresh(out / name)
            directory.rename(out / name)


def _keys(trust: Path) -> None:
    """Keep the keys of this checkout; make them anew where there are none, or only those of an older format."""
    try:
        load_trust(trust, production=False)
    except SigningError:
        make_development_keys(fresh(trust))


def _sign(directory: Path, role: Role, key: Path) -> None:
    words = Words(DEVELOPERS[role], MEANING[role], "built by make setup for development")
    sign_directory(directory, role, open_signer(f"file:{key}").signer, words, datetime.now(UTC))


def golden_set(spec: DemoSpec, graphs: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the golden section of bundle.json and its files by name: pictures, and the graphs' numbers for each."""
    frames = golden_frames()
    cases, files = [], {name: png(frame) for name, _, frame in frames}
    for view, model in spec.views.items():
        shown = [(name, frame) for name, of, frame in frames if of is view]
        answers = known_answers(model_description(model), graphs[model.file], [frame for _, frame in shown])
        for (name, _), answer in zip(shown, answers, strict=True):
            raw = name.replace(".png", ".f32")
            files[raw] = answer.raw
            cases.append({"file": name, "model": str(view), "scores": answer.scores, "raw": raw})
    return {"tolerance": TOLERANCE, "raw_tolerance": RAW_TOLERANCE, "cases": cases}, files


def bundle_description(spec: DemoSpec, score: dict[str, Any], suffix: str) -> dict[str, Any]:
    """bundle.json without document, format, files and golden."""
    training, held_out = score["training"], score["held_out"]
    return {
        "name": f"demo-vial{suffix}",
        "version": f"{spec.version}.0.0",
        "models": {str(view): model_description(model) for view, model in spec.views.items()},
        "defects": {code: {"class": gravity, "definition": text} for code, (gravity, text) in DEFECTS.items()},
        "training": {
            "code_commit": TRAINED_BY,
            "seed": training["train_seed"],
            "dataset_sha256": training["train_sha256"],
            "metrics": {"auroc": score["auroc"]},
            "environment": {"torch": training["torch"]},
        },
        "evidence": [
            {
                "id": "demo/score.json",
                "sha256": hashlib.sha256(json.dumps(score, sort_keys=True).encode()).hexdigest(),
                "what": f"scores on held-out set {held_out['sha256']}, {held_out['units']} rendered units",
            }
        ],
        "sbom": SBOM,
    }


def model_description(model: ViewSpec) -> dict[str, Any]:
    size, roi = model.input, model.roi
    return {
        "file": model.file,
        "input": {"name": "image", "dtype": "uint8", "shape": [1, 1, size.height, size.width]},
        "output": {"name": "scores", "dtype": "float32", "shape": [1, len(model.classes)]},
        "map": {"name": MAP, "dtype": "float32", "shape": map_shape(FOLDER / model.file)},
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
                        "evidence": evidence_of(score, str(code)),
                    }
                    for code, threshold in zip(model.classes, model.thresholds, strict=True)
                },
            }
            for view, model in spec.views.items()
        ],
        "channels": {str(code): channel for code, channel in spec.channels.items()},
        **RECIPE,
    }


def evidence_of(score: dict[str, Any], code: str) -> dict[str, Any]:
    """What the limits of a class rest on: the share missed of the held-out units that have it."""
    missed = score["classes"].get(code, {}).get("missed", NOT_SCORED)
    return {
        "set_id": f"demo/score.json, held-out set {score['held_out']['sha256']}",
        "n": missed["n"],
        "bound": missed["high95"],
        "owner": DEVELOPERS[Role.QA],
    }


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
    except (FleetError, SigningError, EngineError, OSError, KeyError) as error:
        print(f"build_bundle: {error}; restore the demo folder or run `make train-demo`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
