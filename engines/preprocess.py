"""Raw frame to the graph's input: region of interest, then area resize, in uint8.

Area, because at four to five times reduction every other method skips pixels and a 2-pixel particle can vanish.
Normalisation is in the graph, under the bundle's signature.
"""

import cv2
import numpy as np

from engines.engine import Frame
from engines.errors import FrameRefused
from signing.manifest import Preprocessing

_FRAME_DIMENSIONS = 2


class Preprocessor:
    """Writes into the input of one session, `buffer`: (1, 1, height, width) uint8, C-contiguous."""

    def __init__(self, preprocessing: Preprocessing, buffer: Frame | None = None) -> None:
        """Without a buffer it makes one of its own."""
        cv2.setNumThreads(1)
        self._roi = preprocessing.roi
        self._size = (preprocessing.width, preprocessing.height)
        shape = (1, 1, preprocessing.height, preprocessing.width)
        self.buffer: Frame = np.zeros(shape, np.uint8) if buffer is None else buffer
        self._image = self.buffer[0, 0]

    def fill(self, frame: Frame) -> None:
        """Write the reduced region of `frame`, (H, W) uint8, into `buffer`.

        Raises:
            FrameRefused: not a two-dimensional uint8 array, or smaller than the region.
        """
        roi = self._roi
        if frame.ndim != _FRAME_DIMENSIONS or frame.dtype != np.uint8:
            raise FrameRefused(f"frame is {frame.dtype} of shape {frame.shape}; set the camera to Mono8")
        if frame.shape[0] < roi.y + roi.height or frame.shape[1] < roi.x + roi.width:
            raise FrameRefused(
                f"frame is {frame.shape[1]} x {frame.shape[0]}, the region of interest needs "
                f"{roi.x + roi.width} x {roi.y + roi.height}; set the camera's size or choose the right bundle"
            )
        region = frame[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
        try:
            cv2.resize(region, self._size, dst=self._image, interpolation=cv2.INTER_AREA)
        except cv2.error as error:
            raise FrameRefused(f"frame cannot be resized: {error.err}; check the camera's pixel format") from error
