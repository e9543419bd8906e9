"""Decode a graph's output into class scores; the same code whatever backend ran the graph."""

import math

from engines.engine import Outputs
from signing.manifest import Model


def decode(model: Model, out: Outputs) -> dict[str, float]:
    """Return defect class -> score, 0 (good) to 1 (defect), in the manifest's order.

    A value that is not finite is returned as it is: `daemon.vision.judging` refuses it.
    """
    values = out[model.output.name].ravel().tolist()
    if model.head == "logit":
        values = [_sigmoid(value) for value in values]
    return dict(zip(model.classes, values, strict=True))


def _sigmoid(value: float) -> float:
    if math.isnan(value):
        return value
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)
