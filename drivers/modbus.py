"""Modbus client over any `Transport`: pymodbus' framers, decoder and PDUs without its I/O.

One request is on the wire at a time; urgent requests (permits, revocations) overtake queued reads. The loop that
owns the link polls `fileno()` and calls `service`. Library clients block or add 0.2-2.3 ms a call, which is why the
transport is ours and the codec theirs.

A link is up once the PLC answered a first read, the proof. Its length differs from one proof to the next and from every
other read, so that on a serial line, where an answer does not name its request, nothing older can be taken for it:
when it is here, everything that was still on its way is too.
"""

import enum
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from drivers.errors import DeviceLost
from drivers.framings import UNREADABLE, Framing, RtuFraming, TcpFraming
from drivers.links import Reply
from drivers.serial_transport import Parity, SerialTransport
from drivers.transports import TcpTransport, TlsTransport, Transport
from drivers.word_order import Order, high_first

MAX_READ = 120
MAX_WRITE = 120
RETRY_NS = 100_000_000
SAY_AGAIN_NS = 1_000_000_000
OPENING_TIMEOUTS = 10
MOST_PROOF = 9


class _Stage(enum.Enum):
    DOWN = enum.auto()
    OPENING = enum.auto()
    PROVING = enum.auto()
    UP = enum.auto()


@dataclass(slots=True)
class _Request:
    tag: str
    index: int
    seq: int
    pdu: ModbusPDU
    sent_ns: int = 0


