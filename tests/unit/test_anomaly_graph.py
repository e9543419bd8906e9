"""The anomaly graph says what the numbers of the fit say, and the fit finds what is rare; the limit keeps its share."""

import hashlib
import math
from importlib.resources import files

import numpy as np
import pytest

from demo import good_vials
from engines.onnx_runtime import OnnxRuntimeSession
from engines.rates import clopper_pearson
from provisioning.anomaly_calibration import GOOD_LOGIT, Limit, kind_of, peak_of, propose
from provisioning.anomaly_features import CHANNELS, MOST_PIXELS, Extractor, RegionRefused, backbone, preprocessing_of
from provisioning.anomaly_graph import anomaly_graph
from provisioning.anomaly_memory import _far_apart, fit_memory, fit_profile
from signing.graph import check_graph
from signing.manifest import Model, Preprocessing, Region, Tensor

HEIGHT, WIDTH = 64, 96
PRE = Preprocessing(Region(0, 0, WIDTH, HEIGHT), WIDTH, HEIGHT, "area")
MODEL = Model(
    file="a.onnx",
    input=Tensor("image", "uint8", (1, 1, HEIGHT, WIDTH)),
    output=Tensor("score", "float32", (1, 1)),
    head="logit",
    classes=("anomaly",),
    preprocessing=PRE,
    map=Tensor("map", "float32", (1, 1, HEIGHT // 8, WIDTH // 8)),
)


def test_the_graph_computes_what_was_fitted() -> None:
    rng = np.random.default_rng(1)
    frames = [rng.integers(60, 200, (HEIGHT, WIDTH), dtype=np.uint8) for _ in range(12)]
    extract = Extractor(PRE)
    features = np.stack([extract(frame) for frame in frames])
    memory, profile = fit_memory(features[:10], rng), fit_profile(features[:10])
    strange = np.stack([memory.distances(image) for image in features])
    misplaced = np.stack([profile.distances(image) for image in features])
    folds = np.arange(12) % 3
    kinds = (kind_of(strange, folds, summed=True)[0], kind_of(misplaced, folds, summed=False)[0])
    limit = Limit(at=4.0, middle=0.5, location=0.4, scale=1.0, n=12, reached=0, bound=0.3)
    raw = anomaly_graph((HEIGHT, WIDTH), memory, profile, kinds, limit)
    check_graph(raw, MODEL)
    session = OnnxRuntimeSession(MODEL, raw)
    for frame, *found in zip(frames, strange, misplaced, strict=True):
        session.image[0, 0] = frame
        session.run()
        peaks = [
            (peak_of(kind.usual.standardised(one), kind.floor) - kind.location) / kind.scale
            for kind, one in zip(kinds, found, strict=True)
        ]
        heat = np.maximum(*(kind.alone(one) for kind, one in zip(kinds, found, strict=True)))
        assert session.results["score"][0, 0] == pytest.approx((max(peaks) - limit.at) * limit.gain, abs=2e-3)
        assert session.results["map"][0, 0] == pytest.approx((heat - limit.at) * limit.gain, abs=2e-3)
    session.close()


def test_the_memory_keeps_what_is_rare() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(0, 1, (5000, 8)).astype(np.float32)
    points[:5] += 30
    chosen = _far_apart(points, 50)
    assert set(chosen) & set(range(5))
    assert len(set(chosen)) == 50
    assert not set(rng.permutation(5000)[:50]) & set(range(5))


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_the_limit_keeps_its_share_where_peaks_are_largest_values(share: float) -> None:
    rng = np.random.default_rng(3)
    limits = [propose(rng.gumbel(2.0, 0.7, 200), share) for _ in range(50)]
    reached = np.mean([1 - math.exp(-math.exp(-(limit.at - 2.0) / 0.7)) for limit in limits])
    assert 0.5 * share < reached < 2 * share
    limit = limits[0]
    assert limit.logits(np.array([limit.at, limit.middle])) == pytest.approx([0.0, GOOD_LOGIT])
    assert limit.bound == clopper_pearson(limit.reached, 200)[1]


def test_peaks_that_never_differ_still_give_a_limit() -> None:
    limit = propose(np.ones(30), 0.005)
    assert np.isfinite([limit.at, limit.gain]).all()
    assert limit.reached == 0


@pytest.mark.parametrize("size", [(64, 64), (480, 1024), (1280, 1024), (4096, 3000), (640, 480), (100, 2000)])
def test_a_region_is_reduced_as_the_documentation_says(size: tuple[int, int]) -> None:
    pre = preprocessing_of(Region(3, 5, *size))
    assert (pre.width % 8, pre.height % 8) == (0, 0)
    assert pre.width * pre.height <= MOST_PIXELS
    assert pre.width * pre.height / 64 <= 4000
    assert pre.width / pre.height == pytest.approx(size[0] / size[1], rel=0.12)
    if size[0] * size[1] <= MOST_PIXELS and size[0] % 8 == size[1] % 8 == 0:
        assert (pre.width, pre.height) == size


@pytest.mark.parametrize("size", [(63, 400), (30, 4000), (200, 20_000)])
def test_a_region_that_leaves_too_little_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(RegionRefused, match="choose another region"):
        preprocessing_of(Region(0, 0, *size))


def test_the_backbone_takes_any_size() -> None:
    for height, width in ((64, 64), (72, 200)):
        shape = backbone(height, width).graph.output[0].type.tensor_type.shape
        assert [dim.dim_value for dim in shape.dim] == [1, CHANNELS, height // 8, width // 8]


def test_the_readme_names_the_backbone_that_lies_beside_it() -> None:
    folder = files("engines").joinpath("backbone")
    digest = hashlib.sha256(folder.joinpath("efficientnet-lite0-taps.onnx").read_bytes()).hexdigest()
    assert digest in folder.joinpath("README.md").read_text()


def test_good_vials_are_rendered_for_both_views(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["good_vials", str(tmp_path), "--units", "2"])
    assert good_vials.main() == 0
    assert "2 good vials" in capsys.readouterr().out
