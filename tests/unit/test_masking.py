"""masking: a reject rests on what the model points at, or it does not, and the test can tell which."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_world import BRIGHT, GOOD, GREY, make_pair, make_pointing, model, picture, put

from daemon.vision.judging import Limit
from daemon.vision.plan import Looker, looker
from engines.explanation import Explanation, ScoredBox
from engines.load import load
from provisioning.errors import CommandFailed
from provisioning.evaluate_subject import open_subject
from provisioning.masking import CONTROLS, Masked, controls, explained_region, hide, masking_test, window_px
from signing.manifest import Region

ROI = Region(8, 4, 16, 16)
LIMITS = {name: Limit(0.4, 0.6) for name in ("bright", "grey")}


def opened(folder: Path) -> Looker:
    subject = open_subject(folder / "bundle", None, folder / "trust", production=False)
    return looker(load(subject.bundle, "side"), subject.bundle.manifest.models["side"])


@pytest.fixture(scope="module")
def pointing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pointing")
    make_pointing(folder)
    return folder


def marked() -> np.ndarray:
    """A frame with the mark in a corner of the region of interest."""
    frame = picture()
    frame[6:8, 10:12] = BRIGHT
    return frame


def ask(folder: Path, frame: np.ndarray, seed: int = 1) -> Masked | None:
    look = opened(folder)
    try:
        return masking_test(look, frame, LIMITS, np.random.default_rng(seed))
    finally:
        look.engine.close()


def test_a_reject_rests_on_the_mark_that_the_map_shows(pointing: Path) -> None:
    found = ask(pointing, marked())
    assert found is not None
    assert (found.code, found.limit, found.others) == ("bright", 0.4, ())
    assert found.score == pytest.approx(1.0)
    assert found.hidden == pytest.approx(GOOD / 255, abs=0.01)
    assert len(found.controls) == CONTROLS
    assert found.controls == (found.score,) * CONTROLS
    assert found.flips
    assert found.rests_on_region
    assert (found.region[6:8, 10:12] == 255).all()
    assert found.share == pytest.approx(np.count_nonzero(found.region) / 256)


def test_a_map_that_points_elsewhere_is_found_out(tmp_path: Path) -> None:
    make_pointing(tmp_path, wrongly=True)
    frame = marked()
    frame[12:16, 18:22] = 10
    found = ask(tmp_path, frame)
    assert found is not None
    assert not found.region[6:8, 10:12].any()
    assert found.hidden == found.score
    assert not found.flips
    assert not found.rests_on_region


def test_a_region_without_room_beside_it_proves_nothing(pointing: Path) -> None:
    found = ask(pointing, picture(GREY, GREY))
    assert found is not None
    assert (found.share, found.controls, found.rests_on_region) == (1.0, (), False)


def test_an_accepted_image_has_no_question(pointing: Path) -> None:
    assert ask(pointing, picture()) is None


def test_one_control_that_flips_it_is_enough_against_it(pointing: Path) -> None:
    found = ask(pointing, marked())
    assert found is not None
    doubtful = replace(found, controls=(*found.controls[1:], 0.1))
    assert doubtful.control_flips == 1
    assert doubtful.flips
    assert not doubtful.rests_on_region
    assert replace(found, controls=()).rests_on_region is False


def test_of_a_map_what_stands_out_and_its_neighbours_are_hidden() -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[2, 3], grid[6, 6] = 1.0, 0.2
    region = explained_region(Explanation("bright", ROI, grid), (24, 32))
    expected = np.zeros((24, 32), np.uint8)
    expected[4 + 2 : 4 + 8, 8 + 4 : 8 + 10] = 255
    assert (region == expected).all()


def test_of_boxes_what_they_enclose_within_the_region_of_interest() -> None:
    boxes = (ScoredBox(0.9, 9.5, 5.0, 11.2, 8.0), ScoredBox(0.5, 20.0, 18.0, 40.0, 40.0))
    region = explained_region(Explanation("bright", ROI, boxes=boxes), (24, 32))
    expected = np.zeros((24, 32), np.uint8)
    expected[5:8, 9:12] = expected[18:20, 20:24] = 255
    assert (region == expected).all()


def test_hiding_takes_a_mark_away_and_leaves_edges_and_the_rest() -> None:
    plain = np.tile(np.where(np.arange(32) < 15, 40, 160).astype(np.uint8), (24, 1))
    frame, region = plain.copy(), np.zeros((24, 32), np.uint8)
    frame[10:13, 7:10], frame[2, 2], region[6:18, 6:26] = 255, 255, 255
    hidden = hide(frame, region, 7)
    assert (hidden[6:18, 6:26] == plain[6:18, 6:26]).all()
    assert (hidden[region == 0] == frame[region == 0]).all()


def test_the_median_is_as_wide_as_a_cell_or_a_box() -> None:
    assert window_px(Explanation("bright", ROI, np.zeros((2, 4), np.float32))) == 9
    assert window_px(Explanation("bright", ROI, np.zeros((16, 16), np.float32))) == 3
    boxes = (ScoredBox(0.9, 0.0, 0.0, 30.0, 12.0), ScoredBox(0.9, 0.0, 0.0, 5.0, 60.0))
    assert window_px(Explanation("bright", ROI, boxes=boxes)) == 13
    assert window_px(Explanation("bright", ROI, boxes=(ScoredBox(0.9, 0.0, 0.0, 900.0, 900.0),))) == 127


def test_controls_are_the_same_shape_elsewhere_in_the_region_of_interest() -> None:
    region = np.zeros((24, 32), np.uint8)
    region[6:9, 10:12], region[9, 10] = 255, 255
    drawn = list(controls(region, ROI, np.random.default_rng(3)))
    assert len(drawn) == CONTROLS
    for mask in drawn:
        assert np.count_nonzero(mask) == np.count_nonzero(region)
        assert not (mask & region).any()
        outside = mask.copy()
        outside[4:20, 8:24] = 0
        assert not outside.any()
    again = controls(region, ROI, np.random.default_rng(3))
    assert all((one == other).all() for one, other in zip(drawn, again, strict=True))


def command(folder: Path, *words: str) -> int:
    return model("mask", str(folder / "bundle"), "--trust", str(folder / "trust"), *words)


def test_the_command_tells_images_and_their_sum(
    pointing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = put(tmp_path / "bad.png", marked()), put(tmp_path / "good.png", picture())
    assert command(pointing, str(bad), str(good)) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{bad}: bright 1.0000 -> 0.2")
    assert first.endswith("flips; 0 of 8 controls flip it")
    assert second == f"{good}: accepted, there is nothing to ask"
    assert last == "1 of 1 rejects rest on what the model points at (2.5-100.0 %)"


def test_json_and_report_say_the_same(pointing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, where = put(tmp_path / "bad.png", marked()), tmp_path / "report"
    assert command(pointing, str(bad), "--view", "side", "--json", "--report", str(where)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((where / "masking.json").read_text())
    assert (printed["document"], printed["view"], printed["accepted"]) == ("masking", "side", [])
    (row,) = printed["rejects"]
    assert (row["image"], row["defect"], row["flips"], row["rests_on_region"]) == (str(bad), "bright", True, True)
    page = (where / "masking.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "<script" not in page


def test_without_a_recipe_one_half_is_the_limit(
    pointing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").symlink_to(pointing / "bundle")
    (tmp_path / "trust").symlink_to(pointing / "trust")
    assert command(tmp_path, str(put(tmp_path / "bad.png", marked()))) == 0
    told = capsys.readouterr().out
    assert "(limit 0.5)" in told
    assert "no recipe: every limit is taken as a score of 0.5" in told


def test_what_cannot_be_asked_is_one_line(pointing: Path, tmp_path: Path) -> None:
    make_pair(tmp_path, ("body", "crimp"))
    bad = put(tmp_path / "bad.png", marked())
    for folder, words, told in (
        (tmp_path, (str(bad),), "of which view are the images?: name one with --view: body, crimp"),
        (tmp_path, (str(bad), "--view", "top"), "there is no view 'top': name one"),
        (tmp_path, (str(bad), "--view", "body"), "tiny.onnx has no map, boxes or mask that explain"),
        (pointing, (str(put(tmp_path / "small.png", picture()[:9])),), "small.png: frame is 32 x 9"),
        (pointing, (str(tmp_path / "absent.png"),), "absent.png: cannot be read"),
    ):
        with pytest.raises(CommandFailed) as refused:
            command(folder, *words)
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)
