"""`python -m drivers.sim.box` as a process, with the device's own PLC driver as its client."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus import tcp_link
from drivers.plc_link import Closed, Created, EpochGranted, LinkUp, Overrun, Plc, PlcRestarted, Settings
from drivers.registers import Command, load_map

ROOT = Path(__file__).resolve().parents[2]
MS = 1_000_000
AUTOMATIC = 2
STATION = """\
name = "box-test"
identity = 1001
plc_identity = 2001
production = false
simulated = true
[wiring]
kind = "modbus-client"
[geometry]
counts_per_mm = 20.0
gate_mm = 300.0
ejector_lead_mm = 40.0
chute_eye_mm = 380.0
pass_eye_mm = 400.0
[[cameras]]
name = "body"
serial = "SIM-BODY"
producer = "none.cti"
station = 0
position_mm = 120.0
width = 1280
height = 1024
[[cameras]]
name = "crimp"
serial = "SIM-CRIMP"
producer = "none.cti"
station = 3
position_mm = 160.0
width = 640
height = 480
[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
"""


class BoxProcess:
    """The box under test; its pool is shared by the tests of this module."""

    def __init__(self, folder: Path, pool: Path, *arguments: str) -> None:
        self.truth = folder / "truth.json"
        station = folder / "station.toml"
        station.write_text(STATION)
        command = [sys.executable, "-W", "error", "-m", "drivers.sim.box", str(station), "--pool", str(pool)]
        command += ["--pool-units", "4", "--cameras", str(folder), "--truth", str(self.truth), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.events: list[dict[str, Any]] = []

    def read(self) -> dict[str, Any]:
        """Return the next event; waits for it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors()
        self.events.append(json.loads(line))
        return self.events[-1]

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def quit(self) -> dict[str, Any]:
        """Ask it to quit and return the truth log."""
        assert self.process.stdin is not None
        self.process.stdin.write(b'nonsense\n{"cmd":"other"}\n{"cmd":"quit"}\n')
        self.process.stdin.flush()
        assert self.process.wait(20) == 0, self.errors()
        return dict(json.loads(self.truth.read_text()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pool")


@pytest.fixture
def boxes(tmp_path: Path, pool: Path) -> Iterator[Any]:
    started: list[BoxProcess] = []

    def start(*arguments: str) -> BoxProcess:
        started.append(BoxProcess(tmp_path, pool, *arguments))
        return started[-1]

    yield start
    for box in started:
        box.close()


class Device:
    """Permits every unit whose number is no multiple of 3."""

    def __init__(self, port: int) -> None:
        settings = Settings(1001, 2001, 1, (0, 3), 4 * MS, 20 * MS, 500 * MS)
        self.plc = Plc(tcp_link("127.0.0.1", port, 1, 500 * MS), load_map(), settings)
        self.created: list[Created] = []
        self.closed: list[Closed] = []
        self.restarts: list[PlcRestarted] = []
        self._proposal = 30

    def turn(self) -> None:
        for event in self.plc.service(time.monotonic_ns()):
            match event:
                case LinkUp() | PlcRestarted():
                    self._proposal += 10
                    self.plc.ask_epoch(self._proposal)
                    self.plc.command(0, AUTOMATIC, 0)
                    self.restarts += [event] if isinstance(event, PlcRestarted) else []
                case EpochGranted(epoch=epoch):
                    self.plc.epoch_proposal = epoch + 1  # a PLC without memory must not grant the same epoch again
                    self.plc.command(Command.RUN, AUTOMATIC, 6)
                case Created():
                    self.created.append(event)
                    if event.number % 3 and event.epoch == self.plc.epoch:
                        self.plc.permit(0, event.number)
                case Closed():
                    self.closed.append(event)
                case Overrun():
                    raise AssertionError(event)


def drive(box: BoxProcess, device: Device, until: str) -> None:
    """Let the device work until the box says a word."""
    assert box.process.stdout is not None
    os.set_blocking(box.process.stdout.fileno(), False)
    rest = b""
    end = time.monotonic() + 60
    with selectors.DefaultSelector() as selector:
        selector.register(box.process.stdout, selectors.EVENT_READ)
        while not any(event["event"] == until for event in box.events):
            assert time.monotonic() < end and box.process.poll() is None, (box.events[-3:], box.process.poll())
            device.turn()
            if selector.select(0.001):
                *lines, rest = (rest + (box.process.stdout.read() or b"")).split(b"\n")
                box.events += [json.loads(line) for line in lines]
        for _ in range(50):
            device.turn()
            time.sleep(0.001)


def test_a_run_from_ready_to_truth(boxes: Any) -> None:
    box = boxes("--units", "24", "--rate", "1500")
    ready = box.read()
    assert ready["event"] == "ready" and ready["port"] > 0
    device = Device(ready["port"])
    drive(box, device, "done")
    device.plc.close()
    assert [event["unit"] for event in box.events if event["event"] == "infeed"] == list(range(1, 25))
    assert [event.number for event in device.created] == [event.number for event in device.closed]
    truth = box.quit()
    vials = truth["vials"]
    assert [vial["vial"] for vial in vials] == list(range(1, 25)) and not any(vial["escaped"] for vial in vials)
    epoch = device.created[0].epoch
    assert vials[4]["units"] == [[epoch, 0, 5]]
    assert {vial["end"] for vial in vials if vial["vial"] % 3 == 0} == {"chute"}
    assert sum(vial["end"] == "pass" for vial in vials) >= 12
    done = box.events[-1]
    assert done["passed"] + done["diverted"] == 24 and done["stray_pass"] == 0
    assert truth["plc"]["epochs"][0]["closed"] == 24
    assert {name: len(digests) for name, digests in truth["pictures"].items()} == {"body": 6, "crimp": 6}
    assert truth["box"]["edges_unsent"] == {"body": 24, "crimp": 24}
    seen = [unit for unit in truth["units"] if unit["permit_ns"]]
    assert len(seen) == 16 and all(unit["last_edge_ns"] for unit in truth["units"])


@pytest.mark.parametrize("fault", ["plc-restart", "restart-same-numbers", "plc-link-down"])
def test_faults_of_the_plc_clear_themselves_and_let_nothing_escape(boxes: Any, fault: str) -> None:
    box = boxes("--units", "24", "--rate", "1500", "--fault", f"{fault}@8", "--fault", "kill-line@4")
    device = Device(box.read()["port"])
    drive(box, device, "done")
    device.plc.close()
    truth = box.quit()
    assert not any(vial["escaped"] for vial in truth["vials"])
    names = [tuple(unit["unit"]) for unit in truth["units"]]
    assert len(names) == len(set(names))
    assert fault == "restart-same-numbers" or truth["plc"]["stray_pass"] == 0
    assert {"event": "fault", "name": "kill-line", "unit": 4, "duration_ms": 0} in box.events
    for word in ("fault-begin", "fault-end"):
        assert {"event": word, "name": fault, "unit": 8} in box.events
    record = truth["faults"][0]
    assert 290 * MS <= record["end_ns"] - record["begin_ns"] <= 520 * MS
    lost = {"plc-restart": [False], "restart-same-numbers": [True], "plc-link-down": []}[fault]
    assert [restart.memory_lost for restart in device.restarts] == lost
    assert "pass" in {vial["end"] for vial in truth["vials"][-3:]}, "the line accepts again"


def test_sigterm_and_end_of_input_end_it_with_the_truth_written(boxes: Any) -> None:
    for end in (lambda box: box.process.send_signal(signal.SIGTERM), lambda box: box.process.stdin.close()):
        box = boxes("--units", "0")
        box.read()
        end(box)
        assert box.process.wait(20) == 0, box.errors()
        assert json.loads(box.truth.read_text())["run"]["units"] == 0
        box.truth.unlink()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--fault", "no-such@3"], "no fault 'no-such'"),
        (["--fault", "edge-lost"], "as in edge-lost@100"),
        (["--rate", "9000"], "geometry.ejector_lead_mm"),
        (["--units", "-1"], "--units"),
        (["--pool-units", "500"], "128"),
    ],
)
def test_bad_arguments_are_one_line(boxes: Any, arguments: list[str], word: str) -> None:
    box = boxes(*arguments)
    assert box.process.wait(30) == 78
    errors = box.errors()
    assert word in errors and errors.count("\n") == 1 and not box.truth.exists()
