"""What the station file may say about wiring modbus-server, and what is refused with the way out."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.config import ConfigError, ModbusServer, Station
from daemon.line.wiring import open_link
from drivers.modbus_host import HostLink


def station(**wiring: Any) -> Station:
    document = {
        "name": "x",
        "identity": 1,
        "plc_identity": 2,
        "wiring": {"kind": "modbus-server", **wiring},
        "geometry": {"counts_per_mm": 20.0, "gate_mm": 600.0, "chute_eye_mm": 700.0, "pass_eye_mm": 700.0},
        "cameras": [],
        "vision": {"bundle": "b", "recipe": "r", "trust": "t"},
    }
    found = msgspec.convert(document, Station)
    assert isinstance(found.wiring, ModbusServer)
    return found


@pytest.mark.parametrize(
    ("wiring", "told"),
    [
        ({"host": "0.0.0.0"}, "write the address of the card on the PLC's network"),
        ({"host": "10.20.0.1"}, r"\$.wiring.allow: name the IPv4 address of the PLC"),
        ({"allow": ["plc.local"]}, r"\$.wiring.allow: .*write IPv4 addresses, one by one"),
        ({"allow": ["10.0.0.0/24"]}, r"\$.wiring.allow: .*write IPv4 addresses, one by one"),
    ],
)
def test_what_would_admit_too_many_or_nobody_is_refused(wiring: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_link(station(**wiring), Path("station.toml"))


@pytest.mark.parametrize("wiring", [{}, {"host": "10.20.0.1", "allow": ["10.20.0.5"]}, {"word_order": "low-first"}])
def test_a_host_opens_nothing_before_it_is_asked_to_connect(wiring: dict[str, Any]) -> None:
    link = open_link(station(**wiring), Path("station.toml"))
    assert isinstance(link, HostLink)
    assert (link.fileno(), link.up, link.idle) == (-1, False, True)
    link.close()
