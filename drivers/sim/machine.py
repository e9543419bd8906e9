"""Belts and PLC joined by wires and a counter module, scan by scan. Pure: the caller brings the time.

The counter module latches eye edges and pulses the camera triggers at exact encoder counts; it goes on while the PLC
program is stopped, except that outputs fall and orders to it are forgotten. The belt's drive reacts `drive_delay_ns`
after an order, and triggers are handed out at most AHEAD_NS before they are due: what was handed out always comes true.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Fired, Inputs, Latch, Outputs, Step, UnitEvent
from drivers.gate.plc_logic import SCAN_US
from drivers.sim.belt import Belt, Eye, EyeEdge, Scene, Vial
from drivers.sim.lanes import Lanes

AHEAD_NS = 25_000_000
SCAN_NS = SCAN_US * 1000
CLOCK_START_US = 0xFFFFFFFF - 20_000_000
UnitKey = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Pulse:
    """A trigger output rises at `due_ns`. `vial` is for truth and faults; no camera learns it."""

    station: int
    due_ns: int
    encoder: int
    unit: UnitKey
    vial: int


@dataclass(slots=True)
class Turn:
    """What one scan brought about."""

    infeed: list[int]
    pulses: list[Pulse]
    scenes: list[Scene]
    created: list[tuple[UnitKey, int]]
    events: list[UnitEvent]


@dataclass(slots=True)
class _Order:
    compare: Compare
    due_ns: int | None
    told: bool = False


class Program(Protocol):
    """What commands the machine: the PLC program, a reject board, or bare wires. Times in us of its own clock."""

    @property
    def in_flight(self) -> int:
        """Units created and not closed."""

    @property
    def strays(self) -> tuple[int, int]:
        """Bodies seen by the pass eyes and by the chute eyes that no unit accounts for."""

    def stop(self) -> Outputs:
        """It stops: every output falls."""

    def start(self, encoder: int, retained: bool = True) -> None:
        """It starts, with its memory or without."""

    def scan(self, now_us: int, inputs: Inputs) -> Outputs:
        """Run once over what was latched since the last scan."""


class Machine:
    """Owned by the box's loop. `scan` at every SCAN_NS, never back in time.

    `switches` is the word of digital inputs, `chute_blind` an eye that sees nothing.
    """

    def __init__(self, belt: Belt | Lanes, program: Program, bank: Bank, start_ns: int) -> None:
        self.belt = belt if isinstance(belt, Lanes) else Lanes.single(belt)
        self.plc = program
        self._bank = bank
        self._clock_zero_ns = start_ns - CLOCK_START_US * 1000
        self._inputs = Inputs()
        self._orders: list[_Order] = []
        self._entering: list[deque[int]] = [deque() for _ in self.belt.belts]
        self._newest_vial = 0
        self._planned_run = False
        self._vials: dict[UnitKey, int] = {}
        self.running = True
        self.authority = self._inputs.authority
        self.switches = self._inputs.switches
        self.chute_blind = False
        self.plc.start(self.belt.encoder(start_ns))

    def refresh(self, now_ns: int) -> None:
        """Put clock and encoder of this moment into the registers."""
        self._bank.set("clock_us", self._clock_us(now_ns))
        self._bank.set("encoder", self.belt.encoder(now_ns))

    def stop_plc(self, now_ns: int) -> None:
        """The PLC program stops: outputs fall, orders to the counter module are gone."""
        self.running = False
        self._orders.clear()
        self._obey(self.plc.stop(), now_ns)

    def start_plc(self, now_ns: int, retained: bool) -> None:
        """The PLC program starts, with its memory or (power was off) without; then its clock begins at 0."""
        self.running = True
        if not retained:
            self._clock_zero_ns = now_ns
            self._inputs = Inputs()
            for entering in self._entering:
                entering.clear()
        self.plc.start(self.belt.encoder(now_ns), retained)

    def scan(self, now_ns: int) -> Turn:
        """Move the world to `now_ns` and run the PLC program once, if it runs."""
        turn = Turn([], [], [], [], [])
        for edge in self.belt.advance(now_ns):
            self._latch(edge, turn)
        self._fire(now_ns)
        if self.running:
            self._run_program(now_ns, turn)
        self._tell(now_ns, turn)
        turn.scenes = self.belt.scenes(now_ns, now_ns + AHEAD_NS)
        return turn

    def vial(self, unit: UnitKey) -> Vial | None:
        """Return the glass body behind a unit, None for a phantom."""
        ordinal = self._vials.get(unit, 0)
        return self.belt.vials[ordinal - 1] if ordinal else None

    def _clock_us(self, at_ns: int) -> int:
        return (at_ns - self._clock_zero_ns) // 1000

    def _latch(self, edge: EyeEdge, turn: Turn) -> None:
        latch = Latch(self._clock_us(edge.at_ns), edge.encoder, edge.lane)
        if edge.eye is Eye.CHUTE:
            self._inputs.chute.extend([] if self.chute_blind else [latch])
        elif edge.eye is Eye.PASS:
            self._inputs.passed.append(latch)
        elif edge.eye is Eye.RESYNC:
            self._inputs.eyes.append((edge.index, latch))
        else:
            self._inputs.infeed.append(latch)
            first = edge.vial > self._newest_vial
            self._entering[edge.lane].append(edge.vial if first else 0)
            if first:
                self._newest_vial = edge.vial
                turn.infeed.append(edge.vial)

    def _fire(self, now_ns: int) -> None:
        due = [order for order in self._orders if order.due_ns is not None and order.due_ns <= now_ns]
        if not due:
            return
        self._orders = [order for order in self._orders if order.due_ns is None or order.due_ns > now_ns]
        for order in sorted(due, key=lambda item: item.due_ns or 0):
            at_ns, compare = order.due_ns or now_ns, order.compare
            encoder = compare.encoder if compare.at_us is None else self.belt.encoder(at_ns)
            self._inputs.fired.append(Fired(compare, self._clock_us(at_ns), encoder))

    def _run_program(self, now_ns: int, turn: Turn) -> None:
        inputs = self._inputs
        inputs.encoder = self.belt.encoder(now_ns)
        inputs.carrier = self.belt.carrier(now_ns)
        inputs.authority, inputs.switches = self.authority, self.switches
        out = self.plc.scan(self._clock_us(now_ns), inputs)
        if inputs.infeed or inputs.chute or inputs.passed or inputs.fired or inputs.eyes:
            self._inputs = Inputs()
        turn.events = out.events
        for event in out.events:
            if event.step is Step.CREATED:
                unit = (event.epoch, event.lane, event.number)
                self._vials[unit] = vial = self._entering[event.lane].popleft()
                turn.created.append((unit, vial))
        self._orders.extend(_Order(compare, self._due(compare, now_ns)) for compare in out.armed)
        self._obey(out, now_ns)

    def _obey(self, out: Outputs, now_ns: int) -> None:
        self.belt.set_gates(out.gates, now_ns)
        self.belt.set_channels(out.channels, now_ns)
        self.belt.open_infeed(out.infeed, now_ns)
        if out.belt != self._planned_run:
            self._planned_run = out.belt
            self.belt.run(out.belt, now_ns)
            for order in self._orders:
                order.due_ns = self._due(order.compare, now_ns)

    def _due(self, compare: Compare, now_ns: int) -> int | None:
        if compare.at_us is not None:
            return compare.at_us * 1000 + self._clock_zero_ns
        return self.belt.time_of(compare.encoder, now_ns)

    def _tell(self, now_ns: int, turn: Turn) -> None:
        for order in self._orders:
            if not order.told and order.due_ns is not None and order.due_ns <= now_ns + AHEAD_NS:
                order.told = True
                turn.pulses.append(self._pulse(order.compare, order.due_ns))

    def _pulse(self, compare: Compare, due_ns: int) -> Pulse:
        unit = (compare.epoch, compare.lane, compare.number)
        encoder = compare.encoder if compare.at_us is None else self.belt.encoder(due_ns)
        return Pulse(compare.station, due_ns, encoder, unit, self._vials.get(unit, 0))
