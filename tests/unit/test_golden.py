"""The golden set: what a loaded engine scores on known frames is what the bundle says."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import FrameRefused
from engines.golden import GoldenFinding, check_golden
from fleet.golden import expected_scores, png
from provisioning.bundles import BundleRefused, verify_directory
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import VerifiedBundle, verify
from tests.vectors import bundle_1


def opened(directory: Path) -> VerifiedBundle:
    with open_directory(directory) as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


def golden(tolerance: float, bright: float) -> dict[str, Any]:
    scores = {"bright": bright, "grey": 0.2125}
    return {"tolerance": tolerance, "cases": [{"file": "golden.png", "model": "side", "scores": scores}]}


def test_the_same_scores_are_no_finding() -> None:
    assert check_golden(opened(bundle_1.ROOT / "bundle")) == []


@pytest.mark.parametrize(("tolerance", "bright", "findings"), [(0.01, 0.409, 0), (0.01, 0.411, 1), (0.01, 0.389, 1)])
def test_scores_beyond_the_tolerance_are_named(tmp_path: Path, tolerance: float, bright: float, findings: int) -> None:
    bundle_1.make_bundle(tmp_path / "bundle", golden=golden(tolerance, bright))
    found = check_golden(opened(tmp_path / "bundle"))
    assert len(found) == findings
    for finding in found:
        assert finding == GoldenFinding("golden.png", "side", "bright", bright, pytest.approx(0.4))
        assert "golden.png: model 'side' scores bright 0.4" in str(finding)


COLOURED = cv2.imencode(".png", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
GREY_TIFF = cv2.imencode(".tiff", np.zeros((24, 32), np.uint8))[1].tobytes()
# Says 100 000 x 100 000: OpenCV throws, or makes room for it.
HUGE = bundle_1.golden_png()[:16] + struct.pack(">II", 100_000, 100_000) + bundle_1.golden_png()[24:]


@pytest.mark.parametrize("frame", [b"not a PNG", COLOURED, GREY_TIFF, HUGE, HUGE[:20]])
def test_a_frame_that_is_no_grey_png_is_refused(tmp_path: Path, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_1, "golden_png", lambda: frame)
    bundle_1.make_bundle(tmp_path / "bundle")
    with pytest.raises(FrameRefused, match="golden.png: not a grey PNG of 8 bits"):
        check_golden(opened(tmp_path / "bundle"))


def test_a_person_can_have_the_golden_set_run(tmp_path: Path) -> None:
    trust = bundle_1.ROOT / "trust"
    text = verify_directory(bundle_1.ROOT / "bundle", trust, production=False, golden=True)
    assert "signed by Anna Berg (qa) and Jonas Weber (release), whole" in text
    assert "1 golden cases hold here" in text
    bundle_1.make_bundle(tmp_path / "bundle", golden=golden(0.01, 0.5))
    with pytest.raises(BundleRefused, match="golden set fails here: golden.png: model 'side' scores bright 0.4"):
        verify_directory(tmp_path / "bundle", trust, production=False, golden=True)


def test_publishers_get_the_scores_that_devices_get() -> None:
    bundle = opened(bundle_1.ROOT / "bundle")
    image = cv2.imdecode(np.frombuffer(bundle.files["golden.png"].view(), np.uint8), cv2.IMREAD_UNCHANGED)
    graph = bundle.files["tiny.onnx"].bytes()
    assert image is not None
    frame = np.asarray(image, np.uint8)
    scores = expected_scores(bundle_1.bundle_description()["models"]["side"], graph, [frame])
    assert scores == [{"bright": 0.4, "grey": 0.2125}]
    assert (cv2.imdecode(np.frombuffer(png(frame), np.uint8), cv2.IMREAD_UNCHANGED) == frame).all()
