"""The reject board as a machine: what stops its belt, restarts, trigger orders, events that are never lost."""

from itertools import pairwise

import pytest
from board_world import DEVICE, FOREIGN, GATE, SPEC, BoardWorld

from drivers.gate.plc_io import Latch, Step
from drivers.registers import CHANNEL_MARK, Command, channel_check
from drivers.serial_frames import Ping, Ring, Sort


@pytest.fixture
def world() -> BoardWorld:
    """A board that runs in a granted epoch."""
    world = BoardWorld()
    world.agree()
    return world


def test_more_units_than_it_can_follow_stop_the_belt(world: BoardWorld) -> None:
    for _ in range(65):
        world.body()
        world.scan()
    assert not world.out.belt and world.board.in_flight == 64
    assert world.status.state & 16


def test_more_edges_than_it_can_latch_stop_the_belt(world: BoardWorld) -> None:
    for _ in range(65):
        world.inputs.chute.append(Latch(world.now_us, world.encoder))
    world.scan(2)
    assert not world.out.belt


def test_an_ejected_body_at_the_pass_eye_stops_the_belt_until_reset(world: BoardWorld) -> None:
    world.travel(SPEC.pass_eye + SPEC.window + 100)
    world.body()
    world.travel(GATE + 500)
    world.inputs.passed.append(Latch(world.now_us, (world.encoder + SPEC.pass_eye - GATE - 500) & 0xFFFFFFFF))
    world.scan(2)
    assert not world.out.belt and not world.out.infeed
    world.command = Command.RUN | Command.RESET
    world.scan(20)
    assert world.out.belt


def test_an_input_without_which_it_may_not_run_stops_the_belt() -> None:
    world = BoardWorld(must=0b10)
    world.agree()
    assert world.out.belt
    world.board.wired = 0xFFFF ^ 0b10
    world.scan()
    assert not world.out.belt
    world.command = Command.RUN | Command.RESET
    world.scan(20)
    assert not world.out.belt


def test_abort_counts_from_anybody_and_at_any_time(world: BoardWorld) -> None:
    world.device, world.command = FOREIGN, Command.ABORT
    world.scan(20)
    assert not world.out.belt and not world.out.gates[0]


def test_a_stop_in_an_open_window_closes_it(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.travel(GATE - 300)
    assert world.out.gates == [True]
    world.command = Command.ABORT
    world.scan(10)
    assert world.out.gates == [False] and not world.out.belt


def test_a_belt_that_steps_back_at_the_infeed_eye_decides_nothing(world: BoardWorld) -> None:
    world.body()
    world.encoder -= 100
    world.scan()
    assert [step.step for step in world.steps] == [Step.CREATED]


def test_a_board_without_power_ejects_and_stops_the_belt(world: BoardWorld) -> None:
    world.body()
    world.scan()
    world.permit(1)
    world.travel(GATE - 300)
    assert world.out.gates == [True]
    out = world.board.stop()
    assert (out.gates, out.belt, out.infeed) == ([False], False, False)
    assert world.board.transmit(100) == b""


@pytest.mark.parametrize("retained", [True, False])
def test_after_a_restart_nothing_that_was_permitted_passes(world: BoardWorld, retained: bool) -> None:
    world.body()
    world.scan()
    old = world.permit(1)
    world.scan()
    epoch = world.status.epoch
    world.out = world.board.stop()
    world.board.start(world.encoder, retained)
    world.events.clear()
    world.board.receive(old)
    world.proposal = epoch + 1
    assert world.agree() > epoch
    world.board.receive(old)
    world.body()
    world.scan()
    number = world.steps[-1].number
    assert number == (2 if retained else 1)
    world.through()
    assert world.ended == [False, False]


def test_sync_shots_are_ordered_on_an_empty_belt_and_their_edges_name_no_unit(world: BoardWorld) -> None:
    world.command = Command.RUN | Command.SYNC
    world.scan(20)
    assert [(order.station, order.shot) for order in world.fired] == [(s, n) for s in (0, 3) for n in range(4)]
    gaps = {b.at_us - a.at_us for a, b in pairwise(world.fired[:4]) if a.at_us and b.at_us}
    assert gaps == {100_000}
    world.fire(world.fired[0])
    world.scan()
    assert [(e.ring, e.index, e.number) for _, e in world.events] == [(Ring.EDGE, 0, 0)]


def test_every_unit_orders_its_shots_and_a_restart_orders_those_still_ahead(world: BoardWorld) -> None:
    world.body()
    expected = [(place.station, (world.encoder + place.at) & 0xFFFFFFFF) for place in SPEC.stations]
    world.scan()
    assert [(o.station, o.encoder) for o in world.fired] == expected
    world.travel(4_000)
    world.fired.clear()
    world.board.stop()
    world.board.start(world.encoder)
    world.scan()
    assert [order.station for order in world.fired] == [3]


def test_a_channel_sorts_an_ejected_unit_and_never_spares_one(world: BoardWorld) -> None:
    world.body()
    world.scan()
    epoch = world.status.epoch
    check = channel_check(1, epoch, 0, 2, DEVICE)
    world.say(Sort(DEVICE, epoch, 1, 0, CHANNEL_MARK | 2, check, world.seen), 1)
    world.travel(GATE - 300)
    assert (world.out.gates, world.out.channels) == ([False], [2])
    assert world.through()[0] >> 8 == 2
    assert world.out.channels == [0]


def test_events_are_kept_until_they_are_acknowledged_and_given_again(world: BoardWorld) -> None:
    world.acknowledge = 0
    world.body()
    world.scan(60)
    sequences = [sequence for sequence, _ in world.events]
    assert sequences.count(1) >= 2 and set(sequences) == {1}
    world.acknowledge = 1
    world.scan(2)
    world.events.clear()
    world.scan(60)
    assert world.events == []


def test_a_device_that_misses_events_gets_them_at_once(world: BoardWorld) -> None:
    world.acknowledge = 0
    world.body()
    world.scan(5)
    world.events.clear()
    world.say(Ping(1, again=True))
    world.scan(2)
    assert [sequence for sequence, _ in world.events] == [1]


def test_an_acknowledgement_of_what_was_never_said_changes_nothing(world: BoardWorld) -> None:
    world.acknowledge = 12_345
    world.body()
    world.scan(60)
    assert {sequence for sequence, _ in world.events} == {1} and len(world.events) >= 2
    world.body()
    world.scan(30)
    assert {sequence for sequence, _ in world.events} == {1, 2}


def test_reset_does_not_overrule_an_abort_in_the_same_heartbeat(world: BoardWorld) -> None:
    world.command = Command.RUN | Command.ABORT | Command.RESET
    world.scan(12)
    assert not any(world.scan() or world.out.belt for _ in range(30))


def test_a_device_that_forgot_hears_everything_that_is_still_held(world: BoardWorld) -> None:
    for _ in range(140):
        world.body()
        world.travel(2_000)
    world.through()
    assert [sequence for sequence, _ in world.events] == list(range(1, 281))
    world.events.clear()
    world.acknowledge = world.status.tail - 1
    for _ in range(200):
        world.scan()
        world.acknowledge = world.events[-1][0] if world.events else world.acknowledge
    assert [sequence for sequence, _ in world.events[:256]] == list(range(25, 281))
