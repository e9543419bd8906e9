"""Modbus TCP client on a non-blocking socket: pymodbus' framer, decoder and PDUs without its I/O.

One request is on the wire at a time; urgent requests (permits, revocations) overtake queued reads. The loop that
owns the link polls `fileno()` and calls `service`. Library clients block or add 0.2-2.3 ms a call, which is why the
socket is ours and the codec theirs.
"""

import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from drivers.errors import DeviceLost
from drivers.links import Reply

MAX_READ = 120
MAX_WRITE = 120
RETRY_NS = 100_000_000


@dataclass(slots=True)
class _Request:
    tag: str
    index: int
    seq: int
    pdu: ModbusPDU
    sent_ns: int = 0


class ModbusLink:
    """A connection that is up or down; `service` moves it. Owned by the line loop."""

    def __init__(self, host: str, port: int, unit: int, timeout_ns: int) -> None:
        self._address = (host, port)
        self._unit = unit
        self._timeout_ns = timeout_ns
        self._framer = FramerSocket(DecodePDU(False))
        self._sock: socket.socket | None = None
        self._connecting = False
        self._next_try_ns = 0
        self._queue: deque[_Request] = deque()
        self._pending: _Request | None = None
        self._buffer = b""
        self._transaction = 0

    @property
    def up(self) -> bool:
        """True while connected."""
        return self._sock is not None and not self._connecting

    @property
    def idle(self) -> bool:
        """True when nothing is queued or on the wire."""
        return self._pending is None and not self._queue

    def fileno(self) -> int:
        """The socket's descriptor, -1 while there is none."""
        return self._sock.fileno() if self._sock else -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        """Queue a read of `count` holding registers (at most MAX_READ)."""
        pdu = ReadHoldingRegistersRequest(address=address, count=count, dev_id=self._unit)
        self._queue.append(_Request(tag, index, seq, pdu))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        """Queue a write of holding registers in one request, ahead of every queued read."""
        pdu = WriteMultipleRegistersRequest(address=address, registers=list(words), dev_id=self._unit)
        request = _Request(tag, index, seq, pdu)
        position = next((i for i, r in enumerate(self._queue) if r.tag.startswith("read")), len(self._queue))
        self._queue.insert(position, request)

    def connect(self, now_ns: int) -> bool:
        """Try to connect, at most once in RETRY_NS; return True at the moment the link comes up."""
        if self._sock is None and now_ns >= self._next_try_ns:
            self._next_try_ns = now_ns + RETRY_NS
            self._begin()
        return self._connecting and self._finish(now_ns)

    def service(self, now_ns: int) -> list[Reply]:
        """Receive what arrived, send what waits.

        Raises:
            DeviceLost: closed by the peer, timed out, or it answered nonsense; the link is down afterwards.
        """
        if not self.up:
            return []
        try:
            replies = self._receive()
            self._send_next()
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from error
        except (ModbusException, ValueError, IndexError, struct.error) as error:
            raise self._lost(f"unreadable answer: {error}") from error
        if self._pending and now_ns - self._pending.sent_ns > self._timeout_ns:
            raise self._lost(f"no answer within {self._timeout_ns / 1e6:.0f} ms")
        return replies

    def close(self) -> None:
        """Drop the connection and everything queued."""
        if self._sock:
            self._sock.close()
        self._sock = None
        self._connecting = False
        self._queue.clear()
        self._pending = None
        self._buffer = b""

    def _begin(self) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connecting = True
        self._started_ns = time.monotonic_ns()
        if self._sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self.close()

    def _finish(self, now_ns: int) -> bool:
        if not self._sock:
            return False
        failed = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed or now_ns - self._started_ns > 10 * self._timeout_ns:
            self.close()
            return False
        try:
            self._sock.getpeername()
        except OSError:
            return False
        self._connecting = False
        return True

    def _receive(self) -> list[Reply]:
        replies: list[Reply] = []
        if not self._sock:
            return replies
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return replies
        received_ns = time.monotonic_ns()
        if not data:
            raise self._lost("closed by the PLC")
        self._buffer += data
        while self._pending:
            used, pdu = self._framer.handleFrame(self._buffer, self._unit, self._transaction)
            self._buffer = self._buffer[used:]
            if pdu is None:
                break
            replies.append(self._reply(self._pending, pdu, received_ns))
            self._pending = None
            self._send_next()
        return replies

    def _reply(self, request: _Request, pdu: ModbusPDU, received_ns: int) -> Reply:
        if pdu.isError():
            raise self._lost(f"the PLC refused {request.tag} at {request.pdu.address} ({pdu})")
        asked = request.pdu
        if (pdu.function_code, pdu.transaction_id) != (asked.function_code, asked.transaction_id):
            raise self._lost(f"the answer to {request.tag} answers something else")
        if request.tag.startswith("read") and len(pdu.registers) != asked.count:
            raise self._lost(f"{len(pdu.registers)} registers came for {request.tag}, {asked.count} were asked for")
        return Reply(request.tag, request.index, request.seq, pdu.registers, request.sent_ns, received_ns)

    def _send_next(self) -> None:
        if self._pending or not self._queue or not self._sock:
            return
        request = self._queue.popleft()
        self._transaction = self._transaction % 0xFFFF + 1
        request.pdu.transaction_id = self._transaction
        request.sent_ns = time.monotonic_ns()
        self._pending = request
        self._sock.sendall(self._framer.buildFrame(request.pdu))

    def _lost(self, text: str) -> DeviceLost:
        host, port = self._address
        self.close()
        return DeviceLost(f"PLC {host}:{port}: {text}")
