"""The box's faults: table, arguments, schedule, and what each does to belt, PLC and truth in the joined machine."""

from collections.abc import Callable

import pytest

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Flag, Inputs, Place, PlcSpec
from drivers.gate.plc_logic import Plc
from drivers.registers import Lamp, load_map, permit_check, split
from drivers.sim.belt import Belt, BeltSpec, End
from drivers.sim.faults import FAULTS, Executor, FaultError, FaultName, Order, Schedule, parse
from drivers.sim.machine import AHEAD_NS, SCAN_NS, Machine, Pulse
from drivers.sim.truth import TruthLog

T0 = 10**12
MS = 1_000_000
MAP = load_map()
SPEC = PlcSpec(
    identity=2001,
    device_identity=1001,
    lanes=1,
    stations=(Place(0, 3000), Place(1, 4800)),
    decide=11_700,
    release=12_300,
    chute_eye=14_000,
    pass_eye=14_000,
    window=500,
    clear=340,
    phantom=400,
)


class Line:
    """The machine with a device that permits every vial but each third, as soon as it may."""

    def __init__(self, vials: int = 30, rate: float = 600.0) -> None:
        belt = Belt(BeltSpec(rate, 20.0, (150.0, 240.0), 600.0, 700.0, 700.0, 3, vials, 16), T0)
        self.bank = Bank(MAP)
        self.machine = Machine(belt, Plc(SPEC, self.bank), self.bank, T0)
        self.now = T0
        self.truth = TruthLog()
        self.pulses: list[Pulse] = []
        self.beating = True
        self.proposal = 50
        self._due: list[tuple[int, int]] = []
        self._edges: dict[int, int] = {}

    def run(self, until: Callable[[], bool], limit_ms: int = 60_000) -> None:
        end = self.now + limit_ms * MS
        while not until():
            assert self.now < end, "the line did not get there"
            self.step()

    def finish(self) -> None:
        belt, plc = self.machine.belt, self.machine.plc
        self.run(lambda: belt.exhausted and belt.on_belt == 0 and plc.in_flight == 0)

    def step(self) -> None:
        self.now += SCAN_NS
        if self.beating and (self.now // SCAN_NS) % 10 == 0:
            beat = (self.now // (10 * SCAN_NS)) % 0xFFFF + 1
            self.bank.write(100, [beat, 0, *split(1001), *split(77), *split(self.proposal), 1, 2, 0])
        turn = self.machine.scan(self.now)
        self.pulses += turn.pulses
        for unit, vial in turn.created:
            self.truth.created(unit, vial)
            if vial % 3:
                self.permit(unit)
        for pulse in turn.pulses:
            self.truth.edge(pulse.unit, pulse.due_ns)
        for event in turn.events:
            self.truth.event(event, self.now)

    def permit(self, unit: tuple[int, int, int]) -> None:
        epoch, lane, number = unit
        check = permit_check(number, epoch, lane, number % 64, 1001)
        self.bank.write(MAP.permit.at(lane, number % 64), [*split(number), epoch & 0xFFFF, check])

    def escaped(self) -> list[int]:
        vials = self.truth.vials(self.machine.belt.vials, [[]] * 16)
        return [vial["vial"] for vial in vials if vial["escaped"]]


def test_the_table_is_whole() -> None:
    assert set(FAULTS) == set(FaultName)
    own = {name for name, fault in FAULTS.items() if fault.executor is Executor.SUPERVISOR}
    assert own == {
        "kill-vision", "hang-vision", "kill-camera", "hang-camera", "late-verdict", "kill-line", "hang-line",
        "recorder-full", "kill-recorder", "hang-recorder", "power-off", "wrong-digest",
    }  # fmt: skip
    assert all(fault.text and fault.duration_ms >= 0 for fault in FAULTS.values())


def test_parse() -> None:
    assert parse("edge-late@20") == Order(FaultName.EDGE_LATE, 20)
    assert parse("kill-line@20+35") == Order(FaultName.KILL_LINE, 20, 35)


@pytest.mark.parametrize("text", ["", "edge-late", "edge-late@", "edge-late@0", "edge-late@-1", "edge-late@x", "no@3"])
def test_wrong_arguments_say_what_to_write(text: str) -> None:
    with pytest.raises(FaultError, match="NAME@UNIT|as in edge-late@100"):
        parse(text)


def test_schedule_gives_each_order_once() -> None:
    orders = [parse("edge-lost@3"), parse("kill-line@3"), parse("edge-lost@5")]
    schedule = Schedule(orders)
    assert schedule.take(1) == [] and schedule.take(3) == orders[:2] and schedule.take(3) == []
    assert schedule.left == 1


def test_without_faults_every_vial_goes_where_its_permit_says() -> None:
    line = Line()
    line.finish()
    vials = line.machine.belt.vials
    assert [vial.end is End.PASS for vial in vials] == [bool(vial.ordinal % 3) for vial in vials]
    assert line.escaped() == [] and line.machine.plc.strays == (0, 0)
    assert line.truth.epochs() == [{"epoch": 50, "created": 30, "closed": 30, "passed": 20, "diverted": 10}]
    truth = line.truth.units[(50, 0, 1)]
    assert 0 < truth.permit_ns < truth.last_edge_ns < truth.decided_ns < truth.closed_ns


def test_pulses_come_ahead_exact_and_are_logged_by_the_plc() -> None:
    line = Line(vials=5)
    line.finish()
    assert [(pulse.station, pulse.vial) for pulse in line.pulses if pulse.station == 0] == [(0, v) for v in range(1, 6)]
    for pulse in line.pulses:
        place = SPEC.stations[pulse.station][1]
        assert line.machine.belt.before_lens(pulse.station, pulse.due_ns) == pulse.vial
        assert abs(line.machine.belt.encoder(pulse.due_ns) - pulse.encoder) <= 1
        entry = MAP.edge.read(line.bank.words, MAP.edge.ring_at(pulse.station, pulse.vial))
        assert entry["encoder"] == pulse.encoder and entry["number"] == pulse.unit[2]
        unit = MAP.unit.read(line.bank.words, MAP.unit.ring_at(0, pulse.vial))
        assert (entry["encoder"] - unit["encoder"]) & 0xFFFFFFFF == place
        assert abs((entry["time_us"] - unit["time_us"]) & 0xFFFFFFFF) == pytest.approx(place / 12e3 * 1e6, rel=0.03)


def test_a_pulse_told_comes_true_although_the_belt_is_stopped() -> None:
    line = Line(vials=2)
    line.run(lambda: bool(line.pulses))
    pulse = line.pulses[0]
    assert 0 < pulse.due_ns - line.now <= AHEAD_NS
    line.bank.set("command", 0)
    line.beating = False
    head = MAP.station.at(0) + 1
    line.run(lambda: line.now > pulse.due_ns)
    line.step()
    assert line.bank.words[head] == 1


def test_double_trigger_makes_a_phantom_and_no_escape() -> None:
    line = Line(vials=9)
    line.run(lambda: len(line.machine.belt.vials) == 4)
    line.machine.belt.bounce(4, 8.0)
    line.finish()
    phantoms = [unit for unit, truth in line.truth.units.items() if truth.flags & Flag.PHANTOM]
    assert phantoms == [(50, 0, 5)] and line.truth.units[phantoms[0]].vial == 0
    assert line.escaped() == [] and len(line.truth.units) == 10
    assert line.machine.plc.strays == (0, 0)


@pytest.mark.parametrize("vials", [8, 9, 10, 11, 12, 13, 14])
@pytest.mark.parametrize("retained", [True, False])
def test_plc_restart_at_any_moment_lets_nothing_escape(retained: bool, vials: int) -> None:
    line = Line(vials=24)
    line.run(lambda: len(line.machine.belt.vials) == vials)
    line.machine.stop_plc(line.now)
    start_ns = line.now + 300 * MS
    line.run(lambda: line.now >= start_ns)
    stood = line.machine.belt.encoder(line.now)
    line.step()
    assert line.machine.belt.encoder(line.now) == stood, "the belt stands while the program is stopped"
    line.proposal = 51
    line.machine.start_plc(line.now, retained)
    line.finish()
    assert line.escaped() == []
    assert not retained or line.machine.plc.strays == (0, 0)
    vials_ended = [vial.end for vial in line.machine.belt.vials]
    assert End.BELT not in vials_ended and vials_ended[-2:] == [End.PASS, End.CHUTE]
    closed = sum(bool(truth.closed_ns) for truth in line.truth.records)
    assert closed == len(line.truth.records) if retained else closed < len(line.truth.records)


def test_a_dead_device_diverts_everything_and_the_belt_runs_on() -> None:
    line = Line(vials=20)
    line.run(lambda: len(line.machine.belt.vials) == 10)
    line.beating = False
    line.finish()
    ends = [vial.end for vial in line.machine.belt.vials]
    assert set(ends[9:]) == {End.CHUTE} and len(ends) == 20 and line.escaped() == []


def test_a_vial_without_number_that_passes_is_an_escape() -> None:
    line = Line(vials=6)
    line.finish()
    line.truth.records = [truth for truth in line.truth.records if truth.vial != 2]
    assert line.escaped() == [2]


def test_the_clock_is_that_of_the_moment_and_wraps() -> None:
    line = Line()
    line.machine.refresh(T0)
    first = line.bank.get("clock_us")
    line.machine.refresh(T0 + 30_000 * MS)
    assert (line.bank.get("clock_us") - first) & 0xFFFFFFFF == 30_000_000 and line.bank.get("clock_us") < first


@pytest.mark.parametrize("word", [0xFFFF, 0b10110, 0])
def test_digital_inputs_reach_the_register(word: int) -> None:
    line = Line(vials=2)
    line.machine.switches = word
    line.run(lambda: bool(line.machine.belt.vials))
    assert line.bank.get("inputs") == word


def test_the_stack_light_is_dark_when_the_device_is_dead() -> None:
    bank = Bank(MAP)
    plc = Plc(SPEC, bank)
    plc.start(0)
    shown = []
    for beat in range(1, 200):
        alive = beat <= 20
        bank.write(100, [min(beat, 20), 0, *split(1001), *split(77), *split(50), 1, 2, 0, Lamp.RED | Lamp.HORN])
        shown.append((alive, plc.scan(beat * 2000, Inputs()).lamps))
    assert shown[0] == shown[19] == (True, Lamp.RED | Lamp.HORN)
    assert shown[-1] == (False, 0)


def test_a_blind_chute_eye_leaves_rejects_unseen_and_nothing_passes_for_it() -> None:
    line = Line(vials=6)
    line.machine.chute_blind = True
    line.finish()
    unseen = [truth for truth in line.truth.records if not truth.flags & (Flag.CHUTE_SEEN | Flag.PASS_SEEN)]
    assert [truth.vial for truth in unseen] == [3, 6]
    assert line.escaped() == [] and line.machine.plc.strays == (0, 0)
