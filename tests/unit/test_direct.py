"""Direct wiring: what passes, and that nothing passes when the device stalls, dies, goes blind or loses its lines."""

import pytest
from direct_world import GATE, ROLES, TURN_NS, WATCHDOG_MS, DirectWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import DeviceLost
from drivers.gate.latches import Latches
from drivers.gate.plc_io import Compare
from drivers.plc_link import EdgeLatched, LinkDown, LinkUp, PlcRestarted
from drivers.registers import Command
from drivers.sim.belt import End

MS = 1_000_000
SECOND = 1_000 * MS
SAFE_NS = int(WATCHDOG_MS * MS) + 12 * MS


def ends(world: DirectWorld) -> dict[int, End]:
    return {vial.ordinal: vial.end for vial in world.belt.vials if vial.end is not End.BELT}


def test_permitted_bodies_pass_and_all_others_are_diverted() -> None:
    world = DirectWorld(good=lambda n: n % 3 != 0)
    world.run(6 * SECOND)
    found = ends(world)
    assert len(found) > 35
    assert found == {n: End.PASS if n % 3 else End.CHUTE for n in found}
    closed = world.closed()
    assert [unit.number for unit in closed] == list(range(1, len(closed) + 1))
    assert all(bool(unit.flags & 8) == bool(unit.number % 3) for unit in closed)


def test_every_trigger_is_named_after_the_body_before_the_lens() -> None:
    world = DirectWorld()
    edges = [event for event in world.run(4 * SECOND) if isinstance(event, EdgeLatched)]
    for station in (0, 1):
        mine = [edge for edge in edges if edge.station == station]
        assert [edge.number for edge in mine] == list(range(1, len(mine) + 1)) and len(mine) > 20
        assert [edge.k for edge in mine] == list(range(1, len(mine) + 1))


