"""A reject board's core at one end, the device's driver at the other, and between them a line that does what it likes.

Both ends live on one clock that the test moves, a millisecond a step; the bytes go through memory or a real pty.
"""

import contextlib
import os
import pty
import random
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field

from drivers.errors import DeviceLost
from drivers.gate.plc_io import Compare, Fired, Inputs, Latch, Outputs, Place, PlcSpec, Step
from drivers.plc_link import Closed, Created, EpochGranted, Event, LinkUp, Plc, PlcRestarted, Settings
from drivers.registers import load_map
from drivers.serial_board import BoardLink
from drivers.serial_transport import SerialTransport
from drivers.sim.board_program import BoardProgram
from drivers.transports import Transport

DEVICE, BOARD, AUTOMATIC, RUN, EXECUTE = 1001, 2001, 2, 1, 6
MS = 1_000_000
COUNTS, PITCH, BAUD = 24, 1500, 921_600
GATE = 6_000
SPEC = PlcSpec(
    identity=BOARD,
    device_identity=DEVICE,
    lanes=1,
    stations=(Place(0, 1500),),
    decide=GATE - 300,
    release=GATE + 300,
    chute_eye=7_000,
    pass_eye=7_000,
    window=500,
    clear=340,
    phantom=400,
)
SETTINGS = Settings(DEVICE, BOARD, 1, (0,), 4 * MS, 20 * MS, 80 * MS)
MAP = load_map()


@dataclass
class Mischief:
    """What the line does to what is said, chances per chunk of bytes."""

    seed: int = 0
    noise: float = 0.0
    drop: float = 0.0
    flip: float = 0.0
    double: float = 0.0
    swap: float = 0.0
    cut: float = 0.0
    delay: float = 0.0
    late: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._steps = 0

    def spoil(self, data: bytes) -> bytes:
        """Return what arrives in this step of what was sent in it."""
        self._steps += 1
        dice = self._random
        chunks = [data] if data else []
        if chunks and dice.random() < self.delay:
            self.late.append((self._steps + dice.randint(1, 150), chunks.pop()))
        chunks += [late for due, late in self.late if due <= self._steps]
        self.late = [item for item in self.late if item[0] > self._steps]
        if len(chunks) > 1 and dice.random() < self.swap:
            dice.shuffle(chunks)
        chunks = [piece for chunk in chunks for piece in self._chunk(chunk)]
        if dice.random() < self.noise:
            chunks.insert(dice.randint(0, len(chunks)), dice.randbytes(dice.randint(1, 300)))
        return b"".join(chunks)

    def _chunk(self, data: bytes) -> Iterator[bytes]:
        dice = self._random
        if dice.random() < self.cut:
            data = data[: dice.randint(0, len(data))]
        if data and dice.random() < self.flip:
            place = dice.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ 1 << dice.randrange(8),)) + data[place + 1 :]
        if dice.random() >= self.drop:
            yield data
        if dice.random() < self.double:
            yield data


class Memory:
    """A Transport through memory. `there` False: the port is gone."""

    name = "memory"

    def __init__(self) -> None:
        self.to_device, self.to_board = b"", b""
        self.there, self._open = True, False

    def fileno(self) -> int:
        return -1

    def open(self) -> None:
        if not self.there:
            raise DeviceLost("no such port")
        self._open, self.to_device = True, b""

    def ready(self) -> bool:
        return True

    def receive(self) -> bytes:
        if not (self.there and self._open):
            raise DeviceLost("gone")
        data, self.to_device = self.to_device, b""
        return data

    def send(self, data: bytes) -> int:
        self.to_board += data
        return len(data)

    def close(self) -> None:
        self._open = False

    def swap(self, out: bytes) -> bytes:
        """Hand the board's bytes over; returns the device's."""
        data, self.to_board = self.to_board, b""
        self.to_device += out if self._open else b""
        return data


class Pty:
    """The board's end of a pty; the device opens the other end by name, as it opens a serial port."""

    def __init__(self) -> None:
        self.ends = pty.openpty()
        for end in self.ends:
            tty.setraw(end)
        os.set_blocking(self.ends[0], False)
        self.transport = SerialTransport(os.ttyname(self.ends[1]), BAUD, "none")

    def swap(self, out: bytes) -> bytes:
        with contextlib.suppress(BlockingIOError):
            os.write(self.ends[0], out) if out else None
        with contextlib.suppress(BlockingIOError):
            return os.read(self.ends[0], 4096)
        return b""

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


