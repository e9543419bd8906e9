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
    """Return the boxes of head "boxes" that score `at_least`, best first, at most MOST_BOXES.

    Greedy suppression within a class: of two that overlap by more than the model's `overlap` the lower one goes.
    """
    output = out[model.output.name]
    scores = np.nan_to_num(box_scores(output), nan=0.0)
    found = [
        Box(code, float(scores[row, column]), *(float(edge) for edge in output[0, row, :4]))
        for column, code in enumerate(model.classes)
        for row in suppressed(output[0, :, :4], scores[:, column], model.overlap, at_least)
    ]
    return sorted(found, key=lambda box: -box.score)[:MOST_BOXES]


def suppressed(
    edges: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], overlap: float, at_least: float
) -> list[int]:
    """Return the rows that are left of boxes, (N, 4) left, top, right, bottom, by their scores, (N,); best first."""
    order = [row for row in np.argsort(-scores, kind="stable") if scores[row] >= at_least]
    kept: list[int] = []
    while order and len(kept) < MOST_BOXES:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        shares = overlaps(edges[best], edges[rest])
        order = [row for row, share in zip(rest, shares, strict=True) if share <= overlap]
    return kept


def overlaps(one: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return intersection over union, 0..1, of a box, (4,), with each of `others`, (N, 4)."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=1)
    area = np.prod(np.clip(one[2:] - one[:2], 0.0, None)) + np.prod(
        np.clip(others[:, 2:] - others[:, :2], 0.0, None), 1
    )
    return np.asarray(shared / np.maximum(area - shared, np.float32(1e-9)), np.float32)
