"""The reader of systemd unit files that the simulator's supervisor obeys."""

from pathlib import Path

import pytest

from provisioning import places, unitfile

MINIMAL = "[Service]\nType=notify\nExecStart=/x/python -m daemon line\n"


def _write(folder: Path, text: str, name: str = "linewarden-x.service") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "ns"),
    [("100ms", 10**8), ("2", 2 * 10**9), ("1.5s", 15 * 10**8), ("1min 30s", 90 * 10**9), ("1us", 1000), ("0", 0)],
)
def test_time_spans_are_read_as_systemd_reads_them(text: str, ns: int) -> None:
    assert unitfile.span_ns(text) == ns


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-1s"])
def test_a_time_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        unitfile.span_ns(text)


@pytest.mark.parametrize(
    ("name", "watchdog_s", "fifo", "state"),
    [("line", 1, 40, False), ("vision", 2, 0, True), ("recorder", 2, 0, True)],
)
def test_the_shipped_units_say_what_the_design_says(name: str, watchdog_s: int, fifo: int, state: bool) -> None:
    unit = unitfile.read(places.unit_files() / f"linewarden-{name}.service")
    assert unit.name == name
    assert unit.command[1:] == ("-I", "-X", "faulthandler", "-m", "daemon", name, "/etc/linewarden/station.toml")
    assert unit.watchdog_ns == watchdog_s * 10**9
    assert (unit.fifo, unit.state, unit.restart, unit.restart_ns) == (fifo, state, True, 10**8)
    assert unit.keep_down == {78}


def test_the_camera_template_is_filled_with_its_instance() -> None:
    unit = unitfile.read(places.unit_files() / "linewarden-camera@.service", "body")
    assert unit.name == "camera@body"
    assert unit.command[-3:] == ("camera", "/etc/linewarden/station.toml", "body")


def test_later_lines_win_and_environment_adds_up(tmp_path: Path) -> None:
    text = MINIMAL + 'WatchdogSec=9\nWatchdogSec=3\nEnvironment=A=1 "B=two words"\nEnvironment=C=\n# Restart=always\n'
    unit = unitfile.read(_write(tmp_path, text))
    assert unit.watchdog_ns == 3 * 10**9
    assert unit.environment == {"A": "1", "B": "two words", "C": ""}
    assert not unit.restart


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL.replace("notify", "simple"), "Type= is not notify"),
        ("[Service]\nType=notify\n", "ExecStart"),
        (MINIMAL + "Restart=perhaps\n", "Restart=perhaps"),
        (MINIMAL + "WatchdogSec=often\n", "'often' is not a time span"),
        (MINIMAL + "Environment=A\n", "Environment=A"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(unitfile.UnitFileError, match=says):
        unitfile.read(_write(tmp_path, text))


def test_a_missing_unit_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(unitfile.UnitFileError, match=r"gone\.service: cannot be read"):
        unitfile.read(tmp_path / "gone.service")
