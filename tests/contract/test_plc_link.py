"""The line's PLC driver against the PLC program of the box over real Modbus TCP, both stepped by this test."""

import time
from collections.abc import Iterator

import pytest

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Fired, Inputs, Latch, PlcSpec
from drivers.gate.plc_logic import Plc as PlcProgram
from drivers.modbus import ModbusLink
from drivers.modbus_server import ModbusServer
from drivers.plc_link import (
    Closed,
    Created,
    EdgeLatched,
    EpochGranted,
    Event,
    LinkDown,
    LinkUp,
    Overrun,
    Plc,
    PlcRestarted,
    Settings,
    Snapshot,
)
from drivers.registers import Command, load_map

IDENTITY, PLC_IDENTITY = 0x4C570001, 0x504C4301
SPEC = PlcSpec(
    identity=PLC_IDENTITY,
    device_identity=IDENTITY,
    lanes=1,
    stations=((0, 3000), (1, 4800)),
    decide=11_700,
    release=12_400,
    chute_eye=14_000,
    pass_eye=14_000,
    window=500,
    clear=300,
    phantom=400,
)


class Bench:
    """A PLC program on a server and the driver, driven step by step on one clock."""

    def __init__(self) -> None:
        self.map = load_map()
        self.bank = Bank(self.map)
        self.program = PlcProgram(SPEC, self.bank)
        self.program.start(0, retained=False)
        self.server = ModbusServer(self.bank, "127.0.0.1", 0)
        self.server.open()
        self.encoder = 0
        link = ModbusLink("127.0.0.1", self.server.port, 1, 80_000_000)
        self.plc = Plc(link, self.map, Settings(IDENTITY, PLC_IDENTITY, 1, (0, 1), 4_000_000, 20_000_000, 80_000_000))
        self.orders: list[Fired] = []

    def step(self, inputs: Inputs | None = None, turns: int = 1) -> list[Event]:
        """Scan, serve and service; the answer to a request may need another turn."""
        events: list[Event] = []
        for _ in range(turns):
            now = time.monotonic_ns()
            used, inputs = inputs or Inputs(), None
            used.encoder = self.encoder
            out = self.program.scan(now // 1000, used)
            self.bank.set("clock_us", now // 1000)
            self.orders += [Fired(order, now // 1000, order.encoder) for order in out.armed]
            self.server.service()
            events += self.plc.service(time.monotonic_ns())
            time.sleep(0.001)
        return events

    def until(self, kind: type[Event], inputs: Inputs | None = None) -> list[Event]:
        """Step until an event of this kind came; everything that came meanwhile is returned."""
        events = self.step(inputs)
        for _ in range(2000):
            if any(isinstance(event, kind) for event in events):
                return events
            events += self.step()
        raise AssertionError(f"no {kind.__name__} among {events[-5:]}")

    def agree(self) -> None:
        self.until(LinkUp)
        self.plc.ask_epoch(1)
        self.until(EpochGranted)

    def infeed(self) -> Created:
        events = self.until(Created, Inputs(infeed=[Latch(time.monotonic_ns() // 1000, self.encoder)]))
        return next(event for event in events if isinstance(event, Created))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.plc.close()
    bench.server.close()


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_an_epoch_is_agreed_and_a_unit_is_heard_of(bench: Bench) -> None:
    bench.agree()
    before = time.monotonic_ns()
    unit = bench.infeed()
    assert (unit.epoch, unit.number) == (bench.plc.epoch, 1)
    assert abs(unit.at_ns - before) < 1_000_000_000
    assert bench.plc.alive(time.monotonic_ns())


def test_a_permit_passes_the_unit_it_names_and_no_other(bench: Bench) -> None:
    bench.agree()
    bench.plc.command(Command.RUN, 2, 6)
    bench.step(turns=40)
    first, second = bench.infeed(), bench.infeed()
    bench.plc.permit(0, first.number)
    bench.step(turns=20)
    bench.encoder = 11_800
    bench.step()
    bench.encoder = 14_000
    now = time.monotonic_ns() // 1000
    closed = bench.until(Closed, Inputs(passed=[Latch(now, 14_000)], chute=[Latch(now, 14_000)]))
    bench.step(turns=20)
    causes = {c.number: c.cause for c in of(closed, Closed) if isinstance(c, Closed)}
    assert causes.get(first.number) == 0
    assert second.number not in causes or causes[second.number] != 0


def test_a_revoked_permit_is_worth_nothing(bench: Bench) -> None:
    bench.agree()
    bench.plc.command(Command.RUN, 2, 6)
    bench.step(turns=40)
    unit = bench.infeed()
    bench.plc.permit(0, unit.number)
    bench.step(turns=5)
    bench.plc.revoke(0, unit.number)
    bench.step(turns=20)
    bench.encoder = 11_800
    bench.step()
    bench.encoder = 14_000
    closed = bench.until(Closed, Inputs(chute=[Latch(time.monotonic_ns() // 1000, 14_000)]))
    assert [c.cause for c in of(closed, Closed) if isinstance(c, Closed)] == [1]


def test_sync_shots_come_as_edges_without_a_unit(bench: Bench) -> None:
    bench.agree()
    bench.plc.command(Command.SYNC, 2, 3)
    bench.step(turns=30)
    shots = bench.orders
    assert len(shots) == 8
    events = bench.until(EdgeLatched, Inputs(fired=shots))
    for _ in range(30):
        events += bench.step()
    edges = [e for e in events if isinstance(e, EdgeLatched)]
    assert [(e.station, e.k, e.number) for e in edges] == [(s, k, 0) for s in (0, 1) for k in (1, 2, 3, 4)]


def test_a_missed_poll_loses_nothing_and_an_overrun_is_told(bench: Bench) -> None:
    bench.agree()
    now = time.monotonic_ns() // 1000
    events = bench.until(Created, Inputs(infeed=[Latch(now, n * 1200) for n in range(20)]))
    for _ in range(30):
        events += bench.step()
    assert [e.number for e in events if isinstance(e, Created)] == list(range(1, 21))
    events = bench.until(Overrun, Inputs(infeed=[Latch(now, n * 1200) for n in range(40)]))
    for _ in range(40):
        events += bench.step()
    assert [e.missing for e in events if isinstance(e, Overrun)] == [8]
    assert [e.number for e in events if isinstance(e, Created)] == list(range(29, 61))


@pytest.mark.parametrize("retained", [True, False])
def test_a_plc_restart_is_noticed_and_needs_a_new_epoch(bench: Bench, retained: bool) -> None:
    bench.agree()
    old = bench.plc.epoch
    bench.infeed()
    bench.program.start(0, retained=retained)
    restarted = bench.until(PlcRestarted)
    assert [e.memory_lost for e in restarted if isinstance(e, PlcRestarted)] == [not retained]
    assert bench.plc.epoch == 0
    bench.plc.ask_epoch(old + 1)
    bench.until(EpochGranted)
    assert bench.plc.epoch > old


def test_link_down_and_up_again(bench: Bench) -> None:
    bench.agree()
    bench.server.shut()
    assert bench.until(LinkDown)
    assert bench.plc.epoch == 0
    bench.server.open()
    assert bench.until(LinkUp)


def test_a_silent_plc_is_not_alive(bench: Bench) -> None:
    bench.agree()
    assert bench.plc.alive(time.monotonic_ns())
    assert not bench.plc.alive(time.monotonic_ns() + 81_000_000)


def test_snapshot_names_the_registers(bench: Bench) -> None:
    bench.agree()
    snapshot = of(bench.until(Snapshot), Snapshot)[-1]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.registers["plc_identity"] == PLC_IDENTITY
    assert snapshot.registers["map_version"] == 1


def test_a_cold_start_behind_a_cut_link_is_noticed_by_the_rings(bench: Bench) -> None:
    bench.agree()
    for _ in range(3):
        bench.infeed()
    bench.server.shut()
    bench.until(LinkDown)
    bench.program.start(0, retained=False)
    bench.server.open()
    restarted = bench.until(PlcRestarted)
    assert [e.memory_lost for e in restarted if isinstance(e, PlcRestarted)] == [True]
    bench.plc.ask_epoch(1)
    bench.until(EpochGranted)
    assert bench.infeed().number == 1


def test_a_permit_into_a_cut_link_is_an_event_and_no_exception(bench: Bench) -> None:
    bench.agree()
    unit = bench.infeed()
    bench.server.shut()
    for _ in range(50):
        bench.plc.permit(0, unit.number)
        time.sleep(0.001)
    assert bench.until(LinkDown)
    assert bench.plc.epoch == 0


def test_the_past_counts_as_read_only_when_every_ring_is(bench: Bench) -> None:
    bench.agree()
    now = time.monotonic_ns() // 1000
    for n in range(30):
        bench.encoder = n * 1200
        bench.step(Inputs(infeed=[Latch(now, bench.encoder)]))
    bench.encoder += 15_000
    bench.step(turns=5)
    link = ModbusLink("127.0.0.1", bench.server.port, 1, 80_000_000)
    later = Plc(link, bench.map, Settings(IDENTITY, PLC_IDENTITY, 1, (0, 1), 4_000_000, 20_000_000, 80_000_000))
    later.back_read = True
    events: list[Event] = []
    for _ in range(2000):
        bench.step()
        events += later.service(time.monotonic_ns())
        if later.rings_until_ns:
            break
    later.close()
    assert [e.number for e in events if isinstance(e, Closed)] == list(range(1, 31))
    assert [e.number for e in events if isinstance(e, Created)] == list(range(1, 31))
