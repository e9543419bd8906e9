"""The golden set: what a loaded engine gives for known frames is what the bundle says, in scores and in raw numbers."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from engines.canary import Canary
from engines.engine import Engine
from engines.errors import FrameRefused, GoldenRefused
from engines.golden import GoldenFinding, check_golden, golden_findings
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from provisioning.bundles import BundleRefused, verify_directory
from provisioning.golden_set import known_answers, png
from signing.manifest import Model, Region
from signing.verify import VerifiedBundle
from tests.contract import engine_models
from tests.contract.engine_models import CLASSES, FILES, GAIN, KINDS, flipped, frames, graph, opened, with_weight
from tests.vectors import bundle_1


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
    answers = known_answers(bundle_1.bundle_description()["models"]["side"], graph, [frame])
    assert [answer.scores for answer in answers] == [{"bright": 0.4, "grey": 0.2125}]
    assert (cv2.imdecode(np.frombuffer(png(frame), np.uint8), cv2.IMREAD_UNCHANGED) == frame).all()


RAW = {file: f"{file[:-4]}.f32" for file in FILES}


def raw_of(kind: str, bundle: Path, **raws: bytes) -> VerifiedBundle:
    """The bundle of a kind whose first golden case keeps other raw numbers."""
    engine_models.make_bundle(bundle, kind, files={RAW[FILES[0]]: raws["first"]})
    return opened(bundle)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("share", "found"), [(0.9, 0), (1.1, 1), (-1.1, 1)])
def test_every_raw_number_has_a_tolerance_of_its_size(tmp_path: Path, kind: str, share: float, found: int) -> None:
    """Of 0.0001 here, times the number itself where that is more than 1; the scores stay as they are."""
    numbers = engine_models.raw_numbers(kind, frames()[0]).astype("<f4")
    worst = int(np.abs(numbers).argmax())
    off = numbers.copy()
    off[worst] += share * 0.0001 * max(1.0, abs(numbers[worst]))
    findings = check_golden(raw_of(kind, tmp_path / "bundle", first=off.tobytes()))
    assert len(findings) == found
    for finding in findings:
        assert (finding.file, finding.model) == (FILES[0], "side")
        assert finding.what.partition("[")[0] in ("scores", "map")
        assert (finding.expected, finding.found) == pytest.approx((off[worst], numbers[worst]))


def test_the_number_of_the_second_output_is_named(tmp_path: Path) -> None:
    numbers = engine_models.raw_numbers("logit", frames()[0]).astype("<f4")
    numbers[len(CLASSES) + np.ravel_multi_index((0, 1, 2, 3), (1, 2, 4, 4))] += 0.5
    (finding,) = check_golden(raw_of("logit", tmp_path / "bundle", first=numbers.tobytes()))
    assert finding.what == "map[0, 1, 2, 3]"


WHOLE = engine_models.raw_numbers("logit", frames()[0]).astype("<f4")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (WHOLE[:-1].tobytes(), "golden.f32: 132 bytes, model 'side' gives 34 numbers of 4"),
        (WHOLE.tobytes() + bytes(4), "golden.f32: 140 bytes"),
        (WHOLE.tobytes() + b"x", "golden.f32: 137 bytes"),
        (b"x", "golden.f32: 1 bytes"),
        (WHOLE[:-1].tobytes() + struct.pack("<f", float("nan")), "golden.f32: it holds what is no number"),
        (WHOLE[:-1].tobytes() + struct.pack("<f", float("-inf")), "golden.f32: it holds what is no number"),
    ],
)
def test_raw_numbers_that_cannot_be_compared_are_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    with pytest.raises(GoldenRefused, match=says):
        check_golden(raw_of("logit", tmp_path / "bundle", first=raw))


def test_raw_numbers_show_what_scores_near_one_hide(tmp_path: Path) -> None:
    """Two nets that are both sure: their logits differ by a tenth, their scores by nothing."""
    proto = graph("logit")
    steep, steeper = (with_weight(proto, "gain", np.full((1, 2), gain, np.float32)) for gain in (50 * GAIN, 55 * GAIN))
    answers = known_answers(engine_models.description("logit"), steep, frames())
    assert {score for answer in answers for score in answer.scores.values()} == {1.0}
    cases = [
        {"file": file, "model": "side", "scores": answer.scores, "raw": RAW[file]}
        for file, answer in zip(FILES, answers, strict=True)
    ]
    raws = {RAW[file]: answer.raw for file, answer in zip(FILES, answers, strict=True)}
    scores_only = [{name: value for name, value in case.items() if name != "raw"} for case in cases]
    for name, graph_, told, found in (
        ("same", steep, cases, 0),
        ("hidden", steeper, scores_only, 0),
        ("shown", steeper, cases, 2),
    ):
        known = {"tolerance": 0.001, "cases": told}
        engine_models.make_bundle(tmp_path / name, "logit", graph_, golden=known, files=raws)
        assert len(check_golden(opened(tmp_path / name))) == found


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VerifiedBundle]:
    root = tmp_path_factory.mktemp("bundles")
    for kind in KINDS:
        engine_models.make_bundle(root / kind, kind)
    return {kind: opened(root / kind) for kind in KINDS}


def engine_of(model: Model, raw: bytes) -> Engine:
    return ModelEngine(model, OnnxRuntimeSession(model, raw), "0" * 64)


def moved(model: Model, region: Region) -> Model:
    return replace(model, preprocessing=replace(model.preprocessing, roi=region))


def wrong_weights() -> Iterator[tuple[str, str, int]]:
    """Every float weight of every kind, at its largest number: zero has no mantissa bit that matters."""
    for kind in KINDS:
        used = {tensor.name for tensor in graph(kind).graph.initializer}
        for name, values in engine_models.weights().items():
            if name in used:
                yield kind, name, int(np.abs(values).argmax())


def refused(bundle: VerifiedBundle, engine: Engine) -> list[GoldenFinding]:
    """What the check at installation finds; the check at load must refuse it with the first of that."""
    try:
        found = golden_findings(bundle, {"side": engine})
        with pytest.raises(GoldenRefused, match="bundle tiny 1.0.0 fails its golden set here: golden") as caught:
            Canary(bundle, [("side", engine)])
        assert str(found[0]) in str(caught.value) and "\n" not in str(caught.value)
        return found
    finally:
        engine.close()


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize(("kind", "name", "element"), list(wrong_weights()))
def test_one_turned_bit_of_a_weight_is_found(
    bundles: dict[str, VerifiedBundle], kind: str, name: str, element: int
) -> None:
    model = bundles[kind].manifest.models["side"]
    assert refused(bundles[kind], engine_of(model, flipped(graph(kind), name, element)))


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "region",
    [Region(9, 4, 16, 16), Region(7, 4, 16, 16), Region(8, 5, 16, 16), Region(8, 3, 16, 16), Region(8, 4, 15, 15)],
)
def test_a_region_that_is_off_by_one_pixel_is_found(
    bundles: dict[str, VerifiedBundle], kind: str, region: Region
) -> None:
    model = bundles[kind].manifest.models["side"]
    assert refused(bundles[kind], engine_of(moved(model, region), bundles[kind].files["tiny.onnx"].bytes()))


def two_views(directory: Path, side: str, top: str) -> VerifiedBundle:
    """A bundle of two models that differ in the slope of their sigmoid alone, in the files named; each has its case."""
    steep = with_weight(graph("logit"), "gain", np.full((1, 2), 2 * GAIN, np.float32))
    answers = known_answers(engine_models.description("logit"), steep, frames())
    made = engine_models.bundle_description("logit")
    cases = [made["golden"]["cases"][0], {"file": FILES[1], "model": "top", "scores": answers[1].scores}]
    models = {name: {**made["models"]["side"], "file": file} for name, file in (("side", side), ("top", top))}
    engine_models.make_bundle(
        directory, "logit", models=models, golden={"tolerance": 0.001, "cases": cases}, files={"steep.onnx": steep}
    )
    return opened(directory)


@pytest.mark.clause("21 CFR 11.10(a)")
def test_the_model_of_another_view_is_found(tmp_path: Path) -> None:
    right = two_views(tmp_path / "right", "tiny.onnx", "steep.onnx")
    assert check_golden(right) == []
    other = engine_of(right.manifest.models["top"], right.files["steep.onnx"].bytes())
    assert refused(right, other)
    found = check_golden(two_views(tmp_path / "wrong", "steep.onnx", "tiny.onnx"))
    assert {finding.model for finding in found} == {"side", "top"}
