"""Vectors of bundle and recipe format 0: `python -m tests.vectors.bundle_0` rewrites bundle-0/ without a diff.

The keys come from numbers anybody can read here; they are development keys by their mark and good for nothing else.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from onnx import TensorProto, helper

from signing.keyring import DEVELOPMENT_MARK
from signing.publish import build_bundle, build_recipe, write_durably
from signing.trust import Role

ROOT = Path(__file__).parent / "bundle-0"
SIDE = 8
CLASSES = ("bright", "grey")
KEYS = {
    Role.QA: derive_private_key(20_001, SECP256R1()),
    Role.RELEASE: derive_private_key(20_002, SECP256R1()),
}
STRANGER = derive_private_key(20_003, SECP256R1())
_ALGORITHM = ECDSA(SHA256(), deterministic_signing=True)


def tiny_model() -> onnx.ModelProto:
    """A real graph: scores are the largest and the mean grey value of an 8 x 8 image, divided by 255."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1], [1 / 255])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["grey"]),
        helper.make_node("GlobalMaxPool", ["grey"], ["largest"]),
        helper.make_node("GlobalAveragePool", ["grey"], ["mean"]),
        helper.make_node("Concat", ["largest", "mean"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "shape"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, SIDE, SIDE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(CLASSES)])
    graph = helper.make_graph(nodes, "tiny", [image], [scores], [scale, shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="")


def with_external_data() -> bytes:
    """The same graph, its scale kept in a file beside it."""
    model = tiny_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "tiny.onnx.data"
    return model.SerializeToString(deterministic=True)


def bundle_description() -> dict[str, Any]:
    """bundle.json without document, format and files: one model `side` on the middle of a 32 x 24 frame."""
    return {
        "name": "tiny",
        "version": "1.0.0",
        "models": {
            "side": {
                "file": "tiny.onnx",
                "input": {"name": "image", "dtype": "uint8", "shape": [1, 1, SIDE, SIDE]},
                "output": {"name": "scores", "dtype": "float32", "shape": [1, len(CLASSES)]},
                "head": "probability",
                "classes": list(CLASSES),
                "preprocessing": {
                    "roi": {"x": 8, "y": 4, "width": 16, "height": 16},
                    "width": SIDE,
                    "height": SIDE,
                    "interpolation": "area",
                },
            }
        },
        "provenance": {"seed": 7, "data_sha256": "0" * 64, "score": {"auroc": 1.0}},
    }


def recipe_description(bundle: str) -> dict[str, Any]:
    """recipe.json without document and format, for the bundle with this digest."""
    limit = {"accept_below": 0.4, "reject_from": 0.6, "evidence": "made up for the vectors"}
    return {
        "name": "tiny-recipe",
        "version": "1.0.0",
        "product": "vector",
        "bundle": bundle,
        "views": [{"camera": "side", "model": "side", "limits": {name: limit for name in CLASSES}}],
        "channels": {"bright": "critical", "grey": "cosmetic"},
        "max_latency_ms": 120.0,
        "window_ms": 5.0,
        "min_gap_mm": 20.0,
        "max_gap_mm": 200.0,
        "sampling_every": 0,
        "evidence_share": 0.0,
    }


def put_signatures(directory: Path, keys: dict[Role, EllipticCurvePrivateKey]) -> None:
    """Sign the directory's document as each role with the given key; the same bytes every time."""
    document = next(directory / name for name in ("bundle.json", "recipe.json") if (directory / name).exists())
    (directory / "signatures").mkdir(exist_ok=True)
    for role, key in keys.items():
        write_durably(directory / "signatures" / f"{role}.sig", key.sign(document.read_bytes(), _ALGORITHM))


def make_trust(directory: Path, keys: dict[Role, EllipticCurvePrivateKey], *, development: bool = True) -> None:
    """Write a trust store with the public halves of `keys`; only development stores and keys carry the mark."""
    directory.mkdir(parents=True)
    mark = f"{DEVELOPMENT_MARK}\n".encode() if development else b""
    for role, key in keys.items():
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_durably(directory / f"{role}.pub.pem", mark + pem)
    names = {str(role): [f"{role}.pub.pem"] for role in keys}
    write_durably(
        directory / "trust.json", json.dumps({"format": 0, "development": development, "keys": names}).encode()
    )


def make_bundle(directory: Path, graph: bytes | None = None, /, **changes: Any) -> str:
    """Write and sign a bundle in `directory`; `changes` replace top-level fields. Returns its digest."""
    graph = tiny_model().SerializeToString(deterministic=True) if graph is None else graph
    digest = build_bundle({**bundle_description(), **changes}, {"tiny.onnx": graph}, directory)
    put_signatures(directory, KEYS)
    return digest


def make_recipe(directory: Path, bundle: str, /, **changes: Any) -> str:
    """Write and sign a recipe in `directory`; `changes` replace top-level fields. Returns its digest."""
    digest = build_recipe({**recipe_description(bundle), **changes}, directory)
    put_signatures(directory, KEYS)
    return digest


def flip(path: Path, at: int = -2) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def write_all(root: Path) -> None:
    """Write every vector under the new directory `root`."""
    make_trust(root / "trust", KEYS)
    bundle = make_bundle(root / "bundle")
    make_recipe(root / "recipe", bundle)
    refused = root / "refused"
    for name in ("flipped-document", "flipped-graph", "one-signature", "same-key-twice", "unknown-key", "extra-file"):
        make_bundle(refused / name)
    flip(refused / "flipped-document" / "bundle.json")
    flip(refused / "flipped-graph" / "tiny.onnx")
    (refused / "one-signature" / "signatures" / "release.sig").unlink()
    put_signatures(refused / "same-key-twice", {Role.RELEASE: KEYS[Role.QA]})
    put_signatures(refused / "unknown-key", {Role.RELEASE: STRANGER})
    (refused / "extra-file" / "more.onnx").write_bytes(b"surplus")
    make_bundle(refused / "external-data", with_external_data())


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    write_all(ROOT)