class BoardLine:
    """Board, belt and driver. `granted` is all that was ever permitted, `permitted` what was not revoked at once,
    `spared` the units let pass. `dead`: the line process does not run."""

    def __init__(self, wire: Memory | Pty, seed: int = 0) -> None:
        self.wire = wire
        self.now_ns = 10**12
        self.board = BoardProgram(SPEC)
        self.board.start(0, retained=False)
        self.mischief = Mischief(), Mischief()
        self.permitting = True
        self.dead = False
        self.granted: set[tuple[int, int]] = set()
        self.permitted: set[tuple[int, int]] = set()
        self.spared: set[tuple[int, int]] = set()
        self.made: list[tuple[int, int]] = []
        self.made_ns: list[int] = []
        self.closed: list[tuple[int, int]] = []
        self.events: list[Event] = []
        self.sending = True
        self._random = random.Random(seed)
        self._inputs = Inputs()
        self._encoder = 0
        self._clock_us = 0xFFFFFFFF - 1_500_000
        self._bodies: list[tuple[int, bool | None]] = []
        self._out = Outputs([False], [0])
        self.plc = self.driver()

    def driver(self) -> Plc:
        """Return a new driver, as after a restart of the line process."""
        transport: Transport = self.wire if isinstance(self.wire, Memory) else self.wire.transport
        self.link = BoardLink(transport, MAP, 80 * MS, lambda: self.now_ns)
        return Plc(self.link, MAP, SETTINGS, lambda: self.now_ns)

    def step(self, count: int = 1) -> None:
        """Let a millisecond pass, so many times."""
        for _ in range(count):
            self.now_ns += MS
            self._clock_us += 1000
            if self.now_ns // MS % 2 == 0:
                self._scan()
            there, back = self.mischief
            self.board.receive(there.spoil(self.wire.swap(back.spoil(self.board.transmit(92)))))
            if not self.dead:
                self._device()

    def until(self, kind: type[Event]) -> None:
        """Step until an event of this kind came."""
        seen = len(self.events)
        for _ in range(3000):
            self.step()
            if any(isinstance(event, kind) for event in self.events[seen:]):
                return
        raise AssertionError(f"no {kind.__name__}")

    def true_us(self, clock_us: int) -> int:
        """Return the time of the test that the board's clock shows, us modulo 2**32."""
        return (clock_us + self.now_ns // 1000 - self._clock_us) & 0xFFFFFFFF

    def fire(self, station: int, shot: int, encoder: int) -> None:
        """A trigger output rises for no unit."""
        order = Compare(station, encoder, None, 0, 0, 0, shot)
        self._inputs.fired.append(Fired(order, self._clock_us & 0xFFFFFFFF, encoder))

    def numbers(self, kind: type[Created] | type[Closed]) -> list[tuple[int, int]]:
        """Return (epoch, number) of what the driver heard, in order."""
        return [(e.epoch, e.number) for e in self.events if isinstance(e, kind)]

    def _device(self) -> None:
        for event in self.plc.service(self.now_ns):
            self.events.append(event)
            match event:
                case LinkUp() | PlcRestarted():
                    self.plc.ask_epoch(1)
                case EpochGranted():
                    self.plc.command(RUN, AUTOMATIC, EXECUTE)
                case Created() if event.epoch == self.plc.epoch and self.permitting:
                    self._decide(event)
                case _:
                    pass

    def _decide(self, unit: Created) -> None:
        chance = self._random.random()
        if chance < 0.8:
            self.granted.add((unit.epoch, unit.number))
            self.permitted.add((unit.epoch, unit.number))
            self.plc.permit(0, unit.number)
        if 0.7 < chance < 0.9:
            self.permitted.discard((unit.epoch, unit.number))
            self.plc.revoke(0, unit.number)

    def _scan(self) -> None:
        if self._out.belt:
            self._encoder = (self._encoder + COUNTS * 2) & 0xFFFFFFFF
            if self.sending and self._encoder % PITCH < COUNTS * 2:
                self._bodies.append((self._encoder, None))
                self._inputs.infeed.append(Latch(self._clock_us & 0xFFFFFFFF, self._encoder))
        self._bodies = [self._moved(*body) for body in self._bodies if (self._encoder - body[0]) < 7_000 + COUNTS * 2]
        self._inputs.encoder = self._encoder
        self._out = self.board.scan(self._clock_us, self._inputs)
        self._inputs = Inputs()
        for event in self._out.events:
            unit = (event.epoch, event.number)
            if event.step is Step.CREATED:
                self.made.append(unit)
                self.made_ns.append(self.now_ns)
            elif event.step is Step.CLOSED:
                self.closed.append(unit)
            elif event.step is Step.DECIDED and not event.cause:
                self.spared.add(unit)

    def _moved(self, at: int, passed: bool | None) -> tuple[int, bool | None]:
        if passed is None and self._encoder - at >= GATE:
            passed = self._out.gates[0]
        if self._encoder - at >= 7_000:
            latch = Latch(self._clock_us & 0xFFFFFFFF, at + 7_000)
            (self._inputs.passed if passed else self._inputs.chute).append(latch)
        return at, passed
