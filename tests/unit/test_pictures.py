"""Previews of rejects: which are chosen, and that the files hold the kept pixels."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from daemon.evidence_file import Image, image_file
from daemon.messages import UnitRow
from daemon.records import EvidenceRow, Kept
from daemon.units import FrameKey, UnitId, ViewKey
from provisioning.pictures import SHOWN, rejects, write_previews
from tests.unit.evidence_world import Book, unit_row

Picture = npt.NDArray[np.uint8]


def _store(state: Path, units: list[tuple[int, str, str]], image: Picture) -> Path:
    """Record units as (number, camera, defect), "" for accepted ones, and keep an image of each."""
    rows: list[UnitRow | EvidenceRow] = []
    for number, camera, defect in units:
        pixels = image.copy()
        pixels[0, :2] = divmod(number, 256)
        digest = hashlib.sha256(pixels.data).hexdigest()
        path = image_file(state, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Image(pixels.shape[1], pixels.shape[0], pixels.tobytes()).encoded())
        key = FrameKey(camera, 1, number)
        row = EvidenceRow(0, UnitId(1, 0, number), ViewKey(camera), key, digest, Kept.RETAINED, "", 1)
        rows += [unit_row(row, accepted=not defect, defect=defect), row]
    Book(state).store(*rows)
    return state


def test_previews_hold_the_pixels_that_were_judged(tmp_path: Path, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (48, 64), np.uint8)
    image[0, :2] = 0, 7
    state = _store(tmp_path, [(7, "body", "crack"), (8, "body", "")], image)
    count, sheet = write_previews(state, tmp_path / "out")
    assert count == 1
    assert sheet is not None
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "unit1.0.7-body-crack.png"), cv2.IMREAD_GRAYSCALE), image)
    assert cv2.imread(str(sheet)) is not None


def test_every_defect_is_shown_before_any_is_shown_twice(tmp_path: Path) -> None:
    many = [(n, "body", "crack") for n in range(1, SHOWN + 5)] + [(99, "body", "fibre")]
    count, _ = write_previews(_store(tmp_path, many, np.zeros((8, 8), np.uint8)), tmp_path / "out")
    assert count == SHOWN
    assert (tmp_path / "out" / "unit1.0.99-body-fibre.png").exists()


def test_nothing_kept_leaves_nothing(tmp_path: Path) -> None:
    assert rejects(tmp_path) == []
    assert write_previews(tmp_path, tmp_path / "out") == (0, None)
    assert not (tmp_path / "out").exists()
