"""Several lanes on one drive: each vial is tracked in its own lane, whatever stands beside it at the same moment."""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.line.strays import News, Strays
from daemon.line.tracking import Settings, Tracker
from daemon.line.unit import Finish
from daemon.messages import PlcTotals
from daemon.units import Outcome, UnitId
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Flag, Inputs, Latch, Place, PlcSpec
from drivers.gate.plc_logic import Plc
from drivers.plc_link import Snapshot
from drivers.registers import load_map, permit_check, split
from drivers.sim.belt import BeltSpec, End
from drivers.sim.lanes import Lanes
from drivers.sim.machine import SCAN_NS, Machine, Pulse, UnitKey
from drivers.sim.truth import TruthLog

T0 = 10**12
MAP = load_map()
LANES = 4


def plc_spec(lanes: int = LANES) -> PlcSpec:
    places = tuple(Place(2 * lane + k, at, lane) for lane in range(lanes) for k, at in enumerate((3000, 4800)))
    return PlcSpec(2001, 1001, lanes, places, 11_700, 12_300, 14_000, 14_000, 500, 340, 400)


def belt_specs(lead_in_mm: float, vials: int = 32) -> list[BeltSpec]:
    cameras = (150.0, 240.0) * LANES
    return [
        BeltSpec(
            600.0, 20.0, cameras, 600.0, 700.0, 700.0, 3, vials, 16,
            lane=lane, own=(2 * lane, 2 * lane + 1), lead_in_mm=lead_in_mm * lane,
        )
        for lane in range(LANES)
    ]  # fmt: skip


class Line:
    """Four lanes and a device that permits every vial but each third."""

    def __init__(self, lead_in_mm: float = 15.0) -> None:
        self.bank = Bank(MAP)
        self.machine = Machine(Lanes.build(belt_specs(lead_in_mm), T0), Plc(plc_spec(), self.bank), self.bank, T0)
        self.now, self.truth, self.shows = T0, TruthLog(), dict[int, list[int]]()
        self.pulses: list[Pulse] = []

    def run(self, until: Callable[[], bool]) -> None:
        end = self.now + 40_000_000_000
        while not until():
            assert self.now < end, "the line did not get there"
            self.step()

    def finish(self) -> None:
        belt, plc = self.machine.belt, self.machine.plc
        self.run(lambda: belt.exhausted and belt.on_belt == 0 and plc.in_flight == 0)

    def step(self) -> None:
        self.now += SCAN_NS
        if (self.now // SCAN_NS) % 10 == 0:
            beat = (self.now // (10 * SCAN_NS)) % 0xFFFF + 1
            self.bank.write(100, [beat, 0, *split(1001), *split(77), *split(50), 1, 2, 0])
        turn = self.machine.scan(self.now)
        self.pulses += turn.pulses
        for unit, vial in turn.created:
            self.truth.created(unit, vial)
            if vial % 3:
                self.permit(unit)
        for event in turn.events:
            self.truth.event(event, self.now)
        for scene in turn.scenes:
            self.shows.setdefault(scene.camera, []).append(scene.vial)

    def permit(self, unit: UnitKey) -> None:
        epoch, lane, number = unit
        check = permit_check(number, epoch, lane, number % 64, 1001)
        self.bank.write(MAP.permit.at(lane, number % 64), [*split(number), epoch & 0xFFFF, check])


@pytest.mark.parametrize("lead_in_mm", [0.0, 15.0])
def test_every_vial_goes_where_the_permit_of_its_own_lane_says(lead_in_mm: float) -> None:
    line = Line(lead_in_mm)
    line.finish()
    vials = line.machine.belt.vials
    assert [vial.ordinal for vial in vials] == list(range(1, 33)) and {vial.lane for vial in vials} == {0, 1, 2, 3}
    assert [vial.end is End.PASS for vial in vials] == [bool(vial.ordinal % 3) for vial in vials]
    for truth in line.truth.records:
        assert truth.unit[1] == vials[truth.vial - 1].lane
    assert line.machine.plc.strays == (0, 0)
    heads = [MAP.lane.read(line.bank.words, MAP.lane.at(lane)) for lane in range(LANES)]
    assert [head["created"] for head in heads] == [sum(vial.lane == lane for vial in vials) for lane in range(LANES)]


def test_a_camera_is_triggered_for_and_shows_its_own_lane_only() -> None:
    line = Line()
    line.finish()
    vials = line.machine.belt.vials
    assert len(line.pulses) == 2 * len(vials)
    for pulse in line.pulses:
        assert vials[pulse.vial - 1].lane == pulse.unit[1] == pulse.station // 2
        assert line.machine.belt.before_lens(pulse.station, pulse.due_ns) == pulse.vial
    for camera, shown in line.shows.items():
        assert {vials[vial - 1].lane for vial in shown if vial} == {camera // 2}


def test_a_stop_reaches_every_lane_and_all_share_one_encoder() -> None:
    line = Line()
    line.run(lambda: len(line.machine.belt.vials) == 12)
    line.machine.stop_plc(line.now)
    stop_ns = line.now + 300_000_000
    line.run(lambda: line.now > stop_ns)
    stood = [belt.encoder(line.now) for belt in line.machine.belt.belts]
    line.step()
    assert len(set(stood)) == 1 and stood == [belt.encoder(line.now) for belt in line.machine.belt.belts]
    line.machine.start_plc(line.now, True)
    line.finish()
    assert line.machine.plc.strays == (0, 0) and End.BELT not in {vial.end for vial in line.machine.belt.vials}


def test_a_second_look_at_one_vial_makes_a_phantom_in_its_lane_only() -> None:
    line = Line()
    line.run(lambda: len(line.machine.belt.vials) == 7)
    line.machine.belt.bounce(7, 8.0)
    line.finish()
    phantoms = [unit for unit, truth in line.truth.units.items() if truth.flags & Flag.PHANTOM]
    assert [unit[1] for unit in phantoms] == [line.machine.belt.vials[6].lane]
    assert line.machine.plc.strays == (0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 900)), min_size=1, max_size=12))
