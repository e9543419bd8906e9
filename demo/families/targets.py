"""What the nets are told: which cells of a map a local defect touches, and its boxes in pixels of the input."""

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from demo.families.dataset import LOCAL, BodySet, Floats
from drivers.sim.render_spec import DefectCode
from signing.manifest import Model

Grid = tuple[int, int]


def scaled(model: Model, points: Floats) -> Floats:
    """Pixels of the full picture -> pixels of the model's input; (n, 2) of x, y."""
    pre = model.preprocessing
    corner = np.array([pre.roi.x, pre.roi.y], np.float32)
    return (points - corner) * np.array([pre.width / pre.roi.width, pre.height / pre.roi.height], np.float32)


def touched(model: Model, code: DefectCode, track: Floats, grid: Grid) -> npt.NDArray[np.uint8]:
    """(rows, columns) 0/1: cells that the points of a particle, or the path of a line, fall into."""
    pre = model.preprocessing
    fine = np.zeros((pre.height, pre.width), np.uint8)
    points = np.rint(scaled(model, track)).astype(np.int32)
    if code is DefectCode.PARTICLE:
        for point in points:
            cv2.circle(fine, point.tolist(), 2, 1, -1)
    else:
        for start, end in pairwise(points):
            cv2.line(fine, start.tolist(), end.tolist(), 1, 2)
    size = pre.height // grid[0], pre.width // grid[1]
    return np.asarray(fine.reshape(grid[0], size[0], grid[1], size[1]).max(axis=(1, 3)), np.uint8)


def map_targets(model: Model, units: BodySet, grid: Grid) -> tuple[Floats, Floats]:
    """`where` (n, classes, rows, columns) 0/1 and its weight, 0 where the net may say what it likes.

    That is beside a defect, and in the maps of classes whose place is not known.
    """
    where = np.zeros((len(units), len(model.classes), *grid), np.float32)
    weight = np.zeros_like(where)
    weight[:, [k for k, name in enumerate(model.classes) if name in LOCAL]] = 1.0
    for index, (code, track) in enumerate(zip(units.codes, units.tracks, strict=True)):
        if code is not None and code in LOCAL:
            found = touched(model, code, track, grid)
            around = cv2.dilate(found, np.ones((3, 3), np.uint8)) > 0
            column = model.classes.index(code)
            where[index, column] = found
            weight[index, column] = ~around | (found > 0)
    return where, weight


def class_targets(model: Model, units: BodySet) -> Floats:
    """(n, classes) 0/1."""
    return np.array([[float(code == name) for name in model.classes] for code in units.codes], np.float32)


def box_targets(
    model: Model, units: BodySet, most: int = 2, margin: float = 1.5
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Boxes (n, most, 4) left, top, right, bottom in pixels of the input, and their classes (n, most), -1 for none."""
    boxes = np.zeros((len(units), most, 4), np.float32)
    classes = np.full((len(units), most), -1, np.int64)
    for index, (code, found) in enumerate(zip(units.codes, units.boxes, strict=True)):
        if code is not None and code in model.classes:
            corners = scaled(model, found.reshape(-1, 2)).reshape(-1, 4) + np.array([-1, -1, 1, 1]) * margin
            boxes[index, : len(found)] = corners
            classes[index, : len(found)] = model.classes.index(code)
    return boxes, classes
