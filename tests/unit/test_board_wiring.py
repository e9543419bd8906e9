"""What the station file may say about wiring serial-board, and what is refused with the way out."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.config import ConfigError, SerialBoard, Station
from daemon.line.wiring import open_link
from drivers.serial_board import BoardLink
from drivers.sim.board_program import BoardProgram
from drivers.sim.box_setup import SetupError, plc_spec

GEOMETRY = {"counts_per_mm": 20.0, "gate_mm": 600.0, "chute_eye_mm": 700.0, "pass_eye_mm": 700.0}
CAMERA = {"name": "a", "serial": "A", "producer": "p", "position_mm": 100.0, "width": 640, "height": 480}


def station(geometry: dict[str, Any], shots: int = 1, **wiring: Any) -> Station:
    document = {
        "name": "x",
        "identity": 1,
        "plc_identity": 2,
        "wiring": {"kind": "serial-board", "device": "/dev/ttyS9", **wiring},
        "geometry": GEOMETRY | geometry,
        "cameras": [CAMERA | {"station": n, "shots": shots} for n in range(2)],
        "vision": {"bundle": "b", "recipe": "r", "trust": "t"},
    }
    found = msgspec.convert(document, Station)
    assert isinstance(found.wiring, SerialBoard)
    return found


@pytest.mark.parametrize(
    ("geometry", "wiring", "told"),
    [
        ({}, {"baud": 57_600}, r"\$.wiring.baud: a reject board needs 115200 or more, not 57600"),
        ({"carrier": {"pockets": 24, "pitch_mm": 60.0}}, {}, r"\$.geometry: a reject board has no carrier"),
        ({"eyes": [{"position_mm": 300.0}]}, {}, r"\$.geometry: a reject board has no carrier and no re-sync eyes"),
    ],
)
def test_what_a_board_cannot_do_is_refused(geometry: dict[str, Any], wiring: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_link(station(geometry, **wiring), Path("station.toml"))


def test_a_board_link_opens_nothing_before_it_is_asked_to_connect() -> None:
    link = open_link(station({}, baud=115_200), Path("station.toml"))
    assert isinstance(link, BoardLink)
    assert (link.fileno(), link.up, link.idle) == (-1, False, True)
    assert not link.connect(1) and not link.up
    link.close()


def test_a_board_with_more_shots_than_it_can_order_is_refused() -> None:
    assert len(BoardProgram(plc_spec(station({}, shots=16))).stop().gates) == 1
    with pytest.raises(SetupError, match="32 camera shots"):
        BoardProgram(plc_spec(station({}, shots=17)))
