"""The arithmetic before the batch, with numbers a technician can follow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.config import Station, load
from daemon.line.admission import MOST_IN_FLIGHT, REQUEST_MS, Demands, arithmetic, misfit, transport_ms

STATION = """
name = "s"
identity = 1
plc_identity = 2
plc_scan_ms = 10.0
[wiring]
kind = "modbus-client"
[geometry]
counts_per_mm = 20.0
gate_mm = 600.0
ejector_lead_mm = 20.0
chute_eye_mm = 700.0
pass_eye_mm = 690.0
confirm_window_mm = 25.0
speed_mm_s = 1000.0
actuator_ms = 10.0
[[cameras]]
name = "body"
serial = "1"
producer = "x.cti"
station = 0
position_mm = 150.0
width = 640
height = 480
[[cameras]]
name = "spin"
serial = "2"
producer = "x.cti"
station = 1
position_mm = 300.0
width = 640
height = 480
shots = 5
shot_pitch_mm = 20.0
[vision]
bundle = "b"
recipe = "r"
trust = "t"
"""
FITS = Demands(max_latency_ms=120.0, min_gap_mm=40.0, worst_ms=80.0)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(STATION)
    return load(path)


def test_the_way_counts_from_the_last_shot_of_the_last_camera(station: Station) -> None:
    assert transport_ms(station) == pytest.approx(600 - 20 - (300 + 4 * 20))


def test_what_fits_is_admitted_with_its_numbers(station: Station) -> None:
    assert misfit(station, FITS) == ""
    texts = [line.text for line in arithmetic(station, FITS)]
    assert texts == [
        "last camera to gate 200.0 ms at 1000 mm/s; needed 94.0 ms = 80.0 measured worst case + 4.0 request"
        " + 10.0 PLC scan",
        "worst case 80.0 ms; the recipe allows 120.0 ms",
        "ejector lead 20 mm = 20.0 ms; needed 20.0 ms = 10.0 actuator + 10.0 PLC scan",
        "units 40.0 ms apart; needed 20.0 ms = twice the PLC scan, by which its clock may lag",
        "725 mm under way / 40 mm minimum gap = 19 units a lane; at most 48",
    ]


def test_without_a_measurement_the_recipes_own_limit_stands_in(station: Station) -> None:
    near = replace(station.geometry, gate_mm=520.0)
    assert misfit(replace(station, geometry=near), replace_worst(FITS, 0.0)).startswith(
        "the recipe does not fit this machine: last camera to gate 120.0 ms at 1000 mm/s; needed 134.0 ms = 120.0"
        " max_latency_ms of the recipe (worst case not measured)"
    )
    assert misfit(replace(station, geometry=near), FITS) == ""


def replace_worst(demands: Demands, worst_ms: float) -> Demands:
    return Demands(demands.max_latency_ms, demands.min_gap_mm, worst_ms)


@pytest.mark.parametrize(
    ("changes", "demands", "says"),
    [
        ({"speed_mm_s": 2200.0}, FITS, "last camera to gate 90.9 ms"),
        ({"ejector_lead_mm": 19.0}, FITS, "ejector lead 19 mm = 19.0 ms"),
        ({}, Demands(120.0, 19.0, 80.0), "units 19.0 ms apart; needed 20.0 ms = twice the PLC scan"),
        ({}, Demands(60.0, 40.0, 80.0), "worst case 80.0 ms; the recipe allows 60.0 ms"),
        ({}, Demands(120.0, 15.0, 80.0), "725 mm under way / 15 mm minimum gap = 49 units a lane; at most 48"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(
    station: Station, changes: dict[str, float], demands: Demands, says: str
) -> None:
    changed = replace(station, geometry=replace(station.geometry, **changes))
    assert says in misfit(changed, demands)


@given(
    worst=st.floats(1.0, 120.0),
    speed=st.floats(50.0, 3000.0),
    gap=st.floats(5.0, 200.0),
)
def test_what_is_admitted_has_time_and_room(station: Station, worst: float, speed: float, gap: float) -> None:
    changed = replace(station, geometry=replace(station.geometry, speed_mm_s=speed))
    demands = Demands(120.0, gap, worst)
    in_time = 200.0 / speed * 1000.0 >= worst + REQUEST_MS + 10.0 and 20.0 / speed * 1000.0 >= 20.0
    told_apart = gap / speed * 1000.0 >= 20.0
    assert (misfit(changed, demands) == "") == (in_time and told_apart and 725.0 / gap <= MOST_IN_FLIGHT)
