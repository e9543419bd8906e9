"""The simulated PLC: numbers, edges, gate, confirmation, commands, restarts."""

import tomllib

import pytest
from plc_world import (
    COUNTS_PER_SCAN,
    GATE,
    MAP,
    RUN,
    SPEC,
    PlcWorld,
    run_through,
)

from drivers.gate.plc_io import Cause, Compare, Fired, Flag, Latch, Step
from drivers.gate.plc_logic import ABORT, HOLD, RESET, SYNC, SYNC_GAP_US, SYNC_SHOTS
from drivers.registers import map_path


@pytest.fixture
def world() -> PlcWorld:
    """A line that runs in a granted epoch."""
    world = PlcWorld()
    world.ask_epoch(7)
    return world


def test_flags_and_causes_are_those_of_the_map() -> None:
    assert {flag.name.lower(): flag.value for flag in Flag if flag and flag.name} == MAP.flags
    assert {cause.name.lower(): cause.value for cause in Cause} == MAP.causes


def test_a_unit_with_a_permit_passes_and_is_confirmed(world: PlcWorld) -> None:
    world.body()
    world.travel(6000)
    world.permit(1, world.plc.epoch)
    assert world.scan()[0].step is Step.PERMIT_SEEN
    assert run_through(world) == (Flag.PERMITTED | Flag.PASS_SEEN, Cause.NONE)
    assert world.ended == [True]
    assert (world.head("passed"), world.head("diverted"), world.head("created")) == (1, 0, 1)
    assert world.slots() == set() and world.plc.in_flight == 0


def test_silence_rejects(world: PlcWorld) -> None:
    world.body()
    assert run_through(world) == (Flag.DIVERTED | Flag.CHUTE_SEEN, Cause.NO_PERMIT)
    assert world.bank.get("refused_permits") == 1 and world.bank.get("cause") == Cause.NO_PERMIT
    assert world.ended == [False]


def test_creation_is_logged_and_clears_the_slot(world: PlcWorld) -> None:
    world.permit(1, world.plc.epoch)
    world.scan()
    assert world.slots() == {1}
    world.body()
    at = world.encoder
    world.scan()
    assert world.slots() == set()
    entry = world.entry("unit", 1)
    assert entry == {"seq": 1, "epoch": world.plc.epoch, "number": 1, "encoder": at, "time_us": world.now_us - 2000}
    armed = {(order.station, (order.encoder - at) & 0xFFFFFFFF) for order in world.out.armed}
    assert armed == {(place.station, place.at) for place in SPEC.stations}


def test_edges_are_counted_by_station_with_what_was_latched(world: PlcWorld) -> None:
    for k in (1, 2):
        order = Compare(0, 500 * k, None, 9, 0, 40 + k, 0)
        world.inputs.fired.append(Fired(order, 77 * k, 500 * k))
        world.scan()
        fields = {"seq": k, "epoch": 9, "number": 40 + k, "lane": 0, "shot": 0, "encoder": 500 * k, "time_us": 77 * k}
        assert world.entry("edge", k) == fields
    assert world.bank.words[MAP.station.at(0) + 1] == 2 and world.bank.words[MAP.station.at(3) + 1] == 0


