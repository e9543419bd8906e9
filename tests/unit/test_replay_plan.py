"""One way from pixels to scores: the same for vision and replay, the same bytes every time, with regions and shots."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.config import Patch, Region
from daemon.evidence_file import Image, image_file
from daemon.messages import Loaded
from daemon.recipe import RecipeView, read_recipe
from daemon.units import Channel, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict, ViewKey
from daemon.vision.light import Light
from daemon.vision.plan import Plan, looker
from engines.canary import Canary
from engines.engine import Frame
from engines.load import load
from provisioning.replay import Likeness, Replayer
from provisioning.replay_rows import RecordedUnit
from signing.keyring import load_trust
from signing.sealed import open_directory
from signing.verify import verify, verify_recipe
from tests.vectors import bundle_1

ROWS, COLUMNS = 24, 32
TIMES = 100


@pytest.fixture(scope="module")
def plan() -> Iterator[Plan]:
    trust = load_trust(bundle_1.ROOT / "trust", production=False)
    with open_directory(bundle_1.ROOT / "bundle") as fd:
        bundle = verify(fd, trust)
    with open_directory(bundle_1.ROOT / "recipe") as fd:
        verified = verify_recipe(fd, trust)
    recipe = read_recipe(verified)
    loaded = Loaded(bundle.digest, verified.digest, "b", "r", [view.key for view in recipe.views], 1.0, 1.0, 1.0, 2.0)
    lookers = {"side": looker(load(bundle, "side"), bundle.manifest.models["side"])}
    canary = Canary(bundle, [("side", lookers["side"].engine)])
    plan = Plan(loaded, recipe, lookers, {"side": "side", "side1": "side"}, canary)
    yield plan
    plan.close()


def noise(seed: int, rows: int = ROWS, columns: int = COLUMNS) -> Frame:
    return np.random.default_rng(seed).integers(0, 90, (rows, columns), np.uint8)


def keep(state: Path, part: Frame) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()
    path = image_file(state, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Image(part.shape[1], part.shape[0], part.tobytes()).encoded())
    return digest


def accepted(*views: JudgedView) -> RecordedUnit:
    return RecordedUnit(
        UnitId(1, 0, 1),
        "B",
        "c",
        Outcome.ACCEPTED,
        Verdict.ACCEPT,
        Reason.NONE,
        Channel.NONE,
        "",
        "line",
        "b",
        9,
        1,
        views,
    )


@pytest.mark.clause("ALCOA+ consistent")
def test_the_same_frame_gives_the_same_bytes_every_time(plan: Plan, seed: int) -> None:
    """In between come other frames, so that nothing of an earlier one can stay in a buffer."""
    frame, other = noise(seed), noise(seed + 1)
    seen = set()
    for _ in range(TIMES):
        scores = plan.scores("side", frame).scores
        out = plan.lookers["side"].out
        seen.add((tuple(scores.items()), *(array.tobytes() for array in out.values())))
        assert plan.scores("side", other).scores != scores
    assert len(seen) == 1


def test_a_region_is_replayed_from_its_own_image(plan: Plan, tmp_path: Path, seed: int) -> None:
    regions = [Region(x=0, y=0, width=24, height=20), Region(x=8, y=4, width=24, height=20, behind=1)]
    gridded = replace(
        plan,
        regions={"side": regions},
        lights={"side": Light(Patch(x=0, y=0, width=4, height=4, low=200.0, high=255.0))},
    )
    frame = noise(seed)
    for region, part in enumerate(gridded.parts("side", frame)):
        scores = gridded.scores("side", part).scores
        view = JudgedView(ViewKey("side", region, 0), FrameKey("side", 1, 1), 5, keep(tmp_path, part), scores)
        assert Replayer(tmp_path, {"c": gridded}).unit(accepted(view)).likeness is Likeness.IDENTICAL
    whole = JudgedView(ViewKey("side", 0, 0), FrameKey("side", 1, 1), 5, keep(tmp_path, frame), scores)
    assert Replayer(tmp_path, {"c": plan}).unit(accepted(whole)).likeness is Likeness.DIFFERS


def test_cameras_of_two_lanes_and_several_shots(plan: Plan, tmp_path: Path, seed: int) -> None:
    one = plan.recipe.views[0]
    shots = (one, RecipeView(one.camera, one.model, one.limits, 0, 1))
    recipe = type(plan.recipe)(
        **{name: getattr(plan.recipe, name) for name in plan.recipe.__struct_fields__} | {"views": shots}
    )
    several = replace(plan, recipe=recipe)
    for camera in ("side", "side1"):
        views = []
        for shot in (0, 1):
            frame = noise(seed + shot)
            scores = several.scores(camera, frame).scores
            views.append(
                JudgedView(ViewKey("side", 0, shot), FrameKey(camera, 1, shot), 5, keep(tmp_path, frame), scores)
            )
        replayer = Replayer(tmp_path, {"c": several})
        assert replayer.unit(accepted(*views)).likeness is Likeness.IDENTICAL
        swapped = [replace_scores(views[0], views[1]), replace_scores(views[1], views[0])]
        assert replayer.unit(accepted(*swapped)).likeness is Likeness.DIFFERS
        assert replayer.unit(accepted(views[0])).text == "no verdict comes of it now"


def replace_scores(view: JudgedView, of: JudgedView) -> JudgedView:
    return JudgedView(view.view, view.key, view.device_ts, view.digest, of.scores)


def test_many_verdicts_over_few_frames_are_all_identical(plan: Plan, tmp_path: Path, seed: int) -> None:
    """`make bench` has the large form, with the demo bundle and in processes of their own."""
    units = []
    for number in range(6):
        frame = noise(seed + number)
        key = FrameKey("side", 1, number)
        scores = plan.scores("side", frame).scores
        units.append(accepted(JudgedView(ViewKey("side"), key, 5, keep(tmp_path, frame), scores)))
    replayer = Replayer(tmp_path, {"c": plan})
    done = list(replayer.all(units[number % 6] for number in range(300)))
    assert {one.likeness for one in done} == {Likeness.IDENTICAL}
    assert (replayer.tally.counts.total(), len(replayer.tally.frames), replayer.tally.inferences) == (300, 6, 300)
    assert replayer.tally.good
