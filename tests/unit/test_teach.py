"""`linewarden teach` against the line's real parts, and what it does to a station file."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from line_world import LineWorld, camera, station
from rich.console import Console

from daemon import config
from daemon.messages import Latched, Latches
from daemon.units import UnitId
from provisioning import stationfile, teach
from provisioning.simstation import Layout, station_text
from provisioning.teach import Lesson
from provisioning.teaching import CHUTE, GATE, PASS, Change, TeachError, changes, measure, newest

CAMERAS = [camera("body", 0, 150.0), camera("crimp", 1, 240.0)]
QUIET = Console(quiet=True)


def run_through(bad: int = 0, pitch_mm: float = 60.0, units: int = 10) -> tuple[config.Station, Latches]:
    """Let marked units run through a line, at `pitch_mm`; unit `bad` is rejected."""
    made = station(CAMERAS)
    world = LineWorld(made, vials=units, rate=1200.0 if pitch_mm > 60.0 else 240.0)
    belt = world.machine.belt.belts[0]
    belt.spec = replace(belt.spec, pitch_mm=pitch_mm)
    world.bad = {bad: "critical"} if bad else {}
    world.play()
    return made, world.control.latches.all()


def test_distances_and_scale_are_those_of_the_line() -> None:
    made, latches = run_through()
    found = measure(made, newest(latches, 0, 10), latches.gate, 10)
    assert found["body"].mean == pytest.approx(3000, abs=2) and found["crimp"].mean == pytest.approx(4800, abs=2)
    assert found[PASS].mean == pytest.approx(14_000, abs=20) and 0 < found[PASS].spread < 60, "the belt slips a little"
    assert CHUTE not in found
    rows = {(row.table, row.key): row.new for row in changes(made, found, PASS, 700.0, 5.0)}
    assert rows["geometry", "counts_per_mm"] == pytest.approx(20.0, rel=0.002)
    assert rows["crimp", "position_mm"] == pytest.approx(240.0, abs=0.5)


def test_the_gate_is_measured_where_one_unit_is_under_way() -> None:
    made, latches = run_through(pitch_mm=760.0)
    found = measure(made, newest(latches, 0, 10), latches.gate, 10)
    assert found[GATE].mean == pytest.approx((600.0 - 15.0) * 20.0, abs=60), "less the lead, to one scan"
    crowded, many = run_through()
    assert GATE not in measure(crowded, newest(many, 0, 10), many.gate, 10), "another unit's opening may be meant"


def test_a_rejected_unit_measures_the_chute() -> None:
    made, latches = run_through(bad=4)
    units = newest(latches, 0, 10)
    assert units[3].chute is not None and units[3].passed is None
    found = measure(made, units, latches.gate, 10)
    assert found[PASS].units == 9 and CHUTE not in found, "one is too few"


def unit(number: int, passed: int | None = 14_000, edges: int = 2) -> Latched:
    base = 0xFFFFF000 + number * 1200
    latched = [(at, 0, base + (3000, 4800)[at] & 0xFFFFFFFF) for at in range(edges)]
    end = None if passed is None else base + passed & 0xFFFFFFFF
    return Latched(UnitId(1, 0, number), base & 0xFFFFFFFF, latched, None, end)


@pytest.mark.parametrize(
    ("units", "shown"),
    [
        ([unit(n) for n in range(1, 10)], "9 of 10 units"),
        ([*[unit(n) for n in range(1, 5)], unit(5, passed=None), *[unit(n) for n in range(6, 11)]], "not seen behind"),
        ([*[unit(n) for n in range(1, 5)], unit(5, edges=1), *[unit(n) for n in range(6, 11)]], "crimp was not"),
        ([*[unit(n) for n in range(1, 5)], *[unit(n) for n in range(6, 12)]], "do not follow each other"),
    ],
)  # fmt: skip
def test_what_is_missing_refuses_it_all(units: list[Latched], shown: str) -> None:
    with pytest.raises(TeachError, match=shown):
        measure(station(CAMERAS), newest(Latches(units, []), 0, 10), [], 10)


def test_a_unit_that_is_still_under_way_is_waited_for() -> None:
    latches = Latches([*[unit(n) for n in range(1, 8)], unit(8, passed=None)], [])
    assert len(newest(latches, 0, 10)) == 7 and len(newest(latches, 4, 10)) == 3
    assert len(newest(Latches([*latches.units, unit(9)], []), 0, 10)) == 9


@pytest.mark.parametrize(
    ("passed", "mm", "reference", "shown"),
    [(14_200, 700.0, PASS, "spreads by 10"), (14_000, 700.0, CHUTE, "was not measured: name one of")],
)
def test_what_does_not_agree_with_itself_refuses_it_all(passed: int, mm: float, reference: str, shown: str) -> None:
    units = [*[unit(n) for n in range(1, 10)], unit(10, passed=passed)]
    found = measure(station(CAMERAS), units, [], 10)
    with pytest.raises(TeachError, match=shown):
        changes(station(CAMERAS), found, reference, mm, 5.0)


def file(folder: Path) -> Path:
    text = station_text(1502, folder, 600.0, Layout()).replace("gate_mm = 600.0", "gate_mm = 600.0  # by hand")
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_only_the_values_change_and_the_old_file_is_kept(tmp_path: Path) -> None:
    path = file(tmp_path)
    before = path.read_text(encoding="utf-8")
    rows = [Change("geometry", "gate_mm", 600.0, 612.5), Change("crimp", "position_mm", 240.0, 241.25)]
    kept = stationfile.write(path, rows)
    after = path.read_text(encoding="utf-8")
    assert kept.read_text(encoding="utf-8") == before and "gate_mm = 612.5  # by hand" in after
    differ = [b for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert differ == ["gate_mm = 612.5  # by hand", "position_mm = 241.25"]
    read = config.load(path)
    assert (read.geometry.gate_mm, read.cameras[0].position_mm, read.cameras[1].position_mm) == (612.5, 150.0, 241.25)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["station.toml", "station.toml.before-teach"]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([Change("side", "position_mm", 1.0, 2.0)], "side.position_mm does not stand on a line of its own"),
        ([Change("geometry", "gate_mm", 600.0, 200.0)], "would not load with the new values: "),
    ],
)
def test_a_file_that_would_not_load_is_not_written(tmp_path: Path, rows: list[Change], shown: str) -> None:
    path = file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(TeachError, match=shown):
        stationfile.write(path, rows)
    assert path.read_bytes() == before and not [e for e in tmp_path.iterdir() if e.name.startswith(".")]


def test_a_lesson_from_the_line_to_the_file(tmp_path: Path) -> None:
    """The station file is 4 % off; the line itself is as `run_through` made it."""
    path = file(tmp_path)
    wrong = path.read_text(encoding="utf-8").replace("counts_per_mm = 20.0", "counts_per_mm = 19.2")
    path.write_text(wrong.replace("position_mm = 240.0", "position_mm = 262.0"), encoding="utf-8")
    _, latches = run_through()
    given = Latches(newest(latches, 0, 10), latches.gate)
    assert teach.finish(config.load(path), path, given, Lesson(mm=700.0), QUIET) == 0
    assert config.load(path).geometry.counts_per_mm == 19.2, "shown, not written"
    assert teach.finish(config.load(path), path, given, Lesson(mm=700.0, write=True), QUIET) == 0
    taught = config.load(path)
    assert taught.geometry.counts_per_mm == pytest.approx(20.0, rel=0.002)
    assert taught.cameras[1].position_mm == pytest.approx(240.0, abs=0.5)
    assert taught.geometry.gate_mm == 600.0, "not measured: more than one unit was under way"


def test_latches_fit_into_one_message() -> None:
    crowded = msgspec.structs.replace(unit(1), edges=[(k % 8, k // 8, 0xFFFFFFFF) for k in range(64)])
    assert len(msgspec.msgpack.encode(Latches([crowded] * 48, [0xFFFFFFFF] * 48))) < 60_000
