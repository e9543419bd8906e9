"""Pictures of rejected units, and why they were rejected, made on demand from ledger and evidence store."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.evidence_file import image_file
from daemon.ledger_file import LEDGER, LedgerUnreadable, reading
from daemon.records import EvidenceRow, decode_body
from daemon.units import UnitId
from engines.explanation import Explanation, ExplanationUnreadable, decode
from provisioning.overlay import overlay
from provisioning.places import PlaceError
from signing.durable import write_durably

Image = NDArray[np.uint8]

SHOWN = 24
COLUMNS = 6
TILE, CAPTION_H, MARGIN = 220, 40, 8
PAPER, INK, RED = (24, 24, 24), (230, 230, 230), (90, 90, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
REJECTS = """SELECT u.epoch, u.lane, u.number, e.camera, u.reason, u.defect, e.digest, n.body
FROM evidence AS e JOIN unit AS u USING (epoch, lane, number) JOIN entry AS n ON n.seq = e.entry
WHERE e.state = 'retained' AND u.verdict <> 'accept' ORDER BY e.entry"""


@dataclass(frozen=True, slots=True)
class Preview:
    """One kept frame: unit, camera, why it was not accepted, its file in the store, and what its model says of it."""

    unit: str
    camera: str
    reason: str
    defect: str
    file: Path
    explanation: Explanation | None = None

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
        Preview(str(UnitId(*unit)), camera, reason, defect, image_file(state, digest), _explanation(body))
        for *unit, camera, reason, defect, digest, body in found
    ]


def _explanation(body: bytes) -> Explanation | None:
    """Return the explanation in an entry's body, None where there is none or it was written by another release."""
    row = decode_body(body).row
    with suppress(ExplanationUnreadable):
        if isinstance(row, EvidenceRow) and row.explanation:
            return decode(row.explanation)
    return None


def frame_of(preview: Preview) -> Image | None:
    """Return the kept frame, (H, W) uint8; None where it is not here."""
    image = cv2.imread(str(preview.file), cv2.IMREAD_GRAYSCALE)
    return None if image is None else np.asarray(image, np.uint8)


def drawn(preview: Preview, frame: Image) -> Image:
    """Return the frame of a preview with what explains it, (H, W, 3) uint8 BGR."""
    explained = preview.explanation
    return overlay(frame, explained) if explained else np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), np.uint8)


def explain(state: Path, unit: str, out: Path) -> list[Path]:
    """Write one PNG for each kept view of a unit that was not accepted into the folder `out` and return them.

    `unit` is epoch.lane.number, or a number: the newest unit of that number.

    Raises:
        PlaceError: there is no such unit, or no image of it.
        OSError: the folder cannot be written.
    """
    found = [one for one in rejects(state) if unit in (one.unit, one.unit.rpartition(".")[2])]
    frames = [(one, frame_of(one)) for one in found if one.unit == found[-1].unit]
    shown = [(one, drawn(one, frame)) for one, frame in frames if frame is not None]
    if not shown:
        raise PlaceError(f"unit {unit}: no image of a reject of that number is kept here; see `linewarden trace`")
    out.mkdir(parents=True, exist_ok=True)
    for one, image in shown:
        write_durably(out / f"{one.stem}-why.png", cv2.imencode(".png", image)[1].tobytes())
    return [out / f"{one.stem}-why.png" for one, _ in shown]


def write_previews(state: Path, out: Path) -> tuple[int, Path | None]:
    """Write PNGs of rejected vials and the contact sheet into `out`; return (PNGs, sheet).

    Units are spread over the defects found, so that the sheet shows one of each before it shows a second.
    """
    chosen = [preview for preview in spread(rejects(state)) if preview.file.exists()][:SHOWN]
    tiles = []
    for preview in chosen:
        frame = frame_of(preview)
        if frame is not None:
            out.mkdir(exist_ok=True)
            cv2.imwrite(str(out / f"{preview.stem}.png"), frame)
            tiles.append(tile(drawn(preview, frame), preview))
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
    """Return a captioned tile (TILE + CAPTION_H, TILE, 3) uint8 BGR of the middle of a frame, (H, W, 3) uint8 BGR."""
    canvas = np.full((TILE + CAPTION_H, TILE, 3), PAPER, np.uint8)
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    small = cv2.resize(image[top : top + side, left : left + side], (TILE, TILE), interpolation=cv2.INTER_AREA)
    canvas[:TILE] = small
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
