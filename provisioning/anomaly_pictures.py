"""The pictures of an anomaly report: a histogram of logits with the limit, frames with their heat map over them."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from engines.engine import Frame
from provisioning.anomaly_memory import Array
from signing.manifest import Region

Image = npt.NDArray[np.uint8]

WIDTH, HEIGHT, LEFT, BASE, TOP = 900, 300, 50, 250, 30
BINS = 60
TILE, GAP, CAPTION = 420, 10, 24
PAPER, INK = (255, 255, 255), (43, 38, 34)
GREEN, RED = (79, 125, 46), (30, 38, 179)
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Share of the places of a picture that stay untinted, and how strongly the oddest is tinted.
PLAIN = 0.9
STRENGTH = 0.6


def histogram(logits: npt.NDArray[np.float64]) -> bytes:
    """Return a PNG of how many good images have which logit, with the limit at 0 and a score scale below."""
    low, high = min(-6.0, float(logits.min()) - 0.5), max(2.0, float(logits.max()) + 0.5)
    counts, edges = np.histogram(logits, BINS, (low, high))
    canvas: Image = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)

    def across(value: float) -> int:
        return LEFT + round((value - low) / (high - low) * (WIDTH - 2 * LEFT))

    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        top = BASE - round(float(count) / max(1, int(counts.max())) * (BASE - TOP))
        if count:
            cv2.rectangle(canvas, (across(left), top), (across(right) - 2, BASE), GREEN, cv2.FILLED)
    cv2.line(canvas, (LEFT, BASE), (WIDTH - LEFT, BASE), INK, 1)
    cv2.line(canvas, (across(0.0), TOP - 10), (across(0.0), BASE), RED, 2)
    _text(canvas, "limit", (across(0.0) + 6, TOP), RED)
    _text(canvas, f"{counts.max()} images", (4, TOP - 12), INK)
    for logit in range(int(np.ceil(low)), int(np.floor(high)) + 1, 2):
        cv2.line(canvas, (across(logit), BASE), (across(logit), BASE + 5), INK, 1)
        _text(canvas, f"{1 / (1 + np.exp(-logit)):.3f}", (across(logit) - 20, BASE + 20), INK)
    _text(canvas, "score (spaced by log-odds)", (WIDTH // 2 - 90, HEIGHT - 8), INK)
    return _png(canvas)


def overlay(frame: Frame, heat: Array, roi: Region, caption: str) -> Image:
    """Return the region of a raw frame, (H, W), tinted red where `heat`, (rows, columns), is highest, BGR."""
    region = frame[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    scale = TILE / max(region.shape)
    size = (max(1, round(region.shape[1] * scale)), max(1, round(region.shape[0] * scale)))
    grey = cv2.resize(region, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    low, high = float(np.quantile(heat, PLAIN)), float(heat.max())
    spread = (cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR) - low) / max(high - low, 1e-6)
    tint = np.clip(spread, 0, 1) * STRENGTH
    mixed = grey[:, :, None] * (1 - tint[:, :, None]) + np.asarray(RED, np.float32) * tint[:, :, None]
    tile: Image = np.full((size[1] + CAPTION, size[0], 3), PAPER, np.uint8)
    tile[: size[1]] = mixed.round().astype(np.uint8)
    _text(tile, caption[-40:], (2, size[1] + 17), INK)
    return tile


def side_by_side(tiles: Sequence[Image]) -> bytes:
    """Return a PNG of tiles of one height in a row."""
    edge = np.full((tiles[0].shape[0], GAP, 3), PAPER, np.uint8)
    return _png(np.hstack([part for tile in tiles for part in (tile, edge)]))


def _text(canvas: Image, text: str, at: tuple[int, int], color: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, at, FONT, 0.42, color, 1, cv2.LINE_AA)


def _png(canvas: Image) -> bytes:
    return cv2.imencode(".png", canvas)[1].tobytes()
