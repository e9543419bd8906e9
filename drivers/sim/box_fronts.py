"""How the device reaches the box's PLC: one front per wiring, behind one Protocol, served by the box's loop."""

import os
import pty
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from daemon import config
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_logic import Plc
from drivers.modbus import tcp_link
from drivers.modbus_requests import Registers
from drivers.modbus_server import ModbusServer
from drivers.sim.bare_wires import BareWires
from drivers.sim.board_front import BoardFront
from drivers.sim.board_program import BoardProgram
from drivers.sim.box_poller import PollerFront
from drivers.sim.box_setup import SetupError, plc_spec
from drivers.sim.gpio_front import GpioFront
from drivers.sim.machine import Program
from drivers.sim.rtu_server import RtuServer
from drivers.word_order import LowFirst, high_first, low_first

SIMULATED_CHIP = "sim:"


class Front(Protocol):
    """Owned by the box's loop, which polls `fileno()` and calls `service`; `scan` comes once with every PLC scan."""

    def fileno(self) -> int:
        """A descriptor that is readable when `service` has work; the same one for the front's life."""

    def service(self) -> None:
        """Do what can be done without waiting."""

    def scan(self, at_ns: int) -> None:
        """The PLC program ran its scan of `at_ns`."""

    def shut(self) -> None:
        """The link is cut."""

    def open(self) -> None:
        """The link is whole (again)."""

    def close(self) -> None:
        """Give everything back. May be called twice."""

    @property
    def port(self) -> int:
        """The TCP port where the device finds it, 0 where there is none."""


class TcpFront:
    """wiring modbus-client: the PLC is a Modbus TCP server."""

    def __init__(self, bank: Bank, wiring: config.ModbusClient, port: int | None) -> None:
        _without_tls(wiring.tls)
        registers = _ordered(bank, wiring.word_order)
        self._server = ModbusServer(registers, wiring.host, wiring.port if port is None else port, wiring.unit)
        self.fileno = self._server.fileno
        self.service = self._server.service
        self.shut = self._server.shut
        self.open = self._server.open
        self.close = self._server.close

    @property
    def port(self) -> int:
        return self._server.port

    def scan(self, at_ns: int) -> None:
        """Nothing to do between requests."""


class RtuFront:
    """wiring modbus-rtu: a pty stands for the serial line; the station's `device` becomes a link to it.

    A cut line is silent, as a cut cable is. The PLC's end keeps the device's end open, so that it may come and go.
    """

    port = 0

    def __init__(self, bank: Bank, wiring: config.ModbusRtu, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._link = Path(wiring.device)
        if self._link.exists() and not self._link.is_symlink():
            raise SetupError(f"$.wiring.device: {self._link} is there; name a path that the line in a box may make")
        self._ends: tuple[int, ...] = pty.openpty()
        for end in self._ends:
            tty.setraw(end)
        os.set_blocking(self._ends[0], False)
        registers = _ordered(bank, wiring.word_order)
        self._server = RtuServer(registers, self._ends[0], wiring.baud, wiring.unit, clock)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(self._ends[1]))
        self.fileno = self._server.fileno
        self.service = self._server.service

    def scan(self, at_ns: int) -> None:
        """Nothing to do between requests."""

    def shut(self) -> None:
        self._server.cut = True

    def open(self) -> None:
        self._server.cut = False

    def close(self) -> None:
        self._server.close()
        self._link.unlink(missing_ok=True)
        for end in self._ends:
            os.close(end)
        self._ends = ()


def _poller(bank: Bank, wiring: config.ModbusServer, station: config.Station) -> PollerFront:
    _without_tls(wiring.tls)
    order = high_first if wiring.word_order is config.WordOrder.HIGH_FIRST else low_first(bank.map)
    link = tcp_link(wiring.host, wiring.port, wiring.unit, int(wiring.timeout_ms * 1e6), order)
    return PollerFront(bank, link, station.lanes, tuple(camera.station for camera in station.cameras))


def _without_tls(tls: config.Tls | None) -> None:
    if tls is not None:
        raise SetupError("the line in a box plays Modbus TCP without TLS: take [wiring.tls] out of the station file")


def _ordered(bank: Bank, order: config.WordOrder) -> Registers:
    return bank if order is config.WordOrder.HIGH_FIRST else LowFirst(bank, bank.map)


def open_front(station: config.Station, bank: Bank, port: int | None) -> Front:
    """Return the front of the station's wiring; `port` replaces the station's, 0 = any free one.

    Raises:
        SetupError: the box cannot play that wiring.
        OSError: the address is taken.
    """
    wiring = station.wiring
    match wiring:
        case config.ModbusClient():
            return TcpFront(bank, wiring, port)
        case config.ModbusServer():
            return _poller(bank, wiring, station)
        case config.ModbusRtu():
            return RtuFront(bank, wiring)
        case _:
            raise SetupError(f"the line in a box cannot play wiring {type(wiring).__name__} yet")


def open_ends(station: config.Station, bank: Bank, port: int | None) -> tuple[Program, Front]:
    """Return what commands the machine, and how the device reaches it.

    Raises:
        SetupError: the box cannot play that wiring.
        OSError: the address is taken.
    """
    wiring, spec = station.wiring, plc_spec(station)
    if isinstance(wiring, config.Diverter):
        if not wiring.chip.startswith(SIMULATED_CHIP):
            raise SetupError(f'$.wiring.chip: the line in a box has no {wiring.chip}; write "{SIMULATED_CHIP}<socket>"')
        wires = BareWires(wiring, spec.stations)
        return wires, GpioFront(wires, wiring.relay_closed, Path(wiring.chip.removeprefix(SIMULATED_CHIP)))
    if isinstance(wiring, config.SerialBoard):
        board = BoardProgram(spec)
        return board, BoardFront(board, wiring)
    return Plc(spec, bank), open_front(station, bank, port)
