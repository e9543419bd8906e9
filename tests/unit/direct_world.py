"""Direct wiring without processes: DirectLink over lines in memory against belt and bare wires, on a clock of its own.

The device turns every `TURN_NS`, the world scans every 2 ms; `stall` lets the world go on without the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from daemon.config import Diverter
from drivers.direct import DirectLink, DirectSpec
from drivers.errors import DeviceLost, DeviceRefused
from drivers.gate.latches import Roles
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Place, PlcSpec
from drivers.gpio import Edge
from drivers.plc_link import Closed, Created, Event, Plc, Settings
from drivers.registers import Command, load_map
from drivers.sim.bare_wires import BareWires, Wire
from drivers.sim.belt import Belt, BeltSpec, End
from drivers.sim.machine import SCAN_NS, Machine

MAP = load_map()
DEVICE, PLC_ID = 1001, 2001
TURN_NS = 1_000_000
VERDICT_NS = 60_000_000
WATCHDOG_MS = 44.0
AUTOMATIC, RUNNING = 2, 6
BELT = BeltSpec(600.0, 1.0, (150.0, 240.0), 600.0, 700.0, 700.0, seed=3, vials=0, pictures=16, encoder_start=0xFFFFFF00)
GATE = PlcSpec(PLC_ID, DEVICE, 1, (Place(0, 150), Place(1, 240)), 585, 615, 700, 700, 25, 17, 20)
WIRING = Diverter(
    chip="sim:nowhere",
    actuator="diverter",
    at_rest="reject",
    watchdog_ms=WATCHDOG_MS,
    infeed=0,
    encoder=1,
    chute=2,
    passed=3,
    relay_closed=4,
    gate=5,
    watchdog=6,
    run=7,
    sync=8,
    admit=9,
    triggers=[10, 11],
    min_gap_mm=54.0,
)
ROLES = Roles(infeed=0, encoder=1, chute=2, passed=3, triggers=((10, 0), (11, 1)), slack=3)
SPEC = DirectSpec(GATE, ROLES, relay_closed=4, gate=5, watchdog=6, run=7, admit=9, sync=8)


class MemoryLines:
    """Lines between BareWires and DirectLink. A closed one keeps its output levels, as some chips do."""

    def __init__(self, world: "DirectWorld") -> None:
        self._world = world
        self._edges: list[Edge] = []
        self._relay = world.wires.relay_closed
        self.lost = ""

    def fileno(self) -> int:
        return 0

    def put(self, edge: Edge) -> None:
        self._edges.append(edge)

    def edges(self) -> Sequence[Edge]:
        if self.lost:
            raise DeviceLost(self.lost)
        edges, self._edges = self._edges, []
        for edge in edges:
            if edge.offset == WIRING.relay_closed:
                self._relay = edge.rising
        return edges

    def level(self, offset: int) -> bool:
        return self._relay

    def set(self, offset: int, level: bool) -> None:
        self._world.order(offset, level)

    def close(self) -> None:
        if self._world.lines is self:
            self._world.lines = None


class DirectWorld:
    """One belt, one device. `good` says which bodies get a permit, by their number since the start."""

    def __init__(self, good: Callable[[int], bool] = lambda _: True) -> None:
        self.now = 5_000_000_000
        self.good = good
        self.wires = BareWires(WIRING, GATE.stations)
        self.wires.hear = self._heard
        self.belt = Belt(replace(BELT), self.now)
        self.machine = Machine(self.belt, self.wires, Bank(MAP), self.now)
        self.lines: MemoryLines | None = None
        self.refuse = False
        self.pulses = True
        self.events: list[Event] = []
        self.permitted: set[int] = set()
        self._orders: list[Wire] = []
        self._due: list[tuple[int, Created]] = []
        self._next_scan = self.now + SCAN_NS
        self._zero = 0
        self.epochs = 0
        self.start()

    def start(self) -> None:
        """A new life of the device: nothing is remembered."""
        self.link = DirectLink(self._open, MAP, SPEC, lambda: self.now)
        settings = Settings(DEVICE, PLC_ID, 1, (0, 1), 2_000_000, 20_000_000, 80_000_000)
        self.plc = Plc(self.link, MAP, settings, lambda: self.now)
        self.epochs += 10
        self.plc.ask_epoch(self.epochs)
        self.plc.command(Command.RUN, AUTOMATIC, RUNNING)

    def kill(self) -> None:
        """The device is gone; its output levels stay as they were."""
        self.lines = None

    def run(self, ns: int) -> list[Event]:
        """Device and world for a while; return what the device heard."""
        seen, end = len(self.events), self.now + ns
        while self.now < end:
            self._step()
            self._turn()
        return self.events[seen:]

    def stall(self, ns: int) -> None:
        """The world goes on, the device does not."""
        end = self.now + ns
        while self.now < end:
            self._step()

    def order(self, offset: int, level: bool) -> None:
        self._orders.append(Wire(offset, level, (self.now - self._zero) // 1000))

    def escaped(self) -> list[int]:
        """Bodies that passed without a permit."""
        return [v.ordinal for v in self.belt.vials if v.end is End.PASS and v.ordinal not in self.permitted]

    def closed(self) -> list[Closed]:
        return [event for event in self.events if isinstance(event, Closed)]

    def _open(self) -> MemoryLines:
        if self.refuse:
            raise DeviceRefused("no such chip")
        self.lines = MemoryLines(self)
        return self.lines

    def _heard(self) -> list[Wire]:
        orders, self._orders = self._orders, []
        return orders

    def _step(self) -> None:
        self.now += TURN_NS
        while self._next_scan <= self.now:
            self.machine.scan(self._next_scan)
            self._zero = self._next_scan - self.wires.scanned_us * 1000
            edges, self.wires.edges = self.wires.edges, []
            for edge in edges if self.lines else ():
                if self.lines and (self.pulses or edge.offset != WIRING.encoder):
                    self.lines.put(Edge(edge.offset, edge.level, self._zero + edge.at_us * 1000))
            self._next_scan += SCAN_NS

    def _turn(self) -> None:
        for event in self.plc.service(self.now):
            self.events.append(event)
            if isinstance(event, Created) and event.epoch == self.plc.epoch:
                self._due.append((self.now + VERDICT_NS, event))
        for entry in [entry for entry in self._due if entry[0] <= self.now]:
            self._due.remove(entry)
            self._verdict(entry[1])
        self.plc.flush()

    def _verdict(self, unit: Created) -> None:
        vial = next((v for v in self.belt.vials if abs(v.entered_ns - unit.at_ns) < TURN_NS), None)
        if vial and unit.epoch == self.plc.epoch and self.good(vial.ordinal):
            self.permitted.add(vial.ordinal)
            self.plc.permit(unit.lane, unit.number)
