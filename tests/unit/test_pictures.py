"""Previews of rejects: which are chosen, and that the files hold the kept pixels."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from provisioning.pictures import SHOWN, rejects, write_previews


def _entry(number: int, camera: str, verdict: str, defect: str, file: str) -> str:
    fields = {"unit": [1, 0, number], "view": [camera, 0, 0], "verdict": verdict, "reason": "defect", "defect": defect}
    return json.dumps(fields | {"file": file})


def _store(folder: Path, entries: list[tuple[int, str, str, str]], image: npt.NDArray[np.uint8]) -> Path:
    evidence = folder / "evidence"
    (evidence / "ab").mkdir(parents=True)
    lines = []
    for index, (number, camera, verdict, defect) in enumerate(entries):
        name = f"ab/{index}.pgm"
        header = f"P5\n{image.shape[1]} {image.shape[0]}\n255\n".encode()
        (evidence / name).write_bytes(header + image.tobytes())
        lines.append(_entry(number, camera, verdict, defect, name))
    (evidence / "index.jsonl").write_text("\n".join(lines) + "\n")
    return evidence


def test_previews_hold_the_pixels_that_were_judged(tmp_path: Path, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (48, 64), np.uint8)
    evidence = _store(tmp_path, [(7, "body", "reject", "crack"), (8, "body", "accept", "")], image)
    count, sheet = write_previews(evidence, tmp_path / "out")
    assert count == 1
    assert sheet is not None
    assert np.array_equal(cv2.imread(str(tmp_path / "out" / "unit1.0.7-body-crack.png"), cv2.IMREAD_GRAYSCALE), image)
    assert cv2.imread(str(sheet)) is not None


def test_every_defect_is_shown_before_any_is_shown_twice(tmp_path: Path) -> None:
    many = [(n, "body", "reject", "crack") for n in range(1, SHOWN + 5)] + [(99, "body", "reject", "fibre")]
    evidence = _store(tmp_path, many, np.zeros((8, 8), np.uint8))
    count, _ = write_previews(evidence, tmp_path / "out")
    assert count == SHOWN
    assert (tmp_path / "out" / "unit1.0.99-body-fibre.png").exists()


def test_nothing_kept_leaves_nothing(tmp_path: Path) -> None:
    assert rejects(tmp_path) == []
    assert write_previews(tmp_path, tmp_path / "out") == (0, None)
    assert not (tmp_path / "out").exists()
