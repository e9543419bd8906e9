"""The vision process over its real sockets; line, recorder and camera are played by this file."""

import fcntl
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from daemon.messages import PROTO, Arm, Bound, FrameReady, Hello, Judged, Loaded, Release, Ring, Unbound, VisionFault
from daemon.units import Channel, Evidence, FrameKey, Reason, UnitId, Verdict, ViewKey
from daemon.wire import Listener, Message, Peer
from tests.vectors import bundle_0

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS = 24, 32
SLOTS = 4
SIDE = ViewKey("side")
LIMIT_S = 20.0

STATION = """
name = "test"
identity = 1
plc_identity = 2
production = {production}
wiring = {{ kind = "modbus-client" }}
geometry = {{ counts_per_mm = 10.0, gate_mm = 500.0, chute_eye_mm = 550.0, pass_eye_mm = 550.0 }}
[[cameras]]
name = "side"
serial = "1"
producer = "none"
station = 0
position_mm = 100.0
width = 32
height = 24
[vision]
bundle = "bundle"
recipe = "recipe"
trust = "trust"
"""

M = TypeVar("M")


class Played:
    """One peer of the vision process: accepts it, greets it, keeps what it says."""

    def __init__(self, runtime: Path, process: str, name: str = "") -> None:
        self.process = process
        self._listener = Listener(runtime / f"{process}{'-' + name if name else ''}.sock")
        self._peer: Peer | None = None
        self.heard: list[Message] = []

    def accept(self) -> None:
        select.select([self._listener], [], [], LIMIT_S)
        self._peer = self._listener.accept()
        self.say(Hello(PROTO, self.process, "played", 1))

    def say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        assert self._peer is not None, f"vision did not connect to {self.process}"
        self._peer.send(message, fds)

    def hear(self, kind: type[M], wanted: Callable[[M], bool] = lambda _: True) -> M:
        """Return the first message of this kind, waiting for it."""
        assert self._peer is not None
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            for index, message in enumerate(self.heard):
                if isinstance(message, kind) and wanted(message):
                    del self.heard[index]
                    return message
            select.select([self._peer], [], [], 0.2)
            message = self._peer.receive()
            if message is not None:
                self.heard.append(message)
        raise AssertionError(f"{self.process} never heard {kind.__name__}, only {self.heard}")

    def hang_up(self) -> None:
        if self._peer:
            self._peer.close()
            self._peer = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


class Camera(Played):
    """A camera with a ring of SLOTS slots, written through its own descriptor."""

    def __init__(self, runtime: Path) -> None:
        super().__init__(runtime, "camera", "side")
        self._fd = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, SLOTS * ROWS * COLUMNS)
        self.session = 0
        self._frame_id = 0

    def start(self, session: int) -> None:
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self.session = session
        self.say(Ring("side", session, SLOTS, ROWS * COLUMNS), (self._fd,))

    def shoot(self, level: int, session: int | None = None) -> tuple[FrameKey, str]:
        """Deliver a frame with grey `level` and one pixel that tells it apart; return its key and digest."""
        self._frame_id += 1
        frame = np.full((ROWS, COLUMNS), level, np.uint8)
        frame[0, 0] = self._frame_id
        slot = self._frame_id % SLOTS
        os.pwrite(self._fd, frame.tobytes(), slot * ROWS * COLUMNS)
        key = FrameKey("side", self.session if session is None else session, self._frame_id)
        evidence = Evidence(key, self._frame_id, 0, 77, 0, 0, 0, 0, True, True, time.monotonic_ns())
        self.say(FrameReady(evidence, slot, COLUMNS, ROWS))
        return key, hashlib.sha256(frame.data).hexdigest()

    def close(self) -> None:
        super().close()
        os.close(self._fd)


