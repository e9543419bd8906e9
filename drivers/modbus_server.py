"""Modbus TCP server over a Bank: pymodbus' framer, decoder and PDUs without its I/O, on non-blocking sockets.

The caller's epoll loop owns the time: it polls `fileno()` and calls `service`. A slow, silent or half-open client
costs a buffer and nothing else; a client that does not take its answers is dropped.
"""

import select
import socket
from dataclasses import dataclass, field
from typing import cast

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadWriteMultipleRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterResponse,
)

from drivers.gate.plc_bank import Bank

MAX_CLIENTS = 16
MAX_READ, MAX_WRITE, MAX_WRITE_23 = 125, 123, 121
HEADER = 8
MAX_ADU = 260
TURN_BYTES = 1024
MAX_UNSENT = 65_536
ANY_UNIT = (0, 255)
READ, READ_INPUT, WRITE_ONE, WRITE, READ_WRITE = 3, 4, 6, 16, 23


@dataclass(slots=True)
class _Client:
    sock: socket.socket
    received: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    waiting: bool = False


class ModbusServer:
    """Function codes 3 and 4 (one area), 6, 16 and 23. Owned by one loop, used from one thread.

    Args:
        host, port: where to listen; port 0 takes a free one, see `port`.
        unit: the unit id that answers, beside 0 and 255; others get exception 11, as from a gateway.

    Raises:
        OSError: the address is taken or not ours.
    """

    def __init__(self, bank: Bank, host: str, port: int, unit: int = 1) -> None:
        self._bank = bank
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

    def service(self) -> None:
        """Do what can be done without waiting."""
        for fd, events in self._epoll.poll(0):
            if self._listener is not None and fd == self._listener.fileno():
                self._accept(self._listener)
            elif fd in self._clients:
                self._talk(fd, events)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._clients[sock.fileno()] = _Client(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd)
        self._epoll.unregister(fd)
        client.sock.close()

    def _talk(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(client)
            self._send(client)
        except _Gone:
            self._drop(fd)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.sock.recv(TURN_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise _Gone from error
        if not data:
            raise _Gone
        data = client.received + data
        used = 0
        while size := _frame_size(data, used):
            _, unit, transaction, request = self._framer.decode(data[used : used + size])
            client.unsent += self._framer.encode(self._answer(unit, request), unit, transaction)
            used += size
        client.received = data[used:]

    def _send(self, client: _Client) -> None:
        try:
            sent = client.sock.send(client.unsent) if client.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _Gone from error
        del client.unsent[:sent]
        if len(client.unsent) > MAX_UNSENT:
            raise _Gone
        if bool(client.unsent) != client.waiting:
            client.waiting = bool(client.unsent)
            self._epoll.modify(client.sock, select.EPOLLIN | (select.EPOLLOUT if client.waiting else 0))

    def _answer(self, unit: int, request: bytes) -> bytes:
        """Return the response PDU of one request PDU; never raises for what a client sent."""
        function = request[0]
        if unit not in self._units:
            return _refusal(function, ExcCodes.GATEWAY_NO_RESPONSE)
        if function not in _HANDLERS:
            return _refusal(function, ExcCodes.ILLEGAL_FUNCTION)
        if len(request) < _SHORTEST[function]:
            return _refusal(function, ExcCodes.ILLEGAL_VALUE)
        try:
            pdu = self._framer.decoder.decode(request)
        except ModbusException:
            pdu = None
        if pdu is None:
            return _refusal(function, ExcCodes.ILLEGAL_VALUE)
        return _HANDLERS[function](self._bank, pdu)


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


def _refusal(function: int, code: ExcCodes) -> bytes:
    pdu = ExceptionResponse(function, int(code))
    return bytes((pdu.function_code,)) + pdu.encode()


def _range_fault(bank: Bank, address: int, count: int, most: int, write: bool) -> ExcCodes | None:
    if not 1 <= count <= most:
        return ExcCodes.ILLEGAL_VALUE
    if not bank.covers(address, count) or (write and not bank.writable(address, count)):
        return ExcCodes.ILLEGAL_ADDRESS
    return None


def _read(bank: Bank, pdu: ModbusPDU) -> bytes:
    fault = _range_fault(bank, pdu.address, pdu.count, MAX_READ, write=False)
    if fault:
        return _refusal(pdu.function_code, fault)
    return bytes((pdu.function_code, 2 * pdu.count)) + bank.read(pdu.address, pdu.count)


def _write_one(bank: Bank, pdu: ModbusPDU) -> bytes:
    fault = _range_fault(bank, pdu.address, 1, 1, write=True)
    if fault:
        return _refusal(pdu.function_code, fault)
    bank.write(pdu.address, pdu.registers)
    response = WriteSingleRegisterResponse(address=pdu.address, registers=pdu.registers)
    return bytes((WRITE_ONE,)) + response.encode()


def _write(bank: Bank, pdu: ModbusPDU) -> bytes:
    request = cast(WriteMultipleRegistersRequest, pdu)
    fault = _range_fault(bank, request.address, request.count, MAX_WRITE, write=True)
    if request.byte_count != 2 * request.count or len(request.registers) != request.count:
        fault = ExcCodes.ILLEGAL_VALUE
    if fault:
        return _refusal(WRITE, fault)
    bank.write(request.address, request.registers)
    return bytes((WRITE,)) + WriteMultipleRegistersResponse(address=request.address, count=request.count).encode()


def _read_write(bank: Bank, pdu: ModbusPDU) -> bytes:
    request = cast(ReadWriteMultipleRegistersRequest, pdu)
    read = _range_fault(bank, request.read_address, request.read_count, MAX_READ, write=False)
    write = _range_fault(bank, request.write_address, request.write_count, MAX_WRITE_23, write=True)
    whole = request.write_byte_count == 2 * request.write_count and len(request.write_registers) == request.write_count
    fault = write or read or (None if whole else ExcCodes.ILLEGAL_VALUE)
    if fault:
        return _refusal(READ_WRITE, fault)
    bank.write(request.write_address, request.write_registers)
    return bytes((READ_WRITE, 2 * request.read_count)) + bank.read(request.read_address, request.read_count)


_HANDLERS = {READ: _read, READ_INPUT: _read, WRITE_ONE: _write_one, WRITE: _write, READ_WRITE: _read_write}
_SHORTEST = {READ: 5, READ_INPUT: 5, WRITE_ONE: 5, WRITE: 6, READ_WRITE: 10}
