"""Golden frames asked again and again: the same bytes pass, one other bit does not, wherever it is."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.canary import Canary
from engines.engine import allocate
from engines.errors import FrameRefused, GoldenRefused, InferenceFailed
from engines.model_engine import WARMUP_RUNS, ModelEngine
from provisioning.golden_set import png
from signing.verify import VerifiedBundle
from tests.contract import engine_models
from tests.contract.engine_models import FILES, KINDS, Aged, opened, picture
from tests.vectors import bundle_1

LOWEST, SIGN = 0, 31


class Watched:
    """One bundle, an engine on an `Aged` session, and the canary that watches it."""

    def __init__(self, bundle: VerifiedBundle, output: str = "scores") -> None:
        self.session = Aged(bundle, output)
        self.engine = ModelEngine(bundle.manifest.models["side"], self.session, "0" * 64)
        self.canary = Canary(bundle, [("side", self.engine)])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VerifiedBundle]:
    root = tmp_path_factory.mktemp("bundles")
    for kind in KINDS:
        engine_models.make_bundle(root / kind, kind)
    return {kind: opened(root / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def watched(request: pytest.FixtureRequest, bundles: dict[str, VerifiedBundle]) -> Iterator[Watched]:
    watched = Watched(bundles[request.param])
    yield watched
    watched.engine.close()


def test_the_same_bytes_pass_again_and_again_between_other_frames(watched: Watched) -> None:
    out = allocate(watched.engine.outputs)
    for turn in range(50):
        watched.engine.infer(picture(turn % 4, turn % 3, 5 * turn), out)
        watched.canary.check_next()
    watched.canary.check_all()


def test_every_case_is_run_in_turn_and_one_at_a_time(watched: Watched) -> None:
    assert len(watched.canary) == len(FILES) == 2
    assert watched.session.runs == WARMUP_RUNS + len(FILES)
    watched.canary.check_next()
    assert watched.session.runs == WARMUP_RUNS + len(FILES) + 1
    watched.canary.check_all()
    assert watched.session.runs == WARMUP_RUNS + 2 * len(FILES) + 1


def test_the_time_since_when_it_was_right_moves_on(watched: Watched) -> None:
    """It is that of the case that was not run for longest."""
    before = time.monotonic_ns()
    loaded = watched.canary.right_since_ns
    assert loaded < before
    watched.canary.check_next()
    assert loaded < watched.canary.right_since_ns < before
    watched.canary.check_next()
    assert before < (first := watched.canary.right_since_ns) < time.monotonic_ns()
    watched.canary.check_all()
    assert first < watched.canary.right_since_ns


@pytest.mark.clause("21 CFR 11.10(a)")
@pytest.mark.parametrize("bit", [LOWEST, SIGN])
def test_one_turned_bit_of_a_result_is_found(watched: Watched, bit: int) -> None:
    watched.canary.check_all()
    right = watched.canary.right_since_ns
    watched.session.breaks = bit
    with pytest.raises(GoldenRefused) as caught:
        watched.canary.check_next()
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("model 'side' gives other numbers for golden.png than when it was loaded")
    assert "look at the memory of this computer" in said
    assert (" by less than the tolerance; " in said) == (bit == LOWEST)
    assert (": golden.png: model 'side' scores " in said) == (bit == SIGN)
    assert watched.canary.right_since_ns == right
    with pytest.raises(GoldenRefused, match="golden-1.png"):
        watched.canary.check_next()


def test_a_turned_bit_of_the_map_alone_is_found(bundles: dict[str, VerifiedBundle]) -> None:
    """No score shows it: only the raw numbers do."""
    watched = Watched(bundles["logit"], output="map")
    watched.session.breaks = SIGN
    with pytest.raises(GoldenRefused, match=r"scores map\[0, 1, 3, 3\] -"):
        watched.canary.check_all()
    watched.engine.close()


def test_each_engine_of_a_model_is_watched(bundles: dict[str, VerifiedBundle]) -> None:
    """Two views may be looked at by one model, each with an engine of its own."""
    bundle = bundles["mask"]
    one, other = Watched(bundle), Watched(bundle)
    both = Canary(bundle, [("side", one.engine), ("side", other.engine)])
    assert len(both) == 2 * len(FILES)
    both.check_all()
    other.session.breaks = LOWEST
    for _ in FILES:
        both.check_next()
    with pytest.raises(GoldenRefused):
        both.check_next()
    one.engine.close()
    other.engine.close()


def test_an_engine_that_does_not_run_is_no_right_answer(watched: Watched) -> None:
    right = watched.canary.right_since_ns
    watched.engine.close()
    with pytest.raises(InferenceFailed, match="closed"):
        watched.canary.check_next()
    assert watched.canary.right_since_ns == right


@pytest.mark.parametrize("breaks", [LOWEST, SIGN])
def test_at_load_the_tolerance_of_the_bundle_counts(bundles: dict[str, VerifiedBundle], breaks: int) -> None:
    """A last bit is another device; more is refused with the difference and what bundle it was."""
    session = Aged(bundles["logit"])
    engine = ModelEngine(bundles["logit"].manifest.models["side"], session, "0" * 64)
    session.breaks = breaks
    if breaks == LOWEST:
        Canary(bundles["logit"], [("side", engine)]).check_all()
    else:
        with pytest.raises(
            GoldenRefused, match="bundle tiny 1.0.0 fails its golden set here: golden.png: model 'side'"
        ):
            Canary(bundles["logit"], [("side", engine)])
    engine.close()


def test_a_golden_frame_that_does_not_show_the_region_is_refused(tmp_path: Path) -> None:
    small = png(np.zeros((8, 8), np.uint8))
    engine_models.make_bundle(tmp_path / "bundle", "logit", files={FILES[1]: small})
    bundle = opened(tmp_path / "bundle")
    engine = ModelEngine(bundle.manifest.models["side"], Aged(bundle), "0" * 64)
    with pytest.raises(FrameRefused, match="frame is 8 x 8"):
        Canary(bundle, [("side", engine)])
    engine.close()


def test_models_that_are_not_loaded_are_not_asked() -> None:
    assert len(Canary(opened(bundle_1.ROOT / "bundle"), [])) == 0
