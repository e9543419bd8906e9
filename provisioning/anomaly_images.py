"""The good pictures that an anomaly model is fitted on: which there are, and each one as the camera gave it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.engine import Frame
from provisioning.grey_images import SUFFIXES, ImagesRefused, read_frame

FEWEST = 20
DEFAULT_VIEW = "body"
_VIEW = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Good:
    """The pictures of one view in the order of their names, all of one size in pixels, and the sha256 of each file."""

    files: tuple[Path, ...]
    height: int
    width: int
    digests: tuple[str, ...]


def find_views(folder: Path, view: str = "") -> dict[str, tuple[Path, ...]]:
    """Return the picture files of each view: one folder per view, or the pictures of `view` themselves.

    Raises:
        ImagesRefused: there is no such folder, no picture, or both kinds.
    """
    if not folder.is_dir():
        raise ImagesRefused(f"{folder}: no such folder; name the one that holds the good images")
    direct = _pictures(folder)
    below = {place.name: found for place in sorted(folder.iterdir()) if place.is_dir() and (found := _pictures(place))}
    if direct and below:
        raise ImagesRefused(f"{folder}: holds images and folders of images; keep one folder per view, or images alone")
    if view and below:
        raise ImagesRefused(f"{folder}: has one folder per view; leave out --view")
    if direct:
        below[view or DEFAULT_VIEW] = direct
    if not below:
        raise ImagesRefused(f"{folder}: holds no .png or .pgm image; collect at least {FEWEST} good ones per view")
    for name, files in below.items():
        if not _VIEW.fullmatch(name):
            raise ImagesRefused(f"{folder / name}: a view is named in small letters, digits and _; rename the folder")
        if len(files) < FEWEST:
            raise ImagesRefused(f"{folder}: view {name} has {len(files)} good images; collect at least {FEWEST}")
    return below


def read_good(files: Sequence[Path]) -> tuple[Good, list[Frame]]:
    """Read all pictures of one view.

    Raises:
        ImagesRefused: the first that is unreadable, not grey with 8 bits, or of another size.
    """
    frames: list[Frame] = []
    digests: list[str] = []
    for file in files:
        frame, raw = read_frame(file)
        if frames and frame.shape != frames[0].shape:
            sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (frame.shape, frames[0].shape))
            raise ImagesRefused(f"{file}: its size differs from that of {files[0].name}: {sizes}; keep one size a view")
        frames.append(frame)
        digests.append(hashlib.sha256(raw).hexdigest())
    height, width = frames[0].shape
    return Good(tuple(files), height, width, tuple(digests)), frames


def dataset_digest(views: Mapping[str, Good]) -> str:
    """Return the sha256 over `view digest` lines, sorted: the same pictures under other names give the same."""
    lines = sorted(f"{name} {digest}\n" for name, good in views.items() for digest in good.digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _pictures(folder: Path) -> tuple[Path, ...]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return tuple(sorted(path for path in found if path.is_file()))
