"""The command line: what it refuses and in which words, and what works without a running device."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.sim.faults import FaultError, FaultName
from provisioning import cli, faultplan, places
from provisioning.simstation import Layout, station_text

ONE_LINE = 1


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(str(stop.code))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == ONE_LINE, lines
    return code, lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sim", "--units", "0"), "'0' is not a number of vials from 1"),
        (("sim", "--units", "many"), "'many' is not a number of vials"),
        (("sim", "--rate", "0.5"), "'0.5' is not a rate from 1 to 6000"),
        (("sim", "--rate", "nan"), "'nan' is not a rate"),
        (("sim", "--fault", "nope@3"), "there is no fault 'nope'"),
        (("sim", "--fault", "kill-vision"), "say at which vial it strikes"),
        (("sim", "--fault", "kill-vision@0"), "say at which vial it strikes"),
        (("sim", "--units", "10", "--fault", "kill-vision@11"), "the run has 10 units only"),
        (("sim", "--colour", "red"), "unrecognized arguments: --colour red"),
        (("status", "--watch", "--json"), "not allowed with argument"),
        ((), "COMMAND"),
        (("config",), "required"),
        (("frobnicate",), "invalid choice: 'frobnicate'"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    code, line = _fails(capsys, *arguments)
    assert code == cli.WRONG_ARGUMENTS
    assert says in line


@pytest.mark.parametrize("command", ["status", "why", "alarms"])
def test_without_a_running_line_there_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    code, line = _fails(capsys, command, "--runtime", str(tmp_path))
    assert code == cli.FAILED
    assert f"no running line under {tmp_path}" in line
    assert "linewarden sim" in line


def test_a_dead_socket_is_no_running_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "line.sock").touch()
    code, line = _fails(capsys, "status", "--runtime", str(tmp_path))
    assert (code, "line does not listen" in line) == (cli.FAILED, True)


def _station(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    path = folder / "station.toml"
    path.write_text(station_text(1502, Path("/c"), 600.0, Layout()).replace(*change))
    return path


def test_config_dump_names_every_setting_and_its_origin(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = _station(tmp_path)
    assert cli.main(["config", "dump", "--station", str(path), "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["geometry.gate_mm"] == {"key": "geometry.gate_mm", "value": "600.0", "origin": str(path)}
    assert rows["recorder.group_ms"]["origin"] == "default"
    assert cli.main(["config", "dump", "--station", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_a_wrong_station_file_is_one_line_that_names_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = _station(tmp_path, ("gate_mm", "gait_mm"))
    code, line = _fails(capsys, "config", "dump", "--station", str(path))
    assert code == cli.FAILED
    assert "gait_mm" in line
    code, line = _fails(capsys, "config", "dump", "--station", str(tmp_path / "gone.toml"))
    assert (code, "no station file at" in line) == (cli.FAILED, True)


def test_a_folder_that_is_no_bundle_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, line = _fails(capsys, "bundle", "verify", str(tmp_path), "--trust", str(tmp_path / "trust"))
    assert code == cli.FAILED
    assert "install the trust store" in line


def test_faults_are_played_in_the_order_in_which_they_strike() -> None:
    orders = faultplan.plan(["kill-line@9", "frame-lost@3"], 10)
    assert [faultplan.label(order) for order in orders] == ["frame-lost@3", "kill-line@9"]
    with pytest.raises(FaultError):
        faultplan.plan(["frame-lost@11"], 10)


def test_every_fault_has_an_expectation() -> None:
    assert set(faultplan.EXPECTED) == set(FaultName)


def test_old_runs_are_removed_and_kept_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "working", lambda: tmp_path)
    runs = [places.new_run(None) for _ in range(places.KEPT_RUNS + 3)]
    assert [run.name for run in runs] == [str(number) for number in range(1, places.KEPT_RUNS + 4)]
    assert sum(run.exists() for run in runs) == places.KEPT_RUNS + 1
    kept = places.new_run(tmp_path / "kept")
    (kept / "file").touch()
    with pytest.raises(places.PlaceError, match="is not empty"):
        places.new_run(kept)


def test_the_readme_lists_every_fault_as_the_table_has_it() -> None:
    readme = (places.CHECKOUT / "README.md").read_text(encoding="utf-8")
    for name, expected in faultplan.EXPECTED.items():
        assert f"| `{name.value}` | {expected.effect} |" in readme


ACTS = [
    ("line", "start"),
    ("line", "maintenance"),
    ("clear",),
    ("clear", "--removed", "--yes"),
    ("alarms", "--ack", "all"),
    ("alarms", "--shelve", "FRAME_LOST"),
    ("alarms", "--out-of-service", "FRAME_LOST"),
    ("alarms", "--restore", "FRAME_LOST"),
]


@pytest.mark.parametrize("arguments", ACTS, ids=" ".join)
def test_acts_need_a_reason_and_a_running_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n"))
    code, line = _fails(capsys, *arguments, "--reason", "x", "--runtime", str(tmp_path))
    assert (code, "no running line" in line) == (cli.FAILED, True)
    (tmp_path / "line.sock").touch()
    code, line = _fails(capsys, *arguments, "--runtime", str(tmp_path))
    assert (code, "say why with --reason" in line) == (cli.FAILED, True)
    for blank in ("", "   ", "...", "\u00a0"):
        code, line = _fails(capsys, *arguments, "--reason", blank, "--runtime", str(tmp_path))
        assert (code, "no reason was given" in line) == (cli.FAILED, True)


DEMO = places.CHECKOUT / "var" / "demo"


@pytest.mark.skipif(not (DEMO / "recipe").exists(), reason="needs the demo documents: make setup")
def test_admission_prints_the_arithmetic_and_says_whether_it_fits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    station = str(_station(tmp_path))
    documents = ("--recipe", str(DEMO / "recipe"), "--trust", str(DEMO / "trust"))
    assert cli.main(["recipe", "admit", "--station", station, *documents]) == 0
    assert "last camera to gate 575.0 ms at 600 mm/s" in capsys.readouterr().out
    assert cli.main(["station", "check", "--station", station, *documents, "--worst-ms", "130"]) == cli.FAILED
    assert "NO  worst case 130.0 ms; the recipe allows 120.0 ms" in capsys.readouterr().out
    code, line = _fails(capsys, "recipe", "admit", "--station", station, "--recipe", str(tmp_path))
    assert (code, bool(line)) == (cli.FAILED, True)


@pytest.mark.parametrize(("module", "words"), cli.COMMANDS.items())
def test_a_module_adds_the_words_that_the_table_says(module: str, words: tuple[str, ...]) -> None:
    every = cli.tree().format_help()
    for word in words:
        alone = cli.tree(word).format_help()
        assert f"\n    {word} " in alone and f"\n    {word} " in every
    assert [line.split()[0] for line in alone.splitlines() if line.startswith("    ") and line[4] != " "] == [*words]


@pytest.mark.parametrize("word", ["status", "why", "batch", "trace", "map", "update"])
def test_who_asks_loads_no_engine_no_update_client_and_no_bucket(word: str) -> None:
    heavy = "{'boto3', 'cv2', 'numpy', 'onnx', 'onnxruntime', 'tuf'}"
    asked = f"import sys; from provisioning import cli; cli.tree({word!r}); print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
