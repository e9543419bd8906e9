"""Previews of rejected vials: PNG files and one contact sheet, made from ledger and evidence store after the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.evidence_file import image_file
from daemon.ledger_file import LEDGER, LedgerUnreadable, reading
from daemon.units import UnitId

Image = NDArray[np.uint8]

SHOWN = 24
COLUMNS = 6
TILE, CAPTION_H, MARGIN = 220, 40, 8
PAPER, INK, RED = (24, 24, 24), (230, 230, 230), (90, 90, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
REJECTS = """SELECT u.epoch, u.lane, u.number, e.camera, u.reason, u.defect, e.digest
FROM evidence AS e JOIN unit AS u USING (epoch, lane, number)
WHERE e.state = 'retained' AND u.verdict <> 'accept' ORDER BY e.entry"""


@dataclass(frozen=True, slots=True)
class Preview:
    """One kept frame: unit, camera, why it was not accepted, and its file in the store."""

    unit: str
    camera: str
    reason: str
    defect: str
    file: Path

    @property
    def stem(self) -> str:
        return "-".join(part for part in (f"unit{self.unit}", self.camera, self.defect or self.reason) if part)


def rejects(state: Path) -> list[Preview]:
    """Return the kept frames of units that were not accepted, in the order they were kept; none without a ledger."""
    try:
        with reading(state / LEDGER) as db:
            found = db.execute(REJECTS).fetchall()
    except LedgerUnreadable:
        return []
    return [
        Preview(str(UnitId(*unit)), camera, reason, defect, image_file(state, digest))
        for *unit, camera, reason, defect, digest in found
    ]


def write_previews(state: Path, out: Path) -> tuple[int, Path | None]:
    """Write PNGs of rejected vials and the contact sheet into `out`; return (PNGs, sheet).

    Units are spread over the defects found, so that the sheet shows one of each before it shows a second.
    """
    chosen = [preview for preview in spread(rejects(state)) if preview.file.exists()][:SHOWN]
    tiles = []
    for preview in chosen:
        image = cv2.imread(str(preview.file), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            out.mkdir(exist_ok=True)
            cv2.imwrite(str(out / f"{preview.stem}.png"), image)
            tiles.append(tile(np.asarray(image, np.uint8), preview))
    if not tiles:
        return 0, None
    path = out / "contact-sheet.png"
    cv2.imwrite(str(path), sheet(tiles))
    return len(tiles), path


def spread(previews: Sequence[Preview]) -> list[Preview]:
    """Return the previews ordered so that every (defect, camera) appears once before any appears twice."""
    seen: dict[tuple[str, str], int] = {}
    ranked = []
    for preview in previews:
        key = (preview.defect or preview.reason, preview.camera)
        seen[key] = seen.get(key, 0) + 1
        ranked.append((seen[key], preview.defect, preview))
    return [preview for _, _, preview in sorted(ranked, key=lambda item: item[:2])]


def tile(image: Image, preview: Preview) -> Image:
    """Return a captioned tile (TILE + CAPTION_H, TILE, 3) uint8 BGR of the middle of a (H, W) uint8 frame."""
    canvas = np.full((TILE + CAPTION_H, TILE, 3), PAPER, np.uint8)
    side = min(image.shape)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    small = cv2.resize(image[top : top + side, left : left + side], (TILE, TILE), interpolation=cv2.INTER_AREA)
    canvas[:TILE] = small[:, :, None]
    what = (preview.defect or preview.reason).replace("_", " ")
    cv2.putText(canvas, what, (4, TILE + 16), FONT, 0.48, RED, 1, cv2.LINE_AA)
    cv2.putText(canvas, f"unit {preview.unit}  {preview.camera}", (4, TILE + 33), FONT, 0.4, INK, 1, cv2.LINE_AA)
    return canvas


def sheet(tiles: Sequence[Image]) -> Image:
    """Return all tiles on one page."""
    rows = -(-len(tiles) // COLUMNS)
    columns = min(COLUMNS, len(tiles))
    height, width = TILE + CAPTION_H + MARGIN, TILE + MARGIN
    page = np.full((rows * height + MARGIN, columns * width + MARGIN, 3), PAPER, np.uint8)
    for index, image in enumerate(tiles):
        top, left = index // COLUMNS * height + MARGIN, index % COLUMNS * width + MARGIN
        page[top : top + image.shape[0], left : left + image.shape[1]] = image
    return page
