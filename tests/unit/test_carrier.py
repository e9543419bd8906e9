"""Rotary machines: units stand in pockets, are found by pocket, and what stands between two pockets never passes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plc_world import COUNTS_PER_SCAN, SPEC, PlcWorld, run_through
from test_lanes import Line as LaneLine
from test_lanes import belt_specs, plc_spec

from daemon.line.tracking import Divert, Settings, Tracker
from daemon.units import Channel, Reason, UnitId
from drivers.gate.plc_carrier import Carrier
from drivers.gate.plc_io import Cause, Latch
from drivers.gate.plc_logic import Plc
from drivers.sim.belt import Belt, End, Eye
from drivers.sim.lanes import Lanes
from drivers.sim.machine import Machine

POCKETS, PITCH = 24, 1200
CARRIER = Carrier(POCKETS, POCKETS * PITCH)
T0 = 10**12


@given(st.integers(0, 10 * POCKETS * PITCH))
def test_a_pocket_holds_what_is_a_quarter_pitch_from_its_centre(phase: int) -> None:
    turned = phase % CARRIER.turn
    nearest = round(turned / PITCH)
    assert CARRIER.index(turned) == nearest % POCKETS or turned % PITCH == PITCH // 2
    assert CARRIER.holds(phase) == (abs(turned - nearest * PITCH) <= PITCH // 4)


@given(st.integers(2, 4096), st.integers(20, 10_000), st.integers(0, 4095))
def test_a_pitch_that_is_no_whole_count_does_not_drift(pockets: int, pitch: int, more: int) -> None:
    turn = pockets * pitch + more % pockets
    carrier = Carrier(pockets, turn)
    for pocket in (0, 1, pockets // 2, pockets - 1):
        phase = pocket * turn // pockets
        assert (carrier.index(phase), carrier.holds(phase)) == (pocket, True)


ROTARY = replace(SPEC, pockets=POCKETS, turn=POCKETS * PITCH)


@pytest.mark.parametrize("late", [0, 47])
@pytest.mark.parametrize(
    ("at", "cause"),
    [(0, Cause.NONE), (300, Cause.NONE), (301, Cause.OFF_POCKET), (899, Cause.OFF_POCKET), (900, Cause.NONE)],
)
def test_off_its_pocket_a_unit_is_diverted_whatever_permits_it(late: int, at: int, cause: Cause) -> None:
    world = PlcWorld(spec=ROTARY)
    world.ask_epoch(7)
    world.body()
    world.inputs.infeed = [Latch(world.now_us, world.encoder + COUNTS_PER_SCAN - late & 0xFFFFFFFF)]
    world.inputs.carrier = (at + late) % ROTARY.turn
    world.scan()
    world.permit(1, world.plc.epoch)
    assert run_through(world)[1] is cause


def test_the_pocket_at_the_infeed_is_published() -> None:
    world = PlcWorld(spec=ROTARY)
    for pocket in (0, 1, 23):
        world.inputs.carrier = pocket * PITCH + 10
        world.scan()
        assert world.bank.get("carrier_index") == pocket


SETTINGS = Settings(frozenset(), 800, 11_700, 300, 1, max_gap_counts=12_000, carrier=CARRIER)


@pytest.mark.parametrize(
    ("gap", "odd"),
    [(1200, None), (1500, None), (1501, Reason.PHANTOM), (1800, Reason.PHANTOM), (2400, None), (799, Reason.TOO_CLOSE),
     (12_600, None), (11_400, Reason.PHANTOM)],
)  # fmt: skip
def test_two_units_that_are_not_whole_pockets_apart_are_both_rejected(gap: int, odd: Reason | None) -> None:
    tracker = Tracker(SETTINGS)
    tracker.created(UnitId(1, 0, 1), 0xFFFFFF00, 0, None)
    commands = tracker.created(UnitId(1, 0, 2), 0xFFFFFF00 + gap & 0xFFFFFFFF, 0, None)
    both = [Divert(UnitId(1, 0, number), Channel.GREY) for number in (1, 2)]
    assert commands == (both if odd else [])


def rotary_line() -> LaneLine:
    line = LaneLine()
    specs = [replace(spec, pockets=POCKETS) for spec in belt_specs(0.0, vials=48)[:1]]
    plc = replace(plc_spec(1), pockets=POCKETS, turn=POCKETS * PITCH)
    line.machine = Machine(Lanes.build(specs, T0), Plc(plc, line.bank), line.bank, T0)
    return line


def test_vials_on_a_carrier_are_told_one_by_one_and_some_pockets_are_empty() -> None:
    line = rotary_line()
    line.finish()
    vials = line.machine.belt.vials
    gaps = [round((b.entry_at - a.entry_at) / 60.0) for a, b in zip(vials, vials[1:], strict=False)]
    assert set(gaps) >= {1, 2} and all(abs(v.entry_at - 60.0 * round(v.entry_at / 60.0)) <= 1.0 for v in vials)
    assert all(vial.gate_at - vial.entry_at == pytest.approx(600.0) for vial in vials), "nothing slips"
    assert [vial.end is End.PASS for vial in vials] == [bool(vial.ordinal % 3) for vial in vials]


def test_a_second_look_between_two_pockets_is_diverted_with_its_permit() -> None:
    line = rotary_line()
    line.run(lambda: len(line.machine.belt.vials) == 7)
    line.machine.belt.bounce(7, 25.0)
    line.finish()
    odd = [truth for truth in line.truth.records if truth.cause == Cause.OFF_POCKET]
    assert [truth.vial for truth in odd] == [0] and odd[0].permit_ns == 0


def test_a_held_vial_waits_for_a_pocket() -> None:
    spec = replace(belt_specs(0.0)[0], pockets=POCKETS)
    belt = Belt(spec, T0)
    belt.run(True, T0)
    belt.open_infeed(True, T0 + 1_234_000_000)
    edges = [edge for edge in belt.advance(T0 + 4_000_000_000) if edge.eye is Eye.INFEED]
    assert edges and all(CARRIER.holds(round(belt.vials[e.vial - 1].entry_at * 20)) for e in edges)
