"""Grey images of 8 bits, PNG or PGM: what a camera gave, as people keep it in folders.

Called by: `linewarden model`, which fits, evaluates and asks about images on disk.
"""

import re
from pathlib import Path

import cv2
import numpy as np

from engines.engine import Frame
from engines.golden import HEAD_BYTES, MAX_PIXELS, png_size
from provisioning.errors import CommandFailed

SUFFIXES = (".png", ".pgm")
KIND = f"grey PNG or PGM of 8 bits and at most {MAX_PIXELS} pixels"
# The evidence store's own kind of file.
_PGM = re.compile(rb"P5\s(\d{1,5})\s(\d{1,5})\s255\s")


class ImagesRefused(CommandFailed):
    """The images are not what can be used; the text names the first that is not and says what to do."""


def read_frame(file: Path) -> tuple[Frame, bytes]:
    """Return the (H, W) uint8 image of a grey PNG or PGM, and the bytes of the file.

    Raises:
        ImagesRefused: it is none, or damaged.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ImagesRefused(f"{file}: cannot be read: {error.strerror}; repair it or take it away") from error
    try:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED) if _size(raw) else None
    except cv2.error:
        image = None
    if image is None or image.ndim != 2 or image.dtype != np.uint8:  # noqa: PLR2004
        raise ImagesRefused(f"{file}: cannot be read as a {KIND}; export it again or take it away")
    return np.ascontiguousarray(image, np.uint8), raw


def read_size(file: Path) -> tuple[int, int]:
    """Return width and height in pixels that a file says of itself; only its first bytes are read.

    Raises:
        ImagesRefused: it is no grey PNG or PGM.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        size = _size(opened.read(HEAD_BYTES))
    if size is None:
        raise ImagesRefused(f"{file}: not a {KIND}; export it again")
    return size


def _size(head: bytes) -> tuple[int, int] | None:
    """Return width and height that a grey PNG or PGM of 8 bits says of itself; None if it is none."""
    if pgm := _PGM.match(head):
        width, height = map(int, pgm.groups())
        return (width, height) if 0 < width * height <= MAX_PIXELS else None
    return png_size(head)
