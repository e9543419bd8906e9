"""wiring diverter: the device's digital lines as a unix socket (drivers/gpio_socket.py); one device at a time."""

import contextlib
import select
import socket
from collections.abc import Sequence
from pathlib import Path

from drivers.errors import DeviceLost
from drivers.gpio_socket import CHUNK, EDGE, LEVEL, Reader, Record, Writer
from drivers.sim.bare_wires import BareWires, Wire


class GpioFront:
    """A Front of the box. What no device reads is lost and leaves a hole in the numbers, as in the kernel's queue.

    Raises (constructor):
        OSError: the socket cannot be made.
    """

    port = 0

    def __init__(self, wires: BareWires, relay_closed: int, path: Path) -> None:
        self._wires = wires
        self._relay_closed = relay_closed
        self._path = path
        self._epoll = select.epoll()
        self.fileno = self._epoll.fileno
        self._listener: socket.socket | None = None
        self._device: socket.socket | None = None
        self._reader, self._writer = Reader(), Writer()
        self._orders: list[Record] = []
        self._zero_ns = 0
        self._wires.hear = self._heard
        self.open()

    def service(self) -> None:
        """Let a device in, hear its orders."""
        if self._listener is not None:
            with contextlib.suppress(BlockingIOError):
                self._admit(self._listener.accept()[0])
        self._hear()

    def scan(self, at_ns: int) -> None:
        """The wires moved: tell the device. The machine's clock begins where `at_ns` and its us say it does."""
        self._zero_ns = at_ns - self._wires.scanned_us * 1000
        edges, self._wires.edges = self._wires.edges, []
        for edge in edges:
            self._tell(Record(EDGE, edge.offset, edge.level, self._zero_ns + edge.at_us * 1000))

    def shut(self) -> None:
        """The lines are gone: the chip's supply or its bus is cut."""
        self._dismiss()
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None
        self._path.unlink(missing_ok=True)

    def open(self) -> None:
        if self._listener is None:
            self._path.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.setblocking(False)
            self._listener.bind(str(self._path))
            self._listener.listen(4)
            self._epoll.register(self._listener, select.EPOLLIN)

    def close(self) -> None:
        if not self._epoll.closed:
            self.shut()
            self._epoll.close()

    def _admit(self, sock: socket.socket) -> None:
        self._dismiss()
        sock.setblocking(False)
        self._device, self._reader, self._writer = sock, Reader(), Writer()
        self._epoll.register(sock, select.EPOLLIN)
        self._tell(Record(LEVEL, self._relay_closed, self._wires.relay_closed, 0))

    def _dismiss(self) -> None:
        """The outputs stay as the device left them: only the relay is to be trusted."""
        if self._device is not None:
            self._epoll.unregister(self._device)
            self._device.close()
            self._device = None

    def _hear(self) -> None:
        while self._device is not None:
            try:
                data = self._device.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._dismiss()
                return
            with contextlib.suppress(DeviceLost):
                self._orders += self._reader.feed(data)

    def _heard(self) -> Sequence[Wire]:
        """Return the orders so far, at the times at which the device gave them."""
        self._hear()
        orders, self._orders = self._orders, []
        return [Wire(order.offset, order.level, (order.at_ns - self._zero_ns) // 1000) for order in orders]

    def _tell(self, record: Record) -> None:
        if self._device is None:
            return
        try:
            self._device.send(self._writer.pack(record))
        except OSError:
            return
