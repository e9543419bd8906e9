"""Previews of rejects: which are chosen, and that the files hold the kept pixels."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from daemon.evidence_file import Image, image_file
from daemon.messages import UnitRow
from daemon.records import EvidenceRow, Kept
from daemon.units import FrameKey, UnitId, ViewKey
from engines.explanation import Explanation, encode
from provisioning.pictures import SHOWN, explain, rejects, write_previews
from provisioning.places import PlaceError
from signing.manifest import Region
from tests.unit.evidence_world import Book, unit_row

Picture = npt.NDArray[np.uint8]


def _store(state: Path, units: list[tuple[int, str, str]], image: Picture, explanation: bytes = b"") -> Path:
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
        row = EvidenceRow(0, UnitId(1, 0, number), ViewKey(camera), key, digest, Kept.RETAINED, "", 1, explanation)
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


HOT = np.zeros((4, 4), np.float32)
HOT[1, 2] = 3.0


def test_why_a_unit_was_rejected_is_drawn_on_demand(tmp_path: Path) -> None:
    """Where the map is hottest the picture is coloured, outside the region it is the frame."""
    image = np.full((48, 64), 100, np.uint8)
    why = encode(Explanation("crack", Region(16, 8, 32, 32), HOT))
    state = _store(tmp_path, [(6, "body", "crack"), (7, "body", "crack")], image, why)
    paths = explain(state, "7", tmp_path / "why")
    assert [path.name for path in paths] == ["unit1.0.7-body-crack-why.png"]
    drawn = cv2.imread(str(paths[0]))
    spread = drawn.max(axis=2).astype(int) - drawn.min(axis=2)
    assert np.unravel_index(spread[10:38, 18:46].argmax(), (28, 28)) == pytest.approx((10, 18), abs=4)
    assert spread[:, :16].max() == spread[42:].max() == 0


def test_a_unit_without_a_kept_reject_is_refused(tmp_path: Path) -> None:
    state = _store(tmp_path, [(8, "body", "")], np.zeros((8, 8), np.uint8))
    with pytest.raises(PlaceError, match="unit 8: no image of a reject"):
        explain(state, "8", tmp_path / "why")
    assert not (tmp_path / "why").exists()


def test_an_explanation_of_another_release_is_no_picture_and_no_error(tmp_path: Path) -> None:
    image = np.full((8, 8), 50, np.uint8)
    (path,) = explain(_store(tmp_path, [(7, "body", "crack")], image, b"LWX9"), "1.0.7", tmp_path / "why")
    assert np.unique(cv2.imread(str(path))[1:]).tolist() == [50]
