"""Other ends of a RegisterLink, honest or not, stepped by the test. A new wiring adds its factory to FACTORIES."""

import enum
import os
import pty
import socket
import ssl
import struct
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from certificates import Authority

from drivers.framings import RtuFraming, TcpFraming
from drivers.gate.plc_bank import Bank
from drivers.links import RegisterLink
from drivers.modbus import ModbusLink
from drivers.modbus_requests import answer
from drivers.registers import crc16, load_map
from drivers.serial_transport import SerialTransport
from drivers.tls import client_context, server_context
from drivers.transports import TcpTransport, TlsTransport

TIMEOUT_NS = 40_000_000
UNIT = 1
BAUD = 921_600
HOST = "127.0.0.1"
STEP_NS, REST_S = 250_000, 0.0001
NOISE = bytes(range(1, 250)) * 5


class Spoil(enum.Enum):
    """What the peer does to its answers."""

    NOTHING = enum.auto()
    SLOW = enum.auto()
    TWICE = enum.auto()
    SILENT = enum.auto()
    GARBAGE = enum.auto()
    TRUNCATED = enum.auto()
    OVERSIZE = enum.auto()
    OTHER_UNIT = enum.auto()
    OTHER_REQUEST = enum.auto()
    OTHER_LENGTH = enum.auto()
    FLOOD = enum.auto()


class Peer(Protocol):
    """A link under test and its other end. `turn` does one round of the other end, without waiting."""

    link: RegisterLink
    bank: Bank
    spoil: Spoil

    def turn(self) -> None: ...

    def now(self) -> int:
        """The time that the link lives in, ns; the test's own where the link can be given a clock."""

    def rest(self) -> None:
        """Let a little time go by, so that a busy machine makes nobody late."""

    def cut(self) -> None:
        """The other end goes away as it does in the plant: closed, unplugged or silent."""

    def mend(self) -> None:
        """It comes back."""

    def close(self) -> None: ...


class ModbusPeer:
    """A Modbus server of the test's own, one client, whose answers can be spoiled."""

    def __init__(self) -> None:
        self.bank = Bank(load_map())
        self.spoil = Spoil.NOTHING
        self.requests: list[bytes] = []
        self._received = b""
        self._chunks: deque[bytes] = deque()
        self._now_ns = 1_000_000_000

    def now(self) -> int:
        return self._now_ns

    def rest(self) -> None:
        self._now_ns += STEP_NS
        time.sleep(REST_S)

    def turn(self) -> None:
        self._received += self._take()
        while request := self._request():
            self.requests.append(request)
            self._chunks.extend(self._spoiled(answer(self.bank, request)))
        if self._chunks:
            self.say(self._chunks.popleft())

    def say(self, data: bytes) -> None:
        """Put bytes on the wire."""
        raise NotImplementedError

    def forget(self) -> None:
        """What was heard and not answered is forgotten."""
        self._received = b""
        self._chunks.clear()

    def _take(self) -> bytes:
        raise NotImplementedError

    def _request(self) -> bytes:
        """Return the next whole request PDU, empty if there is none."""
        raise NotImplementedError

    def _frame(self, pdu: bytes, unit: int = UNIT, shift: int = 0) -> bytes:
        raise NotImplementedError

    def _spoiled(self, pdu: bytes) -> list[bytes]:
        frame = self._frame(pdu)
        longer = bytes((pdu[0], pdu[1] + 2)) + pdu[2:] + b"\0\0" if pdu[0] == 3 else pdu[:-1] + b"\x7f"
        return {
            Spoil.NOTHING: [frame],
            Spoil.SLOW: [bytes((byte,)) for byte in frame],
            Spoil.TWICE: [frame, frame],
            Spoil.SILENT: [],
            Spoil.GARBAGE: [bytes(255 - byte for byte in frame)],
            Spoil.TRUNCATED: [frame[:-1]],
            Spoil.OVERSIZE: [frame[:4] + NOISE],
            Spoil.OTHER_UNIT: [self._frame(pdu, unit=UNIT + 1)],
            Spoil.OTHER_REQUEST: [self._frame(pdu, shift=1)],
            Spoil.OTHER_LENGTH: [self._frame(longer)],
            Spoil.FLOOD: [NOISE * 20] * 50,
        }[self.spoil]


