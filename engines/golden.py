"""Known answers: does what runs here score the bundle's golden frames as it did where the bundle was made?"""

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from engines.engine import Engine, Frame, Outputs, allocate
from engines.errors import FrameRefused, GoldenRefused
from engines.heads import decode
from engines.load import load
from signing.manifest import GoldenCase, Model
from signing.sealed import SealedFile
from signing.verify import VerifiedBundle

# Signature of a PNG; of its first chunk the kind, width, height, bits a sample and colour type.
_HEAD = struct.Struct(">8s4x4sIIBB")
_PNG, _IHDR, _GREY = b"\x89PNG\r\n\x1a\n", b"IHDR", (8, 0)
HEAD_BYTES = _HEAD.size
MAX_PIXELS = 1 << 26
_RAW_BYTES = 4


@dataclass(frozen=True, slots=True)
class GoldenFinding:
    """One number that is further than the tolerance from the signed one; `what` is a score or a number of an output."""

    file: str
    model: str
    what: str
    expected: float
    found: float

    def __str__(self) -> str:
        return f"{self.file}: model '{self.model}' scores {self.what} {self.found:.6f}, the bundle {self.expected:.6f}"


def check_golden(bundle: VerifiedBundle) -> list[GoldenFinding]:
    """Load every model of the bundle, run its golden set and return what differs; nothing = good.

    Called by: `slots` before an installed bundle may be used, and `linewarden bundle verify --golden`. Takes the time
    of `load` and of one `infer` a case.

    Raises:
        EngineError: a model does not load or run, or a golden frame is none.
    """
    engines: dict[str, Engine] = {}
    try:
        for name in bundle.manifest.models:
            engines[name] = load(bundle, name)
        return golden_findings(bundle, engines)
    finally:
        for engine in engines.values():
            engine.close()


def golden_findings(bundle: VerifiedBundle, engines: Mapping[str, Engine]) -> list[GoldenFinding]:
    """Return what differs on loaded engines by model name; a case of a model that is not among them is not run.

    Raises:
        EngineError: see `check_golden`.
    """
    found: list[GoldenFinding] = []
    for case in bundle.manifest.golden.cases:
        if case.model in engines:
            engine = engines[case.model]
            out = allocate(engine.outputs)
            engine.infer(grey_png(case.file, bundle.files[case.file]), out)
            found += case_findings(bundle, case, out)
    return found


def case_findings(bundle: VerifiedBundle, case: GoldenCase, out: Outputs) -> list[GoldenFinding]:
    """Return what differs in the outputs of one case, the scores first, of the raw numbers only the worst.

    Raises:
        GoldenRefused: the case's raw numbers are not as many as the model gives, or are no numbers.
    """
    return [*_score_findings(bundle, case, out), *_raw_findings(bundle, case, out)]


def grey_png(name: str, file: SealedFile) -> Frame:
    """Return the (H, W) uint8 image of a verified PNG.

    Raises:
        FrameRefused: it is none.
    """
    image = None
    if png_size(file.view()):
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(file.view(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        raise FrameRefused(f"{name}: not a grey PNG of 8 bits and at most {MAX_PIXELS} pixels; build the bundle again")
    return np.ascontiguousarray(image, np.uint8)


def raw_bytes(model: Model, out: Outputs) -> bytes:
    """Return the outputs of a model as a golden case keeps them: float32, little-endian, every output in its order."""
    return b"".join(out[tensor.name].astype("<f4", copy=False).tobytes() for tensor in model.outputs)


def png_size(head: bytes | memoryview) -> tuple[int, int] | None:
    """Return width and height that a grey PNG of 8 bits says of itself, at most MAX_PIXELS; None if it is none.

    Asked before a decoder for any kind of image makes room for it. `head`: the file, or its first HEAD_BYTES.
    """
    if len(head) < HEAD_BYTES:
        return None
    signature, chunk, width, height, *grey = _HEAD.unpack_from(head)
    found = (signature, chunk, tuple(grey)) == (_PNG, _IHDR, _GREY) and 0 < width * height <= MAX_PIXELS
    return (width, height) if found else None


def _score_findings(bundle: VerifiedBundle, case: GoldenCase, out: Outputs) -> Iterator[GoldenFinding]:
    for code, found in decode(bundle.manifest.models[case.model], out).items():
        expected = case.scores[code]
        if not math.isfinite(found) or abs(found - expected) > bundle.manifest.golden.tolerance:
            yield GoldenFinding(case.file, case.model, code, expected, found)


def _raw_findings(bundle: VerifiedBundle, case: GoldenCase, out: Outputs) -> Iterator[GoldenFinding]:
    if case.raw is None:
        return
    model, file = bundle.manifest.models[case.model], bundle.files[case.raw]
    found = np.frombuffer(raw_bytes(model, out), "<f4").astype(np.float64)
    if file.size != found.size * _RAW_BYTES:
        raise GoldenRefused(
            f"{case.raw}: {file.size} bytes, model '{case.model}' gives {found.size} numbers of {_RAW_BYTES}; "
            "build the bundle again"
        )
    expected = np.frombuffer(file.bytes(), "<f4").astype(np.float64)
    if not np.isfinite(expected).all():
        raise GoldenRefused(f"{case.raw}: it holds what is no number; build the bundle again")
    off = np.nan_to_num(np.abs(found - expected) / np.maximum(1.0, np.abs(expected)), nan=np.inf)
    worst = int(off.argmax())
    if off[worst] > bundle.manifest.golden.raw_tolerance:
        yield GoldenFinding(case.file, case.model, _place(model, worst), float(expected[worst]), float(found[worst]))


def _place(model: Model, index: int) -> str:
    """Return which number of which output the raw number `index` is."""
    for tensor in model.outputs:
        size = math.prod(tensor.shape)
        if index < size:
            return f"{tensor.name}{[int(at) for at in np.unravel_index(index, tensor.shape)]}"
        index -= size
    raise IndexError(index)
