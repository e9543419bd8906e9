"""Small things drawn into a float picture: particles, lines, bubbles, glints.

Every function works in place on a window of a picture: float32 (rows, columns) in grey levels, whose first pixel is
`origin` (x, y) of the full picture. Marks outside the window are cut off. Grey levels are scaled, never replaced, so
a mark's contrast is what defects.toml says whatever lies behind it.
"""

import cv2
import numpy as np

from drivers.sim.render_geometry import Array
from drivers.sim.render_spec import Blob, Point, Ring, Stroke

_FINE = 4  # masks are drawn this many times finer and averaged down: lines keep sub-pixel widths


def blob(picture: Array, origin: tuple[int, int], mark: Blob) -> None:
    _scale(picture, origin, mark.outline, 0.0, -mark.contrast, shift=0.0)


def stroke(picture: Array, origin: tuple[int, int], mark: Stroke) -> None:
    if mark.shine:
        _scale(picture, origin, mark.points, mark.width_px, mark.shine, shift=mark.width_px)
    _scale(picture, origin, mark.points, mark.width_px, -mark.contrast, shift=0.0)


def ring(picture: Array, origin: tuple[int, int], mark: Ring) -> None:
    x, y = mark.centre[0] - origin[0], mark.centre[1] - origin[1]
    reach = int(mark.radius_px) + 4
    top, left = max(0, round(y) - reach), max(0, round(x) - reach)
    cut = picture[top : round(y) + reach + 1, left : round(x) + reach + 1]
    if cut.size == 0:
        return
    rows = np.arange(top, top + cut.shape[0], dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(left, left + cut.shape[1], dtype=np.float32)[None, :] - np.float32(x)
    distance = np.sqrt(rows * rows + columns * columns) / np.float32(mark.radius_px)
    rim = np.exp(-(((distance - 0.84) / 0.15) ** 2)) * np.float32(mark.strength)
    core = np.exp(-((distance / 0.38) ** 2)) * np.float32(0.14)
    cut *= 1.0 - rim + core


def streak(picture: Array, rows: Array, columns: Array, grey: float) -> None:
    """Adds `grey` times the outer product of two profiles (0..1) over the whole window."""
    hit_rows, hit_columns = np.flatnonzero(rows > 0.01), np.flatnonzero(columns > 0.01)
    if hit_rows.size == 0 or hit_columns.size == 0:
        return
    down = slice(hit_rows[0], hit_rows[-1] + 1)
    across = slice(hit_columns[0], hit_columns[-1] + 1)
    picture[down, across] += np.float32(grey) * rows[down, None] * columns[None, across]


def _scale(
    picture: Array, origin: tuple[int, int], points: tuple[Point, ...], width: float, gain: float, shift: float
) -> None:
    """Multiplies by (1 + gain) where the line (or, with width 0, the filled outline) lies."""
    path = np.asarray(points, np.float64) - np.asarray(origin, np.float64) + [shift, 0.0]
    low = np.maximum(np.floor(path.min(axis=0) - width - 2).astype(int), 0)
    high = np.minimum(np.ceil(path.max(axis=0) + width + 2).astype(int), [picture.shape[1], picture.shape[0]])
    if (high <= low).any():
        return
    mask = np.zeros(((high[1] - low[1]) * _FINE, (high[0] - low[0]) * _FINE), np.uint8)
    trail = np.rint((path - low + 0.5) * _FINE).astype(np.int32)
    if width:
        cv2.polylines(mask, [trail], False, 255, max(1, round(width * _FINE)))
    else:
        cv2.fillPoly(mask, [trail], 255)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    cover = cv2.resize(mask, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    picture[low[1] : high[1], low[0] : high[0]] *= 1.0 + cover * np.float32(gain / 255.0)
