"""From the station's wiring to the link that carries register map v1: the one place that knows every kind."""

from daemon import config
from drivers.links import RegisterLink
from drivers.modbus import ModbusLink
from drivers.plc_link import Settings


def open_link(station: config.Station) -> RegisterLink:
    """Return the link of this station, not yet connected.

    Raises:
        ConfigError: this release or this machine cannot do that wiring; the text says what to do.
    """
    wiring = station.wiring
    match wiring:
        case config.ModbusClient():
            return ModbusLink(wiring.host, wiring.port, wiring.unit, ns(wiring.timeout_ms))
        case _:
            raise config.ConfigError(f"$.wiring.kind: {type(wiring).__name__} is not available in this release")


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
