"""Known answers: does what runs here score the bundle's golden frames as it did where the bundle was made?"""

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from engines.engine import Engine, Frame, allocate
from engines.errors import FrameRefused
from engines.heads import decode
from engines.load import load
from signing.manifest import GoldenCase
from signing.sealed import SealedFile
from signing.verify import VerifiedBundle

# Signature of a PNG; of its first chunk the kind, width, height, bits a sample and colour type.
_HEAD = struct.Struct(">8s4x4sIIBB")
_PNG, _IHDR, _GREY = b"\x89PNG\r\n\x1a\n", b"IHDR", (8, 0)
MAX_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True)
class GoldenFinding:
    """One score that is further than the tolerance from the signed one."""

    file: str
    model: str
    code: str
    expected: float
    found: float

    def __str__(self) -> str:
        return f"{self.file}: model '{self.model}' scores {self.code} {self.found:.6f}, the bundle {self.expected:.6f}"


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
    """Return what differs on loaded engines by model name. Called by `check_golden`.

    Raises:
        EngineError: see `check_golden`.
    """
    return [finding for case in bundle.manifest.golden.cases for finding in _findings(bundle, engines, case)]


def grey_png(name: str, file: SealedFile) -> Frame:
    """Return the (H, W) uint8 image of a verified PNG.

    Raises:
        FrameRefused: it is none.
    """
    image = None
    if _is_grey(file):
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(file.view(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint8:
        raise FrameRefused(f"{name}: not a grey PNG of 8 bits and at most {MAX_PIXELS} pixels; build the bundle again")
    return np.ascontiguousarray(image, np.uint8)


def _is_grey(file: SealedFile) -> bool:
    """Return what the file says of itself, before a decoder for any kind of image makes room for it."""
    if file.size < _HEAD.size:
        return False
    signature, chunk, width, height, *grey = _HEAD.unpack_from(file.view())
    return (signature, chunk, tuple(grey)) == (_PNG, _IHDR, _GREY) and width * height <= MAX_PIXELS


def _findings(bundle: VerifiedBundle, engines: Mapping[str, Engine], case: GoldenCase) -> Iterator[GoldenFinding]:
    engine = engines[case.model]
    out = allocate(engine.outputs)
    engine.infer(grey_png(case.file, bundle.files[case.file]), out)
    for code, found in decode(bundle.manifest.models[case.model], out).items():
        expected = case.scores[code]
        if not math.isfinite(found) or abs(found - expected) > bundle.manifest.golden.tolerance:
            yield GoldenFinding(case.file, case.model, code, expected, found)
