"""A signed bundle of one or two views, its recipe, and labelled images of it, for the tests of `model evaluate`."""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from provisioning import cli_model
from tests.vectors.bundle_1 import (
    COLUMNS,
    KEYS,
    ROWS,
    SIDE,
    bundle_description,
    make_bundle,
    make_recipe,
    make_trust,
    recipe_description,
    tiny_model,
)

GOOD, BRIGHT, DOUBTFUL, GREY = 51, 255, 128, 180


def picture(mark: int = GOOD, ground: int = GOOD) -> npt.NDArray[np.uint8]:
    """A frame of `ground` with a 4 x 4 mark in the region of interest: `bright` scores mark / 255."""
    frame = np.full((ROWS, COLUMNS), ground, np.uint8)
    frame[10:14, 12:16] = mark
    return frame


def put(file: Path, frame: npt.NDArray[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), frame)
    return file


def make_pair(folder: Path, views: tuple[str, ...] = ("side",)) -> str:
    """Write trust, bundle and recipe with one model and one camera for each view; return the bundle's digest."""
    make_trust(folder / "trust", KEYS)
    described = bundle_description()
    (model,), (case,) = described["models"].values(), described["golden"]["cases"]
    golden = {**described["golden"], "cases": [{**case, "model": view} for view in views]}
    digest = make_bundle(folder / "bundle", models=dict.fromkeys(views, model), golden=golden)
    (looked,) = recipe_description(digest)["views"]
    make_recipe(folder / "recipe", digest, views=[{**looked, "camera": view, "model": view} for view in views])
    return digest


def make_anomaly_pair(folder: Path) -> None:
    """Write trust, bundle and recipe of a model whose only class is `anomaly`: the score of `bright` in make_pair."""
    graph = tiny_model()
    del graph.graph.node[3:5]
    graph.graph.node[-1].input[0] = "largest"
    graph.graph.initializer[1].int64_data[1] = 1
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    described = bundle_description()
    (model,), (case,) = described["models"].values(), described["golden"]["cases"]
    output = {**model["output"], "shape": [1, 1]}
    make_trust(folder / "trust", KEYS)
    digest = make_bundle(
        folder / "bundle",
        graph.SerializeToString(deterministic=True),
        models={"side": {**model, "output": output, "classes": ["anomaly"]}},
        defects={"anomaly": described["defects"]["bright"]},
        golden={**described["golden"], "cases": [{**case, "scores": {"anomaly": case["scores"]["bright"]}}]},
    )
    (view,) = recipe_description(digest)["views"]
    views = [{**view, "limits": {"anomaly": view["limits"]["bright"]}}]
    make_recipe(folder / "recipe", digest, views=views, channels={"anomaly": "critical"})


def pointing_model(*, wrongly: bool = False) -> bytes:
    """The graph of the vectors with a map beside its scores: how bright each pixel is, or, wrongly, how dark."""
    made = tiny_model()
    value = "grey"
    if wrongly:
        made.graph.node.append(helper.make_node("Neg", ["grey"], ["dark"]))
        value = "dark"
    made.graph.node.append(helper.make_node("Identity", [value], ["map"]))
    made.graph.output.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1, SIDE, SIDE]))
    return bytes(made.SerializeToString(deterministic=True))


def make_pointing(folder: Path, *, wrongly: bool = False) -> None:
    """Write trust, bundle and recipe of a model whose map explains, rightly or not."""
    make_trust(folder / "trust", KEYS)
    (model,) = bundle_description()["models"].values()
    map_ = {"name": "map", "dtype": "float32", "shape": [1, 1, SIDE, SIDE]}
    digest = make_bundle(folder / "bundle", pointing_model(wrongly=wrongly), models={"side": {**model, "map": map_}})
    make_recipe(folder / "recipe", digest)


def evaluate(folder: Path, images: Path, *more: str) -> int:
    """Run `linewarden model evaluate` on the pair of a folder."""
    return model("evaluate", str(folder / "bundle"), str(images), "--trust", str(folder / "trust"), *more)


def model(*words: str) -> int:
    """Run a leaf of `linewarden model` as its tree does."""
    parser = argparse.ArgumentParser()
    cli_model.add(parser.add_subparsers())
    parsed = parser.parse_args(("model", *words))
    return int(parsed.run(parsed))
