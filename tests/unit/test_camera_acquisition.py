"""When a camera is tried again, when the process gives up, and what the operator hears."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from daemon.camera.account import Arrival
from daemon.camera.acquisition import MAX_FAILURES, MAX_REOPENS, Acquisition, GiveUp
from drivers.errors import DeviceLost, DeviceRefused, DriverError, ProducerMissing
from drivers.frame import CameraTraits, ClockLatch, Grab

COMPLETE = CameraTraits(True, True, True, True, True, True)
GRAB = Grab(1, 5_000, 1, 0, 77, 2, True, True, 4, 4, np.zeros((4, 4), np.uint8), None)
SECOND_NS = 1_000_000_000


class ScriptedCamera:
    """A Camera that does what the test says: errors on open, a queue of grabs or errors on wait."""

    def __init__(self, traits: CameraTraits = COMPLETE) -> None:
        self.traits = traits
        self.on_open: DriverError | None = None
        self.grabs: deque[Grab | DriverError | None] = deque()
        self.counted: int | None = 0
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1
        if self.on_open:
            raise self.on_open

    def start(self) -> None:
        pass

    def wait(self, timeout_ms: int) -> Grab | None:
        grab = self.grabs.popleft() if self.grabs else None
        if isinstance(grab, DriverError):
            raise grab
        return grab

    def requeue(self, grab: Grab) -> None:
        pass

    def latch(self) -> ClockLatch:
        return ClockLatch(1_000, 2_000, 2_100)

    def alive(self) -> int | None:
        return self.counted

    def trigger(self) -> None:
        pass

    def reset(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def texts(acquisition: Acquisition) -> list[str]:
    return [event.text for event in acquisition.events()]


@pytest.fixture
def camera() -> ScriptedCamera:
    return ScriptedCamera()


@pytest.fixture
def acquisition(camera: ScriptedCamera) -> Acquisition:
    made = Acquisition("body", camera, 60_000_000)
    assert made.try_start(0)
    made.events()
    return made


def test_each_start_has_a_session_of_its_own(camera: ScriptedCamera) -> None:
    sessions = set()
    for _ in range(8):
        acquisition = Acquisition("body", camera, 0)
        assert acquisition.session == 0
        acquisition.try_start(0)
        sessions.add(acquisition.session)
    assert len(sessions) == 8 and 0 not in sessions


@pytest.mark.clause("21 CFR 11.10(h)", "Annex 11 §5")
@pytest.mark.parametrize("missing", ["edge_counter", "timestamps", "latch"])
def test_a_camera_without_a_witness_is_refused(missing: str) -> None:
    camera = ScriptedCamera(replace(COMPLETE, **{missing: False}))
    acquisition = Acquisition("body", camera, 0)
    assert not acquisition.try_start(0)
    assert "cannot be bound to units by two witnesses" in texts(acquisition)[0]
    assert acquisition.session == 0 and camera.closed == 1


def test_pauses_double_and_failures_end_in_giving_up(camera: ScriptedCamera) -> None:
    camera.on_open = DeviceLost("camera body is not on the network")
    acquisition = Acquisition("body", camera, 0)
    tries, now = [], 0
    with pytest.raises(GiveUp, match=f"{MAX_FAILURES} failures"):
        for now in range(0, 60 * SECOND_NS, SECOND_NS // 100):
            before = camera.opened
            acquisition.try_start(now)
            if camera.opened > before:
                tries.append(now)
    pauses = [late - early for early, late in zip(tries, tries[1:], strict=False)]
    assert len(tries) == MAX_FAILURES
    assert pauses == sorted(pauses) and pauses[-1] == SECOND_NS


def test_a_missing_producer_is_for_a_person(camera: ScriptedCamera) -> None:
    camera.on_open = ProducerMissing("no such file")
    with pytest.raises(ProducerMissing):
        Acquisition("body", camera, 0).try_start(0)


@pytest.mark.parametrize("error", [DeviceLost("gone"), DeviceRefused("no")])
def test_a_lost_camera_ends_the_session(acquisition: Acquisition, camera: ScriptedCamera, error: DriverError) -> None:
    camera.grabs.append(error)
    assert acquisition.next_grab(20) is None
    assert acquisition.session == 0 and camera.closed == 1
    assert texts(acquisition) == [str(error)]


def test_frames_missing_at_the_loss_are_named(acquisition: Acquisition, camera: ScriptedCamera) -> None:
    for frame_id in (1, 4):
        acquisition.admit(replace(GRAB, frame_id=frame_id))
    camera.grabs.append(DeviceLost("gone"))
    acquisition.next_grab(20)
    assert texts(acquisition) == ["gone; frames lost on the way: [2, 3]"]


def test_too_many_reopenings_end_the_process(acquisition: Acquisition, camera: ScriptedCamera) -> None:
    with pytest.raises(GiveUp, match="reopenings"):
        for _ in range(MAX_REOPENS + 2):
            camera.grabs.append(DeviceLost("gone"))
            acquisition.next_grab(20)
            acquisition.try_start(1 << 62)


def test_evidence_is_what_the_hardware_latched(acquisition: Acquisition) -> None:
    evidence = acquisition.evidence(GRAB, 9_999)
    assert (evidence.key.camera, evidence.key.session, evidence.key.frame_id) == ("body", acquisition.session, 1)
    assert (evidence.edge_count, evidence.missed, evidence.encoder, evidence.line_status) == (1, 0, 77, 2)
    assert evidence.exposed_ns == 5_000 + 1_050
    assert evidence.received_ns == 9_999
    assert evidence.complete and evidence.consistent


@pytest.mark.clause("ALCOA+ accurate", "Annex 11 §5")
@pytest.mark.parametrize(
    "spoiled", [{"complete": False, "edge_count": None}, {"consistent": False}, {"edge_count": None}]
)
def test_a_spoiled_frame_cannot_be_credited(acquisition: Acquisition, spoiled: dict[str, object]) -> None:
    evidence = acquisition.evidence(replace(GRAB, **spoiled), 9_999)
    assert not (evidence.complete and evidence.consistent)


def test_missed_triggers_are_told_once(acquisition: Acquisition, camera: ScriptedCamera) -> None:
    camera.grabs += [replace(GRAB, missed=2), replace(GRAB, frame_id=2, missed=2)]
    acquisition.next_grab(20)
    acquisition.next_grab(20)
    assert texts(acquisition) == ["2 triggers missed while busy, 2 in all"]


def test_a_second_delivery_of_one_id_is_told(acquisition: Acquisition) -> None:
    assert acquisition.admit(GRAB)[0] is Arrival.NEW
    assert acquisition.admit(GRAB)[0] is Arrival.TWICE
    assert acquisition.events()[0].frame_id == 1
