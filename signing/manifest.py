"""What `bundle.json` says, format 0 (docs/interfaces/bundle-format-0.md), and how a signed document is read.

Strict: unknown fields, duplicate keys, NaN and trailing bytes are refused, so that a document means one thing only.
"""

import json
from typing import Annotated, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct

from signing.errors import DocumentInvalid

BUNDLE_DOCUMENT = "bundle.json"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 64

T = TypeVar("T")

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}\Z")]
Word = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Text = Annotated[str, Meta(max_length=400)]
Dimension = Annotated[int, Meta(ge=1, le=65536)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Digest and exact size in bytes of one file of the directory."""

    sha256: Sha256Hex
    size: Annotated[int, Meta(ge=1, le=MAX_FILE_BYTES)]


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of a graph. Shapes are static; the first dimension is the batch and is 1."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    dtype: Literal["uint8", "float32"]
    shape: Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=4)]


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    """Rectangle of the raw frame in pixels, origin top left."""

    x: Annotated[int, Meta(ge=0, le=65535)]
    y: Annotated[int, Meta(ge=0, le=65535)]
    width: Dimension
    height: Dimension


class Preprocessing(Struct, frozen=True, forbid_unknown_fields=True):
    """Region of interest, then area resize to `width` x `height`. Normalisation is in the graph."""

    roi: Region
    width: Dimension
    height: Dimension
    interpolation: Literal["area"]


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """One graph: uint8 image in, one value per class out, in the order of `classes`.

    `head` says what the values are: "probability" in 0..1, or "logit" (the sigmoid is taken outside the graph).
    """

    file: Name
    input: Tensor
    output: Tensor
    head: Literal["probability", "logit"]
    classes: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=64)]
    preprocessing: Preprocessing


class Provenance(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights come from: training seed, digest of the training data, score on the held-out set."""

    seed: int
    data_sha256: Sha256Hex
    score: dict[Word, float]
    note: Text = ""


class BundleManifest(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="bundle"):
    """The content of `bundle.json`. `models` is keyed by model name, `files` holds every other file but signatures."""

    format: Literal[0]
    name: Name
    version: Version
    files: Annotated[dict[Name, FileEntry], Meta(min_length=1, max_length=MAX_FILES)]
    models: Annotated[dict[Word, Model], Meta(min_length=1, max_length=MAX_FILES)]
    provenance: Provenance


def strict_json(raw: bytes, shape: type[T], where: str) -> T:
    """Read one JSON document into `shape`.

    Args:
        where: the document's name, for the message.

    Raises:
        DocumentInvalid: not JSON, a duplicate key, NaN, or anything `shape` does not allow.
    """
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        return msgspec.convert(content, shape, strict=True)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error).replace("\n", " ")
        raise DocumentInvalid(f"{where}: {reason}; build the document again") from error


def read_bundle_manifest(raw: bytes, where: str) -> BundleManifest:
    """Read `bundle.json` whose signatures hold.

    Raises:
        DocumentInvalid: see `strict_json`; also a model whose parts do not fit together.
    """
    manifest = strict_json(raw, BundleManifest, where)
    for name, model in manifest.models.items():
        fault = _fault_of(model, manifest)
        if fault:
            raise DocumentInvalid(f"{where}: model '{name}': {fault}; build the bundle again")
    return manifest


def _fault_of(model: Model, manifest: BundleManifest) -> str:
    pre = model.preprocessing
    checks = (
        (model.file in manifest.files, f"file '{model.file}' is not listed under files"),
        (model.file.endswith(".onnx"), f"file '{model.file}' is not an .onnx file"),
        (
            model.input.dtype == "uint8" and model.input.shape == (1, 1, pre.height, pre.width),
            f"input must be uint8 of shape [1, 1, {pre.height}, {pre.width}], as preprocessing makes it",
        ),
        (
            model.output.dtype == "float32" and model.output.shape == (1, len(model.classes)),
            f"output must be float32 of shape [1, {len(model.classes)}], one value per class",
        ),
        (len(set(model.classes)) == len(model.classes), "a class is named twice"),
        (
            pre.width <= pre.roi.width and pre.height <= pre.roi.height,
            "preprocessing enlarges the region; area resize only reduces",
        ),
    )
    return next((fault for holds, fault in checks if not holds), "")


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' occurs twice in one object")
    return content


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
