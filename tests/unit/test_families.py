"""The trained model of every family: accepted by the device, run by its engine, and as good as score.json says."""

import hashlib
import json
from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from demo.families.dataset import HELD_OUT, frames, vials
from demo.families.score import SCORE_FILE, SHOWN
from demo.families.spec import load_families
from demo.spec import Pictures
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_spec import difficulty_digest
from engines.engine import Outputs, allocate
from engines.heads import decode
from engines.model_engine import ModelEngine
from engines.onnx_runtime import OnnxRuntimeSession
from engines.rates import auroc
from signing.graph import check_graph
from signing.manifest import Model

FAMILIES = load_families()
SHEET = json.loads(SCORE_FILE.read_text(encoding="utf-8"))
MOST_BYTES = 4 << 20
MOST_CPU_MINUTES = 15
# One grey level of one pixel may come out differently on another processor; a score near a half then moves a little.
TOLERANCE = 0.02
CODES = [HELD_OUT.code_of(index) for index in range(SHOWN)]

each_family = pytest.mark.parametrize("name", list(FAMILIES))


@pytest.fixture(scope="module")
def shown() -> list[Pictures]:
    return frames(vials(HELD_OUT, range(SHOWN)))


@cache
def _engine(name: str) -> tuple[Model, ModelEngine]:
    family = FAMILIES[name]
    raw = family.path.read_bytes()
    model = family.model
    return model, ModelEngine(model, OnnxRuntimeSession(model, raw), hashlib.sha256(raw).hexdigest())


def _outputs(name: str, picture: Pictures) -> Outputs:
    engine = _engine(name)[1]
    out = allocate(engine.outputs)
    engine.infer(picture, out)
    return out


def _scores(name: str, pictures: list[Pictures]) -> npt.NDArray[np.float64]:
    return np.array([max(decode(FAMILIES[name].model, _outputs(name, picture)).values()) for picture in pictures])


def _floor(area: float, defective: int, good: int) -> float:
    """Four standard errors below `area` in a sample of that size (Hanley and McNeil 1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (defective - 1) * (one - area**2) + (good - 1) * (two - area**2)
    return float(area - 4 * np.sqrt(spread / (defective * good)))


@each_family
def test_device_accepts_the_graph(name: str) -> None:
    family = FAMILIES[name]
    raw = family.path.read_bytes()
    assert len(raw) <= MOST_BYTES
    check_graph(raw, family.model)
    assert [entry.version for entry in onnx.load_from_string(raw).opset_import if not entry.domain] == [17]


@each_family
def test_description_is_the_model_of_a_bundle(name: str) -> None:
    family = FAMILIES[name]
    description = json.loads(json.dumps(family.description()))
    assert msgspec.convert(description, Model) == family.model
    assert ("map" in description) == (family.model.map is not None)


@each_family
def test_score_sheet_belongs_to_this_file(name: str) -> None:
    row: dict[str, Any] = SHEET["families"][name]
    raw = FAMILIES[name].path.read_bytes()
    assert (row["sha256"], row["bytes"]) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert row["n"] >= 400
    assert 0 < row["training"]["cpu_minutes"] <= MOST_CPU_MINUTES


def test_score_sheet_belongs_to_this_renderer() -> None:
    origin = SHEET["held_out"]
    assert (origin["renderer_version"], origin["defects_toml_sha256"]) == (RENDERER_VERSION, difficulty_digest())
    assert (origin["seed"], origin["units"]) == (HELD_OUT.seed, HELD_OUT.units)
    assert set(SHEET["families"]) == set(FAMILIES)


@each_family
def test_rendered_units_score_as_recorded_and_in_that_order(name: str, shown: list[Pictures]) -> None:
    row = SHEET["families"][name]
    scores = _scores(name, shown)
    assert np.isfinite(scores).all()
    assert np.abs(scores - row["first_scores"]).max() <= TOLERANCE
    good = np.array([code is None for code in CODES])
    seen = np.array([code in FAMILIES[name].sees for code in CODES])
    among = good | seen
    assert auroc(scores[among], seen[among]) >= _floor(row["auroc"], int(seen.sum()), int(good.sum()))
    assert len(set(np.round(scores, 6))) > SHOWN // 2, "a constant would rank nothing"


def test_anomaly_model_is_calibrated_on_good_units(shown: list[Pictures]) -> None:
    """Its logit is 0 four standard deviations above the mean of good units: they lie about -4."""
    family = FAMILIES["autoencoder"]
    good = [picture for picture, code in zip(shown, CODES, strict=True) if code is None]
    logits = [float(_outputs("autoencoder", picture)[family.model.output.name][0, 0]) for picture in good]
    assert -6.0 < np.median(logits) < -2.0
    assert sum(logit > 0.0 for logit in logits) <= 1
