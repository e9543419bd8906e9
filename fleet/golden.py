"""Makes a bundle's golden set: what a model scores on given frames, on the engine that devices run."""

import hashlib
from collections.abc import Mapping, Sequence

import cv2
import msgspec

from engines.engine import Frame, allocate
from engines.heads import decode
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from fleet.errors import NotSigned
from signing.manifest import Model

DECIMALS = 6


def expected_scores(description: Mapping[str, object], graph: bytes, frames: Sequence[Frame]) -> list[dict[str, float]]:
    """Return class -> score of each raw frame, (H, W) uint8, rounded to six decimals.

    Args:
        description: one model of bundle.json.
        graph: the content of its file.

    Raises:
        NotSigned: the description is not that of a model.
        EngineError: the graph does not run, or a frame does not fit it.
    """
    try:
        model = msgspec.convert(description, Model)
    except msgspec.ValidationError as error:
        raise NotSigned(f"model: {error}; correct its description") from error
    engine = ModelEngine(model, OnnxRuntimeSession(model, graph), hashlib.sha256(graph).hexdigest())
    try:
        out, scores = allocate(engine.outputs), []
        for frame in frames:
            engine.infer(frame, out)
            scores.append({code: round(score, DECIMALS) for code, score in decode(model, out).items()})
        return scores
    finally:
        engine.close()


def png(frame: Frame) -> bytes:
    """Return a frame, (H, W) uint8, as a grey PNG."""
    return cv2.imencode(".png", frame)[1].tobytes()
