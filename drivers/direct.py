"""Direct wiring: no PLC. The gate program runs in this process, over digital lines, and answers as a PLC would.

Nothing here passes a body by doing nothing: the gate must be energised to pass, its supply and the belt's run chain go
through a watchdog relay that drops when this loop stops toggling its line, and an encoder that falls silent lets the
gate rest. What the gate program knows dies with this process; daemon/line accounts for the units of an earlier life.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.errors import DeviceLost, DeviceRefused
from drivers.gate.latches import Latches, Roles
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Outputs, PlcSpec
from drivers.gate.plc_logic import Plc
from drivers.gpio import Lines
from drivers.links import Reply
from drivers.registers import RegisterMap

SCAN_NS = 2_000_000
TOGGLE_NS = 8_000_000
SILENT_US = 20_000
RETRY_NS = 100_000_000
RELAY_NS = 1_000_000_000
PROOF_NS = 100_000_000
TOLD = "told"


@dataclass(frozen=True, slots=True)
class DirectSpec:
    """The gate program's settings and the line offsets. `admit` energised lets bodies in, `run` moves the belt."""

    plc: PlcSpec
    roles: Roles
    relay_closed: int
    gate: int
    watchdog: int
    run: int
    admit: int
    sync: int

    @property
    def outputs(self) -> tuple[int, ...]:
        return (self.gate, self.watchdog, self.run, self.admit, self.sync)


@dataclass(frozen=True, slots=True)
class _Request:
    tag: str
    address: int
    count: int
    words: Sequence[int]
    index: int
    seq: int


