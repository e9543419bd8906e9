"""`linewarden qualify sat` as a technician starts it: CLI, the process that drives outputs, the line in a box."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.acceptance import Case
from provisioning import cli
from provisioning.simstation import Layout, station_text

ROOT = Path(__file__).resolve().parents[2]
RATE = 1500.0


class Box:
    """The line in a box; its port is written into a station file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.station = folder / "station.toml"
        text = station_text(1, folder, RATE, Layout())
        self.station.write_text(text)
        command = [sys.executable, "-m", "drivers.sim.box", str(self.station), "--rate", str(RATE), "--units", "0"]
        command += ["--pool", str(folder / "pool"), "--pool-units", "1", "--cameras", str(folder / "cameras")]
        command += ["--truth", str(folder / "truth.json"), "--port", "0", *arguments]
        (folder / "cameras").mkdir()
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        port = json.loads(self._process.stdout.readline())["port"]
        self.station.write_text(text.replace("port = 1\n", f"port = {port}\n"))

    def close(self) -> None:
        self._process.communicate(b'{"cmd":"quit"}\n', timeout=30)


@pytest.fixture
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    running = Box(tmp_path_factory.mktemp("box"))
    yield running
    running.close()


@pytest.mark.clause("21 CFR 211.68(a)")
@pytest.mark.slow
def test_the_box_passes_and_the_report_says_what_was_seen(
    box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "sat.json"
    assert cli.main(["qualify", "sat", "--station", str(box.station), "--report", str(report)]) == 0
    said = capsys.readouterr().out
    assert f"PASS: {len(Case)} cases" in said and "heartbeat-stopped" in said
    document = json.loads(report.read_text())
    assert document["ok"] and document["strays"] == 0 and document["plc"]["identity"] == 2001
    assert [result["case"] for result in document["results"]] == list(Case)
    by_case = {result["case"]: result for result in document["results"]}
    assert by_case["control"]["flags"] == ["permitted", "pass_seen"]
    assert by_case["wrong-check"]["cause"] == "bad_check"
    assert all("chute_seen" in by_case[case]["flags"] for case in Case if not case.must_pass)


def test_it_refuses_while_the_line_runs(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.bind(str(tmp_path / "line.sock"))
        line.listen()
        arguments = ["qualify", "sat", "--station", str(box.station), "--runtime", str(tmp_path)]
        assert cli.main(arguments) == cli.FAILED
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "stop linewarden-line.service first" in errors[0]


def test_a_plc_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        station = tmp_path / "station.toml"
        station.write_text(station_text(taken.getsockname()[1], tmp_path, RATE, Layout()))
        report = tmp_path / "sat.json"
        arguments = ["qualify", "sat", "--station", str(station), "--case", "control", "--report", str(report)]
        assert cli.main(arguments) == cli.FAILED
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "the PLC does not answer" in errors[0]
    document = json.loads(report.read_text())
    assert not document["ok"] and "does not answer" in document["refused"]


@pytest.mark.parametrize(
    ("wiring", "simulated", "arguments", "says"),
    [
        ("serial-board", True, [], "wiring.kind modbus-client or modbus-rtu"),
        ("modbus-client", False, [], "with --yes"),
        ("modbus-client", True, ["--case", "nothing"], "there is no case 'nothing'"),
    ],
)
def test_what_it_refuses_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wiring: str,
    simulated: bool,
    arguments: list[str],
    says: str,
) -> None:
    station = tmp_path / "station.toml"
    text = station_text(1, tmp_path, RATE, Layout(wiring=wiring))
    station.write_text(text if simulated else text.replace("simulated = true", "simulated = false"))
    assert cli.main(["qualify", "sat", "--station", str(station), *arguments]) == cli.FAILED
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and says in errors[0], errors


def test_the_process_goes_when_nobody_listens(box: Box) -> None:
    """The reader of its words died: no heartbeat any more, so the PLC rejects."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "daemon", "acceptance", str(box.station), "control,no-permit"]
    with subprocess.Popen(command, cwd=ROOT, stdout=writing, stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        assert process.wait(30) in (1, 120)
