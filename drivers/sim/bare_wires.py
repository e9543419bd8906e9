"""The machine without a PLC: watchdog relay, diverter, run chain and a trigger follower, all of them wires. Pure.

Gate, belt and infeed are energised only while the device's line is high *and* the relay is closed; the relay stays
closed for `watchdog_ms` after each change of the watchdog line. The follower is a preset counter module of its own: it
pulses every camera's trigger at its distance behind each infeed edge, whether the device lives or not, and on the sync
line.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from daemon.config import Diverter
from drivers.gate.plc_io import MAX_U32, Compare, Inputs, Latch, Outputs, Place, Step, UnitEvent

SYNC_AFTER_US = 30_000


@dataclass(frozen=True, slots=True)
class Wire:
    """One edge or order on a line, time in us of the machine's clock."""

    offset: int
    level: bool
    at_us: int


class BareWires:
    """A Program of Machine. `hear` returns the device's orders so far; `edges` are emptied by the front.

    `scanned_us` is the time of the last scan; a `stuck` relay never closes, a `welded` one never opens.
    """

    def __init__(self, wiring: Diverter, places: Iterable[Place]) -> None:
        self._wiring = wiring
        self._places = tuple(places)
        self._triggers = dict(zip((place.station for place in self._places), wiring.triggers, strict=True))
        self._watchdog_us = int(wiring.watchdog_ms * 1000)
        self._out = Outputs([False], [0])
        self._orders: deque[Wire] = deque()
        self._outputs: dict[int, bool] = {}
        self._toggled_us: int | None = None
        self.scanned_us = 0
        self._encoder = -1
        self._fresh = True
        self._bodies = 0
        self.relay_closed = False
        self.stuck = self.welded = False
        self.hear: Callable[[], Sequence[Wire]] = list
        self.edges: list[Wire] = []

    @property
    def in_flight(self) -> int:
        """The wires follow nobody."""
        return 0

    @property
    def strays(self) -> tuple[int, int]:
        return 0, 0

    @property
    def gate(self) -> bool:
        """True while the gate is energised: pass."""
        return self._out.gates[0]

    def stop(self) -> Outputs:
        """The supply of relay and follower fails."""
        self._toggled_us = None
        self._out = Outputs([False], [0])
        return self._out

    def start(self, encoder: int, retained: bool = True) -> None:
        """The supply is back; the clock may begin anew. The encoder's pulses meanwhile are told with the next scan."""
        self._encoder = encoder if self._encoder < 0 else self._encoder
        self._orders.clear()
        self._fresh = True

    def scan(self, now_us: int, inputs: Inputs) -> Outputs:
        """Move the wires to `now_us`."""
        out = self._out
        out.armed, out.events = [], []
        self._orders.extend(self._heard(now_us))
        while self._orders and self._orders[0].at_us <= now_us:
            self._obey(self._orders.popleft(), now_us)
        self._relay(now_us)
        closed, level = self.relay_closed, self._outputs.get
        out.gates = [closed and bool(level(self._wiring.gate))]
        out.belt = closed and bool(level(self._wiring.run))
        out.infeed = out.belt and bool(level(self._wiring.admit))
        for latch in inputs.infeed:
            self._follow(latch)
        self._tell(now_us, inputs)
        self.scanned_us = now_us
        return out

    def _heard(self, now_us: int) -> Sequence[Wire]:
        """Return the device's new orders; times of the clock before a start mean nothing after it."""
        heard, fresh, self._fresh = self.hear(), self._fresh, False
        if not fresh:
            return heard
        self.scanned_us = now_us
        return [Wire(order.offset, order.level, now_us) for order in heard]

    def _obey(self, order: Wire, now_us: int) -> None:
        rising = order.level and not self._outputs.get(order.offset)
        if order.offset == self._wiring.watchdog and order.level != self._outputs.get(order.offset, False):
            self._relay(order.at_us)
            self._toggled_us = order.at_us
        if rising and order.offset == self._wiring.sync:
            due = now_us + SYNC_AFTER_US
            self._out.armed += [Compare(place.station, 0, due, 0, 0, 0, 0) for place in self._places]
        self._outputs[order.offset] = order.level

    def _relay(self, at_us: int) -> None:
        """Let the relay follow the watchdog line up to a time."""
        opens_us = self._toggled_us + self._watchdog_us if self._toggled_us is not None else at_us
        closed = self._toggled_us is not None and at_us <= opens_us and not self.stuck
        closed |= self.welded
        if closed != self.relay_closed:
            self.relay_closed = closed
            self.edges.append(Wire(self._wiring.relay_closed, closed, at_us if closed else opens_us))

    def _follow(self, latch: Latch) -> None:
        """The follower presets every camera for a body. Its number exists for the truth log only."""
        self._bodies += 1
        self._out.events.append(UnitEvent(Step.CREATED, 0, 0, self._bodies, 0, 0))
        for place in self._places:
            for shot in range(place.shots):
                at = (latch.encoder + place.at + shot * place.pitch) & MAX_U32
                self._out.armed.append(Compare(place.station, at, None, 0, 0, self._bodies, shot))

    def _tell(self, now_us: int, inputs: Inputs) -> None:
        """Put the edges since the last scan on the lines, an encoder pulse before what happened at its count."""
        found: list[tuple[int, int, Wire]] = []
        ahead = (inputs.encoder - self._encoder) & MAX_U32
        for step in range(1, ahead + 1):
            at_us = self.scanned_us + (now_us - self.scanned_us) * step // ahead
            found.append((2 * step, at_us, Wire(self._wiring.encoder, True, at_us)))
        for offset, encoder, at_us in self._latched(inputs):
            count = min((encoder - self._encoder) & MAX_U32, ahead) if encoder != self._encoder else 0
            found.append((2 * count + 1, at_us, Wire(offset, True, at_us)))
        self._encoder = inputs.encoder
        self.edges += [wire for *_, wire in sorted(found, key=lambda item: item[:2])]

    def _latched(self, inputs: Inputs) -> Iterable[tuple[int, int, int]]:
        wiring = self._wiring
        eyes = ((wiring.infeed, inputs.infeed), (wiring.chute, inputs.chute), (wiring.passed, inputs.passed))
        for offset, latches in eyes:
            yield from ((offset, latch.encoder, latch.time_us) for latch in latches)
        for fired in inputs.fired:
            yield self._triggers[fired.compare.station], fired.encoder, fired.time_us