class ModbusLink:
    """A `RegisterLink`: a connection that is up or down; `connect` and `service` move it. Owned by the line loop.

    Args:
        transport, framing: what carries the bytes and how requests look on it.
        unit: the PLC's Modbus unit id.
        timeout_ns: the longest wait for an answer; then the link is lost.
        order: word order of 32-bit values on the wire.
        clock: CLOCK_MONOTONIC, ns.
    """

    def __init__(
        self,
        transport: Transport,
        framing: Framing,
        unit: int,
        timeout_ns: int,
        order: Order = high_first,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now = clock
        self._transport = transport
        self._framing = framing
        self._unit = unit
        self._timeout_ns = timeout_ns
        self._order = order
        self._stage = _Stage.DOWN
        self._started_ns = 0
        self._next_try_ns = 0
        self._queue: deque[_Request] = deque()
        self._pending: _Request | None = None
        self._received = b""
        self._unsent = b""
        self._heard_ns = 0
        self._blocked_ns = 0
        self._proof = random.randrange(MOST_PROOF)
        self._failure: DeviceLost | None = None
        self._told = ("", 0)

    @property
    def up(self) -> bool:
        """True while connected to a PLC that answers."""
        return self._stage is _Stage.UP

    @property
    def idle(self) -> bool:
        """True when nothing is queued or on the wire."""
        return self._pending is None and not self._queue

    def fileno(self) -> int:
        """The transport's descriptor, -1 while there is none."""
        return self._transport.fileno()

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        """Queue a read of `count` holding registers (at most MAX_READ); forgotten while the link is down."""
        if self.up:
            self._queue.append(self._asking(tag, address, count, index, seq))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        """Queue a write of holding registers in one request, ahead of every queued read; forgotten while it is down."""
        if not self.up:
            return
        registers = self._order(address, words)
        pdu = WriteMultipleRegistersRequest(address=address, registers=registers, dev_id=self._unit)
        request = _Request(tag, index, seq, pdu)
        position = next((i for i, r in enumerate(self._queue) if r.tag.startswith("read")), len(self._queue))
        self._queue.insert(position, request)

    def connect(self, now_ns: int) -> bool:
        """Try to connect, at most once in RETRY_NS; return True at the moment the link comes up."""
        try:
            if self._stage is _Stage.DOWN and now_ns >= self._next_try_ns:
                self._next_try_ns = now_ns + RETRY_NS
                self._begin(now_ns)
            if self._stage is _Stage.OPENING:
                self._open(now_ns)
            if self._stage is _Stage.PROVING and self._exchange(now_ns):
                self._failure, self._told = None, ("", 0)
                self._stage = _Stage.UP
                return True
        except DeviceLost as error:
            self._tell(self._lost(error), now_ns)
        return False

    def service(self, now_ns: int) -> list[Reply]:
        """Receive what arrived, send what waits.

        Raises:
            DeviceLost: closed by the peer, timed out, or it answered nonsense; the link is down afterwards. While it
                is down: the attempt to connect failed, told when the reason is new and at most once a second.
        """
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure
        if not self.up:
            return []
        try:
            return self._exchange(now_ns)
        except DeviceLost as error:
            lost = self._lost(error)
            self._told = (str(lost), now_ns)
            raise lost from error

    def close(self) -> None:
        """Drop the connection and everything queued."""
        self._transport.close()
        self._stage = _Stage.DOWN
        self._queue.clear()
        self._pending = None
        self._received = self._unsent = b""

    def _asking(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> _Request:
        pdu = ReadHoldingRegistersRequest(address=address, count=count, dev_id=self._unit)
        return _Request(tag, index, seq, pdu)

    def _begin(self, now_ns: int) -> None:
        self._stage = _Stage.OPENING
        self._started_ns = now_ns
        self._transport.open()

    def _open(self, now_ns: int) -> None:
        if self._transport.ready():
            self._stage = _Stage.PROVING
            self._heard_ns = self._now()
            self._blocked_ns = 0
            self._proof = self._proof % MOST_PROOF + 1
            self._queue.append(self._asking("proof", 0, self._proof))
        elif now_ns - self._started_ns > OPENING_TIMEOUTS * self._timeout_ns:
            raise DeviceLost(f"no connection within {OPENING_TIMEOUTS * self._timeout_ns / 1e6:.0f} ms")

    def _exchange(self, now_ns: int) -> list[Reply]:
        try:
            replies = self._receive()
            self._send()
        except UNREADABLE as error:
            raise DeviceLost(f"unreadable answer: {error}") from error
        if self._pending and now_ns - self._pending.sent_ns > self._timeout_ns:
            raise DeviceLost(f"no answer within {self._timeout_ns / 1e6:.0f} ms")
        return replies

    def _receive(self) -> list[Reply]:
        data = self._transport.receive()
        received_ns = self._now()
        if data:
            self._heard_ns = received_ns
        if not data or not self._pending:
            self._unasked(data)
            return []
        self._received += data
        used, pdu = self._framing.answer(self._received, self._pending.pdu)
        self._received = self._received[used:]
        if pdu is None:
            if len(self._received) > self._framing.limit:
                raise DeviceLost(f"{len(self._received)} bytes came and no answer to {self._pending.tag} among them")
            return []
        reply = self._reply(self._pending, pdu, received_ns)
        self._pending = None
        self._unasked(self._received)
        self._received = b""
        return [reply]

    def _unasked(self, data: bytes) -> None:
        if data and not self._framing.tolerant:
            raise DeviceLost("it says what nobody asked for")

    def _reply(self, request: _Request, pdu: ModbusPDU, received_ns: int) -> Reply:
        asked = request.pdu
        if pdu.isError():
            raise DeviceLost(f"the PLC refused {request.tag} at {asked.address} ({pdu})")
        if (pdu.function_code, pdu.transaction_id) != (asked.function_code, asked.transaction_id):
            raise DeviceLost(f"the answer to {request.tag} answers something else")
        words = pdu.registers
        if not isinstance(asked, ReadHoldingRegistersRequest):
            if (pdu.address, pdu.count) != (asked.address, asked.count):
                raise DeviceLost(f"the answer to {request.tag} is for {pdu.count} registers at {pdu.address}")
            words = []
        elif len(words) != asked.count:
            raise DeviceLost(f"{len(words)} registers came for {request.tag}, {asked.count} were asked for")
        elif request.tag != "proof":
            words = self._order(asked.address, words)
        return Reply(request.tag, request.index, request.seq, words, *self._when(request, received_ns))

    def _when(self, request: _Request, received_ns: int) -> tuple[int, int]:
        """Return the moments between which the PLC worked: neither frame can be quicker than its wire."""
        there_ns, back_ns = self._framing.flights_ns(request.pdu)
        if received_ns - request.sent_ns < there_ns + back_ns:
            return request.sent_ns, received_ns
        return request.sent_ns + there_ns, received_ns - back_ns

    def _send(self) -> None:
        if not self._pending and self._queue and self._free():
            request = self._queue.popleft()
            self._unsent = self._framing.request(request.pdu)
            request.sent_ns = self._now()
            self._pending = request
        if self._unsent:
            self._unsent = self._unsent[self._transport.send(self._unsent) :]

    def _free(self) -> bool:
        """True once the wire was silent for long enough."""
        now_ns = self._now()
        if now_ns - self._heard_ns >= self._framing.gap_ns:
            self._blocked_ns = 0
            return True
        self._blocked_ns = self._blocked_ns or now_ns
        if now_ns - self._blocked_ns > self._timeout_ns:
            raise DeviceLost(f"the line was never silent for {self._timeout_ns / 1e6:.0f} ms")
        return False

    def _lost(self, cause: DeviceLost) -> DeviceLost:
        self.close()
        return DeviceLost(f"PLC {self._transport.name}: {cause}")

    def _tell(self, failure: DeviceLost, now_ns: int) -> None:
        """Keep a failure for `service` unless it was just told."""
        text, told_ns = self._told
        if str(failure) != text and now_ns - told_ns >= SAY_AGAIN_NS:
            self._failure = failure
            self._told = (str(failure), now_ns)


def tcp_link(
    host: str, port: int, unit: int, timeout_ns: int, order: Order = high_first, tls: ssl.SSLContext | None = None
) -> ModbusLink:
    """Return a link to a Modbus TCP server at an IPv4 address; `tls` makes it Modbus/TCP Security."""
    transport = TlsTransport(host, port, tls) if tls else TcpTransport(host, port)
    return ModbusLink(transport, TcpFraming(unit), unit, timeout_ns, order)


def rtu_link(
    device: str, baud: int, parity: Parity, unit: int, timeout_ns: int, order: Order = high_first
) -> ModbusLink:
    """Return a link to a Modbus RTU server on a serial line on which nobody else asks."""
    return ModbusLink(SerialTransport(device, baud, parity), RtuFraming(unit, baud), unit, timeout_ns, order)
