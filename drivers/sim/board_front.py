"""wiring serial-board: a pty stands for the serial line of the reject board, as slow as the real one.

Bytes take the time of their characters both ways, and what the core hears in a scan had arrived by that scan's nominal
time: a box that wakes late delays the device's words and never lets one be heard early. A cut line is a pulled plug:
the port is gone until it is put back.
"""

import contextlib
import os
import pty
import select
import time
import tty
from collections import deque
from pathlib import Path

from daemon.config import SerialBoard
from drivers.serial_timing import characters_ns
from drivers.sim.board_program import BoardProgram
from drivers.sim.box_setup import SetupError
from drivers.sim.machine import SCAN_NS
from drivers.sim.ticker import Alarm

CHUNK = 4096
MOST_HEARD = 65_536


class BoardFront:
    """A Front of the box; the station's `device` becomes a link to the pty.

    Raises (constructor):
        SetupError: there is something else where the link should be.
        OSError: no pty, or the folder cannot be written.
    """

    port = 0

    def __init__(self, program: BoardProgram, wiring: SerialBoard) -> None:
        self._program = program
        self._byte_ns = characters_ns(1, wiring.baud)
        self._link = Path(wiring.device)
        if self._link.exists() and not self._link.is_symlink():
            raise SetupError(f"$.wiring.device: {self._link} is there; name a path that the line in a box may make")
        self._alarm = Alarm()
        self._epoll = select.epoll()
        self._epoll.register(self._alarm.fileno(), select.EPOLLIN)
        self.fileno = self._epoll.fileno
        self._ends: tuple[int, ...] = ()
        self._heard_ns = self._free_ns = self._next_ns = 0
        program.hear = self._hear
        self.open()

    def service(self) -> None:
        """Read what the device sent, let go what has had its time on the wire."""
        self._alarm.take()
        now_ns = time.monotonic_ns()
        if self._ends and len(self._arriving) < MOST_HEARD:
            with contextlib.suppress(BlockingIOError):
                self._heard(os.read(self._ends[0], CHUNK), now_ns)
        self._let_go(now_ns)

    def scan(self, at_ns: int) -> None:
        """The board's core ran at `at_ns`: take what it says until the next scan."""
        self._next_ns = at_ns + SCAN_NS
        self._free_ns = max(self._free_ns, at_ns)
        fits = -(-(self._next_ns - self._free_ns) // self._byte_ns)
        said = self._program.transmit(fits) if fits > 0 else b""
        if said:
            self._free_ns += len(said) * self._byte_ns
            self._leaving.append((self._free_ns, said))
            self._let_go(time.monotonic_ns())

    def shut(self) -> None:
        """The plug is pulled."""
        if self._ends:
            self._link.unlink(missing_ok=True)
            self._epoll.unregister(self._ends[0])
            for end in self._ends:
                os.close(end)
            self._ends = ()

    def open(self) -> None:
        """The plug is in (again): another pty behind the same name, nothing on the wire."""
        if self._ends:
            return
        self._arriving: deque[tuple[int, bytes]] = deque()
        self._leaving: deque[tuple[int, bytes]] = deque()
        self._heard_ns = self._free_ns = 0
        self._ends = pty.openpty()
        for end in self._ends:
            tty.setraw(end)
        os.set_blocking(self._ends[0], False)
        self._epoll.register(self._ends[0], select.EPOLLIN)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(self._ends[1]))

    def close(self) -> None:
        if not self._epoll.closed:
            self.shut()
            self._alarm.close()
            self._epoll.close()

    def _hear(self) -> bytes:
        """Return what arrives before the scan that is about to run."""
        heard = bytearray()
        while self._arriving and self._arriving[0][0] <= self._next_ns:
            heard += self._arriving.popleft()[1]
        return bytes(heard)

    def _heard(self, data: bytes, now_ns: int) -> None:
        """Note when each byte has arrived; the end of the last one bounds the next."""
        at_ns = max(self._heard_ns, now_ns)
        for index in range(len(data)):
            at_ns += self._byte_ns
            self._arriving.append((at_ns, data[index : index + 1]))
        self._heard_ns = at_ns

    def _let_go(self, now_ns: int) -> None:
        while self._leaving and self._leaving[0][0] <= now_ns:
            said = self._leaving.popleft()[1]
            if self._ends:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._ends[0], said)
        self._alarm.set(self._leaving[0][0] if self._leaving else 0)
