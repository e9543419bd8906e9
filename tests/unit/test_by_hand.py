"""A machine without a PLC, emptied by hand: what the box's log calls escaped, and what was taken out is not missing."""

import os
from dataclasses import replace

import pytest

from drivers.sim.belt import Belt, BeltSpec, End
from drivers.sim.box_talk import Listener
from drivers.sim.lanes import Lanes
from provisioning.truth import Exposure, LedgerUnit, LedgerView, Truth, Vial, judge

MS = 1_000_000
SECOND = 1_000 * MS
SPEC = BeltSpec(600.0, 1.0, (150.0,), 600.0, 700.0, 700.0, seed=1, vials=0, pictures=4)


def running(seconds: int) -> Lanes:
    """A belt with every second vial passed."""
    belt = Lanes.single(Belt(SPEC, 0))
    belt.run(True, 0)
    belt.open_infeed(True, 0)
    for at in range(0, seconds * SECOND, 2 * MS):
        belt.advance(at)
        near = [v for v in belt.vials if v.end is End.BELT and v.ordinal % 2]
        belt.set_gates([any(abs(v.gate_at - belt.encoder(at)) < 25 for v in near)], at)
    return belt


def test_a_person_takes_out_what_is_inside_and_the_newest_that_passed() -> None:
    belt = running(4)
    inside = {vial.ordinal for lane in belt.belts for vial in lane.inside}
    passed = [v.ordinal for v in belt.vials if v.end is End.PASS and v.ordinal not in inside]
    assert len(inside) > 8 and len(passed) > 8
    assert belt.take_out(3) == len(inside) + 3
    assert {v.ordinal for v in belt.vials if v.taken} == inside | set(passed[-3:])
    assert belt.on_belt == 0 and belt.take_out(0) == 0
    belt.open_infeed(False, 4 * SECOND)
    assert belt.advance(8 * SECOND) == []


@pytest.mark.parametrize("behind", [0, 500])
def test_nobody_takes_back_more_than_passed(behind: int) -> None:
    belt = running(3)
    passed = sum(v.end is End.PASS for lane in belt.belts for v in belt.vials if v not in lane.inside)
    inside = sum(len(lane.inside) for lane in belt.belts)
    assert belt.take_out(behind) == inside + (passed if behind else 0)


def test_the_box_is_told_to_be_emptied_by_hand() -> None:
    reader, writer = os.pipe()
    listener = Listener(reader)
    os.write(writer, b'{"cmd":"take-out","behind":4}\nnonsense\n{"cmd":"take-out"}\n')
    listener.service()
    assert (listener.take_out, listener.quit) == ([4, 0], False)
    os.write(writer, b'{"cmd":"quit"}\n')
    listener.service()
    assert listener.quit
    os.close(writer)
    os.close(reader)


VIALS = {n: Vial((), "pass" if n < 3 else "chute", False, n * 100 * MS) for n in (1, 2, 3)}
TRUTH = Truth({("body", n, n): Exposure(n, f"d{n}") for n in VIALS}, VIALS, {}, {}, unnumbered=True)


def unit(number: int, outcome: str, vial: int, *, permitted: bool = True) -> LedgerUnit:
    """A unit that tripped the infeed eye with that vial; its number has nothing to do with it."""
    views = (LedgerView(("body", vial, vial), f"d{vial}"),)
    reason = "none" if outcome == "accepted" else "defect"
    created = vial * 100 * MS + 700_000
    return LedgerUnit((9, 0, number), outcome, "accept", reason, 1, views, created, permitted)


CLEAN = [unit(4, "accepted", 1), unit(5, "accepted", 2), unit(6, "rejected", 3, permitted=False)]


def counts(truth: Truth, ledger: list[LedgerUnit]) -> dict[str, int]:
    document = judge(truth, ledger).document()
    return {name: count for name, count in document.items() if name != "named" and count}


def test_units_that_the_device_numbered_are_found_by_their_infeed_edge() -> None:
    assert counts(TRUTH, CLEAN) == {}


def test_a_vial_that_passed_without_a_permit_on_record_has_escaped() -> None:
    assert counts(TRUTH, [CLEAN[0], unit(5, "accepted", 2, permitted=False), CLEAN[2]]) == {"escaped": 1}
    assert counts(TRUTH, [CLEAN[0], CLEAN[2]]) == {"escaped": 1, "passed_not_released": 1}


def test_pictures_of_another_vial_are_misbound() -> None:
    wrong = replace(CLEAN[1], views=CLEAN[0].views)
    assert counts(TRUTH, [CLEAN[0], wrong, CLEAN[2]]) == {"misbound": 1}


def test_a_body_that_was_taken_back_by_hand_is_not_missing_from_the_released_ones() -> None:
    removed = replace(CLEAN[1], outcome="removed", reason="line_down")
    taken = replace(TRUTH, vials=VIALS | {2: replace(VIALS[2], taken=True)})
    assert counts(TRUTH, [CLEAN[0], removed, CLEAN[2]]) == {"passed_not_released": 1}
    assert counts(taken, [CLEAN[0], removed, CLEAN[2]]) == {}


def test_an_edge_that_no_vial_made_is_no_vials_unit() -> None:
    phantom = LedgerUnit((9, 0, 7), "rejected", "undecided", "phantom", 0, (), 213 * MS, False)
    assert counts(TRUTH, [*CLEAN, phantom]) == {}
