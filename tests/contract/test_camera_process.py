"""The process camera@body as systemd starts it, between a simulated camera, a line and a vision."""

import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from camera_box import Box, Head, build_producer

from daemon.messages import PROTO, CameraState, FrameLost, FrameReady, FrameSeen, Hello, Release, Ring
from daemon.vision.ring_map import RingMap
from daemon.wire import Listener, Message, Peer, PeerGone, connect
from drivers.sim.camera_feed import CameraFault, CameraSpec

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, SLOTS = 320, 240, 4
PICTURES = np.random.default_rng(11).integers(0, 256, (4, HEIGHT, WIDTH), np.uint8)
PATIENCE_S = 10.0
M = TypeVar("M", bound=Message)

STATION = """
name = "test"
identity = 1
plc_identity = 2
production = false
simulated = true
wiring = {{ kind = "modbus-client" }}
geometry = {{ counts_per_mm = 10.0, gate_mm = 500.0, chute_eye_mm = 550.0, pass_eye_mm = 560.0 }}
vision = {{ bundle = "bundle", recipe = "recipe", trust = "trust" }}
[[cameras]]
name = "body"
serial = "{serial}"
producer = "{producer}"
station = 0
position_mm = 100.0
width = {width}
height = {height}
ring_slots = {slots}
environment = {{ SIMLINE_DIR = "{folder}" }}
"""


