"""One small real graph for each head, what it must give as numpy computes it, and signed bundles around it.

All of them look at 8 x 8 pixels (the middle of a 32 x 24 frame) through one convolution and know the classes of
`bundle_1`, so that its trust, its defects and its recipes go with them.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.engine import Frame, Outputs
from engines.heads import decode
from engines.onnx_runtime import OnnxRuntimeSession
from provisioning.golden_set import png
from provisioning.unsigned import build_bundle
from signing.keyring import load_trust
from signing.manifest import Model
from signing.sealed import open_directory
from signing.verify import VerifiedBundle, verify
from tests.vectors import bundle_1

ROWS, COLUMNS, SIDE, CELLS = bundle_1.ROWS, bundle_1.COLUMNS, bundle_1.SIDE, 4
LEFT, TOP, WIDTH, HEIGHT = 8, 4, 16, 16
CLASSES = bundle_1.CLASSES
COUNT = len(CLASSES)
KINDS = ("probability", "logit", "boxes", "mask")
FILES = ("golden.png", "golden-1.png")
OPSET = 17
GAIN = 12.0

Array = npt.NDArray[np.float32]


def picture(row: int = 3, column: int = 3, level: int = 255) -> Frame:
    """A grey frame, white left of the region, with a mark of 4 x 4 pixels that covers one cell of 4 x 4."""
    frame = np.full((ROWS, COLUMNS), 51, np.uint8)
    frame[:, :LEFT] = 255
    top, left = TOP + row * HEIGHT // CELLS, LEFT + column * WIDTH // CELLS
    frame[top : top + HEIGHT // CELLS, left : left + WIDTH // CELLS] = level
    return frame


def weights() -> dict[str, Array]:
    """Every float initializer that some kind uses: two filters (a soft point, a mean), a sigmoid's slope, edges."""
    point = np.array([[0.0, 0.0625, 0.0], [0.0625, 0.75, 0.0625], [0.0, 0.0625, 0.0]], np.float32)
    mean = np.full((3, 3), 1 / 9, np.float32)
    cells = [(2.0 * column, 2.0 * row) for row in range(CELLS) for column in range(CELLS)]
    edges = [[left - 0.5, top - 0.5, left + 2.5, top + 2.5] for left, top in cells]
    return {
        "scale": np.array([1 / 255], np.float32),
        "filters": np.stack([point, mean])[:, None],
        "gain": np.full((1, COUNT), GAIN, np.float32),
        "bias": np.full((1, COUNT), -GAIN / 2, np.float32),
        "edges": np.array([edges], np.float32),
    }


def graph(kind: str) -> ModelProto:
    """The graph of a head: output `scores`, and for "logit" also `map`."""
    body, outputs = _BODIES[kind]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["grey"], "grey"),
        helper.make_node("Conv", ["grey", "filters"], ["features"], "conv", pads=[1, 1, 1, 1]),
        *body,
    ]
    used = {name for node in nodes for name in node.input}
    initializers: dict[str, npt.NDArray[Any]] = {**weights(), **_SIZES}
    made = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in initializers.items() if name in used],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="")


_SIZES: dict[str, npt.NDArray[np.int64]] = {
    "flat": np.array([1, COUNT], np.int64),
    "rows": np.array([1, COUNT, CELLS * CELLS], np.int64),
}
_TOP = [
    helper.make_node("GlobalMaxPool", ["features"], ["top"], "top"),
    helper.make_node("Reshape", ["top", "flat"], ["tops"], "tops"),
]


def _peaks(name: str) -> NodeProto:
    return helper.make_node("MaxPool", ["features"], [name], "peaks", kernel_shape=[2, 2], strides=[2, 2])


_MAP_SHAPE = [1, COUNT, CELLS, CELLS]
_BODIES: dict[str, tuple[list[NodeProto], dict[str, list[int]]]] = {
    "probability": (
        [_TOP[0], helper.make_node("Reshape", ["top", "flat"], ["scores"], "scores")],
        {"scores": [1, COUNT]},
    ),
    "logit": (
        [
            *_TOP,
            helper.make_node("Mul", ["tops", "gain"], ["steep"], "steep"),
            helper.make_node("Add", ["steep", "bias"], ["scores"], "scores"),
            _peaks("map"),
        ],
        {"scores": [1, COUNT], "map": _MAP_SHAPE},
    ),
    "boxes": (
        [
            _peaks("peaks"),
            helper.make_node("Reshape", ["peaks", "rows"], ["classes"], "classes"),
            helper.make_node("Transpose", ["classes"], ["shares"], "shares", perm=[0, 2, 1]),
            helper.make_node("ReduceMax", ["shares"], ["objectness"], "objectness", axes=[2], keepdims=1),
            helper.make_node("Concat", ["edges", "objectness", "shares"], ["scores"], "scores", axis=2),
        ],
        {"scores": [1, CELLS * CELLS, 5 + COUNT]},
    ),
    "mask": ([_peaks("scores")], {"scores": _MAP_SHAPE}),
}


