"""What `bundle.json` says, format 1 (docs/interfaces/bundle-format-1.md), and how a signed document is read.

Strict: unknown fields, duplicate keys, NaN and trailing bytes are refused, so that a document means one thing only.
"""

import json
import math
from collections.abc import Iterator
from typing import Annotated, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from signing.errors import DocumentInvalid

BUNDLE_DOCUMENT = "bundle.json"
RECIPE_DOCUMENT = "recipe.json"
SIGNATURES = "signatures"
MAX_FILE_BYTES = 1 << 30
MAX_BUNDLE_BYTES = 2 << 30
MAX_FILES = 512
MAX_MODELS = 64
LONGEST_REASON = 300
MAX_MAP_CELLS = 4000
MAX_BOXES = 8400
BOX_COLUMNS = 5

T = TypeVar("T")

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}\Z")]
Word = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
Sha256Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Commit = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")]
Text = Annotated[str, Meta(max_length=400)]
# One line that any terminal shows as it is written: no control characters, nothing that turns the direction,
# nothing invisible but the two joiners (U+200C, U+200D) without which some names cannot be written.
SHOWN = (
    r"[^\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ud800-\udfff\U000e0000-\U000e0fff]"
)
Line = Annotated[str, Meta(max_length=400, pattern=rf"^{SHOWN}*\Z")]
Sentence = Annotated[str, Meta(min_length=1, max_length=400, pattern=rf"^{SHOWN}*\Z")]
# Without spaces at its ends: a name is compared as it is written.
PrintedName = Annotated[str, Meta(min_length=1, max_length=80, pattern=rf"^(?!\s){SHOWN}*(?<!\s)\Z")]
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
    """One graph: uint8 image in, numbers for each of `classes` out, in their order.

    `head` says what the numbers are (engines.heads decodes them):
      "probability", "logit": one value per class, [1, C]; of a logit the sigmoid is taken outside the graph.
      "boxes": rows of left, top, right, bottom in pixels of the graph's input, objectness 0..1 and a probability 0..1
        per class, [1, N, 5 + C]; of two boxes that overlap by more than `overlap` (intersection over union) the lower
        one is suppressed.
      "mask": a probability 0..1 per class and cell, [1, C, h, w]; a class scores what `cells` of its cells reach.
    `map`: a second output that explains, [1, 1 or C, h, w], larger where the graph saw more of the class.
    """

    file: Name
    input: Tensor
    output: Tensor
    head: Literal["probability", "logit", "boxes", "mask"]
    classes: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=64)]
    preprocessing: Preprocessing
    map: Tensor | None = None
    overlap: Share = 0.5
    cells: Annotated[int, Meta(ge=1, le=MAX_MAP_CELLS)] = 1

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Every output of the graph, in its order."""
        return (self.output, self.map) if self.map else (self.output,)


class Defect(Struct, frozen=True, forbid_unknown_fields=True):
    """What a class stands for: how grave it is, and the words by which a person decides it."""

    definition: Sentence
    gravity: Literal["critical", "major", "minor"] = field(name="class")


class GoldenCase(Struct, frozen=True, forbid_unknown_fields=True):
    """One raw frame, a grey PNG of the bundle, and the scores `model` gives it.

    `raw` names a file of the bundle with the numbers of the graph themselves, float32, little-endian, every output in
    its order: a score near 0 or 1 hides what they show.
    """

    file: Name
    model: Word
    scores: Annotated[dict[Word, Share], Meta(min_length=1)]
    raw: Name | None = None


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """Known answers: a loaded engine must give every score within `tolerance` (engines.golden).

    Every number x of a case's `raw` must come out within `raw_tolerance` times max(1, |x|).
    """

    tolerance: Annotated[float, Meta(gt=0.0, le=0.1)]
    cases: Annotated[tuple[GoldenCase, ...], Meta(min_length=1, max_length=MAX_FILES)]
    raw_tolerance: Annotated[float, Meta(gt=0.0, le=0.1)] = 0.01


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights come from; enough to make them again."""

    code_commit: Commit
    seed: int
    dataset_sha256: Sha256Hex
    metrics: Annotated[dict[Word, float], Meta(min_length=1, max_length=64)]
    environment: Annotated[dict[Name, Sentence], Meta(min_length=1, max_length=512)]


class EvidenceReference(Struct, frozen=True, forbid_unknown_fields=True):
    """A validation record that is kept elsewhere, by its digest."""

    id: Sentence
    sha256: Sha256Hex
    what: Sentence


class BundleManifest(Struct, frozen=True, forbid_unknown_fields=True, tag_field="document", tag="bundle"):
    """The content of `bundle.json`. `models` is keyed by model name, `defects` by class.

    `files` holds every other file but the signatures; `sbom` is the name of the CycloneDX one among them.
    """

    format: Literal[1]
    name: Name
    version: Version
    files: Annotated[dict[Name, FileEntry], Meta(min_length=1, max_length=MAX_FILES)]
    models: Annotated[dict[Word, Model], Meta(min_length=1, max_length=MAX_MODELS)]
    defects: Annotated[dict[Word, Defect], Meta(min_length=1)]
    golden: Golden
    training: Training
    evidence: Annotated[tuple[EvidenceReference, ...], Meta(max_length=64)]
    sbom: Name


