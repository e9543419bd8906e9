"""The checked-in demo models, on sixty vials rendered here and now, and the papers that came with them."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from demo.dataset import Units, render_units
from demo.explain import map_shape
from demo.golden import golden_frames
from demo.score import SCORE_FILE, Judged, judge, log_odds
from demo.spec import FOLDER, load_spec
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_spec import DefectCode, View, difficulty_digest
from engines.rates import auroc

SPEC = load_spec()
NEVER_MISSED = {
    DefectCode.MISSING_CAP,
    DefectCode.MISSING_STOPPER,
    DefectCode.LOW_FILL,
    DefectCode.HIGH_FILL,
    DefectCode.CROOKED_CAP,
}


@pytest.fixture(scope="module")
def fresh() -> tuple[Units, Judged]:
    units = render_units(seed=77, units=72, workers=1, title="fresh units")
    return units, judge(SPEC, units)


def test_whole_part_defects_are_all_found(fresh: tuple[Units, Judged]) -> None:
    units, judged = fresh
    members = [k for k, code in enumerate(units.codes) if code in NEVER_MISSED]
    assert len(members) == 20
    assert (judged.unit[members] >= 0.0).all()


def test_units_are_told_apart(fresh: tuple[Units, Judged]) -> None:
    units, judged = fresh
    bad = np.array([code is not None for code in units.codes])
    assert bad.sum() == 36
    assert auroc(judged.unit, bad) > 0.97
    assert (judged.unit[~bad] >= 0.0).sum() <= 2


def test_most_verdicts_name_the_right_defect(fresh: tuple[Units, Judged]) -> None:
    units, judged = fresh
    strongest = judged.margins.argmax(axis=1)
    named = [judged.names[strongest[k]][1] is code for k, code in enumerate(units.codes) if code]
    assert np.mean(named) > 0.9


@pytest.mark.parametrize("view", list(View))
def test_graph_is_small_whole_and_takes_raw_pixels(view: View) -> None:
    model = SPEC.views[view]
    raw = (FOLDER / model.file).read_bytes()
    graph = onnx.load_from_string(raw)
    assert len(raw) <= 1_000_000
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in graph.graph.initializer)
    assert [entry.version for entry in graph.opset_import if not entry.domain] == [17]
    (image,), (scores, heat) = graph.graph.input, graph.graph.output
    shape = [dimension.dim_value for dimension in image.type.tensor_type.shape.dim]
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert shape == [1, 1, model.input.height, model.input.width]
    assert scores.name == "scores"
    assert [d.dim_value for d in scores.type.tensor_type.shape.dim] == [1, len(model.classes)]
    assert heat.name == "map"
    assert [d.dim_value for d in heat.type.tensor_type.shape.dim] == map_shape(FOLDER / model.file)


@pytest.mark.parametrize("view", list(View))
def test_the_heat_map_is_part_of_the_score(view: View) -> None:
    """Darken what the map points at most strongly and the score of the class falls: it is no picture beside the net."""
    model = SPEC.views[view]
    code = DefectCode.CRACK if view is View.BODY else DefectCode.SCRATCHED_CRIMP
    _, _, picture = next(case for case in golden_frames() if case[0].endswith(f"{view}-{code}.png".replace("_", "-")))
    session = ort.InferenceSession((FOLDER / model.file).read_bytes())
    image = model.cut(picture)[None, None]
    scores, heat = session.run(None, {"image": image})
    index = model.classes.index(code)
    row, column = np.unravel_index(heat[0, index].argmax(), heat.shape[2:])
    hidden = image.copy()
    place = hidden[0, 0, max(0, 16 * row - 32) : 16 * row + 48, max(0, 16 * column - 32) : 16 * column + 48]
    place[:] = np.median(place)
    assert log_odds(session.run(None, {"image": hidden})[0][0, index]) < log_odds(scores[0, index]) - 2.0


def test_spec_is_consistent() -> None:
    for view, model in SPEC.views.items():
        assert len(model.thresholds) == len(model.classes)
        assert all(0.0 < value < 1.0 for value in model.thresholds), view
    named = {code for model in SPEC.views.values() for code in model.classes}
    assert named == set(SPEC.channels) == set(DefectCode)


def test_score_sheet_belongs_to_these_models_and_this_difficulty() -> None:
    sheet = json.loads(SCORE_FILE.read_text(encoding="utf-8"))
    for view, model in SPEC.views.items():
        row = sheet["models"][view]
        assert row["sha256"] == hashlib.sha256((FOLDER / model.file).read_bytes()).hexdigest()
        assert list(row["thresholds"].values()) == list(model.thresholds)
    assert sheet["held_out"]["defects_toml_sha256"] == difficulty_digest()
    assert sheet["held_out"]["renderer_version"] == RENDERER_VERSION
    assert sheet["held_out"]["units"] >= 2000
    assert sheet["auroc"] >= 0.99
