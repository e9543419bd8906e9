"""Why a view was judged as it was: the heat map or the boxes of one class, small enough to stand in the record.

The bytes, little-endian, at most MAX_BYTES:

  "LWX1", then left, top, width and height (u32) of the region in pixels of the frame, the length of the class (u8) and
  the class (ASCII), then either
  "M", rows and columns (u16), lowest and highest value (f32), and rows x columns bytes: 0 = lowest, 255 = highest; or
  "B", count (u16), and for each box score, left, top, right, bottom (f32), in pixels of the frame.
"""

import math
import re
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.boxes import MOST_BOXES, boxes_of
from engines.engine import Outputs
from engines.errors import EngineError
from engines.heads import box_scores
from signing.manifest import MAX_MAP_CELLS, Model, Region

MAX_BYTES = 4096
MAGIC, MAP, BOXES = b"LWX1", b"M", b"B"
_REGION, _MAP, _COUNT, _BOX = struct.Struct("<4I"), struct.Struct("<HHff"), struct.Struct("<H"), struct.Struct("<5f")
_LEVELS = 255
_CLASS = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Boxes that score less than this share of the best one say nothing about the verdict.
_WORTH_SHOWING = 0.25

Grid = npt.NDArray[np.float32]


class ExplanationUnreadable(EngineError):
    """The bytes are no explanation of this release."""


@dataclass(frozen=True, slots=True)
class ScoredBox:
    """Score 0..1 and edges in pixels of the frame."""

    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What speaks for class `code` in the region of a frame: `grid`, (rows, columns) over the region, or `boxes`."""

    code: str
    region: Region
    grid: Grid | None = None
    boxes: tuple[ScoredBox, ...] = ()


def explain(model: Model, out: Outputs, code: str) -> Explanation | None:
    """Return what the outputs of one call say for a class; None where the model has nothing that explains.

    Called by: thread `keep` for each view of a unit that was not accepted, and by the masking test.
    """
    roi = model.preprocessing.roi
    tensor = model.output if model.head == "boxes" else model.map or (model.output if model.head == "mask" else None)
    if tensor is None or not np.isfinite(out[tensor.name]).all():
        return None
    if model.head == "boxes":
        return Explanation(code, roi, boxes=_boxes(model, out, code))
    maps = out[tensor.name][0]
    return Explanation(code, roi, _reduced(maps[model.classes.index(code) if len(maps) > 1 else 0]))


def encode(explanation: Explanation) -> bytes:
    """Return the bytes of an explanation, at most MAX_BYTES."""
    roi, name = explanation.region, explanation.code.encode("ascii")
    head = MAGIC + _REGION.pack(roi.x, roi.y, roi.width, roi.height) + bytes((len(name),)) + name
    grid = explanation.grid
    if grid is None:
        rows = [_BOX.pack(box.score, box.left, box.top, box.right, box.bottom) for box in explanation.boxes]
        return head + BOXES + _COUNT.pack(len(rows)) + b"".join(rows)
    low, high = float(grid.min()) + 0.0, float(grid.max()) + 0.0  # minus zero is zero
    shares = (grid.astype(np.float64) - low) / (high - low or 1.0)
    body: bytes = np.rint(shares * _LEVELS).astype(np.uint8).tobytes()
    return head + MAP + _MAP.pack(*grid.shape, low, high) + body


def decode(raw: bytes) -> Explanation:
    """Return what `encode` wrote.

    Raises:
        ExplanationUnreadable: it did not write this.
    """
    try:
        return _read(raw)
    except (struct.error, ValueError, IndexError) as error:
        told = f"explanation of {len(raw)} bytes: {error}"
        raise ExplanationUnreadable(f"{told}; it was written by another release") from error


def _read(raw: bytes) -> Explanation:
    if not raw.startswith(MAGIC) or len(raw) > MAX_BYTES:
        raise ValueError("it does not begin as one")
    region = Region(*_REGION.unpack_from(raw, len(MAGIC)))
    at = len(MAGIC) + _REGION.size
    end = at + 1 + raw[at]
    code, kind, rest = raw[at + 1 : end].decode("ascii"), raw[end : end + 1], raw[end + 1 :]
    if not _CLASS.fullmatch(code) or not region.width or not region.height:
        raise ValueError("it names no class or no region")
    if kind == BOXES:
        return Explanation(code, region, boxes=_read_boxes(rest))
    if kind == MAP:
        return Explanation(code, region, _read_grid(rest))
    raise ValueError(f"kind {kind!r}")


def _read_boxes(rest: bytes) -> tuple[ScoredBox, ...]:
    (count,) = _COUNT.unpack_from(rest)
    rows = list(_BOX.iter_unpack(rest[_COUNT.size :]))
    if len(rows) != count or count > MOST_BOXES or not all(math.isfinite(number) for row in rows for number in row):
        raise ValueError("boxes are cut off, too many or no numbers")
    return tuple(ScoredBox(*row) for row in rows)


def _read_grid(rest: bytes) -> Grid:
    rows, columns, low, high = _MAP.unpack_from(rest)
    levels = np.frombuffer(rest[_MAP.size :], np.uint8).reshape(rows, columns)
    if not 0 < levels.size <= MAX_MAP_CELLS or not -math.inf < low <= high < math.inf:
        raise ValueError("a map without cells or numbers, or with too many")
    shares = levels / _LEVELS
    return np.asarray(low * (1.0 - shares) + high * shares, np.float32)


def _boxes(model: Model, out: Outputs, code: str) -> tuple[ScoredBox, ...]:
    """Return those of one class, cut to the region, in pixels of the frame, that say something beside the best one."""
    roi, size = model.preprocessing.roi, model.preprocessing
    best = float(box_scores(out[model.output.name])[:, model.classes.index(code)].max())

    def across(edge: float) -> float:
        return roi.x + min(max(edge, 0.0), size.width) * roi.width / size.width

    def down(edge: float) -> float:
        return roi.y + min(max(edge, 0.0), size.height) * roi.height / size.height

    return tuple(
        ScoredBox(box.score, across(box.left), down(box.top), across(box.right), down(box.bottom))
        for box in boxes_of(model, out, code, _WORTH_SHOWING * best)
    )


def _reduced(grid: Grid) -> Grid:
    """Return a grid of at most MAX_MAP_CELLS cells, each the largest of those it stands for."""
    factor = 1
    while -(-grid.shape[0] // factor) * -(-grid.shape[1] // factor) > MAX_MAP_CELLS:
        factor += 1
    if factor == 1:
        return np.array(grid, np.float32)
    rows, columns = (-(-size // factor) for size in grid.shape)
    padded = np.full((rows * factor, columns * factor), -np.inf, np.float32)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    return np.asarray(padded.reshape(rows, factor, columns, factor).max(axis=(1, 3)), np.float32)
