"""The boxes of a detector after suppression, for people: a class scores by its best box, suppressed or not."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.engine import Outputs
from engines.heads import box_scores
from signing.manifest import Model

MOST_BOXES = 100


@dataclass(frozen=True, slots=True)
class Box:
    """What a detector found: class, score 0..1 and edges in pixels of the graph's input."""

    code: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


def boxes(model: Model, out: Outputs, at_least: float) -> list[Box]:
    """Return the boxes of head "boxes" that score `at_least`, best first, at most MOST_BOXES."""
    found = [box for code in model.classes for box in boxes_of(model, out, code, at_least)]
    return sorted(found, key=lambda box: -box.score)[:MOST_BOXES]


def boxes_of(model: Model, out: Outputs, code: str, at_least: float) -> list[Box]:
    """Return the boxes of one class that score `at_least`, best first, at most MOST_BOXES; none of numbers that are no
    numbers.

    Greedy suppression within the class: of two that overlap by more than the model's `overlap` the lower one goes.
    """
    output = out[model.output.name]
    if not np.isfinite(output).all():
        return []
    edges, scores = output[0, :, :4], box_scores(output)[:, model.classes.index(code)]
    return [
        Box(code, float(scores[row]), *(float(edge) for edge in edges[row]))
        for row in suppressed(edges, scores, model.overlap, at_least)
    ]


def suppressed(
    edges: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], overlap: float, at_least: float
) -> list[int]:
    """Return the rows that are left of boxes, (N, 4) left, top, right, bottom, by their scores, (N,); best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= at_least]
    kept: list[int] = []
    while order.size and len(kept) < MOST_BOXES:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[overlaps(edges[best], edges[rest]) <= overlap]
    return kept


def overlaps(one: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return intersection over union, 0..1, of a box, (4,), with each of `others`, (N, 4); 0 where neither has area."""
    first, second = one.astype(np.float64), others.astype(np.float64)  # no product of two float32 overflows it
    low, high = np.maximum(first[:2], second[:, :2]), np.minimum(first[2:], second[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    joined = _area(first) + _area(second) - shared
    shares: npt.NDArray[np.float64] = np.divide(shared, joined, out=np.zeros_like(shared), where=joined > 0.0)
    return shares


def _area(edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.prod(np.clip(edges[..., 2:] - edges[..., :2], 0.0, None), axis=-1))
