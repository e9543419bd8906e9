"""The line-level fake's wire: records of 16 bytes over a unix socket, and the device's end of it.

For simulated stations only (`chip = "sim:PATH"`); the other end is the line in a box (drivers/sim/gpio_front.py).
Each direction counts its records, so that a lost one shows as it does with the kernel's sequence numbers.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drivers.errors import DeviceLost, DeviceRefused
from drivers.gpio import Edge, Use

RECORD = struct.Struct("<HBBIq")
CHUNK = 4096 * RECORD.size
EDGE, LEVEL = 0, 1


@dataclass(frozen=True, slots=True)
class Record:
    """One edge (EDGE) or, at the beginning of a connection, one level (LEVEL) of a line at a CLOCK_MONOTONIC time."""

    kind: int
    offset: int
    level: bool
    at_ns: int


class Reader:
    """Cuts a stream into records."""

    def __init__(self) -> None:
        self._rest = b""
        self._seen = 0

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the whole records of what came.

        Raises:
            DeviceLost: a record is missing.
        """
        data = self._rest + data
        whole = len(data) - len(data) % RECORD.size
        self._rest = data[whole:]
        for offset, level, kind, seq, at_ns in RECORD.iter_unpack(data[:whole]):
            lost, self._seen = (seq - self._seen - 1) & 0xFFFFFFFF, seq
            if lost:
                raise DeviceLost(f"{lost} edges were lost on the way")
            yield Record(kind, offset, bool(level), at_ns)


class Writer:
    """Numbers records. `skip` counts one that nobody will get."""

    def __init__(self) -> None:
        self._seq = 0

    def pack(self, record: Record) -> bytes:
        self.skip()
        return RECORD.pack(record.offset, record.level, record.kind, self._seq, record.at_ns)

    def skip(self) -> None:
        self._seq = (self._seq + 1) & 0xFFFFFFFF


class SocketLines:
    """Lines of the fake.

    Raises (constructor):
        DeviceRefused: nobody listens at `path`.
    """

    def __init__(self, path: str, use: Use) -> None:
        self._counted = frozenset(use.counted)
        self._outputs = dict.fromkeys(use.outputs, False)
        self._levels = dict.fromkeys(use.watched, False)
        self._reader, self._writer = Reader(), Writer()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise DeviceRefused(f"sim:{path}: no simulated lines there ({error.strerror})") from error
        self._sock.setblocking(False)
        for offset in self._outputs:
            self._send(offset, False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def edges(self) -> Sequence[Edge]:
        found: list[Edge] = []
        while data := self._receive():
            for record in self._reader.feed(data):
                if record.offset in self._levels:
                    self._levels[record.offset] = record.level
                counts = record.offset in self._levels or (record.level and record.offset in self._counted)
                if record.kind == EDGE and counts:
                    found.append(Edge(record.offset, record.level, record.at_ns))
        return found

    def level(self, offset: int) -> bool:
        return self._levels[offset]

    def set(self, offset: int, level: bool) -> None:
        if self._outputs[offset] != level:
            self._outputs[offset] = level
            self._send(offset, level)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        with contextlib.suppress(DeviceLost):
            for offset in self._outputs:
                self.set(offset, False)
        self._sock.close()

    def _receive(self) -> bytes:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise DeviceLost(f"the simulated lines are gone: {error.strerror}") from error
        if not data:
            raise DeviceLost("the simulated lines are gone")
        return data

    def _send(self, offset: int, level: bool) -> None:
        data = self._writer.pack(Record(LEVEL, offset, level, time.monotonic_ns()))
        try:
            sent = self._sock.send(data)
        except OSError as error:
            raise DeviceLost(f"the simulated lines are gone: {error.strerror}") from error
        if sent != len(data):
            raise DeviceLost("the simulated lines take no more orders")
