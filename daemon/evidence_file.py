"""One image of the evidence store: where it lies and what it holds (docs/operations/evidence.md).

Binary PGM, 8 bit, named by the sha256 of its pixels alone, so that a file says by itself whether it is whole.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVIDENCE = "evidence"
_HEADER = re.compile(rb"P5\n(\d{1,6}) (\d{1,6})\n255\n")
LONGEST_HEADER = 22


class ImageDamaged(Exception):
    """The file is not whole, or not the image it is named after; the text names it."""


@dataclass(frozen=True, slots=True)
class Image:
    """`pixels` are `height` rows of `width` bytes."""

    width: int
    height: int
    pixels: bytes

    def encoded(self) -> bytes:
        """Return the bytes of its file."""
        return self._header() + self.pixels

    @property
    def file_bytes(self) -> int:
        """The size of its file."""
        return len(self._header()) + len(self.pixels)

    def _header(self) -> bytes:
        return b"P5\n%d %d\n255\n" % (self.width, self.height)


def image_file(state: Path, digest: str) -> Path:
    """Return where the image with this digest lies in a state folder."""
    return state / EVIDENCE / digest[:2] / f"{digest}.pgm"


def image_files(state: Path) -> Iterator[Path]:
    """Yield every image of a state folder."""
    yield from sorted((state / EVIDENCE).glob("[0-9a-f][0-9a-f]/*.pgm"))


def read_image(path: Path) -> Image:
    """Return the image in `path` if it is the one that its name says.

    Raises:
        ImageDamaged: unreadable, torn, or other pixels.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageDamaged(f"{path}: {error.strerror}") from error
    found = _HEADER.match(data)
    if not found or len(data) != found.end() + int(found[1]) * int(found[2]):
        raise ImageDamaged(f"{path}: not a whole image: it was cut off or overwritten")
    pixels = data[found.end() :]
    if hashlib.sha256(pixels).hexdigest() != path.stem:
        raise ImageDamaged(f"{path}: its pixels are not those it is named after: it was altered")
    return Image(int(found[1]), int(found[2]), pixels)


def is_whole(path: Path) -> bool:
    """True if the size fits the header: sees a torn file, not an altered one. Two system calls."""
    try:
        with path.open("rb") as file:
            found = _HEADER.match(file.read(LONGEST_HEADER))
        return found is not None and path.stat().st_size == found.end() + int(found[1]) * int(found[2])
    except OSError:
        return False