def expected(kind: str, frame: Frame) -> Outputs:
    """What the graph must give for a raw frame, from numpy and the preprocessing of OpenCV, float32."""
    region = frame[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
    grey = np.pad(cv2.resize(region, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 255, 1)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (3, 3))
    features = np.einsum("ijkl,ckl->cij", windows, weights()["filters"][:, 0].astype(np.float64))
    tops = features.max(axis=(1, 2))[None]
    peaks = features.reshape(COUNT, CELLS, 2, CELLS, 2).max(axis=(2, 4))
    shares = peaks.reshape(COUNT, -1).T
    boxes = np.concatenate([weights()["edges"][0], shares.max(axis=1, keepdims=True), shares], axis=1)
    found = {
        "probability": {"scores": tops},
        "logit": {"scores": GAIN * (tops - 0.5), "map": peaks[None]},
        "boxes": {"scores": boxes[None]},
        "mask": {"scores": peaks[None]},
    }[kind]
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def description(kind: str) -> dict[str, Any]:
    """The model as bundle.json has it."""
    outputs = [{"name": name, "dtype": "float32", "shape": shape} for name, shape in _BODIES[kind][1].items()]
    model: dict[str, Any] = copy.deepcopy(bundle_1.bundle_description()["models"]["side"])
    model |= {"head": kind, "output": outputs[0]}
    model |= {"map": outputs[1]} if len(outputs) > 1 else {}
    return model | ({"cells": 2} if kind == "mask" else {}) | ({"overlap": 0.1} if kind == "boxes" else {})


def model(kind: str) -> Model:
    """The same as the code has it."""
    return msgspec.convert(description(kind), Model)


def bundle_description(kind: str, **changes: Any) -> dict[str, Any]:
    """bundle.json without document, format and files; what the golden frames must give is numpy's word."""
    cases = [{"file": file, "model": "side", "scores": {}, "raw": f"{file[:-4]}.f32"} for file in FILES]
    made = {**bundle_1.bundle_description(), "models": {"side": description(kind)}}
    made["golden"] = {"tolerance": 0.001, "raw_tolerance": 0.0001, "cases": cases}
    for case, frame in zip(cases, frames(), strict=True):
        case["scores"] = {code: round(score, 6) for code, score in decode(model(kind), expected(kind, frame)).items()}
    return made | changes


def make_bundle(directory: Path, kind: str, raw: bytes | None = None, /, **changes: Any) -> str:
    """Write and sign a bundle around `raw` (by default the graph of that kind); `changes` replace top-level fields.

    `files` among the changes replaces or adds contents of files. Returns its digest.
    """
    contents: Mapping[str, bytes] = changes.pop("files", {})
    digest = build_bundle(bundle_description(kind, **changes), {**_sources(kind, raw), **contents}, directory)
    bundle_1.put_signatures(directory, bundle_1.KEYS)
    return digest


def opened(directory: Path) -> VerifiedBundle:
    """Verify a bundle by the trust store of the vectors."""
    with open_directory(directory) as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


def raw_numbers(kind: str, frame: Frame) -> Array:
    """What a golden case keeps of a frame: every number of every output."""
    return np.concatenate([values.ravel() for values in expected(kind, frame).values()])


def flipped(proto: ModelProto, name: str, element: int, bit: int = 22) -> bytes:
    """The graph with one bit of one weight turned; bit 22 is the highest of a float's mantissa."""
    values = numpy_helper.to_array(_weight(proto, name)).copy()
    values.view(np.uint32).reshape(-1)[element] ^= np.uint32(1 << bit)
    return with_weight(proto, name, values)


def with_weight(proto: ModelProto, name: str, values: Array) -> bytes:
    """The graph with one weight replaced."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    _weight(changed, name).CopyFrom(numpy_helper.from_array(values, name))
    return changed.SerializeToString(deterministic=True)


def _weight(proto: ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


class Aged:
    """A session on ONNX Runtime whose memory turns one bit of its last result from the moment it `breaks`."""

    def __init__(self, bundle: VerifiedBundle, output: str = "scores") -> None:
        model = bundle.manifest.models["side"]
        self._inner = OnnxRuntimeSession(model, bundle.files[model.file].bytes())
        self._output = output
        self.facts = self._inner.facts
        self.breaks: int | None = None
        self.runs = 0

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        return self._inner.image

    @property
    def results(self) -> Mapping[str, npt.NDArray[np.float32]]:
        return self._inner.results

    def run(self) -> None:
        self._inner.run()
        self.runs += 1
        if self.breaks is not None:
            self.results[self._output].reshape(-1)[-1:].view(np.uint32)[0] ^= np.uint32(1 << self.breaks)

    def close(self) -> None:
        self._inner.close()


def frames() -> tuple[Frame, Frame]:
    """The golden frames."""
    return picture(), picture(1, 0, 140)


def _sources(kind: str, raw: bytes | None) -> dict[str, bytes]:
    shown = dict(zip(FILES, frames(), strict=True))
    return {
        "tiny.onnx": graph(kind).SerializeToString(deterministic=True) if raw is None else raw,
        "sbom.cdx.json": bundle_1.SBOM,
        **{name: png(frame) for name, frame in shown.items()},
        **{f"{name[:-4]}.f32": raw_numbers(kind, frame).astype("<f4").tobytes() for name, frame in shown.items()},
    }
