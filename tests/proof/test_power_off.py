"""The supply fails while the disk takes nothing: what had passed and was not durable is on record by its name."""

import pytest
from proof_case import draw, play
from proof_world import World

from daemon.units import Outcome, UnitId
from drivers.sim.belt import End

FAULT = "disk-then-supply"
SEEDS = (2, 5, 7)


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    played = [play(draw(seed, (FAULT,))) for seed in SEEDS]
    assert [out.wrong for _, out in played] == [[] for _ in SEEDS]
    return [world for world, _ in played]


def passed_unrecorded(world: World) -> set[UnitId]:
    """Units that the PLC let pass while the line was gone, by permits of which no durable row tells."""
    found = set()
    for unit, told in world.units.items():
        row = world.recorder.units.get(unit)
        vial = world.body(told.vial) if told.vial else None
        if row and row.source == "plc" and vial and vial.end is End.PASS and unit not in world.recorder.permits:
            found.add(unit)
    return found


@pytest.mark.clause("ALCOA+ complete", "21 CFR 211.192", "Annex 11 §16")
@pytest.mark.clause("ALCOA+ complete")
def test_units_that_passed_and_were_not_durable_are_quarantined_by_name(worlds: list[World]) -> None:
    assert sum(len(passed_unrecorded(world)) for world in worlds) > 0
    for world in worlds:
        outcomes = {unit: world.recorder.units[unit].outcome for unit in passed_unrecorded(world)}
        assert set(outcomes.values()) <= {Outcome.QUARANTINED}, outcomes


def test_nothing_else_is_quarantined_but_what_passed(worlds: list[World]) -> None:
    """A permit that was durable and may have been revoked since is no release either."""
    for world in worlds:
        for unit, row in world.recorder.units.items():
            if row.outcome is Outcome.QUARANTINED:
                vial = world.body(world.units[unit].vial)
                assert vial and vial.end is End.PASS
