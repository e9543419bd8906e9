"""Decode a graph's outputs into class scores; the same code whatever back end ran the graph.

A value that is not finite, or not 0 to 1 where it is a share, makes every score of the model not finite:
`daemon.vision.judging` refuses them.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from engines.engine import Outputs
from signing.manifest import BOX_COLUMNS, Model

Array = npt.NDArray[np.float32]
OBJECTNESS = BOX_COLUMNS - 1
SLACK = 1e-4


def decode(model: Model, out: Outputs) -> dict[str, float]:
    """Return defect class -> score, 0 (good) to 1 (defect), in the manifest's order.

    Called by: vision for every frame, and whatever scores images as vision does.
    """
    return dict(zip(model.classes, _DECODERS[model.head](model, out[model.output.name]), strict=True))


def box_scores(output: Array) -> Array:
    """Return the score of each box and class, (N, C), of an output [1, N, 5 + C]: objectness times probability."""
    rows = output[0]
    return np.asarray(rows[:, OBJECTNESS, None] * rows[:, BOX_COLUMNS:], np.float32)


def _values(model: Model, output: Array) -> list[float]:
    values: list[float] = output.ravel().tolist()
    if not np.isfinite(output).all():  # the sigmoid of a logit of minus infinity would be a perfect 0
        return [math.nan] * len(values)
    return [_sigmoid(value) for value in values] if model.head == "logit" else values


def _best_boxes(model: Model, output: Array) -> list[float]:
    if not (np.isfinite(output).all() and _are_shares(output[0, :, OBJECTNESS:])):
        return [math.nan] * len(model.classes)
    best: list[float] = box_scores(output).max(axis=0).tolist()
    return best


def _reached(model: Model, output: Array) -> list[float]:
    """A class scores what `cells` of its cells reach: one stray cell is no defect where defects are larger."""
    if not _are_shares(output):
        return [math.nan] * len(model.classes)
    cells = output.reshape(len(model.classes), -1)
    reached: list[float] = np.partition(cells, -model.cells, axis=1)[:, -model.cells].tolist()
    return reached


def _are_shares(values: Array) -> bool:
    """True where every number is 0 to 1, not the best of them alone: a graph without its last sigmoid is none."""
    return bool(((values >= -SLACK) & (values <= 1.0 + SLACK)).all())


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)


_DECODERS: Mapping[str, Callable[[Model, Array], list[float]]] = {
    "probability": _values,
    "logit": _values,
    "boxes": _best_boxes,
    "mask": _reached,
}
