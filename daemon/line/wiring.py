"""From the station's wiring to the link that carries register map v1: the one place that knows every kind."""

import ipaddress
from pathlib import Path

from daemon import config
from daemon.line.credentials import tls_client, tls_server
from daemon.line.direct_wiring import direct_link
from drivers.links import RegisterLink
from drivers.modbus import ModbusLink, rtu_link, tcp_link
from drivers.modbus_host import HostLink, Listen
from drivers.plc_link import Settings
from drivers.registers import load_map
from drivers.serial_board import BoardLink
from drivers.serial_timing import Cycle
from drivers.serial_transport import SerialTransport
from drivers.word_order import Order, high_first, low_first

LOOPBACK = ("127.0.0.1",)
RTU_UNITS = range(1, 248)
BOARD_BAUD = 115_200


def open_link(station: config.Station, path: Path) -> RegisterLink:
    """Return the link of this station, not yet connected. `path` is the station file, which relative paths refer to.

    Raises:
        ConfigError: this release or this machine cannot do that wiring; the text says what to do.
    """
    wiring = station.wiring
    match wiring:
        case config.ModbusClient():
            tls = tls_client(wiring.tls, path) if wiring.tls else None
            order = _order(wiring.word_order)
            return tcp_link(wiring.host, wiring.port, wiring.unit, ns(wiring.timeout_ms), order, tls)
        case config.ModbusServer():
            return _host(station, wiring, path)
        case config.ModbusRtu():
            return _rtu(wiring)
        case config.SerialBoard():
            return _board(station, wiring)
        case config.Diverter():
            return direct_link(station, wiring)
        case _:
            raise config.ConfigError(f"$.wiring.kind: {type(wiring).__name__} is not available in this release")


def _host(station: config.Station, wiring: config.ModbusServer, path: Path) -> HostLink:
    address = ipaddress.IPv4Address(wiring.host)
    if address.is_unspecified:
        raise config.ConfigError("$.wiring.host: write the address of the card on the PLC's network, not every address")
    if not (wiring.allow or address.is_loopback):
        raise config.ConfigError("$.wiring.allow: name the IPv4 address of the PLC; nobody else may connect")
    try:
        allow = frozenset(str(ipaddress.IPv4Address(peer)) for peer in wiring.allow or LOOPBACK)
    except ValueError as error:
        raise config.ConfigError(f"$.wiring.allow: {error}; write IPv4 addresses, one by one") from error
    listen = Listen(
        host=wiring.host,
        port=wiring.port,
        unit=wiring.unit,
        allow=allow,
        plc_identity=station.plc_identity,
        lanes=station.lanes,
        timeout_ns=ns(wiring.timeout_ms),
        low_first=wiring.word_order is config.WordOrder.LOW_FIRST,
        tls=tls_server(wiring.tls, path) if wiring.tls else None,
    )
    return HostLink(load_map(), listen)


def _rtu(wiring: config.ModbusRtu) -> ModbusLink:
    registers = load_map()
    words = sum(registers.registers[name].words for name in registers.device_registers)
    slow = Cycle(registers.status_words, words).refusal(wiring.baud, ns(wiring.timeout_ms))
    if slow:
        raise config.ConfigError(f"$.wiring.baud: {slow}")
    if wiring.unit not in RTU_UNITS:
        raise config.ConfigError(f"$.wiring.unit: a serial line has units 1 to 247, not {wiring.unit}")
    order = _order(wiring.word_order)
    return rtu_link(wiring.device, wiring.baud, wiring.parity, wiring.unit, ns(wiring.timeout_ms), order)


def _board(station: config.Station, wiring: config.SerialBoard) -> BoardLink:
    geometry = station.geometry
    if wiring.baud < BOARD_BAUD:
        raise config.ConfigError(f"$.wiring.baud: a reject board needs {BOARD_BAUD} or more, not {wiring.baud}")
    if geometry.carrier or geometry.eyes:
        raise config.ConfigError("$.geometry: a reject board has no carrier and no re-sync eyes; they need a PLC")
    return BoardLink(SerialTransport(wiring.device, wiring.baud, "none"), load_map(), ns(wiring.timeout_ms))


def _order(wanted: config.WordOrder) -> Order:
    return high_first if wanted is config.WordOrder.HIGH_FIRST else low_first(load_map())


def settings(station: config.Station) -> Settings:
    """Return the periods and addresses that the PLC driver needs."""
    wiring = station.wiring
    poll_ms = getattr(wiring, "poll_ms", POLL_MS)
    return Settings(
        identity=station.identity,
        plc_identity=station.plc_identity,
        lanes=station.lanes,
        stations=tuple(sorted(camera.station for camera in station.cameras)),
        poll_ns=ns(poll_ms),
        heartbeat_ns=ns(wiring.heartbeat_ms),
        timeout_ns=ns(wiring.timeout_ms),
    )


POLL_MS = 2.0


def ns(ms: float) -> int:
    """Return whole nanoseconds."""
    return int(ms * 1e6)
