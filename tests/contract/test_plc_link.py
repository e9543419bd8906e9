"""The line's PLC driver against the PLC program of the box over each Modbus wiring, both stepped by this test."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_box import IDENTITY, PLC_IDENTITY, SPEC

from daemon.config import ModbusClient, ModbusRtu, WordOrder
from drivers.framings import RtuFraming, TcpFraming
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Fired, Inputs, Latch
from drivers.gate.plc_logic import Plc as PlcProgram
from drivers.modbus import ModbusLink
from drivers.plc_link import (
    Closed,
    Created,
    EdgeLatched,
    EpochGranted,
    EpochTaken,
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
from drivers.serial_transport import SerialTransport
from drivers.sim.box_fronts import RtuFront, TcpFront
from drivers.transports import TcpTransport
from drivers.word_order import high_first, low_first

WIRINGS = ("modbus-client", "modbus-client low-first", "modbus-rtu low-first")
BAUD, SLOWER = 921_600, 3
STEP_NS, REST_S = 1_000_000, 0.0001
SETTINGS = Settings(IDENTITY, PLC_IDENTITY, 1, (0, 1), 4_000_000, 20_000_000, 80_000_000)


class Bench:
    """A PLC program behind a front and the driver, driven step by step on one clock."""

    def __init__(self, wiring: str, folder: Path) -> None:
        self.map = load_map()
        self.bank = Bank(self.map)
        self.program = PlcProgram(SPEC, self.bank)
        self.program.start(0, retained=False)
        order = WordOrder.LOW_FIRST if "low-first" in wiring else WordOrder.HIGH_FIRST
        self._order = high_first if order is WordOrder.HIGH_FIRST else low_first(self.map)
        self._device = str(folder / "plc.tty")
        self._slower = 1
        self._now_ns = 1_000_000_000
        self.server: TcpFront | RtuFront
        if wiring.startswith("modbus-rtu"):
            self._slower = SLOWER
            self.server = RtuFront(self.bank, ModbusRtu(device=self._device, baud=BAUD, word_order=order), self.now)
        else:
            self.server = TcpFront(self.bank, ModbusClient(word_order=order), 0)
        self.encoder = 0
        self.plc = Plc(self.link(), self.map, SETTINGS, self.now)
        self.orders: list[Fired] = []

    def link(self) -> ModbusLink:
        """Return a new link to the front."""
        timeout_ns, order, now = SETTINGS.timeout_ns, self._order, self.now
        if self.server.port:
            tcp = TcpTransport("127.0.0.1", self.server.port)
            return ModbusLink(tcp, TcpFraming(1), 1, timeout_ns, order, now)
        line = SerialTransport(self._device, BAUD, "even")
        return ModbusLink(line, RtuFraming(1, BAUD), 1, timeout_ns, order, now)

    def now(self) -> int:
        """The time of both ends: it moves with the steps, so that a busy machine makes nobody late."""
        return self._now_ns

    def step(self, inputs: Inputs | None = None, turns: int = 1) -> list[Event]:
        """Scan, serve and service; the answer to a request may need another turn, on a slow line several."""
        events: list[Event] = []
        for _ in range(turns * self._slower if turns > 1 else 1):
            now = self.now()
            used, inputs = inputs or Inputs(), None
            used.encoder = self.encoder
            out = self.program.scan(now // 1000, used)
            self.bank.set("clock_us", now // 1000)
            self.orders += [Fired(order, now // 1000, order.encoder) for order in out.armed]
            self.server.service()
            events += self.plc.service(self.now())
            self._now_ns += STEP_NS
            time.sleep(REST_S)
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
        events = self.until(Created, Inputs(infeed=[Latch(self.now() // 1000, self.encoder)]))
        return next(event for event in events if isinstance(event, Created))


@pytest.fixture(params=WIRINGS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(request.param, tmp_path)
    yield bench
    bench.plc.close()
    bench.server.close()


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_an_epoch_is_agreed_and_a_unit_is_heard_of(bench: Bench) -> None:
    bench.agree()
    before = bench.now()
    unit = bench.infeed()
    assert (unit.epoch, unit.number) == (bench.plc.epoch, 1)
    assert abs(unit.at_ns - before) < 1_000_000_000
    assert bench.plc.alive(bench.now())


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
    now = bench.now() // 1000
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
    closed = bench.until(Closed, Inputs(chute=[Latch(bench.now() // 1000, 14_000)]))
    assert [c.cause for c in of(closed, Closed) if isinstance(c, Closed)] == [1]


def test_sync_shots_come_as_edges_without_a_unit(bench: Bench) -> None:
    bench.agree()
    bench.plc.command(Command.SYNC, 2, 3)
    bench.step(turns=30)
    shots = bench.orders
    assert len(shots) == 8
    events = bench.until(EdgeLatched, Inputs(fired=shots))
    events += bench.step(turns=30)
    edges = [e for e in events if isinstance(e, EdgeLatched)]
    assert [(e.station, e.k, e.number) for e in edges] == [(s, k, 0) for s in (0, 1) for k in (1, 2, 3, 4)]


def test_a_missed_poll_loses_nothing_and_an_overrun_is_told(bench: Bench) -> None:
    bench.agree()
    now = bench.now() // 1000
    events = bench.until(Created, Inputs(infeed=[Latch(now, n * 1200) for n in range(20)]))
    events += bench.step(turns=30)
    assert [e.number for e in events if isinstance(e, Created)] == list(range(1, 21))
    events = bench.until(Overrun, Inputs(infeed=[Latch(now, n * 1200) for n in range(40)]))
    events += bench.step(turns=40)
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
    assert bench.plc.epoch != old
    bench.plc.ask_epoch(old + 1)
    bench.until(EpochGranted)
    assert bench.plc.epoch > old


@pytest.mark.parametrize("ours_last", [True, False])
def test_an_old_request_that_arrives_late_is_no_restart(bench: Bench, ours_last: bool) -> None:
    """The PLC answers a heartbeat of an older connection, and then perhaps ours again, between two status reads."""
    bench.agree()
    old = bench.plc.epoch
    bench.infeed()
    at = bench.map.registers["device_heartbeat"].offset
    beat = bench.bank.words[at : at + 12]
    nonce = bench.map.registers["epoch_nonce"].offset - at
    late = [*beat[:nonce], 0xBEEF, 0xBEEF, *beat[nonce + 2 :]]
    for words in (late, beat) if ours_last else (late,):
        bench.bank.write(at, words)
        bench.program.scan(bench.now() // 1000, Inputs())
    events = bench.step(turns=40)
    assert not of(events, PlcRestarted)
    assert of(events, EpochGranted) or (of(events, EpochTaken) and not ours_last)
    assert bench.plc.epoch == bench.program.epoch == old + 2


def test_link_down_and_up_again(bench: Bench) -> None:
    bench.agree()
    bench.server.shut()
    assert bench.until(LinkDown)
    assert bench.plc.epoch == 0
    bench.server.open()
    assert bench.until(LinkUp)


def test_a_silent_plc_is_not_alive(bench: Bench) -> None:
    bench.agree()
    assert bench.plc.alive(bench.now())
    assert not bench.plc.alive(bench.now() + 81_000_000)


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
    now = bench.now() // 1000
    for n in range(30):
        bench.encoder = n * 1200
        bench.step(Inputs(infeed=[Latch(now, bench.encoder)]))
    bench.encoder += 15_000
    bench.step(turns=5)
    bench.plc.close()
    bench.plc = Plc(bench.link(), bench.map, SETTINGS, bench.now)
    bench.plc.back_read = True
    events: list[Event] = []
    for _ in range(2000):
        events += bench.step()
        if bench.plc.rings_until_ns:
            break
    assert [e.number for e in events if isinstance(e, Closed)] == list(range(1, 31))
    assert [e.number for e in events if isinstance(e, Created)] == list(range(1, 31))


def test_reading_back_a_full_ring_does_not_race_with_the_plc(bench: Bench) -> None:
    bench.agree()
    length = bench.map.unit.length
    bodies = Inputs(infeed=[Latch(bench.now() // 1000, bench.encoder)] * (length + 4))
    bench.step(bodies)
    bench.plc.close()
    bench.plc = Plc(bench.link(), bench.map, SETTINGS, bench.now)
    bench.plc.back_read = True
    events = bench.until(Snapshot)
    meanwhile = Inputs(infeed=[Latch(bench.now() // 1000, bench.encoder)] * 5)
    bench.program.scan(bench.now() // 1000, meanwhile)
    for _ in range(200):
        events += bench.step()
    assert not [e for e in events if isinstance(e, Overrun)]
    numbers = [e.number for e in events if isinstance(e, Created)]
    assert numbers == list(range(numbers[0], length + 4 + 5 + 1)) and len(numbers) > length - 8
