"""How the device reaches the box's PLC: one front per wiring, behind one Protocol, served by the box's loop."""

from typing import Protocol

from daemon import config
from drivers.gate.plc_bank import Bank
from drivers.modbus_server import ModbusServer
from drivers.sim.box_setup import SetupError


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
        self._server = ModbusServer(bank, wiring.host, wiring.port if port is None else port, wiring.unit)
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
        case _:
            raise SetupError(f"the line in a box cannot play wiring {type(wiring).__name__} yet")
