"""Camera links as they are: block ids of 16 bit, producers that wait for a buffer; our producer under sanitisers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from camera_box import SIMLINE, Box, Head, build_producer

from daemon.camera.account import Arrival
from daemon.camera.acquisition import Acquisition
from drivers.frame import CameraSettings, Grab
from drivers.genicam import GenICamCamera
from drivers.sim.camera_feed import CameraFault, CameraOption, CameraSpec, ExposureFlag

WIDTH, HEIGHT = 64, 48
PICTURES = np.random.default_rng(7).integers(0, 256, (2, HEIGHT, WIDTH), np.uint8)
PATIENCE_MS = 2000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Module-wide, because its spawning leaves a resource tracker that lives as long as this process."""
    offered = Box(tmp_path_factory.mktemp("heads"))
    yield offered
    offered.close()


@pytest.fixture
def box(server: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.setenv("SIMLINE_DIR", str(server.folder))
    return server


def driver() -> GenICamCamera:
    wanted = {"width": WIDTH, "height": HEIGHT, "exposure_us": 200.0, "buffers": 4}
    return GenICamCamera(CameraSettings(producer=build_producer(), serial="CAM-1", **wanted))


def acquire(camera: GenICamCamera) -> Acquisition:
    acquisition = Acquisition("side", camera, 100_000_000)
    assert acquisition.try_start(time.monotonic_ns())
    return acquisition


def admitted(acquisition: Acquisition, head: Head, shots: int) -> list[tuple[int, Arrival, bool]]:
    """Fire edges; return what the account makes of each frame: continued id, arrival, trusted."""
    found = []
    for _ in range(shots):
        head.fire(1)
        grab = acquisition.next_grab(PATIENCE_MS)
        assert isinstance(grab, Grab)
        arrival, lost = acquisition.admit(grab)
        assert lost == ()
        found.append((grab.frame_id, arrival, grab.consistent and grab.complete))
        acquisition.requeue(grab)
    return found


def test_ids_go_on_over_the_wrap_of_gige_vision_1(box: Box) -> None:
    head = Head(box, CameraSpec("CAM-1", options=CameraOption.GEV16, first_frame_id=65_533), PICTURES)
    acquisition = acquire(driver())
    try:
        found = admitted(acquisition, head, 6)
        assert found == [(frame_id, Arrival.NEW, True) for frame_id in range(65_533, 65_539)]
        assert [record.frame_id for record in head.exposed()] == list(range(65_533, 65_539))
    finally:
        acquisition.close()
        head.withdraw()


def test_garbage_in_the_chunks_is_never_trusted(box: Box) -> None:
    head = Head(box, CameraSpec("CAM-1"), PICTURES)
    acquisition = acquire(driver())
    try:
        for _ in range(40):
            head.fire(1, fault=CameraFault.CORRUPT)
            grab = acquisition.next_grab(PATIENCE_MS)
            assert isinstance(grab, Grab)
            evidence = acquisition.evidence(grab, grab.device_ts)
            assert not (evidence.complete and evidence.consistent)
            acquisition.requeue(grab)
        assert admitted(acquisition, head, 1) == [(41, Arrival.NEW, True)]
    finally:
        acquisition.close()
        head.withdraw()


@pytest.mark.parametrize("option", [CameraOption.NONE, CameraOption.WAIT])
def test_without_a_free_buffer_frames_are_dropped_or_wait(box: Box, option: CameraOption) -> None:
    head = Head(box, CameraSpec("CAM-1", options=option), PICTURES)
    camera = driver()
    camera.open()
    camera.start()
    try:
        held = []
        head.fire(*[1] * 6)
        for _ in range(4):
            held.append(camera.wait(PATIENCE_MS))
        time.sleep(0.05)
        for grab in held:
            camera.requeue(grab)
        waited = option is CameraOption.WAIT
        if not waited:
            head.fire(1)
        later = camera.wait(PATIENCE_MS)
        assert later.frame_id == (5 if waited else 7)
        camera.requeue(later)
        lost = [bool(record.flags & ExposureFlag.UNDERRUN) for record in head.exposed()]
        assert sum(lost) == (0 if waited else 2)
    finally:
        camera.close()
        head.withdraw()


def test_a_waiting_frame_does_not_keep_the_camera_from_stopping(box: Box) -> None:
    head = Head(box, CameraSpec("CAM-1", options=CameraOption.WAIT), PICTURES)
    camera = driver()
    camera.open()
    camera.start()
    head.fire(*[1] * 8)
    assert camera.wait(PATIENCE_MS) is not None
    time.sleep(0.05)
    camera.close()
    head.withdraw()


def test_the_suite_passes_under_address_and_undefined_behaviour_sanitisers() -> None:
    subprocess.run(["make", "-s", "-C", SIMLINE, "sanitised"], check=True)
    names = ("libasan.so", "libstdc++.so.6")  # the second too, or the first finds no C++ exceptions to intercept
    found = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip() for name in names]
    environment = os.environ | {
        "LINEWARDEN_SIMLINE": str(SIMLINE / "build/sanitised/simline.cti"),
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_segv=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    here = Path(__file__).parent
    chosen = [str(here / "test_camera.py"), str(here / "test_camera_links.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not viky and not sanitisers"]
    done = subprocess.run([*command, *chosen], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
