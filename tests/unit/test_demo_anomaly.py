"""The checked-in anomaly models, fitted to good vials alone: their papers, and vials rendered here and now."""

import hashlib
import json

import numpy as np
import pytest

from demo.anomaly_model import FOLDER, SCORE_FILE, Scorer, models, rendered
from demo.dataset import code_of
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


@pytest.mark.slow
def test_fresh_vials_are_told_apart() -> None:
    scorer, codes = Scorer(), [code_of(index) for index in range(UNITS)]
    odds = np.array([scorer.log_odds(rendered(SEED, index, code)) for index, code in enumerate(codes)])
    scorer.close()
    good = np.array([code is None for code in codes])
    assert auroc(odds, ~good) > 0.9
    assert (odds[good] < 0.0).all()
