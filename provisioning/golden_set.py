"""Makes a bundle's golden set: what a model says of given frames, on the engine that devices run by default."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import msgspec

from engines.engine import Frame, allocate
from engines.golden import raw_bytes
from engines.heads import decode
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from signing.errors import DocumentInvalid
from signing.manifest import Model

DECIMALS = 6


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What a golden case is to show: class -> score, rounded to six decimals, and the numbers of the graph behind."""

    scores: dict[str, float]
    raw: bytes


def known_answers(description: Mapping[str, object], graph: bytes, frames: Sequence[Frame]) -> list[KnownAnswer]:
    """Return the answer for each raw frame, (H, W) uint8.

    Args:
        description: one model of bundle.json.
        graph: the content of its file.

    Raises:
        DocumentInvalid: the description is not that of a model.
        EngineError: the graph does not run, or a frame does not fit it.
    """
    try:
        model = msgspec.convert(description, Model)
    except msgspec.ValidationError as error:
        raise DocumentInvalid(f"model: {error}; correct its description") from error
    engine = ModelEngine(model, OnnxRuntimeSession(model, graph), hashlib.sha256(graph).hexdigest())
    try:
        out, answers = allocate(engine.outputs), []
        for frame in frames:
            engine.infer(frame, out)
            scores = {code: round(score, DECIMALS) for code, score in decode(model, out).items()}
            answers.append(KnownAnswer(scores, raw_bytes(model, out)))
        return answers
    finally:
        engine.close()


def png(frame: Frame) -> bytes:
    """Return a frame, (H, W) uint8, as a grey PNG."""
    return cv2.imencode(".png", frame)[1].tobytes()