class TcpPeer(ModbusPeer):
    """Modbus TCP, with TLS where there is an authority."""

    def __init__(self, authority: Authority | None = None) -> None:
        super().__init__()
        self._tls = self._client_tls = None
        if authority:
            self._tls = server_context(authority.file, *authority.issue("plc", HOST))
            self._client_tls = client_context(authority.file, *authority.issue("device"))
        self._listener = socket.create_server((HOST, 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._sock: socket.socket | None = None
        self._transaction = 0
        tls = self._client_tls
        transport = TlsTransport(HOST, self.port, tls) if tls else TcpTransport(HOST, self.port)
        self.link = ModbusLink(transport, TcpFraming(UNIT), UNIT, TIMEOUT_NS, clock=self.now)

    def say(self, data: bytes) -> None:
        if self._sock:
            try:
                self._sock.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return
            except OSError:
                self._drop()

    def cut(self) -> None:
        self._drop()
        self._listener.close()

    def mend(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        self._listener.setblocking(False)

    def close(self) -> None:
        self.link.close()
        self.cut()

    def _take(self) -> bytes:
        self._accept()
        if not self._sock:
            return b""
        try:
            data = self._sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except OSError:
            data = b""
        if not data:
            self._drop()
        return data

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._drop()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = self._tls.wrap_socket(sock, True, do_handshake_on_connect=False) if self._tls else sock

    def _drop(self) -> None:
        self.forget()
        if self._sock:
            self._sock.close()
        self._sock = None

    def _request(self) -> bytes:
        if len(self._received) < 8:
            return b""
        self._transaction, _, length, _ = struct.unpack(">HHHB", self._received[:7])
        request, self._received = self._received[7 : 6 + length], self._received[6 + length :]
        return request

    def _frame(self, pdu: bytes, unit: int = UNIT, shift: int = 0) -> bytes:
        return struct.pack(">HHHB", (self._transaction + shift) & 0xFFFF, 0, len(pdu) + 1, unit) + pdu


class RtuPeer(ModbusPeer):
    """Modbus RTU on a pty, without the time that a wire takes."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = pty.openpty()
        for end in self.ends:
            tty.setraw(end)
            os.set_blocking(end, False)
        self._cut = False
        transport = SerialTransport(os.ttyname(self.ends[1]), BAUD, "even")
        self.link = ModbusLink(transport, RtuFraming(UNIT, BAUD), UNIT, TIMEOUT_NS, clock=self.now)

    def say(self, data: bytes) -> None:
        if not self._cut:
            try:
                os.write(self.ends[0], data)
            except BlockingIOError:
                return

    def cut(self) -> None:
        self._cut = True

    def mend(self) -> None:
        self._cut = False
        self.forget()

    def close(self) -> None:
        self.link.close()
        for end in self.ends:
            os.close(end)

    def _take(self) -> bytes:
        try:
            data = os.read(self.ends[0], 65536)
        except BlockingIOError:
            return b""
        return b"" if self._cut else data

    def _request(self) -> bytes:
        if len(self._received) < 8:
            return b""
        size = 8 if self._received[1] == 3 else 9 + self._received[6]
        frame, self._received = self._received[:size], self._received[size:]
        assert frame[-2:] == struct.pack("<H", crc16(frame[:-2]))
        return frame[1:-2]

    def _frame(self, pdu: bytes, unit: int = UNIT, shift: int = 0) -> bytes:
        if shift:
            pdu = bytes((pdu[0] ^ 19,)) + pdu[1:]
        body = bytes((unit,)) + pdu
        return body + struct.pack("<H", crc16(body))


FACTORIES: dict[str, Callable[[Path], Peer]] = {
    "modbus-tcp": lambda _: TcpPeer(),
    "modbus-tls": lambda folder: TcpPeer(Authority(folder)),
    "modbus-rtu": lambda _: RtuPeer(),
}
