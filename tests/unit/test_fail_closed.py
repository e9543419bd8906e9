"""Direct wirings that pass a body when this computer does nothing are refused, each with its reason."""

from pathlib import Path

import pytest

from daemon.config import ConfigError, load
from provisioning.simstation import Layout, station_text

DIRECT = Layout("diverter")


def write(folder: Path, *changes: tuple[str, str], rate: float = 600.0) -> Path:
    text = station_text(1502, Path("/r"), rate, DIRECT)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_simulated_station_fails_closed(tmp_path: Path) -> None:
    assert load(write(tmp_path)).wiring.watchdog_ms <= 100  # type: ignore[union-attr]  # it is a Diverter


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('actuator = "diverter"', 'actuator = "ejector"', r"wiring.actuator: an ejector passes what it is not told"),
        ('at_rest = "reject"', 'at_rest = "pass"', r"wiring.at_rest: .* fails open"),
        ("watchdog_ms = 43.6", "watchdog_ms = 0.0", r"wiring.watchdog_ms: without a watchdog relay"),
        ("watchdog_ms = 43.6", "watchdog_ms = 101.0", r"101 ms is too slow to be safe; set .* 100 ms or less"),
        ("watchdog_ms = 43.6", "watchdog_ms = 60.0", r"54 mm behind a passed one .* after 47 ms, the relay .* 60 ms"),
        ("min_gap_mm = 54.0", "min_gap_mm = 20.0", r"a body 20 mm behind a passed one"),
        ("speed_mm_s = 600.0", "speed_mm_s = 1800.0", r"at 1800 mm/s a body"),
        ("ejector_lead_mm = 15.0", "ejector_lead_mm = 9.0", r"ejector_lead_mm: the gate needs 10.8 mm"),
        ("counts_per_mm = 1.0", "counts_per_mm = 0.1", r"gives 60 pulses a second"),
        ("admit = 9", "admit = 5", r"one line of the chip is used twice"),
        ("triggers = [10, 11]", "triggers = [10, 0]", r"one line of the chip is used twice"),
        ("triggers = [10, 11]", "triggers = [10]", r"2 cameras need as many lines"),
        ("lanes = 1", "lanes = 2", r"lanes: direct wiring has one lane"),
        ("simulated = true", "simulated = false", r"/r/gpio.sock is a simulated chip"),
        ("production = false", "production = true", r"simulated parts are refused"),
    ],
)
def test_what_fails_open_is_refused_with_its_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(write(tmp_path, (old, new)))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("\n[geometry.carrier]\npockets = 24\npitch_mm = 60.0\n", "a carrier needs a PLC"),
        ("\n[[geometry.eyes]]\nposition_mm = 400.0\n", "re-sync eyes need a PLC"),
        ('\n[[inputs]]\nname = "guard_closed"\nbit = 0\n', "put guard, air and bin into the run chain"),
    ],
)
def test_what_direct_wiring_does_not_have_is_refused(tmp_path: Path, more: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(write(tmp_path, ("\n[vision]", f"{more}\n[vision]")))


def test_a_real_chip_may_be_named_in_production(tmp_path: Path) -> None:
    real = ('chip = "sim:/r/gpio.sock"', 'chip = "/dev/gpiochip0"')
    parts, key = ("simulated = true", "simulated = false"), ('key = "development"', 'key = "tpm"')
    load(write(tmp_path, real, parts, key, ("production = false", "production = true")))


def test_other_wirings_are_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 3000.0, Layout()), encoding="utf-8")
    load(path)
