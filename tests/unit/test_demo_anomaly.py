"""The checked-in anomaly models, fitted to good vials alone: their papers, and vials rendered here and now."""

import hashlib
import json

import numpy as np
import pytest

from demo.anomaly_model import EXCEEDING, FOLDER, SCORE_FILE, Scorer, _figures, models, rendered
from demo.dataset import CODES, code_of
from drivers.sim.render import RENDERER_VERSION
from drivers.sim.render_spec import View, difficulty_digest
from engines.rates import auroc
from signing.graph import check_graph

SHEET = json.loads(SCORE_FILE.read_text(encoding="utf-8"))
UNITS, SEED = 36, 4_000_001


def test_there_is_one_for_each_view_and_the_device_takes_it() -> None:
    assert set(models()) == set(View)
    for model in models().values():
        raw = (FOLDER / model.file).read_bytes()
        assert len(raw) <= 4_000_000
        check_graph(raw, model)


def test_the_score_sheet_is_of_these_models_and_this_renderer() -> None:
    for model in models().values():
        raw = (FOLDER / model.file).read_bytes()
        assert SHEET["models"][model.file] == {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    origin = SHEET["held_out"]
    assert (origin["renderer_version"], origin["defects_toml_sha256"]) == (RENDERER_VERSION, difficulty_digest())
    assert SHEET["auroc"] >= 0.96


def test_the_figures_count_what_is_above_each_limit() -> None:
    """Ten good units from -10 to -1, of which five exceed -6; of each code one unit at -8, -5 and 0."""
    odds = np.array([*range(-10, 0), *(odd for _ in CODES for odd in (-8, -5, 0))], np.float64)
    found = _figures(odds, [None] * 10 + [code for code in CODES for _ in range(3)])
    assert (found["false_reject"]["count"], found["good_exceeding"]["count"]) == (0, EXCEEDING)
    assert (found["found"]["count"], found["found_where_good_exceed"]["count"]) == (len(CODES), 2 * len(CODES))
    for one in (found, *found["classes"].values()):
        assert one["auroc"] == pytest.approx((2.5 + 5.5 + 10) / 30, abs=1e-6)
        low, high = one["auroc_bounds"]
        assert low < one["auroc"] < high
    one = found["classes"][str(CODES[0])]
    assert [one[name]["n"] for name in ("found", "found_where_good_exceed")] == [3, 3]


@pytest.mark.slow
def test_fresh_vials_are_told_apart() -> None:
    scorer, codes = Scorer(), [code_of(index) for index in range(UNITS)]
    odds = np.array([scorer.log_odds(rendered(SEED, index, code)) for index, code in enumerate(codes)])
    scorer.close()
    good = np.array([code is None for code in codes])
    assert auroc(odds, ~good) > 0.9
    assert (odds[good] < 0.0).all()