class Inbox:
    """One peer of the camera process, read with patience; messages of other kinds are kept for later."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._kept: list[tuple[Message, list[int]]] = []

    def next(self, kind: type[M]) -> M:
        return self.next_fds(kind)[0]

    def next_fds(self, kind: type[M]) -> tuple[M, list[int]]:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for entry in self._kept:
                if isinstance(entry[0], kind):
                    self._kept.remove(entry)
                    return entry
            select.select([self.peer], [], [], 0.1)
            message, fds = self.peer.receive_fds()
            if message is not None:
                self._kept.append((message, fds))
        raise AssertionError(f"no {kind.__name__}; {[type(kept).__name__ for kept, _ in self._kept]} came")

    def forget(self) -> None:
        self._kept.clear()

    def state(self, acquiring: bool) -> CameraState:
        while True:
            message = self.next(CameraState)
            if message.acquiring == acquiring:
                return message


class Vision:
    """The reader: its rings, newest last."""

    def __init__(self, runtime: Path) -> None:
        peer = wait_for(lambda: connect(runtime / "camera-body.sock", Hello(PROTO, "vision", "test", 1)))
        self.inbox = Inbox(peer)
        self.hello = self.inbox.next(Hello)
        self.new_ring()

    def new_ring(self) -> None:
        self.message, fds = self.inbox.next_fds(Ring)
        self.fd = fds[0]
        self.ring = RingMap(self.message, self.fd)

    def frame(self, *, release: bool = True) -> tuple[FrameReady, np.ndarray]:
        ready = self.inbox.next(FrameReady)
        pixels = self.ring.image(ready.slot, ready.width, ready.height).copy()
        if release:
            self.inbox.peer.send(Release(self.message.session, ready.slot))
        return ready, pixels

    def close(self) -> None:
        self.inbox.peer.close()
        os.close(self.fd)


class Bench:
    """The process and everything around it."""

    def __init__(self, folder: Path, producer: Path, box: Box, serial: str) -> None:
        self.folder = folder
        self.head = Head(box, CameraSpec(serial, background=3), PICTURES)
        self.station = write_station(folder, producer=producer, folder=box.folder, serial=serial)
        self.listener = Listener(folder / "line.sock")
        self.begin()

    def begin(self) -> None:
        self.process = start(self.station, self.folder)
        self.line = Inbox(wait_for(self.listener.accept))
        self.hello = self.line.next(Hello)
        self.session = self.line.state(acquiring=True).session

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(5)

    def close(self) -> None:
        self.end()
        self.line.peer.close()
        self.listener.close()
        self.head.withdraw()


def write_station(runtime: Path, **values: object) -> Path:
    station = runtime / "station.toml"
    station.write_text(STATION.format(**{"width": WIDTH, "height": HEIGHT, "slots": SLOTS, "serial": "x"} | values))
    return station


def start(station: Path, runtime: Path, name: str = "body") -> subprocess.Popen[bytes]:
    environment = os.environ | {"RUNTIME_DIRECTORY": str(runtime), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "daemon", "camera", str(station), name]
    with (runtime / "stderr").open("w") as stderr:
        return subprocess.Popen(command, env=environment, stderr=stderr)


def wait_for(poll):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := poll():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing came")


@pytest.fixture(scope="module")
def producer() -> Path:
    return build_producer()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    server = Box(tmp_path_factory.mktemp("heads"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, producer: Path, box: Box) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("camera"), producer, box, "CAM-P")
    yield made
    made.close()


@pytest.fixture
def vision(bench: Bench) -> Iterator[Vision]:
    reader = Vision(bench.folder)
    yield reader
    reader.close()


def test_greets_as_camera(bench: Bench, vision: Vision) -> None:
    for hello in (bench.hello, vision.hello):
        assert (hello.proto, hello.process, hello.name) == (PROTO, "camera", "body")
    assert vision.message.session == bench.session != 0


def test_edge_to_pixels_and_evidence(bench: Bench, vision: Vision) -> None:
    (due,) = bench.head.fire(2, encoder=777)
    ready, pixels = vision.frame()
    evidence = bench.line.next(FrameSeen).evidence
    assert np.array_equal(pixels, PICTURES[2])
    assert ready.evidence == evidence
    assert evidence.key.session == bench.session
    assert abs(evidence.exposed_ns - due) <= evidence.uncertainty_ns
    assert evidence.uncertainty_ns < 1_000_000 < evidence.received_ns - due
    assert (evidence.encoder, evidence.line_status, evidence.missed) == (777, 2, 0)
    assert evidence.complete and evidence.consistent


def test_counts_run_on(bench: Bench, vision: Vision) -> None:
    bench.head.fire(0, 1)
    first, second = (bench.line.next(FrameSeen).evidence for _ in range(2))
    assert second.edge_count == first.edge_count + 1
    assert second.key.frame_id == first.key.frame_id + 1


@pytest.mark.clause("ALCOA+ original")
def test_a_reader_cannot_write(vision: Vision) -> None:
    with pytest.raises(PermissionError):
        mmap.mmap(vision.fd, mmap.PAGESIZE)


def test_lent_slots_are_never_overwritten(bench: Bench, vision: Vision) -> None:
    bench.head.fire(0, 1, 2, 0)
    held = [vision.frame(release=False) for _ in range(SLOTS)]
    bench.head.fire(1)
    assert "no free slot" in bench.line.next(FrameLost).cause
    for ready, pixels in held:
        assert np.array_equal(vision.ring.image(ready.slot, WIDTH, HEIGHT), pixels)
    vision.inbox.peer.send(Release(vision.message.session, held[2][0].slot))
    bench.head.fire(2)
    ready, pixels = vision.frame()
    assert ready.slot == held[2][0].slot
    assert np.array_equal(pixels, PICTURES[2])


def test_without_vision_the_evidence_still_goes_to_the_line(bench: Bench) -> None:
    clear(bench)
    bench.head.fire(0)
    evidence = bench.line.next(FrameSeen).evidence
    lost = bench.line.next(FrameLost)
    assert lost.key == evidence.key
    assert "vision is not connected" in lost.cause


def test_a_new_reader_gets_a_new_ring_of_the_same_session(bench: Bench, vision: Vision) -> None:
    second = Vision(bench.folder)
    assert second.message.session == bench.session
    assert os.fstat(second.fd).st_ino != os.fstat(vision.fd).st_ino
    bench.head.fire(1)
    assert np.array_equal(second.frame()[1], PICTURES[1])
    with pytest.raises(PeerGone):
        wait_for(vision.inbox.peer.receive)
    second.close()


def test_releasing_what_it_does_not_hold_ends_the_reader(bench: Bench, vision: Vision) -> None:
    vision.inbox.peer.send(Release(vision.message.session, 1))
    with pytest.raises(PeerGone):
        wait_for(vision.inbox.peer.receive)


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
def test_a_stranger_is_refused(bench: Bench) -> None:
    peer = connect(bench.folder / "camera-body.sock", Hello(PROTO, "gateway", "x", 1))
    with pytest.raises(PeerGone):
        wait_for(peer.receive)
    peer.close()


@pytest.mark.parametrize("fault", [CameraFault.INCOMPLETE, CameraFault.STALE])
def test_a_spoiled_frame_reaches_no_reader(bench: Bench, vision: Vision, fault: CameraFault) -> None:
    clear(bench)
    bench.head.fire(0, 1, fault=fault)
    evidence = bench.line.next(FrameSeen).evidence
    assert not (evidence.complete and evidence.consistent)
    assert bench.line.next(FrameLost).key == evidence.key
    ready, pixels = vision.frame()
    assert ready.evidence.key.frame_id == evidence.key.frame_id + 1
    assert np.array_equal(pixels, PICTURES[1])


def test_a_lost_frame_is_named(bench: Bench, vision: Vision) -> None:
    clear(bench)
    bench.head.fire(0, 1, 2, 0, fault=CameraFault.DROP_FRAME, strikes=1)
    first = vision.frame()[0].evidence.key.frame_id
    lost = bench.line.next(FrameLost)
    assert (lost.key.frame_id, lost.cause) == (first + 1, f"frame {first + 1} never came")
    assert [vision.frame()[0].evidence.key.frame_id for _ in range(2)] == [first + 2, first + 3]


def test_a_doubled_frame_is_judged_once(bench: Bench, vision: Vision) -> None:
    clear(bench)
    bench.head.fire(0, 1, fault=CameraFault.DUP_FRAME)
    seen = [bench.line.next(FrameSeen).evidence.key.frame_id for _ in range(3)]
    assert seen == [seen[0], seen[0], seen[0] + 1]
    assert [vision.frame()[0].evidence.key.frame_id for _ in range(2)] == [seen[0], seen[0] + 1]


def test_overtaken_frames_both_arrive(bench: Bench, vision: Vision) -> None:
    bench.head.fire(0, 1, fault=CameraFault.REORDER)
    frames = [vision.frame() for _ in range(2)]
    assert [ready.evidence.key.frame_id for ready, _ in frames] == [
        frames[1][0].evidence.key.frame_id + 1,
        frames[1][0].evidence.key.frame_id,
    ]
    assert np.array_equal(frames[1][1], PICTURES[0])


def test_missed_triggers_are_told(bench: Bench, vision: Vision) -> None:
    clear(bench)
    bench.head.fire(0, 1, fault=CameraFault.BUSY)
    state = bench.line.next(CameraState)
    assert "1 triggers missed while busy" in state.text
    assert (state.session, state.acquiring) == (bench.session, True)
    vision.frame()


def test_edges_without_frames_are_told(bench: Bench, vision: Vision) -> None:
    clear(bench)
    bench.head.fire(0, fault=CameraFault.DROP_FRAME)
    assert "no frame for edges" in bench.line.next(CameraState).text


def test_camera_loss_and_return_is_a_new_session(bench: Bench, vision: Vision) -> None:
    clear(bench)
    bench.head.drop_link()
    gone = bench.line.state(acquiring=False)
    assert gone.session == 0
    bench.head.restore_link(reboot=True)
    back = bench.line.state(acquiring=True)
    assert back.session not in (0, bench.session)
    bench.session = back.session
    vision.new_ring()
    assert vision.message.session == back.session
    bench.head.fire(3)
    ready, pixels = vision.frame()
    assert (ready.evidence.key.frame_id, ready.evidence.edge_count) == (1, 1)
    assert np.array_equal(pixels, PICTURES[3])


def test_killed_and_started_again(tmp_path: Path, producer: Path, box: Box) -> None:
    bench = Bench(tmp_path, producer, box, "CAM-K")
    before = bench.session
    bench.process.kill()
    assert bench.process.wait(5) == -signal.SIGKILL
    bench.line.peer.close()
    bench.begin()
    assert bench.session not in (0, before)
    reader = Vision(tmp_path)
    bench.head.fire(2)
    assert np.array_equal(reader.frame()[1], PICTURES[2])
    reader.close()
    bench.close()


def test_stops_cleanly(bench: Bench) -> None:
    assert bench.end() == 0
    assert "Traceback" not in (bench.folder / "stderr").read_text()


def clear(bench: Bench) -> None:
    """Forget what the line has heard so far."""
    while select.select([bench.line.peer], [], [], 0.05)[0]:
        bench.line.peer.receive()
    bench.line.forget()


# ---- stations that cannot work ----


def ends(station: Path, runtime: Path, name: str = "body") -> tuple[int, str]:
    status = start(station, runtime, name).wait(PATIENCE_S)
    return status, (runtime / "stderr").read_text()


def test_wrong_name_and_wrong_producer_are_one_line(tmp_path: Path) -> None:
    station = write_station(tmp_path, producer="nowhere.cti", folder=tmp_path)
    assert ends(station, tmp_path, "crown") == (
        os.EX_CONFIG,
        f"camera crown: {station}: no camera is named crown; the station has body\n",
    )
    status, text = ends(station, tmp_path)
    assert status == os.EX_CONFIG
    assert text == (
        f"camera body: GenTL producer {tmp_path}/nowhere.cti is not there; install it or correct `producer`\n"
    )
