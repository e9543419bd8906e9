"""From [wiring] to the link of a Modbus client: what is refused before the line starts, and with which words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from certificates import Authority

from daemon import config
from daemon.line.credentials import tls_client
from daemon.line.wiring import open_link, settings
from drivers.links import RegisterLink

STATION = {
    "name": "wiring",
    "identity": 1,
    "plc_identity": 2,
    "geometry": {"counts_per_mm": 1.0, "gate_mm": 300.0, "chute_eye_mm": 400.0, "pass_eye_mm": 400.0},
    "cameras": [
        {"name": "a", "serial": "A", "producer": "p", "station": 0, "position_mm": 1.0, "width": 64, "height": 64}
    ],
    "vision": {"bundle": "b", "recipe": "r", "trust": "t"},
}
TLS = {"authority": "authority.pem", "certificate": "device.pem", "key": "modbus-key"}


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A station's folder with certificates, and the credentials folder as systemd makes it."""
    _, key = Authority(tmp_path).issue("device")
    folder = tmp_path / "credentials"
    folder.mkdir()
    key.rename(folder / "modbus-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    yield folder


def opened(folder: Path, kind: str, **keys: Any) -> RegisterLink:
    wiring = {"kind": kind} | keys
    station = msgspec.convert(STATION | {"wiring": wiring}, config.Station)
    assert settings(station).timeout_ns == int(keys.get("timeout_ms", 80.0) * 1e6)
    return open_link(station, folder / "station.toml")


@pytest.mark.parametrize("order", list(config.WordOrder))
def test_every_client_wiring_gives_a_link_that_is_down(tmp_path: Path, credentials: Path, order: str) -> None:
    device = str(tmp_path / "ttyUSB0")
    links = [
        opened(tmp_path, "modbus-client", word_order=order),
        opened(tmp_path, "modbus-client", word_order=order, port=802, tls=TLS),
        opened(tmp_path, "modbus-rtu", word_order=order, device=device),
    ]
    assert [(link.up, link.fileno()) for link in links] == [(False, -1)] * 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"baud": 9600},
            r"\$\.wiring\.baud: at 9600 baud .* = 80: set baud to 230400 or more, or timeout_ms to \d\d\d or",
        ),
        ({"baud": 115_200}, r"\$\.wiring\.baud: at 115200 baud one status read and one heartbeat take 3\d\.\d ms"),
        ({"baud": 921_600, "timeout_ms": 20.0}, r"more than a third of timeout_ms = 20: set timeout_ms to 3\d or more"),
        ({"unit": 0}, r"\$\.wiring\.unit: a serial line has units 1 to 247, not 0"),
        ({"unit": 255}, r"\$\.wiring\.unit: a serial line has units 1 to 247, not 255"),
    ],
)
def test_a_serial_line_that_cannot_work_is_refused(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(config.ConfigError, match=words):
        opened(tmp_path, "modbus-rtu", device="/dev/ttyS0", **keys)
    opened(tmp_path, "modbus-rtu", device="/dev/ttyS0", baud=115_200, timeout_ms=120.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "other"}, r"\$\.wiring\.tls\.key: there is no credential other; add LoadCredential=other:FILE"),
        ({"key": "/etc/linewarden/modbus.key"}, r"\$\.wiring\.tls\.key: '/etc/linewarden/modbus.key' is a path"),
        ({"key": ""}, r"\$\.wiring\.tls\.key: '' is a path"),
        ({"authority": "nowhere.pem"}, r"\$\.wiring\.tls: authority .*/nowhere.pem cannot be used: No such file"),
        ({"certificate": "authority.pem"}, r"\$\.wiring\.tls: certificate .* with key modbus-key cannot be used"),
    ],
)
def test_what_is_missing_for_tls_is_one_clear_line(
    tmp_path: Path, credentials: Path, change: dict[str, str], words: str
) -> None:
    with pytest.raises(config.ConfigError, match=words) as caught:
        opened(tmp_path, "modbus-client", tls=TLS | change)
    assert "\n" not in str(caught.value)


def test_without_systemd_there_is_no_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(config.ConfigError, match="there is no credential modbus-key"):
        tls_client(config.Tls(**TLS), tmp_path / "station.toml")