def test_sync_shots_are_edges_of_nobody_at_every_camera() -> None:
    world = DirectWorld()
    world.plc.command(Command.RUN | Command.HOLD, 2, 6)
    world.run(SECOND // 2)
    world.plc.command(Command.RUN | Command.HOLD | Command.SYNC, 2, 6)
    edges = [event for event in world.run(SECOND) if isinstance(event, EdgeLatched)]
    assert sorted((edge.station, edge.number) for edge in edges) == [(0, 0)] * 4 + [(1, 0)] * 4


@settings(max_examples=15, deadline=None)
@given(at=st.integers(0, 400), lasts=st.integers(1, 300))
def test_a_stall_lets_nothing_pass_that_has_no_permit(at: int, lasts: int) -> None:
    world = DirectWorld(good=lambda n: n % 2 == 0)
    world.run(1300 * MS + at * MS)
    world.stall(lasts * MS)
    world.run(1400 * MS)
    assert world.escaped() == []
    if lasts > WATCHDOG_MS + 12:
        assert any(isinstance(event, LinkDown) for event in world.events)
        assert any(isinstance(event, PlcRestarted) and not event.memory_lost for event in world.events)
    assert len(ends(world)) > 12


@settings(max_examples=15, deadline=None)
@given(at=st.integers(0, 400))
def test_a_dead_device_lets_nothing_pass_later_than_its_relay_and_the_belt_stops(at: int) -> None:
    world = DirectWorld(good=lambda n: n % 2 == 0)
    world.run(1300 * MS + at * MS)
    dead = world.now
    world.kill()
    world.stall(SECOND // 2)
    assert world.escaped() == []
    assert all(v.gate_ns <= dead + SAFE_NS for v in world.belt.vials if v.end is End.PASS)
    stopped = world.machine.belt.encoder(world.now)
    world.stall(SECOND // 2)
    assert world.machine.belt.encoder(world.now) == stopped


def test_the_next_life_permits_nothing_of_the_last_one() -> None:
    world = DirectWorld()
    world.run(2 * SECOND)
    world.kill()
    world.stall(SECOND // 2)
    before = {vial.ordinal for vial in world.belt.vials}
    passed = [n for n, end in ends(world).items() if end is End.PASS]
    world.start()
    world.run(4 * SECOND)
    found = ends(world)
    assert [n for n in before if found.get(n) is End.PASS and n not in passed] == []
    assert [n for n in found if n not in before and found[n] is End.PASS]
    assert world.escaped() == []


def test_a_silent_encoder_lets_the_gate_rest() -> None:
    world = DirectWorld()
    world.run(2 * SECOND)
    while not world.wires.gate:
        world.run(TURN_NS)
    world.pulses = False
    world.run(40 * MS)
    passed = sum(end is End.PASS for end in ends(world).values())
    world.run(2 * SECOND)
    assert not world.wires.gate
    assert sum(end is End.PASS for end in ends(world).values()) <= passed + 1
    assert world.escaped() == []


def test_lost_edges_end_the_link_and_the_next_one_knows_nobody() -> None:
    world = DirectWorld()
    world.run(2 * SECOND)
    assert world.lines is not None
    world.lines.lost = "the kernel dropped 3 edges"
    events = world.run(2 * SECOND)
    assert any(isinstance(event, LinkDown) and "3 edges" in event.cause for event in events)
    assert any(isinstance(event, PlcRestarted) and event.memory_lost for event in events)
    world.run(3 * SECOND)
    assert world.escaped() == []


def test_lines_that_are_not_there_are_told_once() -> None:
    world = DirectWorld()
    world.refuse = True
    events = world.run(SECOND)
    assert [type(event) for event in events] == [LinkDown]
    world.refuse = False
    assert any(isinstance(event, LinkUp) for event in world.run(SECOND))


def test_a_relay_that_does_not_close_is_told_once() -> None:
    world = DirectWorld()
    world.wires.stuck = True
    told = [event for event in world.run(4 * SECOND) if isinstance(event, LinkDown)]
    assert len(told) == 1 and "relay does not close" in told[0].cause
    assert not world.link.up


def test_a_welded_relay_is_told_and_the_link_stays_down() -> None:
    world = DirectWorld()
    world.wires.welded = world.wires.relay_closed = True
    told = [event for event in world.run(3 * SECOND) if isinstance(event, LinkDown)]
    assert len(told) == 1 and "although nothing toggles it" in told[0].cause
    assert not world.link.up and not world.wires.gate


def test_a_closed_link_rests_and_holds_nothing() -> None:
    world = DirectWorld()
    world.run(2 * SECOND)
    world.link.close()
    assert (world.link.up, world.link.idle, world.link.fileno()) == (False, True, -1)
    world.stall(100 * MS)
    assert not world.wires.gate and not world.wires.relay_closed


@pytest.mark.parametrize(("address", "write", "text"), [(8, True, "not the device's"), (60_000, False, "no such")])
def test_what_may_not_be_written_or_read_ends_the_link(address: int, write: bool, text: str) -> None:
    world = DirectWorld()
    world.run(SECOND // 4)
    if write:
        world.link.write("x", address, [1])
    else:
        world.link.read("x", address, 1)
    with pytest.raises(DeviceLost, match=text):
        world.link.service(world.now)
    assert not world.link.up


def test_a_trigger_that_fits_nobody_keeps_its_place_in_the_count() -> None:
    latches = Latches(ROLES)
    latches.order([Compare(0, 150, None, 7, 0, 1, 0), Compare(0, 210, None, 7, 0, 2, 0)])
    for pulse in range(300):
        latches.edge(ROLES.encoder, pulse)
        if pulse + 1 in (100, 150, 214, 260):
            latches.edge(10, pulse)
    assert [fired.compare.number for fired in latches.take().fired] == [0, 1, 0, 0]


def test_the_count_at_an_edge_is_the_number_of_pulses_before_it() -> None:
    latches = Latches(ROLES)
    for at_us, offset in enumerate([1, 1, 0, 1, 2, 1, 1, 3]):
        latches.edge(offset, at_us)
    inputs = latches.take()
    assert [(latch.encoder, latch.time_us) for latch in (*inputs.infeed, *inputs.chute, *inputs.passed)] == [
        (2, 2), (3, 4), (5, 7),
    ]  # fmt: skip
    assert inputs.encoder == 5 and latches.take().infeed == []
    assert GATE.decide < GATE.release