class DirectLink:
    """A RegisterLink whose other side is this process: reads are answered at once from the gate program's registers.

    The link is up while the lines are open and the watchdog relay is closed. `service` runs the gate program every
    SCAN_NS, then drives the outputs, then toggles the watchdog: no work, no toggling.
    """

    def __init__(
        self,
        open_lines: Callable[[], Lines],
        registers: RegisterMap,
        spec: DirectSpec,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._open = open_lines
        self._spec = spec
        self._clock = clock
        self._bank = Bank(registers)
        self._program = Plc(spec.plc, self._bank)
        self._latches = Latches(spec.roles)
        self._lines: Lines | None = None
        self._remembers = False
        self._writes: deque[_Request] = deque()
        self._reads: deque[_Request] = deque()
        self._trouble = ""
        self._shots: list[int] = []
        self._fell = ""
        self._ticking = False
        self._scan_ns = self._toggle_ns = self._retry_ns = self._open_ns = 0
        self._up = False

    @property
    def up(self) -> bool:
        return self._up

    @property
    def idle(self) -> bool:
        return not (self._writes or self._reads)

    def fileno(self) -> int:
        return self._lines.fileno() if self._lines else -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        if self._up:
            self._reads.append(_Request(tag, address, count, (), index, seq))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        if self._up:
            self._writes.append(_Request(tag, address, len(words), words, index, seq))

    def connect(self, now_ns: int) -> bool:
        """Open the lines, see the relay open, then keep toggling until it has closed; return True when it has."""
        if self._up or (self._lines is None and not self._opened(now_ns)):
            return False
        try:
            self._hear()
            self._up = self._lines is not None and self._relay_follows(self._lines, now_ns)
        except DeviceLost as error:
            self._trouble = str(error)
            self._drop()
        if self._up:
            self._begin(now_ns)
        return self._up

    def service(self, now_ns: int) -> list[Reply]:
        if not self._up:
            return self._told()
        try:
            self._hear()
            if self._fell:
                raise DeviceLost(self._fell)
            replies = [self._wrote(self._writes.popleft()) for _ in range(len(self._writes))]
            if now_ns >= self._scan_ns:
                self._scan_ns = now_ns + SCAN_NS
                self._scan(now_ns)
            return replies + [self._answered(self._reads.popleft()) for _ in range(len(self._reads))]
        except DeviceLost:
            keep = self._fell
            self._fall()
            if not keep:
                self._drop()
            raise

    def close(self) -> None:
        """Let every output fall; the relay follows."""
        self._fall()
        self._drop()

    def _opened(self, now_ns: int) -> bool:
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + RETRY_NS
        self._open_ns = now_ns
        try:
            self._lines = self._open()
        except DeviceRefused as error:
            self._trouble = self._trouble or str(error)
            return False
        self._remembers = False
        return True

    def _relay_follows(self, lines: Lines, now_ns: int) -> bool:
        """Prove the relay before it is trusted: open while nothing toggles, closed once this loop does."""
        closed, late = lines.level(self._spec.relay_closed), now_ns - self._retry_ns > RELAY_NS
        if now_ns - self._open_ns < PROOF_NS:
            self._open_ns = now_ns if closed else self._open_ns
            welded = "the watchdog relay is closed although nothing toggles it: welded, bridged or miswired"
            self._trouble = self._trouble or (welded if closed and late else "")
            return False
        self._toggle(now_ns)
        dead = "the watchdog relay does not close: check its supply and wiring"
        self._trouble = self._trouble or (dead if late and not closed else "")
        return closed

    def _told(self) -> list[Reply]:
        """Say once why the link does not come up."""
        trouble, self._trouble = self._trouble, TOLD if self._trouble else ""
        if trouble not in ("", TOLD):
            raise DeviceLost(trouble)
        return []

    def _begin(self, now_ns: int) -> None:
        """The relay closed: start the gate program. It keeps its units, and what was latched, if no pulse was lost."""
        self._fell = self._trouble = ""
        if not self._remembers:
            self._latches.take()
        self._latches.forget_orders()
        self._program.start(self._latches.count, retained=self._remembers)
        self._remembers = True
        self._scan_ns = now_ns

    def _hear(self) -> None:
        """Take the edges. A relay that opens while this loop toggles had a cause: a stall, its supply, or its chain."""
        for edge in self._lines.edges() if self._lines else ():
            if edge.offset != self._spec.relay_closed:
                self._latches.edge(edge.offset, edge.at_ns // 1000)
            elif not edge.rising and self._up:
                self._fell = "the watchdog relay opened: this computer stalled, or the relay lost its supply"

    def _scan(self, now_ns: int) -> None:
        now_us = now_ns // 1000
        inputs = self._latches.take()
        out = self._program.scan(now_us, inputs)
        self._latches.order(out.armed)
        self._shoot(out.armed, now_us)
        self._obey(out, now_us)
        self._toggle(now_ns)

    def _obey(self, out: Outputs, now_us: int) -> None:
        """Drive the outputs. Without a fresh encoder pulse nobody knows where the bodies are, and the gate rests."""
        pulses = self._latches.pulse_us >= 0 and now_us - self._latches.pulse_us <= SILENT_US
        self._drive(self._spec.gate, out.gates[0] and pulses)
        self._drive(self._spec.run, out.belt)
        self._drive(self._spec.admit, out.infeed)

    def _shoot(self, armed: Sequence[Compare], now_us: int) -> None:
        """Sync shots: one pulse fires every camera, so stations that are due together share it."""
        self._shots = sorted({*self._shots, *(order.at_us for order in armed if order.at_us is not None)})
        due = bool(self._shots) and self._shots[0] <= now_us
        if due:
            self._shots.pop(0)
        self._drive(self._spec.sync, due)

    def _toggle(self, now_ns: int) -> None:
        if now_ns >= self._toggle_ns:
            self._toggle_ns = now_ns + TOGGLE_NS
            self._ticking = not self._ticking
            self._drive(self._spec.watchdog, self._ticking)

    def _drive(self, offset: int, level: bool) -> None:
        if self._lines is not None:
            self._lines.set(offset, level)

    def _fall(self) -> None:
        """Every output at rest, and no more toggling until `connect`."""
        self._up = False
        self._retry_ns = self._open_ns = self._clock()
        self._writes.clear()
        self._reads.clear()
        self._shots.clear()
        self._program.stop()
        try:
            for offset in self._spec.outputs:
                self._drive(offset, False)
        except DeviceLost:
            self._drop()

    def _drop(self) -> None:
        """Give the lines up; pulses are lost from now on, so the gate program forgets its units."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _wrote(self, request: _Request) -> Reply:
        now, words = self._clock(), request.words
        if not self._bank.writable(request.address, request.count):
            raise DeviceLost(f"the gate program refused {request.tag}: not the device's to write")
        self._bank.write(request.address, words)
        return Reply(request.tag, request.index, request.seq, [], now, now)

    def _answered(self, request: _Request) -> Reply:
        now, end = self._clock(), request.address + request.count
        if not self._bank.covers(request.address, request.count):
            raise DeviceLost(f"the gate program refused {request.tag}: there are no such registers")
        self._bank.set("clock_us", now // 1000)
        self._bank.set("encoder", self._latches.count)
        return Reply(request.tag, request.index, request.seq, list(self._bank.words[request.address : end]), now, now)
