"""A Modbus RTU server on a descriptor, as slow as a real line: the PLC's end of wiring modbus-rtu.

A frame ends with a silence of t3.5, as the standard has it. The pty beneath carries bytes at once, so the time that
they would take on the wire is added: a request is known once its characters and the silence after it are over, an
answer comes when its last character would. Frames with a wrong checksum or for another unit are met with silence.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable

from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers.modbus_requests import Registers, answer
from drivers.serial_timing import characters_ns, gap_ns
from drivers.sim.ticker import Alarm

CHUNK = 4096
SHORTEST = 4
MAX_FRAME = 256


class RtuServer:
    """Owned by one loop, which polls `fileno()` and calls `service`. The descriptor stays the caller's."""

    def __init__(
        self, registers: Registers, line: int, baud: int, unit: int, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._now = clock
        self._registers = registers
        self._line = line
        self._baud = baud
        self._unit = unit
        self._framer = FramerRTU(DecodePDU(True))
        self._alarm = Alarm()
        self._epoll = select.epoll()
        self._epoll.register(line, select.EPOLLIN)
        self._epoll.register(self._alarm.fileno(), select.EPOLLIN)
        self._busy_until_ns = 0
        self._frame = b""
        self._answer = b""
        self._due_ns = 0
        self.cut = False

    def fileno(self) -> int:
        """An epoll descriptor, readable when `service` has work."""
        return self._epoll.fileno()

    def service(self) -> None:
        """Do what can be done without waiting."""
        self._alarm.take()
        self._hear()
        if self._due_ns and self._now() >= self._due_ns:
            self._due_ns = 0
            if self._answer:
                self._say()
            elif self._frame:
                self._work()
        self._alarm.set(self._due_ns)

    def close(self) -> None:
        """Give everything back but the line. May be called twice."""
        if not self._epoll.closed:
            self._epoll.close()
            self._alarm.close()

    def _hear(self) -> None:
        try:
            data = os.read(self._line, CHUNK)
        except BlockingIOError:
            return
        if self.cut:
            self._frame = self._answer = b""
            return
        self._frame = (self._frame + data)[: MAX_FRAME + 1]
        self._busy_until_ns = max(self._now(), self._busy_until_ns) + characters_ns(len(data), self._baud)
        if not self._answer:
            self._due_ns = self._busy_until_ns + gap_ns(self._baud)

    def _work(self) -> None:
        """A frame is over: take it or leave it."""
        frame, self._frame = self._frame, b""
        if not SHORTEST <= len(frame) <= MAX_FRAME or frame[0] != self._unit:
            return
        if not FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big")):
            return
        self._answer = self._framer.encode(answer(self._registers, frame[1:-2]), self._unit, 0)
        self._due_ns = self._busy_until_ns = self._now() + characters_ns(len(self._answer), self._baud)

    def _say(self) -> None:
        data, self._answer = self._answer, b""
        with contextlib.suppress(BlockingIOError):
            os.write(self._line, b"" if self.cut else data)
        if self._frame:
            self._due_ns = self._busy_until_ns + gap_ns(self._baud)
