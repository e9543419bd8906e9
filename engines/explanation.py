"""Why a view was judged as it was: the heat map or the boxes of one class, small enough to stand in the record.

The bytes, little-endian, at most MAX_BYTES:

  "LWX1", then left, top, width and height (u16) of the region in pixels of the frame, the length of the class (u8) and
  the class (ASCII), then either
  "M", rows and columns (u16), lowest and highest value (f32), and rows x columns bytes: 0 = lowest, 255 = highest; or
  "B", count (u16), and for each box score, left, top, right, bottom (f32), in pixels of the frame.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.boxes import boxes
from engines.engine import Outputs
from engines.errors import EngineError
from signing.manifest import MAX_MAP_CELLS, Model, Region

MAX_BYTES = 4096
MAGIC, MAP, BOXES = b"LWX1", b"M", b"B"
_REGION, _MAP, _COUNT, _BOX = struct.Struct("<4H"), struct.Struct("<HHff"), struct.Struct("<H"), struct.Struct("<5f")
_LEVELS = 255
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
    if model.head == "boxes":
        return Explanation(code, roi, boxes=_boxes(model, out, code))
    tensor = model.map or (model.output if model.head == "mask" else None)
    if tensor is None:
        return None
    maps = out[tensor.name][0]
    grid = maps[model.classes.index(code) if len(maps) > 1 else 0]
    return Explanation(code, roi, _reduced(grid)) if np.isfinite(grid).all() else None


def encode(explanation: Explanation) -> bytes:
    """Return the bytes of an explanation, at most MAX_BYTES."""
    roi, name = explanation.region, explanation.code.encode("ascii")
    head = MAGIC + _REGION.pack(roi.x, roi.y, roi.width, roi.height) + bytes((len(name),)) + name
    grid = explanation.grid
    if grid is None:
        rows = [_BOX.pack(box.score, box.left, box.top, box.right, box.bottom) for box in explanation.boxes]
        return head + BOXES + _COUNT.pack(len(rows)) + b"".join(rows)
    low, high = float(grid.min()), float(grid.max())
    levels = np.rint((grid - low) * (_LEVELS / (high - low)) if high > low else grid * 0.0).astype(np.uint8)
    body: bytes = levels.tobytes()
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
    if kind == BOXES:
        (count,) = _COUNT.unpack_from(rest)
        body = rest[_COUNT.size :]
        if len(body) != count * _BOX.size:
            raise ValueError("boxes are cut off")
        return Explanation(code, region, boxes=tuple(ScoredBox(*row) for row in _BOX.iter_unpack(body)))
    if kind != MAP:
        raise ValueError(f"kind {kind!r}")
    rows, columns, low, high = _MAP.unpack_from(rest)
    levels = np.frombuffer(rest[_MAP.size :], np.uint8).reshape(rows, columns)
    return Explanation(code, region, np.asarray(low + levels * ((high - low) / _LEVELS), np.float32))


def _boxes(model: Model, out: Outputs, code: str) -> tuple[ScoredBox, ...]:
    roi, size = model.preprocessing.roi, model.preprocessing
    across, down = roi.width / size.width, roi.height / size.height
    found = [box for box in boxes(model, out, 0.0) if box.code == code]
    return tuple(
        ScoredBox(
            box.score,
            roi.x + box.left * across,
            roi.y + box.top * down,
            roi.x + box.right * across,
            roi.y + box.bottom * down,
        )
        for box in found
        if box.score >= _WORTH_SHOWING * found[0].score
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
