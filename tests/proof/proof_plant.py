"""Belt, counter module and gate program without ticks: a scan is played only where it can change something.

The program runs on its 2 ms grid. A scan is due after a latch or a write, where a unit reaches a distance that the
program compares with, when its heartbeat is due, and when the device's heartbeat grows too old. What is left out would
have changed nothing; `dense` plays every scan, and a test compares the two.
"""

import heapq
from collections import deque
from collections.abc import Callable

from proof_agenda import FOREVER_NS, START_NS, Agenda, Alarm
from proof_belt import ProofBelt

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Fired, Inputs, Key, Latch, Outputs, PlcSpec, Step, UnitEvent
from drivers.gate.plc_logic import HEARTBEAT_US, SCAN_US, Plc
from drivers.gate.plc_permits import AUTOMATIC, HEARTBEAT_TIMEOUT_US
from drivers.registers import RegisterMap, split, u32
from drivers.sim.belt import Eye, EyeEdge

SCAN_NS = SCAN_US * 1000
CLOCK_START_US = 0xFFFFFFFF - 3_000_000
ALIVE_GRANTED, ABORTED = 0b1100, 0b10000
UnitKey = tuple[int, int, int]
Trigger = Callable[[int, int, int], None]


class Plant:
    """Owned by the World. `trigger(station, due_ns, vial)` is the wire to the cameras, `news` calls the line's poll."""

    def __init__(self, agenda: Agenda, belt: ProofBelt, spec: PlcSpec, registers: RegisterMap, dense: bool) -> None:
        self.belt = belt
        self.bank = Bank(registers)
        self.program = Plc(spec, self.bank)
        self.trigger: Trigger = lambda *_: None
        self.news: Callable[[], None] = lambda: None
        self.beaten: Callable[[], None] = lambda: None
        self.told: Callable[[UnitEvent], None] = lambda _: None
        self.entered: Callable[[EyeEdge], bool] = lambda _: True
        self.authority: int = Key.LINEWARDEN
        self.running = True
        self.vials: dict[UnitKey, int] = {}
        self.honours = False
        self.dishonoured_ns: list[int] = []
        self.scans = self.started_ns = 0
        self._agenda, self._spec, self._dense = agenda, spec, dense
        self._alarm = Alarm(agenda, self._step)
        self._zero_ns = START_NS - CLOCK_START_US * 1000
        self._inputs = Inputs()
        self._entering: deque[int] = deque()
        self._seen: set[int] = set()
        self._orders: list[tuple[int, int, Compare]] = []
        self._marks: list[tuple[int, int]] = []
        self._scan_at = START_NS + SCAN_NS
        self._beats = self._device_beat = -1
        self._beat_at = self._stale_at = FOREVER_NS
        self._count = self._beat_in_ns = 0
        self._belt_on = self._ordered = False
        self._free = True
        at = {name: field.offset for name, field in registers.registers.items()}
        self._at_beat, self._at_device, self._at_state = at["plc_heartbeat"], at["device_heartbeat"], at["plc_state"]
        self._at_mode = at["line_mode"]
        self.bank.refresh = self._refresh
        self.program.start(belt.encoder(START_NS))
        self._alarm.at(self._scan_at)

    def write(self, address: int, words: list[int]) -> None:
        """A request writes registers, between two scans."""
        if address == self._at_device and words[2:4] == split(self._spec.device_identity):
            self._beat_in_ns = self._agenda.now
        self.bank.write(address, words)
        self.touch()

    def touch(self) -> None:
        """Something changed that the next scan looks at."""
        self._want(self._agenda.now + 1)
        self._alarm.at(self._scan_at)

    def latch(self, eye: Eye) -> None:
        """An eye sees something that is no body."""
        now = self._agenda.now
        for edge in (*self.belt.advance(now), EyeEdge(eye, now, self.belt.encoder(now), 0)):
            self._latch(edge)
        self.touch()

    def bounce(self, after_mm: float) -> None:
        """The infeed eye sees the newest vial a second time."""
        if self.belt.vials:
            self.belt.bounce(len(self.belt.vials), after_mm)
            self._alarm.at(self._agenda.now)

    def drive(self, free: bool) -> None:
        """Somebody stops the drive, whatever the program orders, or lets it go on."""
        self._free = free
        self._move(self._ordered and free)
        self._alarm.at(self._agenda.now)

    def stop(self) -> None:
        """The program stops; outputs fall, orders to the counter module are gone."""
        self.running = False
        self._orders.clear()
        self._obey(self.program.stop())
        self._note_honour(False)

    def start(self, retained: bool) -> None:
        """The program starts, with its memory or after a loss of power without."""
        now = self.started_ns = self._agenda.now
        self.running = True
        if not retained:
            self._zero_ns = now
            self._inputs = Inputs()
            self._entering.clear()
        self.program.start(self.belt.encoder(now), retained)
        self._beats = self._device_beat = -1
        self.touch()

    def _refresh(self) -> None:
        now = self._agenda.now
        self.bank.set("clock_us", self._clock_us(now))
        self.bank.set("encoder", self.belt.encoder(now))

    def _clock_us(self, at_ns: int) -> int:
        return (at_ns - self._zero_ns) // 1000

    def _want(self, at_ns: int) -> None:
        grid = -(-at_ns // SCAN_NS) * SCAN_NS
        self._scan_at = min(self._scan_at, grid)

    def _step(self) -> None:
        now = self._agenda.now
        for edge in self.belt.advance(now):
            self._latch(edge)
        self._fire(now)
        while self._marks and self._marks[0][0] <= now:
            heapq.heappop(self._marks)
            self._want(now)
        if now >= self._scan_at:
            self._scan_at = FOREVER_NS
            if self.running:
                self._scan(now)
        self._plan(now)

    def _latch(self, edge: EyeEdge) -> None:
        latch = Latch(self._clock_us(edge.at_ns), edge.encoder)
        inputs = self._inputs
        if edge.eye is Eye.CHUTE:
            inputs.chute.append(latch)
        elif edge.eye is Eye.PASS:
            inputs.passed.append(latch)
        elif self.entered(edge):
            inputs.infeed.append(latch)
            self._entering.append(0 if edge.vial in self._seen else edge.vial)
            self._seen.add(edge.vial)
        self._want(self._agenda.now)

    def _fire(self, now: int) -> None:
        while self._orders and self._orders[0][0] <= now:
            due, _, order = heapq.heappop(self._orders)
            encoder = order.encoder if order.at_us is None else self.belt.encoder(due)
            self._inputs.fired.append(Fired(order, self._clock_us(due), encoder))
            self._want(now)
            self.trigger(order.station, due, self.vials.get((order.epoch, order.lane, order.number), 0))

    def _scan(self, now: int) -> None:
        self.scans += 1
        inputs = self._inputs
        inputs.encoder, inputs.authority = self.belt.encoder(now), self.authority
        out = self.program.scan(self._clock_us(now), inputs)
        heard = bool(inputs.infeed or inputs.chute or inputs.passed or inputs.fired)
        if heard:
            self._inputs = Inputs()
        for event in out.events:
            if event.step is Step.CREATED:
                self.vials[event.epoch, event.lane, event.number] = self._entering.popleft()
            self.told(event)
        for latch in inputs.infeed:
            self._mark(latch.encoder)
        for compare in out.armed:
            self._order(compare)
        self._obey(out)
        self._watch(now)
        if heard or any(event.step is Step.CLOSED for event in out.events):
            self.news()

    def _watch(self, now: int) -> None:
        """Note heartbeats and whether a valid permit would pass a unit at this moment."""
        words = self.bank.words
        if words[self._at_beat] != self._beats:
            self._beats, self._beat_at = words[self._at_beat], now + HEARTBEAT_US * 1000
            self.beaten()
        if words[self._at_device] != self._device_beat:
            self._device_beat, self._stale_at = words[self._at_device], now + HEARTBEAT_TIMEOUT_US * 1000 + 1
        state = words[self._at_state]
        good = state & ALIVE_GRANTED == ALIVE_GRANTED and not state & ABORTED
        self._note_honour(good and self.authority == Key.LINEWARDEN and words[self._at_mode] == AUTOMATIC)

    @property
    def lets_pass(self) -> bool:
        """Whether anything may pass by the truth: a heartbeat of our device in time, the key, the mode."""
        words, now = self.bank.words, self._agenda.now
        mine = u32(words, self._at_device + 2) == self._spec.device_identity
        beats = now - self._beat_in_ns <= HEARTBEAT_TIMEOUT_US * 1000 + SCAN_NS
        return mine and beats and self.authority == Key.LINEWARDEN and words[self._at_mode] == AUTOMATIC

    def _note_honour(self, honours: bool) -> None:
        if self.honours and not honours:
            self.dishonoured_ns.append(self._agenda.now)
        self.honours = honours

    def _mark(self, encoder: int) -> None:
        """The program will compare the travel of this unit with three distances."""
        spec = self._spec
        for counts in (spec.decide, spec.release, max(spec.chute_eye, spec.pass_eye) + spec.window + 1):
            heapq.heappush(self._marks, self._timed((encoder + counts) & 0xFFFFFFFF))

    def _timed(self, encoder: int) -> tuple[int, int]:
        due = self.belt.time_of(encoder, self._agenda.now)
        return (FOREVER_NS if due is None else due + 1000), encoder

    def _order(self, compare: Compare) -> None:
        self._count += 1
        heapq.heappush(self._orders, (self._due(compare), self._count, compare))

    def _due(self, compare: Compare) -> int:
        if compare.at_us is not None:
            return compare.at_us * 1000 + self._zero_ns
        due = self.belt.time_of(compare.encoder, self._agenda.now)
        return FOREVER_NS if due is None else due

    def _obey(self, out: Outputs) -> None:
        now = self._agenda.now
        self.belt.set_gate(out.gates[0], now)
        self.belt.open_infeed(out.infeed, now)
        self._ordered = out.belt
        self._move(out.belt and self._free)

    def _move(self, running: bool) -> None:
        if running != self._belt_on:
            self._belt_on = running
            self.belt.run(running, self._agenda.now)
            self._orders = [(self._due(compare), order, compare) for _, order, compare in self._orders]
            heapq.heapify(self._orders)
            self._marks = [self._timed(encoder) for _, encoder in self._marks]
            heapq.heapify(self._marks)

    def _plan(self, now: int) -> None:
        if self._stale_at <= now:
            self._stale_at = FOREVER_NS
        if self._dense:
            self._want(now + 1)
        if self.running:
            self._want(min(self._beat_at, self._stale_at))
        dues = [self._scan_at, self._orders[0][0] if self._orders else FOREVER_NS]
        eye, mark = self.belt.due(), self._marks[0][0] if self._marks else FOREVER_NS
        for due in (mark, FOREVER_NS if eye is None else eye):
            dues.append(-(-due // SCAN_NS) * SCAN_NS)
        self._alarm.at(max(min(dues), now + 1))