def test_a_restart_keeps_numbers_and_units_and_voids_permits(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    epoch, starts = world.plc.epoch, world.bank.get("starts")
    world.restart()
    assert world.slots() == set() and world.plc.epoch == epoch + 1
    assert world.bank.get("starts") == starts + 1 and world.bank.get("epoch_nonce_granted") == 0
    assert world.head("created_seq") == 0
    world.scan(11)
    assert world.plc.epoch == epoch + 2, "the device's nonce is granted again as a new epoch"
    world.permit(1, world.plc.epoch)
    flags, cause = run_through(world)
    assert flags == Flag.SURVIVED_RESTART | Flag.DIVERTED | Flag.CHUTE_SEEN and cause is Cause.RESTART
    world.body()
    world.scan()
    assert world.entry("unit", 1)["number"] == 2


def test_a_restart_arms_the_triggers_that_are_still_ahead(world: PlcWorld) -> None:
    world.body()
    world.travel(4000)
    world.restart()
    world.scan()
    assert [(order.station, order.number) for order in world.out.armed] == [(3, 1)]


def test_a_start_without_memory(world: PlcWorld) -> None:
    """Numbers begin again; every body on the belt is a stray, and only those behind the gate come out good."""
    for _ in range(3):
        world.body()
        world.scan()
        world.permit(world.head("created_seq"), world.plc.epoch)
        world.travel(4300)
    assert world.ended == [True] and world.plc.in_flight == 3
    world.restart(retained=False)
    assert world.plc.in_flight == 0 and world.bank.get("starts") == 1
    world.travel(SPEC.pass_eye + 1000)
    assert world.ended == [True, False, False]
    assert world.bank.get("stray_pass") == 1 and world.bank.get("stray_chute") == 2
    world.body()
    world.scan()
    assert world.entry("unit", 1)["number"] == 1
    world.travel(SPEC.pass_eye + 1000)
    world.inputs.passed.append(Latch(world.now_us, world.encoder))
    world.scan()
    assert world.bank.get("stray_pass") == 2


@pytest.mark.parametrize(("eye", "name"), [("passed", "stray_pass"), ("chute", "stray_chute")])
def test_bodies_nobody_expects(world: PlcWorld, eye: str, name: str) -> None:
    world.scan(400)
    getattr(world.inputs, eye).append(Latch(world.now_us, world.encoder))
    world.scan()
    assert world.bank.get(name) == 1


def test_a_unit_nobody_saw_is_closed_at_the_end_of_its_window(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.at_gate.clear()
    assert run_through(world) == (Flag.DIVERTED, Cause.NO_PERMIT)
    assert world.plc.in_flight == 0


def test_a_bounce_of_the_eye_is_a_phantom_and_neither_passes_without_permit(world: PlcWorld) -> None:
    world.body()
    world.travel(160)
    world.bounce()
    events = world.travel(SPEC.pass_eye + SPEC.window + 100)
    flags = [Flag(event.flags) for event in events if event.step is Step.CLOSED]
    assert flags == [Flag.DIVERTED | Flag.CHUTE_SEEN, Flag.DIVERTED | Flag.PHANTOM]


def test_a_permitted_unit_too_close_behind_a_diverted_one_is_diverted(world: PlcWorld) -> None:
    """One movement of the gate cannot part them; the first must not slip through."""
    world.body()
    world.travel(300)
    world.body()
    world.scan()
    world.permit(2, world.plc.epoch)
    run_through(world)
    assert world.ended == [False, False]


def test_the_gate_falls_back_behind_the_unit(world: PlcWorld) -> None:
    world.body()
    at = world.encoder
    world.scan()
    world.permit(1, world.plc.epoch)
    opened = []
    while world.plc.in_flight:
        world.scan()
        if world.out.gates[0]:
            opened.append((world.encoder - at) & 0xFFFFFFFF)
    assert SPEC.decide <= min(opened) < SPEC.decide + 2 * COUNTS_PER_SCAN and max(opened) < SPEC.release


def test_command_bits(world: PlcWorld) -> None:
    def order(bits: int) -> tuple[bool, bool]:
        world.command = bits
        world.scan(11)
        return world.out.belt, world.out.infeed

    assert order(RUN) == (True, True)
    assert order(RUN | HOLD) == (True, False)
    assert order(0) == (False, False)
    assert order(RUN | ABORT) == (False, False)
    assert order(RUN) == (False, False), "abort latches"
    assert world.bank.get("plc_state") & 16
    assert order(RUN | ABORT | RESET) == (False, False)
    assert order(RUN | RESET) == (False, False), "only a rising edge resets"
    assert order(RUN) == (False, False)
    assert order(RUN | RESET) == (True, True)


def test_abort_drops_the_gate(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.travel(GATE - 290)
    assert world.out.gates == [True]
    world.command = ABORT
    world.scan(11)
    assert world.out.gates == [False] and not world.out.belt


def test_an_abort_in_the_scan_of_a_decision_keeps_the_gate_at_rest(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.permit(1, world.plc.epoch)
    world.travel(GATE - 300 - 2 * COUNTS_PER_SCAN)
    world.command = ABORT
    world.beat()
    gates = []
    for _ in range(6):
        world.encoder += COUNTS_PER_SCAN
        world.scan()
        gates += world.out.gates
    assert any(event.step is Step.DECIDED for event in world.events) and not any(gates)


def test_nothing_moves_before_a_device_is_there() -> None:
    world = PlcWorld()
    world.beating = False
    world.bank.set("command", RUN)
    world.scan(100)
    assert (world.out.belt, world.out.infeed, world.out.gates) == (False, False, [False])


def test_sync_shots(world: PlcWorld) -> None:
    world.command = SYNC
    orders = []
    for _ in range(40):
        world.scan()
        orders += world.out.armed
    assert len(orders) == SYNC_SHOTS * len(SPEC.stations)
    mine = [order for order in orders if order.station == 0]
    assert [order.shot for order in mine] == list(range(SYNC_SHOTS))
    assert {(order.epoch, order.number) for order in mine} == {(0, 0)}
    times = [order.at_us or 0 for order in mine]
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {SYNC_GAP_US}


def test_no_sync_shots_while_a_unit_is_on_the_belt(world: PlcWorld) -> None:
    world.body()
    world.scan()
    world.command = SYNC
    orders = []
    for _ in range(20):
        world.scan()
        orders += world.out.armed
    assert orders == []


def test_numbers_are_never_zero() -> None:
    world = PlcWorld()
    world.ask_epoch(7)
    world.plc._lanes[0]._next = 0xFFFFFFFF
    for _ in range(2):
        world.body()
        world.scan()
    assert [world.entry("unit", seq)["number"] for seq in (1, 2)] == [0xFFFFFFFF, 1]


def test_heartbeat_and_echo(world: PlcWorld) -> None:
    first = world.bank.get("plc_heartbeat")
    world.scan(100)
    assert world.bank.get("plc_heartbeat") == first + 10
    assert world.bank.get("device_heartbeat_echo") == world.bank.get("device_heartbeat")


def test_registers_of_the_map_exist() -> None:
    document = tomllib.loads(map_path().read_text())
    assert {entry["name"] for entry in document["register"]} == set(MAP.registers)
