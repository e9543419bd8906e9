"""The whole way with real processes: a recorder, slots as the command line starts it, a vision that judges."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from recorder_box import talking

from daemon.config import load
from daemon.messages import Bound, Judged, Loaded
from daemon.slots import main
from daemon.slots.plans import opened as installed_bundle
from daemon.store_requests import Request, What, drop
from daemon.units import Verdict
from daemon.vision.plan import folders_of, open_plan
from fleet.plans import read_asked
from provisioning import requests
from tests.contract import stick_world
from tests.contract.plan_world import PlanDevice
from tests.contract.tensor_rt_graphs import needs_no_gpu
from tests.contract.test_slots_process import Box
from tests.contract.vision_bench import SIDE, Bench, Camera, Played, unit
from tests.unit.store_world import in_memory
from tests.vectors.plan_approval_1 import BACKEND, sign


class Judging(Bench):
    """Everything around one vision process, over the folders of a box whose recorder was stopped."""

    def __init__(self, box: Box) -> None:
        self.root = self.runtime = box.folder
        self.state = box.folder / "state"
        self.line, self.recorder = (Played(self.runtime, name) for name in ("line", "recorder"))
        self.camera = Camera(self.runtime)
        self.process = None


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A station on disk that inspects with ONNX Runtime, and a real recorder; every later act starts a real slots."""
    made = Box(tmp_path)
    text = made.station.read_text().replace("width = 1280\nheight = 1024", "width = 32\nheight = 24")
    for name in ("bundle", "recipe", "trust"):
        text = text.replace(f'{name} = "{name}"', f'{name} = "state/store/active/{name}"')
    made.station.write_text(text)
    made.start()
    with talking(made.socket, "cli"):
        pass
    bundle, _ = made.pair(1)
    with monkeypatch.context() as here:
        here.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
        here.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        here.setattr(requests, "_start", lambda slots: main.main(slots.station))
        made.installs(1)
        assert made.linewarden("bundle", "activate", bundle, "--reason", "CC-1") == 0
    yield made
    made.stop()


@pytest.mark.clause("21 CFR 11.10(e)", "21 CFR 11.70")
def test_from_the_graph_to_the_verdict_with_real_processes(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    before = plan_digest_of(box)
    box.station.write_text(box.station.read_text().replace("[vision]\n", f'[vision]\nbackend = "{BACKEND}"\n'))
    assert box.linewarden("bundle", "build-plans", "--reason", "new back end") == 0
    assert "nobody has signed its plan" in vision_refuses(box)

    request, approval = box.folder / "request.json", box.folder / "approval"
    assert box.linewarden("bundle", "plans", "--request", str(request)) == 0
    approval.write_bytes(sign(read_asked(request, box.folder / "bundle-1")))
    assert box.linewarden("bundle", "approve-plan", str(approval), "--reason", "CC-2") == 0
    capsys.readouterr()
    assert box.linewarden("bundle", "plans", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["approved_by"], row["text"], row["model"]) == ("Anna Berg", "", "side")
    rows = box.look("SELECT what, done, why, signature FROM audit WHERE what LIKE '%plan%' ORDER BY entry")
    assert rows == [
        ("bundle-build-plans", 1, "new back end", ""),
        ("bundle-approve-plan", 1, "CC-2", approval.read_text()),
    ]
    box.stop()
    assert vision_judges(box).plan not in (before, "")


def plan_digest_of(box: Box) -> str:
    station = load(box.station)
    with closing(open_plan(station, folders_of(box.station, station))) as plan:
        return plan.loaded.plan


def vision_judges(box: Box) -> Loaded:
    """Start a real vision, let it judge a good and a bad unit, and return what it says it has loaded."""
    bench = Judging(box)
    try:
        bench.connect()
        loaded = bench.line.hear(Loaded)
        for number, level, verdict in ((1, 60, Verdict.ACCEPT), (2, 240, Verdict.REJECT)):
            key, _ = bench.camera.shoot(level=level)
            bench.line.say(Bound(unit(number), SIDE, key, loaded.recipe))
            judged = bench.line.hear(Judged)
            assert (judged.unit, judged.verdict) == (unit(number), verdict)
        bench.process.send_signal(signal.SIGTERM)
        status, errors = bench.finish()
        assert status == 0, errors
    finally:
        bench.close()
    return loaded


def vision_refuses(box: Box) -> str:
    """Start a real vision, which ends by itself with EX_CONFIG, and return its one line."""
    bench = Bench.__new__(Bench)
    bench.root, bench.runtime, bench.state = box.folder, box.folder, box.folder / "state"
    bench.start()
    status, errors = bench.finish()
    assert status == os.EX_CONFIG
    (line,) = errors.splitlines()
    return line


class PowerCut(BaseException):
    """What nothing may catch and go on after."""


def test_whenever_the_power_goes_the_next_run_completes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before every fsync of an installation that builds a plan, the key of the device included."""
    sync, cuts = os.fsync, 0
    with in_memory() as folder:
        first = PlanDevice(folder / "first")
        first.make(1)
        while True:
            device = first.copied(folder / f"cut-{cuts}")
            left = iter(range(cuts))

            def cut(fd: int, left: Iterator[int] = left) -> None:
                if next(left, None) is None:
                    raise PowerCut
                sync(fd)

            drop(device.state, Request("0" * 32, What.INSTALL, "a", "operator", "x", str(device.source("bundle-1"))))
            monkeypatch.setattr(os, "fsync", cut)
            try:
                device.run()
                break
            except PowerCut:
                cuts += 1
            finally:
                monkeypatch.setattr(os, "fsync", sync)
            device.run()
            assert (
                device.shop()
                .shelf(device.shop().book.state.trust)
                .sound(installed_bundle(device.shop(), device.digests["bundle-1"]), "side")
            )
            assert not [path for path in device.plans.rglob(".*")]
    assert cuts > 20


@pytest.fixture
def stick(monkeypatch: pytest.MonkeyPatch) -> Iterator[stick_world.Stick]:
    """A fleet that brings a bundle to this line and does not order it yet; the line runs plans."""
    monkeypatch.setattr(stick_world, "Device", PlanDevice)
    with in_memory() as folder:
        made = stick_world.Stick(folder)
        made.add(1)
        made.allow(1)
        made.roll_out(1)
        made.publish()
        yield made


def test_an_order_of_the_allow_list_waits_for_the_signature_and_is_then_carried_out(stick: stick_world.Stick) -> None:
    assert stick.plug_in().ok
    assert stick.world.evidence.golden and stick.world.recorder.told[-1] == ("update-apply", True)
    stick.allow(1, activate=1)
    stick.publish()
    answer = stick.plug_in()
    assert not answer.ok and "nobody has signed its plan" in answer.text
    assert stick.world.approve(sign(stick.world.asked())).ok
    answer = stick.plug_in()
    assert answer.ok, answer.text
    assert stick.world.active == stick.world.digests["bundle-1"]
    stick.world.opened().close()


def test_an_update_says_of_each_step_what_a_missing_back_end_made_of_it(stick: stick_world.Stick) -> None:
    needs_no_gpu()
    stick.world.station.write_text(stick.world.station.read_text().replace(BACKEND, "tensorrt"))
    answer = stick.plug_in()
    assert not answer.ok and "refused: tensorrt: not installed" in answer.text
    assert f"installed recipe tiny-recipe 1.0.0 {stick.world.digests['recipe-1']}" in answer.text
