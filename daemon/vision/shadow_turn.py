"""What thread `shadow` and the candidate's process say to each other: one `Turn` a line down, one answer a line up.

The first line up is a `Greeting`, before any turn; every other one is DONE.

Pixels do not go through the pipe: they lie in a memfd that both have open, and stay there until the answer.
"""

import os
from collections.abc import Iterable, Sequence

import msgspec

from daemon.evidence_file import Image
from daemon.messages import Judged
from daemon.shadow_file import Phase
from daemon.units import JudgedView

Sights = Sequence[tuple[JudgedView, Image]]
DONE = b"\n"
"""The candidate is through with a turn."""
LONGEST_TEXT = 600


class Greeting(msgspec.Struct, frozen=True):
    """The candidate is loaded, or refused; then its process ends. `text` has at most LONGEST_TEXT characters."""

    phase: Phase
    text: str


class Picture(msgspec.Struct, frozen=True, array_like=True):
    """One image: `height` rows of `width` bytes from byte `start` of the memfd."""

    width: int
    height: int
    start: int


class Missed(msgspec.Struct, frozen=True, array_like=True):
    """How many more units judged by this active pair (digests) were dropped before the candidate."""

    bundle: str
    recipe: str
    units: int


class Turn(msgspec.Struct, frozen=True):
    """One unit with a picture for each of its views, or None where only drops have to be told."""

    judged: Judged | None
    pictures: list[Picture]
    missed: list[Missed]


def lay_down(fd: int, images: Iterable[Image]) -> list[Picture]:
    """Write images into the memfd and say where they lie.

    Raises:
        OSError: there is no memory left.
    """
    pictures, start = [], 0
    for image in images:
        pictures.append(Picture(image.width, image.height, start))
        view = memoryview(image.pixels)
        while view:
            written = os.pwrite(fd, view, start)
            view, start = view[written:], start + written
    return pictures


def pick_up(fd: int, picture: Picture) -> Image:
    """Return an image that lies in the memfd; short where it does not."""
    size, pixels = picture.width * picture.height, bytearray()
    while len(pixels) < size and (more := os.pread(fd, size - len(pixels), picture.start + len(pixels))):
        pixels += more
    return Image(picture.width, picture.height, bytes(pixels))
