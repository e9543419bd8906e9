"""`linewarden model fit-anomaly`: good images in, a bundle and recipe out that a device accepts once signed."""

import base64
import html
import io
import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from daemon.recipe import admit, read_recipe
from daemon.units import ViewKey
from engines.engine import allocate
from engines.golden import MAX_PIXELS, check_golden
from engines.heads import decode
from engines.load import load
from provisioning import anomaly_memory, cli
from provisioning.anomaly_bundle import ANOMALY, Label
from provisioning.anomaly_images import FEWEST
from provisioning.anomaly_order import WORST, Order, run
from signing.keyring import load_trust
from signing.manifest import Region
from signing.sealed import open_directory
from signing.verify import VerifiedBundle, verify, verify_recipe
from tests.vectors import bundle_1

SIDE, IMAGES = 128, 24
VIEWS = ("body", "crimp")
LABEL = Label("discs", "discs", "none", "Anna Berg", 3)
MARK = (72, 40)  # row, column


def disc(rng: np.random.Generator, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """A grey ring before a gradient, never twice at the same place, with noise."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    away = np.hypot(rows - side / 2 - rng.uniform(-1, 1), columns - side / 2 - rng.uniform(-1, 1))
    ring = 60 * np.exp(-(((away - side * 0.35) / 2) ** 2))
    return (110 + columns / 4 - ring + rng.normal(0, 2, away.shape)).clip(0, 255).astype(np.uint8)


def write_discs(folder: Path, count: int = IMAGES, suffix: str = ".png", side: int = SIDE) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03d}{suffix}"), disc(rng, side))


def fit(good: Path, out: Path) -> dict[str, object]:
    order = Order(good, out, LABEL, {"crimp": Region(0, 16, 128, 96)}, 0.02)
    return run(order, Console(file=io.StringIO()))


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """A smaller memory than of real parts, which show more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomaly_memory, "BANK", 150)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good/ (two views) and out/, fitted and signed with the keys of the vectors."""
    root = tmp_path_factory.mktemp("fit")
    for view, suffix in zip(VIEWS, (".png", ".pgm"), strict=True):
        write_discs(root / "good" / view, suffix=suffix)
    fit(root / "good", root / "out")
    shutil.copytree(root / "out", root / "signed")
    for name in ("bundle", "recipe"):
        bundle_1.put_signatures(root / "signed" / name, bundle_1.KEYS)
    return root


@pytest.fixture(scope="module")
def bundle(made: Path) -> VerifiedBundle:
    with open_directory(made / "signed" / "bundle") as fd:
        return verify(fd, load_trust(bundle_1.ROOT / "trust", production=False))


def answers(
    bundle: VerifiedBundle, view: str, frames: list[npt.NDArray[np.uint8]]
) -> Iterator[tuple[float, np.ndarray]]:
    engine = load(bundle, view)
    try:
        out = allocate(engine.outputs)
        for frame in frames:
            engine.infer(frame, out)
            yield decode(bundle.manifest.models[view], out)[ANOMALY], out["map"][0, 0].copy()
    finally:
        engine.close()


def test_what_was_fitted_is_accepted_once_two_people_signed_it(made: Path, bundle: VerifiedBundle) -> None:
    assert check_golden(bundle) == []
    with open_directory(made / "signed" / "recipe") as fd:
        recipe = read_recipe(verify_recipe(fd, load_trust(bundle_1.ROOT / "trust", production=False)))
    admit(recipe, bundle, [ViewKey(view) for view in VIEWS])
    assert {case.model for case in bundle.manifest.golden.cases} == set(VIEWS)
    assert all(case.raw for case in bundle.manifest.golden.cases)
    assert len(bundle.manifest.golden.cases) == 4 * len(VIEWS)


def test_the_limit_is_inside_and_claims_nothing_about_defects(made: Path) -> None:
    recipe = json.loads((made / "out" / "recipe" / "recipe.json").read_bytes())
    for view in recipe["views"]:
        limit = view["limits"][ANOMALY]
        assert 0 < limit["accept_below"] == limit["reject_from"] < 1
        assert limit["evidence"]["n"] == IMAGES
        assert limit["evidence"]["bound"] == 1.0
        assert "detection is not shown" in limit["evidence"]["set_id"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_mark_scores_above_every_good_part_and_the_map_shows_where(bundle: VerifiedBundle, view: str) -> None:
    rng = np.random.default_rng(77)
    good = [disc(rng) for _ in range(20)]
    marked = disc(rng)
    cv2.circle(marked, MARK[::-1], 4, 30, cv2.FILLED)
    *usual, odd = answers(bundle, view, [*good, marked])
    assert odd[0] > max(score for score, _ in usual)
    assert odd[0] > 0.5
    roi = bundle.manifest.models[view].preprocessing.roi
    peak = np.unravel_index(odd[1].argmax(), odd[1].shape)
    place = [
        (cell + 0.5) * size / count
        for cell, size, count in zip(peak, (roi.height, roi.width), odd[1].shape, strict=True)
    ]
    assert np.hypot(place[0] + roi.y - MARK[0], place[1] + roi.x - MARK[1]) < 16


def test_a_part_out_of_place_scores_above_every_good_part(bundle: VerifiedBundle) -> None:
    rng = np.random.default_rng(78)
    good = [disc(rng) for _ in range(20)]
    *usual, odd = answers(bundle, "body", [*good, np.roll(disc(rng), 12, axis=0)])
    assert odd[0] > max(score for score, _ in usual)


def test_the_same_images_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    done = fit(made / "good", tmp_path / "out")
    first = {path.relative_to(made / "out"): path for path in (made / "out").rglob("*") if path.is_file()}
    second = {path.relative_to(tmp_path / "out"): path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name].read_bytes() != second[name].read_bytes()] == []
    assert json.loads(json.dumps(done))["report"] == json.loads((made / "out" / "report.json").read_bytes())


def test_the_report_is_one_file_that_says_what_is_not_shown(made: Path) -> None:
    page = (made / "out" / "report.html").read_text()
    report = json.loads((made / "out" / "report.json").read_bytes())
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "linewarden model evaluate" in page
    assert page.count("data:image/svg+xml;base64,") == len(VIEWS)
    for data in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page):
        assert ">limit<" in "".join(base64.b64decode(data).decode().split())
    oddest = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(oddest) == WORST * len(VIEWS)
    for data in oddest:
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (SIDE, SIDE, 3)
        assert (np.ptp(shown.astype(int), axis=2) > 40).any(), "a heat map is in colour"
    for view in VIEWS:
        assert len(report["views"][view]["logits"]) == IMAGES
        assert html.escape(report["views"][view]["evidence"]) in page
    names = {path.name for path in (made / "out").iterdir()}
    assert names == {"bundle", "recipe", "report.html", "report.json"}


def _few(good: Path) -> None:
    write_discs(good / "body", FEWEST - 1)


def _mixed(good: Path) -> None:
    write_discs(good / "body")
    cv2.imwrite(str(good / "body" / "zz.png"), np.zeros((SIDE, SIDE + 8), np.uint8))


def _damaged(good: Path) -> None:
    write_discs(good / "body")
    (good / "body" / "zz.png").write_bytes(b"no image")


def _empty(good: Path) -> None:
    write_discs(good / "body")
    (good / "body" / "zz.png").touch()


def _coloured(good: Path) -> None:
    write_discs(good / "body")
    cv2.imwrite(str(good / "body" / "zz.png"), np.zeros((SIDE, SIDE, 3), np.uint8))


def _huge(good: Path) -> None:
    """It says of itself that it has more pixels than a decoder may make room for."""
    write_discs(good / "body")
    (good / "body" / "zz.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBB", 13, b"IHDR", 1 << 14, 1 << 13, 8, 0)
    )


def _both(good: Path) -> None:
    write_discs(good / "body")
    cv2.imwrite(str(good / "zz.png"), np.zeros((SIDE, SIDE), np.uint8))


def _small(good: Path) -> None:
    write_discs(good / "body", side=63)


def _badly_named(good: Path) -> None:
    write_discs(good / "Body 1")


@pytest.mark.parametrize(
    ("prepare", "words", "shown"),
    [
        (lambda good: None, [], "no such folder"),
        (lambda good: good.mkdir(), [], "holds no .png or .pgm image"),
        (_few, [], f"view body has {FEWEST - 1} good images; collect at least {FEWEST}"),
        (_mixed, [], "zz.png: its size differs from that of 000.png: 136 x 128 and 128 x 128"),
        (_damaged, [], "zz.png: cannot be read as a grey PNG or PGM"),
        (_empty, [], "zz.png: cannot be read as a grey PNG or PGM"),
        (_coloured, [], "zz.png: cannot be read as a grey PNG or PGM of 8 bits"),
        (_huge, [], f"zz.png: cannot be read as a grey PNG or PGM of 8 bits and at most {MAX_PIXELS} pixels"),
        (_both, [], "holds images and folders of images"),
        (_small, [], "a region of 63 x 63 pixels leaves 56 x 56"),
        (_badly_named, [], "small letters"),
        (lambda good: write_discs(good / "body"), ["--view", "side"], "leave out --view"),
        (lambda good: write_discs(good / "body"), ["--roi", "side=0,0,64,64"], "--roi side: there is no such view"),
        (
            lambda good: write_discs(good / "body"),
            ["--roi", "body=64,64,65,64"],
            "--roi body: reaches outside the images",
        ),
        (write_discs, ["--view", "A"], "small letters"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: object, words: list[str], shown: str
) -> None:
    prepare(tmp_path / "good")  # type: ignore[operator]
    arguments = ["model", "fit-anomaly", "--good", str(tmp_path / "good"), "--out", str(tmp_path / "out"), *words]
    assert cli.main(arguments) == cli.FAILED
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert shown in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "good"] == []


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_discs(tmp_path / "good")
    (tmp_path / "out").mkdir()
    assert (
        cli.main(["model", "fit-anomaly", "--good", str(tmp_path / "good"), "--out", str(tmp_path / "out")])
        == cli.FAILED
    )
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["--roi", "body=0,0,0,9"], ["--roi", "body"], ["--false-reject", "0"], ["--seed", "-1"], ["--name", "A b"]],
)
def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["model", "fit-anomaly", "--good", "x", *words])
    assert ended.value.code == cli.WRONG_ARGUMENTS
    assert capsys.readouterr().err.count("\n") == 1


def test_images_without_folders_are_one_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_discs(tmp_path / "good", FEWEST)
    words = ["--good", str(tmp_path / "good"), "--out", str(tmp_path / "out"), "--view", "side", "--json"]
    assert cli.main(["model", "fit-anomaly", *words]) == cli.DONE
    done = json.loads(capsys.readouterr().out)
    assert list(done["report"]["views"]) == ["side"]
    assert (tmp_path / "out" / "bundle" / "side.onnx").stat().st_size < 4 << 20
