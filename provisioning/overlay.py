"""Draws why a view was judged as it was over its frame: heat map or boxes (docs/interfaces/explanation-1.md)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.explanation import Explanation

Grey = NDArray[np.uint8]
Colour = NDArray[np.uint8]

STRENGTH = 0.45
RED = (60, 60, 255)
LINE_PX = 2


def overlay(frame: Grey, explanation: Explanation) -> Colour:
    """Return a frame, (H, W) uint8, with its explanation, (H, W, 3) uint8 BGR.

    A heat map is coloured from its lowest value to its highest: it says where, not how much.
    """
    drawn = np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), np.uint8)
    roi = explanation.region
    if explanation.grid is not None:
        part = drawn[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        part[:] = _heated(part, explanation.grid)
    cv2.rectangle(drawn, (roi.x, roi.y), (roi.x + roi.width - 1, roi.y + roi.height - 1), RED, 1)
    for box in explanation.boxes:
        corners = [(round(box.left), round(box.top)), (round(box.right), round(box.bottom))]
        cv2.rectangle(drawn, corners[0], corners[1], RED, LINE_PX)
        place = (corners[0][0], max(12, corners[0][1] - 4))
        cv2.putText(drawn, f"{box.score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, RED, 1, cv2.LINE_AA)
    return drawn


def _heated(part: Colour, grid: NDArray[np.float32]) -> Colour:
    """Blend the colours of a grid, (rows, columns), over a part of a frame; where the grid is low the frame stays."""
    size = (part.shape[1], part.shape[0])
    spread = float(grid.max() - grid.min()) or 1.0
    share = np.clip(cv2.resize((grid - grid.min()) / spread, size, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    colours = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    weight = (STRENGTH * share)[:, :, None]
    return np.asarray(np.rint(part * (1.0 - weight) + colours * weight), np.uint8)