def strict_json(raw: bytes, shape: type[T], where: str) -> T:
    """Read one JSON document into `shape`.

    Args:
        where: the document's name, for the message.

    Raises:
        DocumentInvalid: not JSON, a duplicate key, NaN, or anything `shape` does not allow.
    """
    content: object = None
    try:
        content = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
        return msgspec.convert(content, shape, strict=True)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else _shown(error)
        if isinstance(content, dict) and content.get("format") == 0:
            raise DocumentInvalid(f"{where}: format 0 is no longer accepted: build it again in format 1") from error
        raise DocumentInvalid(f"{where}: {reason}; build the document again") from error


def read_bundle_manifest(raw: bytes, where: str) -> BundleManifest:
    """Read `bundle.json` whose signatures hold.

    Raises:
        DocumentInvalid: see `strict_json`; also a document whose parts do not fit together.
    """
    manifest = strict_json(raw, BundleManifest, where)
    for fault in _faults(manifest):
        raise DocumentInvalid(f"{where}: {fault}; build the bundle again")
    return manifest


def _faults(manifest: BundleManifest) -> Iterator[str]:
    for name in (BUNDLE_DOCUMENT, RECIPE_DOCUMENT, SIGNATURES):
        if name in manifest.files:
            yield f"file '{name}' has a name that is kept for the document and its signatures"
    for name, model in manifest.models.items():
        yield from (f"model '{name}': {fault}" for fault in _model_faults(model, manifest))
    yield from _defect_faults(manifest)
    for number, case in enumerate(manifest.golden.cases):
        yield from (f"golden case {number}: {fault}" for fault in _case_faults(case, manifest))
    for name in sorted(manifest.models.keys() - {case.model for case in manifest.golden.cases}):
        yield f"model '{name}' has no golden case"
    if manifest.sbom not in manifest.files:
        yield f"sbom '{manifest.sbom}' is not listed under files"


def _model_faults(model: Model, manifest: BundleManifest) -> Iterator[str]:
    pre = model.preprocessing
    if model.file not in manifest.files:
        yield f"file '{model.file}' is not listed under files"
    if not model.file.endswith(".onnx"):
        yield f"file '{model.file}' is not an .onnx file"
    if model.input.dtype != "uint8" or model.input.shape != (1, 1, pre.height, pre.width):
        yield f"input must be uint8 of shape [1, 1, {pre.height}, {pre.width}], as preprocessing makes it"
    yield from _output_faults(model)
    if len(set(model.classes)) != len(model.classes):
        yield "a class is named twice"
    if pre.width > pre.roi.width or pre.height > pre.roi.height:
        yield "preprocessing enlarges the region; area resize only reduces"


def _output_faults(model: Model) -> Iterator[str]:
    """Yield what the shapes of the outputs lack; sizes of the graph are compared with them in signing.graph."""
    count = len(model.classes)
    if any(tensor.dtype != "float32" for tensor in model.outputs):
        yield "outputs must be float32"
    if len({tensor.name for tensor in (model.input, *model.outputs)}) <= len(model.outputs):
        yield "input, output and map must have names of their own"
    match model.head, model.output.shape:
        case "boxes", (1, rows, columns) if rows <= MAX_BOXES and columns == BOX_COLUMNS + count:
            pass
        case "boxes", _:
            yield f"output must be of shape [1, N, {BOX_COLUMNS + count}] with N of at most {MAX_BOXES}"
        case "mask", (1, classes, height, width) if classes == count and model.cells <= height * width:
            pass
        case "mask", _:
            yield f"output must be of shape [1, {count}, h, w] with h * w of at least 'cells'"
        case _, shape if shape != (1, count):
            yield f"output must be float32 of shape [1, {count}], one value per class"
    match model.map and model.map.shape:
        case None:
            pass
        case (1, maps, height, width) if maps in (1, count) and height * width <= MAX_MAP_CELLS:
            pass
        case _:
            yield f"map must be of shape [1, 1 or {count}, h, w] with h * w of at most {MAX_MAP_CELLS}"


def _defect_faults(manifest: BundleManifest) -> Iterator[str]:
    classes = {code for model in manifest.models.values() for code in model.classes}
    for code in sorted(classes - manifest.defects.keys()):
        yield f"class '{code}' is not described under defects"
    for code in sorted(manifest.defects.keys() - classes):
        yield f"defect '{code}' is a class of no model"


def _case_faults(case: GoldenCase, manifest: BundleManifest) -> Iterator[str]:
    model = manifest.models.get(case.model)
    if model is None:
        yield f"there is no model '{case.model}'"
    elif set(case.scores) != set(model.classes):
        odd = ", ".join(sorted(set(case.scores) ^ set(model.classes)))
        yield f"scores and the model's classes differ in {odd}"
    if case.file not in manifest.files:
        yield f"file '{case.file}' is not listed under files"
    if not case.file.endswith(".png"):
        yield f"file '{case.file}' is not a .png file"
    if case.raw is not None and (case.raw not in manifest.files or not case.raw.endswith(".f32")):
        yield f"raw '{case.raw}' is not an .f32 file that is listed under files"


def _shown(error: Exception) -> str:
    """Return the text of an error in one line; what a stranger wrote into the document may be in it."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(error)[:LONGEST_REASON])


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' occurs twice in one object")
    return content


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:40]} is not a number")
    return value
