"""The picture pool: composition, reuse from disk, refusal of damage."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from drivers.sim.render import RenderError, compose, make_pool
from drivers.sim.render_spec import DefectCode, View


def test_composition_holds_the_rate_and_every_code() -> None:
    plan = compose(seed=4, units=100, defect_rate=0.27)
    counts = Counter(codes[0] for codes in plan if codes)
    assert sum(counts.values()) == 27
    assert set(counts.values()) == {3} and set(counts) == set(DefectCode)
    assert compose(4, 100, 0.27) == plan != compose(5, 100, 0.27)


def test_a_low_rate_still_shows_every_code_and_zero_shows_none() -> None:
    assert {codes[0] for codes in compose(1, 60, 0.01) if codes} == set(DefectCode)
    assert not any(compose(1, 60, 0.0))


def test_pool_is_rendered_once_and_read_back(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = make_pool(3, 10, 0.9, tmp_path, lambda done, units: calls.append((done, units)))
    assert calls == [(k + 1, 10) for k in range(10)]
    again = make_pool(3, 10, 0.9, tmp_path, lambda done, units: calls.append((done, units)))
    assert len(calls) == 10
    assert first.body.shape == (10, 1024, 1280) and first.crimp.shape == (10, 480, 640)
    assert first.empty_body.shape == (1024, 1280) and first.empty_crimp.shape == (480, 640)
    assert np.array_equal(first.body, again.body) and first.truth == again.truth and len(again) == 10
    assert Counter(defect.code for truth in first.truth for defect in truth) == Counter(DefectCode)
    assert not first.body.flags.writeable
    assert [entry.name for entry in tmp_path.iterdir()] == [f"pool-{first.key[:16]}"]


def test_a_damaged_pool_is_rendered_again(tmp_path: Path) -> None:
    first = make_pool(3, 2, 0.0, tmp_path)
    wanted = first.body.copy()
    file = tmp_path / f"pool-{first.key[:16]}" / "body.npy"
    raw = bytearray(file.read_bytes())
    raw[-500_000] ^= 0xFF
    file.unlink()
    file.write_bytes(raw)
    assert np.array_equal(make_pool(3, 2, 0.0, tmp_path).body, wanted)


def test_truth_regions_lie_inside_the_pictures(tmp_path: Path) -> None:
    pool = make_pool(6, 12, 0.9, tmp_path)
    for truth in pool.truth:
        for defect in truth:
            for view, pictures in ((View.BODY, pool.body), (View.CRIMP, pool.crimp)):
                if region := defect.region(view):
                    assert region.x >= 0 and region.x + region.width <= pictures.shape[2]
                    assert region.y >= 0 and region.y + region.height <= pictures.shape[1]
                    assert region.width > 0 and region.height > 0


@pytest.mark.parametrize(("units", "rate", "word"), [(0, 0.1, "units"), (129, 0.1, "units"), (10, 1.5, "defect_rate")])
def test_arguments_out_of_range_are_refused(units: int, rate: float, word: str, tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=word):
        make_pool(1, units, rate, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(RenderError, match="cannot keep the picture pool"):
        make_pool(1, 1, 0.0, blocked / "pools")