def test_units_in_one_scan_keep_their_own_latch_number_and_triggers(latches: list[tuple[int, int]]) -> None:
    """E02: however many bodies come between two scans, in one lane or in several."""
    plc = Plc(plc_spec(), Bank(MAP))
    plc.start(0)
    inputs = Inputs(encoder=1000, infeed=[Latch(at, at, lane) for lane, at in sorted(latches, key=lambda x: x[1])])
    out = plc.scan(2000, inputs)
    for lane in range(LANES):
        mine = sorted(at for other, at in latches if other == lane)
        created = [event.number for event in out.events if event.lane == lane]
        assert created == list(range(1, len(mine) + 1))
        for k, place in enumerate((3000, 4800)):
            orders = [order for order in out.armed if order.station == 2 * lane + k]
            assert [(o.lane, o.number, o.encoder) for o in orders] == [
                (lane, n, at + place) for n, at in enumerate(mine, start=1)
            ]


def snapshot(sums: tuple[int, int], *lanes: tuple[int, int]) -> Snapshot:
    heads = [{"stray_pass": passed, "stray_chute": chute} for passed, chute in lanes]
    return Snapshot({"stray_pass": sums[0], "stray_chute": sums[1], "epoch": 3}, heads, 0)


def test_strays_are_told_by_lane_once_and_wrap() -> None:
    strays = Strays()
    assert strays.take(snapshot((0xFFFF, 3), (0xFFFF, 1), (0, 2)), running=False) == []
    assert strays.take(snapshot((1, 4), (0, 1), (1, 3)), running=True) == [News(0, 1, 0), News(1, 1, 1)]
    assert strays.take(snapshot((1, 4), (0, 1), (1, 3)), running=True) == []
    strays.forget()
    assert strays.take(snapshot((1, 0), (0, 0), (1, 0)), running=True) == [News(1, 1, 0)]


def test_a_plc_that_counts_sums_only_hides_nothing() -> None:
    strays = Strays()
    strays.take(snapshot((0, 0), (0, 0), (0, 0)), running=True)
    assert strays.take(snapshot((2, 1), (0, 0), (0, 0)), running=True) == [News(None, 2, 1)]
    assert Strays().take(snapshot((4, 9), (1, 0)), running=True) == [News(0, 4, 0)]


def test_what_an_earlier_life_told_of_in_this_epoch_is_not_told_again() -> None:
    told = [PlcTotals(0, 3, 0, 20, 15, 5, 1, 20, stray_pass=4, stray_chute=8)]
    for totals, news in (
        (told, News(0, 1, 1)),
        ([msgspec.structs.replace(told[0], epoch=2)], News(0, 5, 0)),
        ([], News(0, 5, 0)),
    ):
        strays = Strays()
        strays.earlier(totals)
        assert strays.take(snapshot((5, 9), (5, 9)), running=True) == [news]
        assert strays.recorded(0) == ((4, 8) if totals is told else (0, 9))
        strays.told()
        assert (strays.recorded(0), strays.recorded(1)) == ((5, 9), (0, 0))


def test_orphans_of_a_lane_are_found_in_that_lane() -> None:
    tracker = Tracker(Settings(frozenset(), 0, 11_700, 300, 1))
    for lane, number in [(0, 1), (1, 1), (0, 2), (1, 2)]:
        tracker.created(UnitId(1, lane, number), 2000 * number, 0, None)
    tracker.memory_lost()
    found = [c.unit for c in tracker.stray_chute(3, 5, lane=1) if isinstance(c, Finish)]
    assert found == [UnitId(1, 1, 1), UnitId(1, 1, 2)] and tracker.orphans == 2
    left = [c for c in tracker.give_up_orphans(9) if isinstance(c, Finish)]
    assert {finish.outcome for finish in left} == {Outcome.QUARANTINED} and tracker.orphans == 0


def test_lanes_in_step_do_meet() -> None:
    """The test above is worth something only if bodies of several lanes really come within one scan."""
    line = Line(lead_in_mm=0.0)
    line.finish()
    entered = sorted(vial.entered_ns for vial in line.machine.belt.vials)
    assert sum(later - earlier < SCAN_NS for earlier, later in pairwise(entered)) >= 3
