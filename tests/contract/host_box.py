"""The device's own Modbus server and the PLC's communication block over real TCP, stepped by the test.

Both sides have the test's clock, which moves with the steps, so that a busy machine makes nobody late.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Fired, Inputs, Latch, Outputs, Place, PlcSpec
from drivers.gate.plc_logic import Plc as PlcProgram
from drivers.modbus import tcp_link
from drivers.modbus_host import HostLink, Listen
from drivers.plc_link import Closed, Created, EpochGranted, Event, LinkUp, Plc, Settings
from drivers.registers import load_map
from drivers.sim.box_poller import PollerFront
from drivers.word_order import high_first, low_first

HOST, IDENTITY, PLC_IDENTITY = "127.0.0.1", 0x4C570001, 0x504C4301
TIMEOUT_NS, TURN_NS, PATIENCE_NS = 80_000_000, 100_000, 20_000_000_000
MAP = load_map()
SPEC = PlcSpec(
    identity=PLC_IDENTITY,
    device_identity=IDENTITY,
    lanes=1,
    stations=(Place(0, 3000), Place(1, 4800)),
    decide=11_700,
    release=12_400,
    chute_eye=14_000,
    pass_eye=14_000,
    window=500,
    clear=300,
    phantom=400,
)
ADU = struct.Struct(">HHHB")


class HostBench:
    """HostLink under the driver on one side, PollerFront under the gate program on the other."""

    def __init__(
        self,
        allow: tuple[str, ...] = (HOST,),
        low: bool = False,
        identity: int = PLC_IDENTITY,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        listen = Listen(HOST, 0, 1, frozenset(allow), identity, 1, TIMEOUT_NS, low, tls)
        self.now_ns = time.monotonic_ns()
        self.link = HostLink(MAP, listen, self.clock)
        settings = Settings(IDENTITY, PLC_IDENTITY, 1, (0, 1), 2_000_000, 20_000_000, TIMEOUT_NS)
        self.plc = Plc(self.link, MAP, settings, self.clock)
        self.device()
        self.port = self.link.port
        self.bank = Bank(MAP)
        self.program = PlcProgram(SPEC, self.bank)
        self.program.start(0, retained=False)
        self.bank.refresh = self.refresh
        self.front = self.poller(low)
        self.encoder = 0
        self.out: Outputs = self.program.stop()
        self.orders: list[Fired] = []
        self.serving = True

    def poller(self, low: bool = False) -> PollerFront:
        order = low_first(MAP) if low else high_first
        return PollerFront(self.bank, tcp_link(HOST, self.port, 1, PATIENCE_NS, order), 1, (0, 1))

    def clock(self) -> int:
        return self.now_ns

    def device(self) -> list[Event]:
        """One turn of the line's loop, TURN_NS long."""
        self.now_ns += TURN_NS
        return self.plc.service(self.now_ns)

    def refresh(self) -> None:
        self.now_ns += TURN_NS // 4
        self.bank.set("clock_us", self.now_ns // 1000)
        self.bank.set("encoder", self.encoder)

    def step(self, inputs: Inputs | None = None, turns: int = 1) -> list[Event]:
        """Scan, poll and serve, some exchanges of the communication block in each turn."""
        events: list[Event] = []
        for _ in range(turns):
            now = self.now_ns
            used, inputs = inputs or Inputs(), None
            used.encoder = self.encoder
            self.out = self.program.scan(now // 1000, used)
            self.orders += [Fired(order, now // 1000, order.encoder) for order in self.out.armed]
            self.front.scan(now)
            for _ in range(8):
                if self.serving:
                    events += self.device()
                self.front.service()
            self.now_ns += TURN_NS
            time.sleep(0.0003)
        return events

    def until(self, kind: type[Event], inputs: Inputs | None = None) -> list[Event]:
        """Step until an event of this kind came; everything that came meanwhile is returned."""
        events = self.step(inputs)
        for _ in range(4000):
            if any(isinstance(event, kind) for event in events):
                return events
            events += self.step()
        raise AssertionError(f"no {kind.__name__} among {events[-5:]}")

    def wait(self, done: Callable[[], bool]) -> list[Event]:
        """Step until it is done; return what happened meanwhile."""
        events: list[Event] = []
        for _ in range(4000):
            if done():
                return events
            events += self.step()
        raise AssertionError(f"it never came about; last events {events[-5:]}")

    def agree(self) -> None:
        self.until(LinkUp)
        self.plc.ask_epoch(1)
        self.until(EpochGranted)

    def run(self, bits: int = 1) -> None:
        """Agree and run in automatic mode; the PLC has seen it."""
        self.agree()
        self.plc.command(bits, 2, 6)
        self.wait(lambda: self.bank.get("command") == bits and self.bank.get("line_mode") == 2)

    def infeed(self) -> Created:
        events = self.until(Created, Inputs(infeed=[self.latch()]))
        return next(event for event in events if isinstance(event, Created))

    def latch(self) -> Latch:
        """An edge of an eye at this moment."""
        return Latch(self.now_ns // 1000, self.encoder)

    def slot(self, number: int) -> list[int]:
        """Return the PLC's own permit slot of a unit."""
        at = MAP.permit.at(0, number % MAP.permit.length)
        return list(self.bank.words[at : at + 4])

    def judged(self, number: int) -> tuple[int, int]:
        """Move the belt until that unit is closed; return its flags and cause."""
        self.encoder += 11_800
        self.step()
        self.encoder += 2_200
        events = self.until(Closed, Inputs(chute=[self.latch()]))
        return {e.number: (e.flags, e.cause) for e in events if isinstance(e, Closed)}[number]

    def mail(self, sock: socket.socket) -> dict[str, int]:
        """Read the mail as any client may."""
        answer = self.ask(sock, reading(MAP.mail.base, MAP.mail.entry))
        return MAP.mail.read(struct.unpack(f">{MAP.mail.entry}H", answer[2:]))

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.port), timeout=10)

    def ask(self, sock: socket.socket, pdu: bytes) -> bytes:
        """Send one request of another client and step until its answer is here."""
        sock.sendall(ADU.pack(7, 0, len(pdu) + 1, 1) + pdu)
        return self.hear(sock)

    def hear(self, sock: socket.socket) -> bytes:
        """Step until one answer is here; empty if the connection was closed."""
        sock.settimeout(0.0)
        data = b""
        for _ in range(4000):
            self.step()
            try:
                part = sock.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionError:
                return b""
            data += part
            if not part or (len(data) > 6 and len(data) >= 6 + int.from_bytes(data[4:6], "big")):
                return data[7 : 6 + int.from_bytes(data[4:6], "big")] if part else b""
        raise AssertionError("no answer")

    def close(self) -> None:
        self.front.close()
        self.plc.close()


def reading(address: int, count: int) -> bytes:
    return struct.pack(">BHH", 3, address, count)


def writing(address: int, words: list[int]) -> bytes:
    return struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)
