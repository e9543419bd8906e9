"""Vectors of bundle, recipe and trust format 1: `python -m tests.vectors.bundle_1` rewrites bundle-1/ without a diff.

The keys come from numbers anybody can read here; they are development keys by their mark and good for nothing else.
"""

import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from onnx import TensorProto, helper
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

from fleet.building import trust_document
from fleet.people import ssl_key
from fleet.signatures import Words, approval, model_signature
from provisioning.unsigned import build_bundle, document
from signing.durable import write_durably
from signing.trust import Role

ROOT = Path(__file__).parent / "bundle-1"
SIDE = 8
ROWS, COLUMNS = 24, 32
CLASSES = ("bright", "grey")
KEYS = {
    Role.QA: derive_private_key(20_001, SECP256R1()),
    Role.RELEASE: derive_private_key(20_002, SECP256R1()),
}
STRANGER = derive_private_key(20_003, SECP256R1())
NAMES = {Role.QA: "Anna Berg", Role.RELEASE: "Jonas Weber"}
NOW = datetime(2026, 11, 23, 0, 0, 0, tzinfo=UTC)
MEANING = {Role.QA: "approval", Role.RELEASE: "release"}
SBOM = b'{"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": []}\n'
_ALGORITHM = ECDSA(SHA256(), deterministic_signing=True)


class NumberSigner(Signer):
    """A signer whose signatures are the same every time."""

    def __init__(self, private: EllipticCurvePrivateKey) -> None:
        self._private = private

    @property
    def public_key(self) -> Key:
        return ssl_key(self._private.public_key())

    def sign(self, payload: bytes) -> Signature:
        return Signature(self.public_key.keyid, self._private.sign(payload, _ALGORITHM).hex())

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> "NumberSigner":
        raise NotImplementedError


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


def golden_png() -> bytes:
    """A grey frame of 51 with one white 2 x 2 mark in the region of interest; not packed, so always the same."""
    frame: npt.NDArray[np.uint8] = np.full((ROWS, COLUMNS), 51, np.uint8)
    frame[11:13, 15:17] = 255
    rows = b"".join(b"\0" + row.tobytes() for row in frame)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    packed = stored + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", COLUMNS, ROWS, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


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
        "defects": {
            "bright": {"class": "critical", "definition": "a pixel brighter than the glass"},
            "grey": {"class": "minor", "definition": "more light than usual"},
        },
        "golden": {
            "tolerance": 0.001,
            "cases": [{"file": "golden.png", "model": "side", "scores": {"bright": 0.4, "grey": 0.2125}}],
        },
        "training": {
            "code_commit": "0" * 40,
            "seed": 7,
            "dataset_sha256": "0" * 64,
            "metrics": {"auroc": 1.0},
            "environment": {"python": "3.11"},
        },
        "evidence": [{"id": "VAL-1", "sha256": "0" * 64, "what": "made up for the vectors"}],
        "sbom": "sbom.cdx.json",
    }


def recipe_description(bundle: str) -> dict[str, Any]:
    """recipe.json without document and format, for the bundle with this digest."""
    evidence = {"set_id": "made up for the vectors", "n": 100, "bound": 0.03, "owner": "Anna Berg"}
    limit = {"accept_below": 0.4, "reject_from": 0.6, "evidence": evidence}
    return {
        "name": "tiny-recipe",
        "version": "1.0.0",
        "product": "vector",
        "container": "2R vial",
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


def put_signatures(
    directory: Path, keys: Mapping[Role, EllipticCurvePrivateKey], names: Mapping[Role, str] | None = None
) -> None:
    """Sign whatever lies in the directory, good or not, as each role with the given key; the same bytes every time."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.is_file()}
    signed_name = next(name for name in ("bundle.json", "recipe.json") if name in files)
    (directory / "signatures").mkdir(exist_ok=True)
    for role, key in keys.items():
        words, signer = Words((names or NAMES)[role], MEANING[role], "vectors"), NumberSigner(key)
        signed = model_signature(directory.name, files, signer)
        approved = approval((signed_name, files[signed_name]), role, signer, words, NOW)
        write_durably(directory / "signatures" / f"{role}.sig", signed)
        write_durably(directory / "signatures" / f"{role}.approval", approved)


def make_trust(directory: Path, keys: Mapping[Role, EllipticCurvePrivateKey], *, development: bool = True) -> None:
    """Write a trust store with the public halves of `keys`; only development stores and keys carry the mark."""
    directory.mkdir(parents=True)
    people = [(NAMES[role], key.public_key()) for role, key in keys.items()]
    roles = {role: (NAMES[role],) for role in keys}
    write_durably(directory / "trust.json", trust_document(people, roles, development=development))


def make_bundle(directory: Path, graph: bytes | None = None, /, **changes: Any) -> str:
    """Write and sign a bundle in `directory`; `changes` replace top-level fields. Returns its digest."""
    graph = tiny_model().SerializeToString(deterministic=True) if graph is None else graph
    files: dict[str, bytes | Path] = {"tiny.onnx": graph, "golden.png": golden_png(), "sbom.cdx.json": SBOM}
    digest = build_bundle({**bundle_description(), **changes}, files, directory)
    put_signatures(directory, KEYS)
    return digest


def make_recipe(directory: Path, bundle: str, /, **changes: Any) -> str:
    """Write and sign a recipe, acceptable or not; `changes` replace top-level fields. Returns its digest."""
    raw = document({"document": "recipe", "format": 1, **recipe_description(bundle), **changes})
    directory.mkdir(parents=True)
    write_durably(directory / "recipe.json", raw)
    put_signatures(directory, KEYS)
    return hashlib.sha256(raw).hexdigest()


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
    put_signatures(refused / "same-key-twice", {Role.RELEASE: KEYS[Role.QA]}, {Role.RELEASE: NAMES[Role.QA]})
    put_signatures(refused / "unknown-key", {Role.RELEASE: STRANGER})
    (refused / "extra-file" / "more.onnx").write_bytes(b"surplus")
    make_bundle(refused / "external-data", with_external_data())
    shutil.copytree(root / "bundle", refused / "format-0")
    old = refused / "format-0" / "bundle.json"
    old.write_text(json.dumps({**json.loads(old.read_text()), "format": 0}))
    put_signatures(refused / "format-0", KEYS)


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    write_all(ROOT)
