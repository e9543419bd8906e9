"""One lane of the PLC program: units from the infeed eye to their confirmation, and the lane's gate. Pure.

Nothing is passed by default: the gate is energised for the window of one unit whose permit was valid at its decision
point, and rests (diverts) for everything else, known or unknown.
"""

from collections import deque
from collections.abc import Iterator

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_eyes import Eyes
from drivers.gate.plc_io import MAX_U32, Cause, Flag, Inputs, Key, Latch, PlcSpec, Step, Unit, UnitEvent
from drivers.gate.plc_permits import Device


class Lane:
    """Owned by Plc. Units are in order of creation; `events` is emptied by Plc after each scan."""

    def __init__(self, index: int, spec: PlcSpec, bank: Bank, device: Device) -> None:
        self._index = index
        self._spec = spec
        self._bank = bank
        self._device = device
        block = bank.map.lane
        self._at = {name: block.at(index) + item.offset for name, item in block.fields.items()}
        self.eyes = Eyes(spec.eyes)
        self._end = max(spec.chute_eye, spec.pass_eye) + spec.window
        self._next = 1
        self._ahead: deque[Unit] = deque()
        self._past: list[Unit] = []
        self.events: list[UnitEvent] = []
        self._forget()

    def _forget(self) -> None:
        """Clear what no memory retains."""
        self._closed: deque[Unit] = deque(maxlen=8)
        self._last_diverted: Unit | None = None
        self._open_for: Unit | None = None
        self._chute_for: Unit | None = None
        self.eyes.forget()
        self.refused = 0
        self.last_cause = Cause.NONE
        self.stray_pass = 0
        self.stray_chute = 0

    def start(self, encoder: int, retained: bool) -> None:
        """The program starts. Retained: the next number and the units in flight.

        Without memory, bodies that were past the gate already are strays; the device knows whose they were.
        """
        self._forget()
        if not retained:
            self._next = 1
            self._ahead.clear()
            self._past.clear()
        for unit in self.units():
            unit.flags |= Flag.SURVIVED_RESTART

    @property
    def gate(self) -> bool:
        """True while the gate is energised: pass."""
        return self._open_for is not None

    @property
    def channel(self) -> int:
        """Where a diverted body goes now; 0 (critical) but for the window of a unit with another channel."""
        return self._chute_for.channel if self._chute_for else 0

    @property
    def in_flight(self) -> int:
        """Units created and not closed."""
        return len(self._ahead) + len(self._past)

    def units(self) -> Iterator[Unit]:
        """Yield the units created and not closed, oldest first."""
        yield from self._past
        yield from self._ahead

    def rest(self) -> None:
        """Let the gate fall."""
        self._open_for = self._chute_for = None

    def count_anew(self) -> None:
        """A new epoch begins."""
        for name in ("passed", "diverted", "created"):
            self._bank.put(self._at[name], 0)

    def create(self, latch: Latch, barred: Cause = Cause.NONE) -> Unit:
        """The infeed eye saw a body: number it and clear its slots."""
        number, self._next = self._next, self._next % MAX_U32 + 1
        unit = Unit(self._index, self._device.epoch, number, latch.encoder, *self._device.place(self._index, number))
        unit.barred = barred
        self._ahead.append(unit)
        self._device.consume(unit)
        entry = {"epoch": unit.epoch, "number": number, "encoder": latch.encoder, "time_us": latch.time_us}
        self._bank.append(self._bank.map.unit, self._index, self._at["created_seq"], entry)
        self._bank.add(self._at["created"])
        self._tell(Step.CREATED, unit)
        return unit

    def eye_edge(self, eye: int, latch: Latch) -> Unit | None:
        """A re-sync eye saw a body. Return the unit that may now be ordered for, if any."""
        return self.eyes.edge(eye, latch, self._ahead)

    def chute_edge(self, latch: Latch) -> None:
        """The chute eye saw a body."""
        if not self._credit(latch, self._spec.chute_eye, Flag.CHUTE_SEEN):
            self.stray_chute += 1

    def pass_edge(self, latch: Latch) -> None:
        """The pass eye saw a body."""
        if not self._credit(latch, self._spec.pass_eye, Flag.PASS_SEEN):
            self.stray_pass += 1

    def _credit(self, latch: Latch, eye: int, flag: Flag) -> bool:
        """Credit a body to the unit that is due at the eye, the nearest if there are two."""
        near = [(abs(unit.travelled(latch.encoder) - eye), unit) for unit in self._past]
        due = [(distance, unit) for distance, unit in near if distance <= self._spec.window]
        if not due:
            return False
        min(due, key=lambda item: item[0])[1].flags |= flag
        return True

    def track(self, now_us: int, inputs: Inputs) -> None:
        """Decide units at the gate, notice permits, close what was seen or should have been."""
        encoder = inputs.encoder
        self.eyes.miss(encoder, self._ahead)
        while self._ahead and self._ahead[0].travelled(encoder) >= self._spec.decide:
            unit = self._ahead.popleft()
            self._past.append(unit)
            self._decide(unit, inputs)
        words = self._bank.words
        for unit in self._ahead:
            if not unit.permit_seen and words[unit.slot_at + 1] == unit.number & 0xFFFF:
                self._look(unit)
        for unit in [u for u in self._past if u.seen or u.travelled(encoder) > self._end]:
            self._past.remove(unit)
            self._close(unit, now_us)
        if self._open_for and self._open_for.travelled(encoder) >= self._spec.release:
            self._open_for = None
        if self._chute_for and self._chute_for.travelled(encoder) >= self._spec.release:
            self._chute_for = None

    def _look(self, unit: Unit) -> None:
        if not unit.permit_seen and self._device.alive and self._device.slot_cause(unit) is Cause.NONE:
            unit.permit_seen = True
            self._tell(Step.PERMIT_SEEN, unit)

    def _decide(self, unit: Unit, inputs: Inputs) -> None:
        """Decide at the ejector's lead; the permit is used up whatever it was worth."""
        if not unit.permit_seen:
            self._look(unit)
        barred = unit.barred if inputs.authority != Key.LEGACY else Cause.NONE
        unit.cause = barred or self._device.cause(unit, inputs.authority, inputs.legacy_accept)
        channel = self._device.channel(unit)
        self._device.consume(unit)
        close = self._blocked(unit)
        if unit.cause is Cause.NONE and close:
            unit.cause = Cause.TOO_CLOSE
        if unit.cause is Cause.NONE:
            self._open_for, self._chute_for = unit, None
            unit.flags |= Flag.NONE if inputs.authority == Key.LEGACY else Flag.PERMITTED
        else:
            self._open_for, self._chute_for, self._last_diverted = None, unit, unit
            unit.flags |= Flag.DIVERTED
            unit.channel = 0 if close else channel
            self.last_cause = unit.cause
            self.refused += 1
        if unit.epoch == self._device.epoch:
            self._bank.add(self._at["diverted" if unit.cause else "passed"])
        self._tell(Step.DECIDED, unit)

    def _blocked(self, unit: Unit) -> bool:
        """One movement of gate or chute cannot part it from the diverted one before it: critical takes it."""
        return self._last_diverted is not None and unit.gap(self._last_diverted) < self._spec.clear

    def _close(self, unit: Unit, now_us: int) -> None:
        if not unit.seen and any(o.seen and o.gap(unit) < self._spec.phantom for o in (*self._closed, *self._past)):
            unit.flags |= Flag.PHANTOM
        if not unit.seen and unit.barred in (Cause.LOST, Cause.OFF_POCKET):
            unit.flags |= Flag.PHANTOM
        self._closed.append(unit)
        entry = {"epoch": unit.epoch, "number": unit.number, "flags": unit.word, "cause": unit.cause}
        self._bank.append(self._bank.map.closed, self._index, self._at["closed_seq"], entry | {"time_us": now_us})
        self._tell(Step.CLOSED, unit)

    def _tell(self, step: Step, unit: Unit) -> None:
        self.events.append(UnitEvent(step, unit.lane, unit.epoch, unit.number, unit.word, unit.cause))
