"""Inputs, light, clearance and admission as the line sees them."""

from pathlib import Path

import pytest
from msgspec.structs import replace as put

from daemon.config import ConfigError, Patch, Station, load
from daemon.faults import INPUTS, TABLE
from daemon.line.conditions import Condition
from daemon.line.oversight import DIM_NS, Oversight
from daemon.line.unit import Seen
from daemon.messages import Loaded, VisionFault
from daemon.states import State
from daemon.units import UnitId, ViewKey
from drivers.plc_link import Snapshot
from drivers.registers import load_map
from provisioning.simstation import Layout, station_text

LOADED = Loaded("b", "r", "bundle", "recipe", [ViewKey("body")], 120.0, 5.0, 40.0, 400.0)
REGISTERS = dict.fromkeys(load_map().registers, 0)
LENGTH = 725 * 20


def _text() -> str:
    return station_text(1502, Path("/r"), 600.0, Layout())


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(_text())
    return load(path)


def _snapshot(**registers: int) -> Snapshot:
    return Snapshot(REGISTERS | {"inputs": 0xFFFF} | registers, [{"created_seq": 0}], 0)


@pytest.mark.parametrize("name", INPUTS)
def test_each_input_is_its_bit_and_what_bars_accepting_bars(station: Station, name: str) -> None:
    oversight = Oversight(station)
    assert all(met for _, met in oversight.inputs()) and not oversight.barred
    bit = next(entry.bit for entry in station.inputs if entry.name == name)
    oversight.snapshot(_snapshot(inputs=0xFFFF & ~(1 << bit)), State.EXECUTE)
    assert [entry for entry, met in oversight.inputs() if not met] == [name]
    assert oversight.barred == TABLE[INPUTS[name]].bars


def test_what_is_not_wired_is_not_asked(station: Station) -> None:
    oversight = Oversight(put(station, inputs=[]))
    oversight.snapshot(_snapshot(inputs=0), State.EXECUTE)
    assert oversight.inputs() == () and not oversight.barred


@pytest.mark.parametrize(
    "change",
    [
        ('name = "air_ok"', 'name = "air_pressure"'),
        ('name = "air_ok"', 'name = "bin_ok"'),
        ("bit = 1\n", "bit = 0\n"),
    ],
)
def test_a_station_file_with_wrong_inputs_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "station.toml"
    path.write_text(_text().replace(*change))
    with pytest.raises(ConfigError, match=r"\$\.inputs: name each of guard_closed"):
        load(path)


def test_light_is_out_of_its_band_until_vision_was_silent_for_a_while(station: Station) -> None:
    oversight = Oversight(station)
    dark = VisionFault("LIGHT", "patch 5.0", "body")
    assert oversight.vision_fault(dark, 10 * DIM_NS) == ("LIGHT", "body: patch 5.0")
    assert dict(oversight.lights(11 * DIM_NS - 1)) == {"body": False, "crimp": True}
    assert dict(oversight.lights(11 * DIM_NS)) == {"body": True, "crimp": True}


def test_a_camera_without_a_patch_has_no_light_to_watch(station: Station) -> None:
    cameras = [put(camera, patch=camera.patch if camera.name == "body" else None) for camera in station.cameras]
    assert isinstance(cameras[0].patch, Patch)
    assert [name for name, _ in Oversight(put(station, cameras=cameras)).lights(0)] == ["body"]


def test_a_fault_that_only_vision_knows_is_visions(station: Station) -> None:
    assert Oversight(station).vision_fault(VisionFault("XYZ", "text"), 0) == ("VISION_FAULT", "XYZ text")


def test_another_recipe_asks_for_an_empty_line(station: Station) -> None:
    oversight = Oversight(station)
    for recipe in ("r1", "", "r1", ""):
        oversight.armed(recipe)
    assert not oversight.clearance.pending
    oversight.armed("r2")
    assert oversight.clearance.pending


def test_the_empty_line_run_counts_only_while_the_line_starts(station: Station) -> None:
    oversight = Oversight(station)
    oversight.clearance.require("x")
    assert not any(oversight.snapshot(_snapshot(encoder=n), State.EXECUTE) for n in (0, 2 * LENGTH))
    found = [oversight.snapshot(_snapshot(encoder=n), State.STARTING) for n in (0, LENGTH - 1, LENGTH)]
    assert found == [False, False, True]


@pytest.mark.parametrize("eye", ["stray_pass", "stray_chute", "chute_encoder", "pass_encoder"])
def test_a_body_at_any_eye_begins_the_run_anew(station: Station, eye: str) -> None:
    oversight = Oversight(station)
    oversight.clearance.require("x")
    assert not oversight.snapshot(_snapshot(encoder=0), State.STARTING)
    assert not oversight.snapshot(_snapshot(encoder=LENGTH, **{eye: 1}), State.STARTING)
    assert oversight.snapshot(_snapshot(encoder=2 * LENGTH, **{eye: 1}), State.STARTING)


def _seen(number: int, *, passed: bool) -> Seen:
    return Seen(UnitId(1, 0, number), passed, not passed, not passed, passed, False, 0, 0)


def test_a_removed_unit_that_turns_up_is_an_escape_behind_the_gate_and_a_lie_in_the_chute(station: Station) -> None:
    oversight = Oversight(station)
    oversight.clearance.take_out([UnitId(1, 0, 5)])
    assert list(oversight.sighted(_seen(4, passed=True))) == []
    assert [code for code, _ in oversight.sighted(_seen(5, passed=True))] == ["ESCAPED"]
    assert [code for code, _ in oversight.sighted(_seen(5, passed=False))] == ["CLEARANCE"]


def test_permits_are_taken_back_once_when_it_begins(station: Station) -> None:
    oversight = Oversight(station)
    inhibited = [Condition("REJECT_INHIBITED", "rejects_enabled", False)]
    script = [
        (State.EXECUTE, []), (State.EXECUTE, inhibited), (State.HELD, inhibited), (State.HELD, []),
        (State.ABORTING, []), (State.ABORTED, []), (State.STOPPED, []), (State.ABORTING, inhibited),
    ]  # fmt: skip
    taken = [oversight.takes_back(state, found) for state, found in script]
    assert taken == [False, True, False, False, True, False, False, True]


def test_a_recipe_that_does_not_fit_is_a_condition_with_its_arithmetic(station: Station) -> None:
    oversight = Oversight(station)
    oversight.configure(LOADED)
    assert oversight.misfit == ""
    oversight.configure(put(LOADED, max_latency_ms=20.0))
    assert "worst case 40.0 ms; the recipe allows 20.0 ms" in oversight.misfit