class Bench:
    """Everything around one vision process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runtime, self.state = root / "run", root / "state"
        self.runtime.mkdir()
        self.state.mkdir()
        bundle_0.make_trust(root / "trust", bundle_0.KEYS)
        self.bundle = bundle_0.make_bundle(root / "bundle")
        self.recipe = bundle_0.make_recipe(root / "recipe", self.bundle)
        self.write_station(production=False)
        self.line = Played(self.runtime, "line")
        self.recorder = Played(self.runtime, "recorder")
        self.camera = Camera(self.runtime)
        self.process: subprocess.Popen[str] | None = None

    def write_station(self, *, production: bool) -> None:
        (self.root / "station.toml").write_text(STATION.format(production=str(production).lower()))

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "RUNTIME_DIRECTORY": str(self.runtime),
            "STATE_DIRECTORY": str(self.state),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "daemon", "vision", str(self.root / "station.toml")],
            env=environment,
            cwd=self.root,
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self) -> None:
        self.start()
        for peer in (self.line, self.recorder, self.camera):
            peer.accept()
        self.camera.start(session=5)

    def finish(self) -> tuple[int, str]:
        assert self.process is not None
        _, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, errors

    def close(self) -> None:
        for peer in (self.line, self.recorder, self.camera):
            peer.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def unit(number: int) -> UnitId:
    return UnitId(3, 0, number)


def test_one_life(bench: Bench) -> None:
    """Loaded, good unit, bad unit, frame before and after its binding, evidence on disk, clean stop."""
    bench.connect()
    loaded = bench.line.hear(Loaded)
    assert (loaded.bundle, loaded.recipe, loaded.views) == (bench.bundle, bench.recipe, [SIDE])
    assert bench.recorder.hear(Loaded) == loaded

    good, good_digest = bench.camera.shoot(level=60)
    bench.camera.hear(Release)
    bench.line.say(Bound(unit(1), SIDE, good))
    judged = bench.line.hear(Judged)
    assert (judged.unit, judged.verdict, judged.bundle) == (unit(1), Verdict.ACCEPT, bench.bundle)
    assert [(view.key, view.digest, view.device_ts) for view in judged.views] == [(good, good_digest, 77)]
    assert judged.views[0].scores == pytest.approx({"bright": 60 / 255, "grey": 60 / 255})
    assert judged.frame_ns < judged.inferred_ns <= judged.judged_ns

    bad = FrameKey("side", 5, 2)
    bench.line.say(Bound(unit(2), SIDE, bad))
    shot, bad_digest = bench.camera.shoot(level=240)
    assert shot == bad
    judged = bench.line.hear(Judged)
    assert (judged.verdict, judged.reason, judged.channel) == (Verdict.REJECT, Reason.DEFECT, Channel.CRITICAL)
    assert bench.camera.hear(Release).slot == 2

    assert bench.process is not None
    bench.process.send_signal(signal.SIGTERM)
    status, errors = bench.finish()
    assert status == 0, errors
    (entry,) = map(json.loads, (bench.state / "evidence" / "index.jsonl").read_text().splitlines())
    assert (entry["unit"], entry["digest"], entry["defect"]) == ([3, 0, 2], bad_digest, "bright")
    image = (bench.state / "evidence" / entry["file"]).read_bytes()
    assert hashlib.sha256(image.removeprefix(b"P5\n32 24\n255\n")).hexdigest() == bad_digest


def test_the_ring_never_runs_dry_while_units_wait(bench: Bench) -> None:
    """Three times as many frames as slots, none of them bound yet; then all are judged from their own pixels."""
    bench.connect()
    shots = []
    for number in range(3 * SLOTS):
        shots.append(bench.camera.shoot(level=10 * number))
        bench.camera.hear(Release, lambda release, slot=(number + 1) % SLOTS: release.slot == slot)
    for number, (key, _) in enumerate(shots):
        bench.line.say(Bound(unit(number), SIDE, key))
    for number, (_, digest) in enumerate(shots):
        judged = bench.line.hear(Judged)
        assert (judged.unit, judged.views[0].digest) == (unit(number), digest)
        assert judged.verdict is (Verdict.ACCEPT if number <= 10 else Verdict.UNDECIDED)


def test_an_unbound_frame_and_a_foreign_session_are_never_judged(bench: Bench) -> None:
    bench.connect()
    foreign, _ = bench.camera.shoot(level=10, session=4)
    bench.line.say(Bound(unit(1), SIDE, foreign))
    assert bench.camera.hear(Release).session == 4
    given_up, _ = bench.camera.shoot(level=10)
    bench.camera.hear(Release)
    bench.line.say(Unbound(given_up))
    bench.line.say(Bound(unit(2), SIDE, given_up))
    marker, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(3), SIDE, marker))
    assert bench.line.hear(Judged).unit == unit(3)


def test_a_line_that_comes_back_is_told_what_is_loaded(bench: Bench) -> None:
    bench.connect()
    first = bench.line.hear(Loaded)
    bench.line.hang_up()
    bench.line.accept()
    assert bench.line.hear(Loaded) == first
    key, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(1), SIDE, key))
    assert bench.line.hear(Judged).unit == unit(1)


def test_a_ring_that_could_shrink_is_refused(bench: Bench) -> None:
    """Reading beyond its end would kill the process: the connection is dropped instead, and tried again."""
    bench.connect()
    with os.fdopen(os.memfd_create("bad", os.MFD_ALLOW_SEALING), "wb") as bad:
        os.ftruncate(bad.fileno(), SLOTS * ROWS * COLUMNS)
        bench.camera.say(Ring("side", 6, SLOTS, ROWS * COLUMNS), (bad.fileno(),))
    bench.camera.hang_up()
    bench.camera.accept()
    bench.camera.start(session=7)
    key, _ = bench.camera.shoot(level=10)
    bench.line.say(Bound(unit(1), SIDE, key))
    assert bench.line.hear(Judged).views[0].key == key


def test_a_batch_armed_for_another_bundle_is_a_fault(bench: Bench) -> None:
    bench.connect()
    bench.recorder.say(Arm("batch", bench.bundle, bench.recipe, "c"))
    bench.recorder.say(Arm("batch", "0" * 64, bench.recipe, "c"))
    assert "wrong digest" in bench.line.hear(VisionFault).text


@pytest.mark.parametrize(
    "file", ["bundle/bundle.json", "bundle/tiny.onnx", "recipe/recipe.json", "recipe/signatures/qa.sig"]
)
def test_a_flipped_byte_ends_the_process_before_it_connects(bench: Bench, file: str) -> None:
    bundle_0.flip(bench.root / file)
    bench.start()
    status, errors = bench.finish()
    assert status == os.EX_CONFIG
    assert len(errors.splitlines()) == 1
    assert Path(file).parts[0] in errors
    assert "Traceback" not in errors
    assert bench.line._listener.accept() is None


def test_development_keys_are_refused_in_production(bench: Bench) -> None:
    bench.write_station(production=True)
    bench.start()
    status, errors = bench.finish()
    assert status == os.EX_CONFIG
    assert "development keys are refused in production mode" in errors
