"""A swap inside a batch, on the line's side: every unit is judged and recorded by one pair, and none is late for it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_world import CONFIGURATIONS, LineWorld, camera, station

from daemon.line.arming import Arming
from daemon.messages import Arm, Judged, Loaded, PermitRow, Resume, Staged
from daemon.units import Channel, Outcome, Reason, Stages, UnitId, Verdict

CAMERAS = [camera("body", 0, 150.0), camera("crimp", 1, 240.0)]
LANES = [
    camera(f"{look}{lane}", 2 * lane + k, at, view=look, lane=lane)
    for lane in range(2)
    for k, (look, at) in enumerate((("body", 150.0), ("crimp", 240.0)))
]
PAIRS = {"recipe": "bundle", "other": "other bundle"}


def run_to(world: LineWorld, vials: int) -> None:
    world.until(lambda: len(world.vials) >= vials)


def sides(world: LineWorld, lane: int = 0) -> list[str]:
    """Return the configuration of each unit of a lane in order of its number."""
    rows = sorted((unit.number, row) for unit, row in world.rows.items() if unit.lane == lane)
    return [row.configuration for _, row in rows]


def one_change(found: list[str], first: str, then: str) -> bool:
    cut = found.count(first)
    return 0 < cut < len(found) and found == [first] * cut + [then] * (len(found) - cut)


@pytest.mark.clause("21 CFR 211.188", "Annex 11 §10")
@pytest.mark.parametrize(("cameras", "lanes"), [(CAMERAS, 1), (LANES, 2)])
def test_every_unit_is_judged_by_its_own_side_and_none_is_lost(cameras: list[dict[str, Any]], lanes: int) -> None:
    world = LineWorld(station(cameras, lanes=lanes), vials=40, rate=1200.0)
    world.bad = {17: "critical", 22: "cosmetic"}
    world.start()
    world.stage()
    run_to(world, 19)
    world.swap("other")
    world.play()
    assert world.misbound() == []
    ends = {vial: row.outcome for vial, row in world.by_vial().items()}
    assert ends == {n: Outcome.REJECTED if n in world.bad else Outcome.ACCEPTED for n in range(1, 41)}
    for lane in range(lanes):
        assert one_change(sides(world, lane), "configuration", "other configuration")
    for row in world.rows.values():
        recipe = next(name for name, configuration in CONFIGURATIONS.items() if configuration == row.configuration)
        assert row.bundle == PAIRS[recipe]
    assert world.inferred_twice > 0
    noted = [note.text for note in world.control._desk.alarms if note.code == "SUBLOT"]
    assert len(noted) == 1 and noted[0].startswith("bundle other bundle recipe other from behind ")


def test_there_and_back_before_the_first_unit_of_the_new_side_is_seen() -> None:
    world = LineWorld(station(CAMERAS), vials=30, rate=1200.0)
    world.start()
    world.stage()
    for vials, recipe in ((8, "other"), (10, "recipe"), (11, "other"), (20, "recipe")):
        run_to(world, vials)
        world.swap(recipe)
    world.play()
    assert world.misbound() == [] and {row.outcome for row in world.rows.values()} == {Outcome.ACCEPTED}
    found = sides(world)
    changes = [now for before, now in zip(found, found[1:], strict=False) if before != now]
    assert changes == ["other configuration", "configuration", "other configuration", "configuration"]


def test_a_pair_that_is_not_warm_judges_nothing_and_the_infeed_closes() -> None:
    world = LineWorld(station(CAMERAS), vials=12, rate=600.0)
    world.start()
    run_to(world, 6)
    world.swap("other")
    world.until(lambda: world.control.status(world.now).state == "HELD" and len(world.rows) == len(world.vials))
    judged_late = [row for row in world.rows.values() if row.reason is not Reason.NONE]
    assert judged_late and {row.reason for row in judged_late} == {Reason.MISMATCH}
    held = len(world.rows)
    world.stage()
    world.play()
    later = [row for unit, row in world.rows.items() if unit.number > held]
    assert later and {(row.outcome, row.configuration) for row in later} == {(Outcome.ACCEPTED, "other configuration")}


@pytest.mark.clause("21 CFR 211.192")
def test_vision_restarting_in_the_window_costs_units_and_lets_none_through() -> None:
    world = LineWorld(station(CAMERAS), vials=30, rate=1200.0)
    world.start()
    world.stage()
    run_to(world, 14)
    world.swap("other")
    run_to(world, 16)
    world.vision_restarts()
    world.play()
    assert world.misbound() == []
    ends = [row.outcome for row in world.rows.values()]
    assert set(ends) == {Outcome.ACCEPTED, Outcome.REJECTED} and ends.count(Outcome.REJECTED) <= 8
    assert one_change(sides(world), "configuration", "other configuration")


# ---- arming alone ---------------------------------------------------------------------------------------------------


def loaded(recipe: str) -> Loaded:
    return Loaded(PAIRS[recipe], recipe, "b", "r", [], 120.0, 5.0, 40.0, 400.0)


def arm(recipe: str) -> Arm:
    return Arm("B", PAIRS[recipe], recipe, CONFIGURATIONS[recipe])


def judged(unit: UnitId, bundle: str, recipe: str) -> Judged:
    return Judged(unit, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", [], bundle, recipe, 1, 2, 3, 4)


def armed(*recipes: str) -> Arming:
    arming = Arming(lambda _bundle, recipe, _plan: CONFIGURATIONS[recipe])
    arming.resume(Resume(0, []))
    arming.take(arm("recipe"))
    arming.warmed(Staged([loaded(recipe) for recipe in recipes if recipe != "recipe"]))
    if "recipe" in recipes:
        arming.warmed(loaded("recipe"))
    return arming


STEPS = st.lists(st.sampled_from(["unit", "recipe", "other"]), max_size=30)


@given(STEPS, st.sets(st.sampled_from(["recipe", "other"])))
def test_only_the_pair_that_was_armed_when_a_unit_came_judges_it(steps: list[str], warm: set[str]) -> None:
    arming, side, expected = armed(*warm), "recipe", dict[UnitId, str]()
    for step in steps:
        if step == "unit":
            unit = UnitId(1, 0, len(expected) + 1)
            arming.created(unit)
            expected[unit] = side
        else:
            cut = arming.take(arm(step))
            assert bool(cut) == (step != side)
            side = step
    for unit, recipe in expected.items():
        assert (arming.arm_of(unit), arming.recipe_of(unit)) == (arm(recipe), recipe)
        for bundle in PAIRS.values():
            for other in PAIRS:
                right = (bundle, other) == (PAIRS[recipe], recipe) and recipe in warm
                assert arming.judges(judged(unit, bundle, other)) == right


def test_a_unit_keeps_the_configuration_of_its_permit_over_a_restart_of_the_line() -> None:
    old, new = UnitId(3, 0, 7), UnitId(4, 0, 1)
    permit = PermitRow(1, old, "B", "configuration", Verdict.ACCEPT, [], "bundle", Stages())
    arming = Arming(lambda _bundle, recipe, _plan: CONFIGURATIONS[recipe])
    arming.resume(Resume(3, [permit]))
    arming.take(arm("other"))
    for unit in (old, new):
        arming.created(unit)
    assert arming.arm_of(old).configuration == "configuration"
    assert arming.arm_of(new) == arm("other")
    assert not arming.judges(judged(old, "bundle", "recipe"))


def test_another_configuration_of_the_same_documents_is_not_warm() -> None:
    arming = armed("recipe", "other")
    arming.take(msgspec.structs.replace(arm("recipe"), configuration="of another release"))
    assert not arming.armed_is_loaded
    assert armed("recipe").armed_is_loaded and not armed("other").armed_is_loaded
