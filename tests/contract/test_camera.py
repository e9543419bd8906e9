"""One suite over the Camera protocol: our simulated camera and a foreign GenTL producer pass the same tests."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import genicam
import numpy as np
import pytest
from camera_box import Box, Head, build_producer

from drivers.clock import ClockMap, Reading
from drivers.errors import DeviceLost, DeviceRefused, ProducerMissing
from drivers.frame import CameraSettings, Grab
from drivers.genicam import GenICamCamera
from drivers.sim.camera_feed import CameraFault, CameraSpec, ExposureFlag

WIDTH, HEIGHT = 320, 240
VIKY = Path(genicam.__file__).parent / "viky.cti"
PICTURES = np.random.default_rng(7).integers(0, 256, (6, HEIGHT, WIDTH), np.uint8)
BACKGROUND = 5
PATIENCE_MS = 2000


@pytest.fixture(scope="module")
def producer() -> Path:
    return build_producer()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    server = Box(tmp_path_factory.mktemp("heads"))
    yield server
    server.close()


@pytest.fixture
def head(box: Box, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Head]:
    monkeypatch.setenv("SIMLINE_DIR", str(box.folder))
    spec = CameraSpec("CAM-1", user_id="body", background=BACKGROUND, drift_ppb=40_000, jitter_ns=500)
    offered = Head(box, spec, PICTURES)
    yield offered
    offered.withdraw()


def settings(producer: Path, **changes: object) -> CameraSettings:
    wanted = {"width": WIDTH, "height": HEIGHT, "exposure_us": 200.0, "buffers": 8} | changes
    return CameraSettings(producer=producer, serial="CAM-1", **wanted)


@pytest.fixture
def camera(producer: Path, head: Head) -> Iterator[GenICamCamera]:
    driver = GenICamCamera(settings(producer))
    driver.open()
    driver.start()
    yield driver
    driver.close()


@pytest.fixture(params=["simline", "viky"])
def any_camera(request: pytest.FixtureRequest, box: Box, producer: Path) -> Iterator[GenICamCamera]:
    """Either producer, running freely: all that the foreign one can do."""
    if request.param == "viky":
        driver = GenICamCamera(CameraSettings(producer=VIKY, serial="1", trigger_source="", buffers=4))
    else:
        request.getfixturevalue("head")
        driver = GenICamCamera(settings(producer, trigger_source=""))
    driver.open()
    yield driver
    driver.close()


def take(camera: GenICamCamera, count: int) -> list[Grab]:
    """The next frames with pixels copied, their buffers given back."""
    frames = []
    for _ in range(count):
        grab = camera.wait(PATIENCE_MS)
        assert grab is not None, f"frame {len(frames) + 1} of {count} did not come"
        frames.append(Copied(grab))
        camera.requeue(grab)
    return frames


class Copied:
    def __init__(self, grab: Grab) -> None:
        for name in Grab.__slots__:
            if name not in ("pixels", "buffer"):
                setattr(self, name, getattr(grab, name))
        self.pixels = grab.pixels.copy()


def picture_of(frame: Copied) -> int:
    return next((i for i, picture in enumerate(PICTURES) if np.array_equal(picture, frame.pixels)), -1)


def ids(frames: list[Copied]) -> list[int]:
    return [frame.frame_id for frame in frames]


# ---- both producers ----


def test_free_running_frames_have_rising_ids(any_camera: GenICamCamera) -> None:
    any_camera.start()
    frames = take(any_camera, 3)
    assert all(frame.complete and frame.consistent for frame in frames)
    assert ids(frames) == [frames[0].frame_id + i for i in range(3)]
    assert frames[0].pixels.shape[0] == frames[0].height > 0
    any_camera.alive()


def test_pixels_are_read_only(any_camera: GenICamCamera) -> None:
    any_camera.start()
    grab = any_camera.wait(PATIENCE_MS)
    with pytest.raises(ValueError, match="read-only"):
        grab.pixels[0, 0] = 1


def test_stop_and_start_again(any_camera: GenICamCamera) -> None:
    any_camera.start()
    take(any_camera, 1)
    any_camera.stop()
    any_camera.start()
    assert take(any_camera, 1)[0].complete


def test_latch_where_declared(any_camera: GenICamCamera) -> None:
    if not any_camera.traits.latch:
        with pytest.raises(DeviceRefused, match="TimestampLatch"):
            any_camera.latch()
        pytest.skip("this producer declares no TimestampLatch")
    first, second = any_camera.latch(), any_camera.latch()
    assert first.before_ns <= first.after_ns <= second.before_ns
    assert 0 < second.device_ts - first.device_ts < 1_000_000_000


def test_our_interrupt_handler_survives(any_camera: GenICamCamera) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.clause("21 CFR 11.10(h)")
def test_unknown_serial_names_what_is_there() -> None:
    driver = GenICamCamera(CameraSettings(producer=VIKY, serial="nobody"))
    with pytest.raises(DeviceLost, match="camera nobody is not on the network; viky.cti sees 0, 1, 2"):
        driver.open()


def test_a_camera_without_trigger_is_refused() -> None:
    driver = GenICamCamera(CameraSettings(producer=VIKY, serial="0", trigger_source="Line1"))
    with pytest.raises(DeviceRefused, match="has no trigger"):
        driver.open()


# ---- producer ----


def test_missing_producer_is_one_clear_line(tmp_path: Path) -> None:
    driver = GenICamCamera(settings(tmp_path / "nothing.cti"))
    with pytest.raises(ProducerMissing, match=r"nothing\.cti is not there; install it or correct `producer`$"):
        driver.open()


def test_broken_producer_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cti"
    broken.write_text("not a library")
    with pytest.raises(ProducerMissing, match=r"broken\.cti cannot be loaded"):
        GenICamCamera(settings(broken)).open()


def test_wrong_size_is_refused_by_name(producer: Path, head: Head) -> None:
    driver = GenICamCamera(settings(producer, width=4096))
    with pytest.raises(DeviceRefused, match="did not set Width to 4096"):
        driver.open()


# ---- edges, exposure, evidence ----


def test_declared_traits(camera: GenICamCamera) -> None:
    traits = camera.traits
    assert traits.hardware_trigger and traits.software_trigger and traits.edge_counter
    assert traits.timestamps and traits.encoder and traits.latch


def test_edge_gives_the_picture_before_the_lens(camera: GenICamCamera, head: Head) -> None:
    head.fire(3, encoder=4711)
    (frame,) = take(camera, 1)
    assert np.array_equal(frame.pixels, PICTURES[3])
    assert (frame.frame_id, frame.edge_count, frame.missed) == (1, 1, 0)
    assert (frame.encoder, frame.line_status) == (4711, 2)
    assert frame.complete and frame.consistent


def test_nothing_before_the_lens_gives_the_background(camera: GenICamCamera, head: Head) -> None:
    head.edge(1, monotonic_ns(), 0, 2)
    assert picture_of(take(camera, 1)[0]) == BACKGROUND


def test_edges_ahead_and_out_of_order(camera: GenICamCamera, head: Head) -> None:
    base = monotonic_ns() + 30_000_000
    for i in (2, 0, 1):
        head.edge(1, base + i * 5_000_000, i, 2)
    frames = take(camera, 3)
    assert [frame.encoder for frame in frames] == [0, 1, 2]
    assert [frame.edge_count for frame in frames] == [1, 2, 3]


def test_software_trigger(producer: Path, head: Head) -> None:
    driver = GenICamCamera(settings(producer, trigger_source="Software"))
    driver.open()
    driver.start()
    head.fire(1)
    driver.trigger()
    (frame,) = take(driver, 1)
    assert (frame.frame_id, frame.edge_count) == (1, None)
    assert not driver.traits.edge_counter
    driver.close()


def test_trigger_while_busy_is_counted_and_gives_no_frame(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, 2, 3, offsets_ns=(0, 500_000, 1_100_000, 5_000_000))
    frames = take(camera, 3)
    assert [(frame.frame_id, frame.edge_count, frame.missed) for frame in frames] == [(1, 1, 0), (2, 3, 1), (3, 4, 1)]
    assert camera.wait(20) is None


def test_ordered_busy_time(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, 2, fault=CameraFault.BUSY, argument=8_000_000)
    (frame,) = take(camera, 1)
    assert (frame.edge_count, frame.missed, picture_of(frame)) == (3, 2, 2)


def test_restart_begins_counts_anew(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1)
    take(camera, 2)
    camera.stop()
    camera.start()
    head.fire(2)
    (frame,) = take(camera, 1)
    assert (frame.frame_id, frame.edge_count) == (1, 1)
    assert [record.ordinal for record in head.exposed()] == [1, 1, 2]


def test_latch_maps_exposures_to_edges(camera: GenICamCamera, head: Head) -> None:
    clock = ClockMap()
    for _ in range(8):
        latch = camera.latch()
        clock.add(Reading(latch.device_ts, latch.before_ns, latch.after_ns))
    due = head.fire(0, 1, 2, 3)
    frames = take(camera, 4)
    for frame, at in zip(frames, due, strict=True):
        exposed_ns, uncertainty_ns = clock.to_monotonic(frame.device_ts)
        assert abs(exposed_ns - at) <= uncertainty_ns + 1_000


def test_truth_joins_by_frame_id_and_device_time(camera: GenICamCamera, head: Head) -> None:
    head.fire(4, 2)
    frames = take(camera, 2)
    truth = head.exposed()
    assert [(r.frame_id, r.device_ts, r.picture) for r in truth] == [
        (f.frame_id, f.device_ts, picture_of(f)) for f in frames
    ]
    assert all(record.flags == ExposureFlag.DELIVERED for record in truth)


# ---- faults on the way ----


def test_dropped_frame_leaves_a_gap(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, fault=CameraFault.DROP_FRAME)
    (frame,) = take(camera, 1)
    assert (frame.frame_id, frame.edge_count) == (2, 2)
    assert head.exposed()[0].flags == ExposureFlag.DROPPED


def test_fault_waits_for_its_time(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, 2, 3, fault=CameraFault.DROP_FRAME, strikes=2)
    assert ids(take(camera, 3)) == [1, 2, 4]


def test_duplicated_frame(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, fault=CameraFault.DUP_FRAME)
    frames = take(camera, 3)
    assert ids(frames) == [1, 1, 2]
    assert [picture_of(frame) for frame in frames] == [0, 0, 1]


def test_reordered_frames(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, 2, fault=CameraFault.REORDER)
    frames = take(camera, 3)
    assert ids(frames) == [2, 1, 3]
    assert [picture_of(frame) for frame in frames] == [1, 0, 2]


def test_incomplete_frame_keeps_its_id(camera: GenICamCamera, head: Head) -> None:
    head.fire(0, 1, fault=CameraFault.INCOMPLETE)
    partial, whole = take(camera, 2)
    assert (partial.frame_id, partial.complete, partial.edge_count) == (1, False, None)
    assert whole.complete and picture_of(whole) == 1


def test_stale_buffer_is_recognised(camera: GenICamCamera, head: Head) -> None:
    head.fire(*[0] * 8)
    take(camera, 8)
    head.fire(1, 2, fault=CameraFault.STALE)
    stale, good = take(camera, 2)
    assert stale.complete and not stale.consistent
    assert stale.frame_id == 9 and picture_of(stale) == 0
    assert good.consistent and picture_of(good) == 2


def test_underrun_uses_up_the_frame_id(camera: GenICamCamera, head: Head) -> None:
    kept = []
    for _ in range(8):
        head.fire(0)
        kept.append(camera.wait(PATIENCE_MS))
    head.fire(1)
    assert camera.wait(30) is None
    for grab in kept:
        camera.requeue(grab)
    head.fire(2)
    assert ids(take(camera, 1)) == [10]
    assert head.exposed()[8].flags == ExposureFlag.UNDERRUN


# ---- link and power ----


def test_link_loss_and_return(camera: GenICamCamera, head: Head) -> None:
    before = camera.latch().device_ts
    head.drop_link()
    assert camera.wait(20) is None
    with pytest.raises(DeviceLost, match="CAM-1 is lost"):
        camera.alive()
    with pytest.raises(DeviceLost):
        camera.latch()
    camera.close()
    with pytest.raises(DeviceLost, match="not on the network"):
        camera.open()
    head.restore_link()
    reopen(camera)
    assert camera.latch().device_ts > before
    head.fire(3)
    (frame,) = take(camera, 1)
    assert (frame.frame_id, frame.edge_count, picture_of(frame)) == (1, 1, 3)


def test_power_cycle_starts_another_clock(camera: GenICamCamera, head: Head) -> None:
    before = camera.latch().device_ts
    head.drop_link()
    assert camera.wait(20) is None
    head.restore_link(reboot=True)
    with pytest.raises(DeviceLost):
        camera.alive()
    reopen(camera)
    assert 0 < camera.latch().device_ts < before


def test_device_reset_is_a_power_cycle(camera: GenICamCamera, head: Head) -> None:
    before = camera.latch().device_ts
    camera.reset()
    with pytest.raises(DeviceLost):
        camera.alive()
    reopen(camera)
    assert camera.latch().device_ts < before


def reopen(camera: GenICamCamera) -> None:
    camera.close()
    camera.open()
    camera.start()


def test_camera_open_elsewhere_is_refused(camera: GenICamCamera, producer: Path, head: Head) -> None:
    code = (
        "import sys; from pathlib import Path; from drivers.genicam import GenICamCamera;"
        "from drivers.frame import CameraSettings; from drivers.errors import DeviceRefused\n"
        "try: GenICamCamera(CameraSettings(Path(sys.argv[1]), 'CAM-1')).open()\n"
        "except DeviceRefused as error: print(error)"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    out = subprocess.run(
        [os.sys.executable, "-c", code, producer], env=environment, capture_output=True, text=True, check=True
    )
    assert "did not open" in out.stdout
    head.fire(1)
    assert picture_of(take(camera, 1)[0]) == 1


def test_driver_cost_per_frame(camera: GenICamCamera, head: Head) -> None:
    """A frame's evidence costs well under 1 ms of this process' processor time."""
    head.fire(*[0] * 40)
    started = time.process_time()
    take(camera, 40)
    assert (time.process_time() - started) / 40 < 0.002
