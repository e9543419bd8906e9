"""Re-sync eyes: positions follow a belt that slips; what is not where it is due, or no unit's, rejects its company."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plc_world import SPEC, PlcWorld, decided_to_pass, run_through
from test_lanes import Line, belt_specs, plc_spec

from drivers.gate.plc_eyes import Eyes
from drivers.gate.plc_io import Cause, Flag, Latch, ResyncEye, Unit
from drivers.gate.plc_logic import Plc
from drivers.sim.belt import End
from drivers.sim.lanes import Lanes
from drivers.sim.machine import Machine

T0 = 10**12
EYES = (ResyncEye(2400, 240), ResyncEye(8000, 240))


def line(slip_mm: float, eyes: bool = True, vials: int = 24) -> Line:
    """One lane; every vial but each third is permitted."""
    made = Line()
    places = (120.0, 400.0) if eyes else ()
    belts = [replace(spec, slip_mm=slip_mm, eyes_mm=places) for spec in belt_specs(0.0, vials)[:1]]
    plc = replace(plc_spec(1), eyes=EYES if eyes else ())
    made.machine = Machine(Lanes.build(belts, T0), Plc(plc, made.bank), made.bank, T0)
    return made


def worst_trigger_mm(made: Line, camera: int) -> float:
    """How far from the middle of the lens vials stood when their camera was triggered."""
    vials, start = made.machine.belt.vials, made.machine.belt.belts[0].spec.encoder_start
    pulses = [pulse for pulse in made.pulses if pulse.station == camera]
    travels = [((pulse.encoder - start) & 0xFFFFFFFF) / 20.0 for pulse in pulses]
    return max(abs(at - vials[p.vial - 1].lens_at[camera]) for at, p in zip(travels, pulses, strict=True))


def test_triggers_follow_a_belt_that_slips() -> None:
    blind, seeing = line(3.0, eyes=False), line(3.0)
    for made in (blind, seeing):
        made.finish()
    assert worst_trigger_mm(seeing, 0) < 2.0 < worst_trigger_mm(blind, 0)
    assert worst_trigger_mm(seeing, 1) < worst_trigger_mm(blind, 1)
    ends = [vial.end is End.PASS for vial in seeing.machine.belt.vials]
    assert ends == [bool(n % 3) for n in range(1, 25)] and seeing.machine.plc.strays == (0, 0)
    assert seeing.bank.get("slip") != 0 and seeing.bank.get("resync_lost") == seeing.bank.get("resync_stray") == 0


def test_every_camera_is_triggered_once_per_unit_and_in_step_with_its_eye() -> None:
    made = line(1.0)
    made.finish()
    units = [pulse.unit for pulse in made.pulses if pulse.station == 1]
    assert len(units) == len(set(units)) == 24


def test_a_vial_taken_off_is_lost_is_no_body_and_stops_nobody() -> None:
    made = line(0.3)
    made.run(lambda: len(made.machine.belt.vials) == 8)
    made.machine.belt.pick(8)
    made.finish()
    lost = [truth for truth in made.truth.records if truth.cause == Cause.LOST]
    assert [truth.vial for truth in lost] == [8] and lost[0].flags & Flag.PHANTOM
    assert made.bank.get("resync_lost") == 2, "once at each eye"
    passed = {vial.ordinal for vial in made.machine.belt.vials if vial.end is End.PASS}
    assert passed == {n for n in range(1, 25) if n % 3} - {8}


def test_a_vial_that_the_infeed_eye_missed_takes_its_neighbours_with_it() -> None:
    """Without a number it is diverted; that its neighbours pass could let it pass between them."""
    made = line(0.3)
    made.machine.belt.blind(8)
    made.finish()
    numberless = made.machine.belt.vials[7]
    assert numberless.end is End.CHUTE and made.bank.get("resync_stray") == 2
    barred = {truth.vial for truth in made.truth.records if truth.cause == Cause.STRAY_BODY}
    assert barred == {7, 9}
    assert made.machine.plc.strays == (0, 1), "the chute eye counts it"


def unit(number: int, encoder: int) -> Unit:
    return Unit(0, 1, number, encoder, number % 64, 0)


def test_when_position_and_order_disagree_both_are_barred() -> None:
    """E03: the body at the eye stands where the second unit is due, but the first has not come by yet."""
    eyes, first, second = Eyes(EYES), unit(1, 1000), unit(2, 1100)
    assert eyes.edge(0, Latch(0, 3500), [first, second]) is None
    assert (first.barred, second.barred) == (Cause.STRAY_BODY, Cause.STRAY_BODY)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-300, 300), min_size=2, max_size=2), st.integers(600, 3000), st.booleans())
def test_a_unit_is_corrected_or_barred_never_another_one(slips: list[int], gap: int, wrap: bool) -> None:
    """Two units, each off by its slip: whoever is corrected is corrected by its own slip."""
    base = 0xFFFFF000 if wrap else 5000
    units = [unit(n + 1, base + n * gap & 0xFFFFFFFF) for n in range(2)]
    eyes = Eyes(EYES)
    for n in sorted(range(2), key=lambda n: n * gap + slips[n]):
        at = base + n * gap + EYES[0].at + slips[n] & 0xFFFFFFFF
        eyes.miss(at, units)
        known = eyes.edge(0, Latch(0, at), units)
        if known and not known.barred:
            assert known is units[n] and eyes.slip == slips[n]
            assert known.encoder == base + n * gap + slips[n] & 0xFFFFFFFF
    for n, one in enumerate(units):
        assert one.barred or one.encoder == base + n * gap + slips[n] & 0xFFFFFFFF


SEEN: list[tuple[Callable[[PlcWorld], None], Cause]] = [
    (lambda world: world.inputs.eyes.append((0, Latch(0, world.at_gate[0] + EYES[0].at & 0xFFFFFFFF))), Cause.LOST),
    (lambda world: None, Cause.LOST),
]


@pytest.mark.parametrize(("see", "cause"), SEEN)
def test_a_unit_that_missed_an_eye_does_not_pass_with_its_permit(see: Callable[[PlcWorld], None], cause: Cause) -> None:
    world = PlcWorld(spec=replace(SPEC, eyes=EYES))
    world.ask_epoch(7)
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.travel(EYES[0].at)
    see(world)
    world.scan()
    assert run_through(world) == (Flag.DIVERTED | Flag.CHUTE_SEEN, cause)
    assert not any(decided_to_pass(event) for event in world.events)
