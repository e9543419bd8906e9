"""Modbus TCP server over registers: pymodbus' framer and decoder without its I/O, on non-blocking sockets, TLS or not.

The caller's epoll loop owns the time: it polls `fileno()` and calls `service`. A slow, silent or half-open client
costs a buffer and nothing else; a client that does not take its answers is dropped.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU

from drivers.modbus_requests import Registers, answer, refusal

MAX_CLIENTS = 16
HEADER = 8
MAX_ADU = 260
TURN_BYTES = 1024
MAX_UNSENT = 65_536
ANY_UNIT = (0, 255)
MOST_REQUESTS = 1024
IDLE_NS = 1_000_000_000
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True)
class _Client:
    sock: socket.socket
    registers: Registers
    heard_ns: int
    greeting: bool = False
    received: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    waiting: bool = False


class ModbusServer:
    """Function codes 3 and 4 (one area), 6, 16 and 23. Owned by one loop, used from one thread.

    Args:
        host, port: where to listen; port 0 takes a free one, see `port`.
        unit: the unit id that answers, beside 0 and 255; others get exception 11, as from a gateway.
        tls: Modbus/TCP Security; only clients that its context accepts are heard.
        admit: what a new connection from that address sees, None = it is closed; without it everyone sees `bank`.

    Raises:
        OSError: the address is taken or not ours.
    """

    def __init__(
        self,
        bank: Registers,
        host: str,
        port: int,
        unit: int = 1,
        tls: ssl.SSLContext | None = None,
        admit: Callable[[str], Registers | None] | None = None,
    ) -> None:
        self._admit = admit or (lambda _peer: bank)
        self._tls = tls
        self._owed: set[int] = set()
        self._turn = 0
        self._units = (unit, *ANY_UNIT)
        self._framer = FramerSocket(DecodePDU(True))
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._listener: socket.socket | None = None
        self._place = _bound(host, port)
        self.port = int(self._place.getsockname()[1])
        self._host = host
        self.open()

    def fileno(self) -> int:
        """An epoll descriptor, the same one for the server's life: readable when `service` has work."""
        return self._epoll.fileno()

    @property
    def clients(self) -> int:
        """Connections open now."""
        return len(self._clients)

    def open(self) -> None:
        """Listen (again). Does nothing if it does."""
        if self._listener is None:
            self._listener = _bound(self._host, self.port)
            self._listener.listen(MAX_CLIENTS)
            self._epoll.register(self._listener, select.EPOLLIN)

    def shut(self) -> None:
        """Close every connection and refuse new ones; the port stays ours."""
        for fd in list(self._clients):
            self._drop(fd)
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Give everything back. May be called twice."""
        if not self._epoll.closed:
            self.shut()
            self._place.close()
            self._epoll.close()

    def serves(self, registers: Registers) -> bool:
        """True while the client that was admitted to these registers is connected."""
        return any(client.registers is registers for client in self._clients.values())

    def drop(self, registers: Registers) -> None:
        """Close the connection that was admitted to these registers, if it is there."""
        for fd in [fd for fd, client in self._clients.items() if client.registers is registers]:
            self._drop(fd)

    def service(self, most: int = MOST_REQUESTS, first: Registers | None = None) -> None:
        """Do what can be done without waiting, answering at most `most` requests; the rest waits for the next call.

        The client admitted to `first` comes first, the others take turns.
        """
        self._turn += 1
        for fd, events in self._ready(first):
            if most <= 0:
                return
            if self._listener is not None and fd == self._listener.fileno():
                self._accept(self._listener)
            elif fd in self._clients:
                most -= self._talk(fd, events, most)

    def _ready(self, first: Registers | None) -> list[tuple[int, int]]:
        ready = dict.fromkeys(self._owed, select.EPOLLIN) | dict(self._epoll.poll(0))
        if len(ready) < 2:
            return list(ready.items())
        shift = self._turn % len(ready)
        turns = [*list(ready.items())[shift:], *list(ready.items())[:shift]]
        urgent = {fd for fd, client in self._clients.items() if client.registers is first}
        return sorted(turns, key=lambda item: item[0] not in urgent)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, (peer, _) = listener.accept()
        except OSError:
            return
        registers = self._admit(peer)
        if registers is None or (len(self._clients) >= MAX_CLIENTS and not self._make_room()):
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:
                sock.close()
                return
        self._clients[sock.fileno()] = _Client(sock, registers, time.monotonic_ns(), greeting=self._tls is not None)
        self._epoll.register(sock, select.EPOLLIN)

    def _make_room(self) -> bool:
        """Drop the client that asked nothing for the longest time, at least IDLE_NS; False if all are busy."""
        fd, idlest = min(self._clients.items(), key=lambda item: item[1].heard_ns)
        if time.monotonic_ns() - idlest.heard_ns < IDLE_NS:
            return False
        self._drop(fd)
        return True

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd)
        self._owed.discard(fd)
        self._epoll.unregister(fd)
        client.sock.close()

    def _talk(self, fd: int, events: int, most: int) -> int:
        """Serve one client; return how many requests it had answered, at least 1."""
        client, answered = self._clients[fd], 0
        try:
            if client.greeting and not self._greeted(client):
                return 1
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                answered = self._receive(client, most)
            self._send(client)
            if _frame_size(client.received, 0):
                self._owed.add(fd)
            else:
                self._owed.discard(fd)
        except _Gone:
            self._drop(fd)
        return max(1, answered)

    def _greeted(self, client: _Client) -> bool:
        """Move the TLS handshake on; True once the client is known."""
        if not isinstance(client.sock, ssl.SSLSocket):
            return True
        try:
            client.sock.do_handshake()
        except ssl.SSLWantWriteError:
            self._wait_to_send(client, True)
            return False
        except ssl.SSLWantReadError:
            self._wait_to_send(client, False)
            return False
        except OSError as error:
            raise _Gone from error
        client.greeting = False
        return True

    def _receive(self, client: _Client, most: int) -> int:
        if not _frame_size(client.received, 0):
            self._take(client)
        data, used, answered = client.received, 0, 0
        while answered < most and (size := _frame_size(data, used)):
            _, unit, transaction, request = self._framer.decode(data[used : used + size])
            client.unsent += self._framer.encode(self._answer(client, unit, request), unit, transaction)
            used += size
            answered += 1
        client.received = data[used:]
        if answered:
            client.heard_ns = time.monotonic_ns()
        return answered

    def _take(self, client: _Client) -> None:
        try:
            data = client.sock.recv(TURN_BYTES)
            if isinstance(client.sock, ssl.SSLSocket) and client.sock.pending():
                data += client.sock.recv(client.sock.pending())
        except NOT_NOW:
            return
        except OSError as error:
            raise _Gone from error
        if not data:
            raise _Gone
        client.received += data

    def _send(self, client: _Client) -> None:
        try:
            sent = client.sock.send(client.unsent) if client.unsent else 0
        except NOT_NOW:
            sent = 0
        except OSError as error:
            raise _Gone from error
        del client.unsent[:sent]
        if len(client.unsent) > MAX_UNSENT:
            raise _Gone
        self._wait_to_send(client, bool(client.unsent))

    def _wait_to_send(self, client: _Client, wanted: bool) -> None:
        if wanted != client.waiting:
            client.waiting = wanted
            self._epoll.modify(client.sock, select.EPOLLIN | (select.EPOLLOUT if client.waiting else 0))

    def _answer(self, client: _Client, unit: int, request: bytes) -> bytes:
        if unit not in self._units:
            return refusal(request[0], ExcCodes.GATEWAY_NO_RESPONSE)
        return answer(client.registers, request)


class _Gone(Exception):
    """The client closed, broke the protocol or does not read."""


def _bound(host: str, port: int) -> socket.socket:
    """A bound socket; a second one on the same port is possible as long as only one of them listens."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _frame_size(data: bytes, at: int) -> int:
    """Return the size of the frame that begins at `at`, 0 if it is not whole yet; raises _Gone if it is no Modbus."""
    if len(data) - at < HEADER:
        return 0
    length = int.from_bytes(data[at + 4 : at + 6], "big") + 6
    if data[at + 2] or data[at + 3] or not HEADER <= length <= MAX_ADU:
        raise _Gone
    return length if len(data) - at >= length else 0
