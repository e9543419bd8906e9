"""The process `camera@NAME`: one camera, one frame ring, one loop."""

import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from daemon import config, notify
from daemon.camera.account import Arrival
from daemon.camera.acquisition import Acquisition, GiveUp
from daemon.camera.peers import LineLink, VisionSide
from daemon.messages import PROTO, CameraState, FrameLost, FrameSeen, Hello
from drivers.errors import ProducerMissing
from drivers.frame import CameraSettings, Grab
from drivers.genicam import GenICamCamera

WAIT_MS: Final = 20
PAUSE_S: Final = 0.01
_LOG: Final = logging.getLogger(__name__)


class CameraLoop:
    """Frames from the camera to `vision` (pixels) and `line` (evidence). `turn` is called for ever."""

    def __init__(self, acquisition: Acquisition, line: LineLink, vision: VisionSide) -> None:
        self._acquisition = acquisition
        self._line = line
        self._vision = vision
        self._session = 0

    def turn(self) -> None:
        """One step, at most WAIT_MS of waiting.

        Raises:
            GiveUp, ProducerMissing: the process must end.
        """
        now_ns = time.monotonic_ns()
        self._line.service(now_ns)
        if self._acquisition.session:
            self._take_frame()
        else:
            self._vision.service()
            if not self._acquisition.try_start(now_ns):
                time.sleep(PAUSE_S)
        self._report()

    @property
    def acquiring(self) -> bool:
        return self._session != 0

    def close(self) -> None:
        """Say goodbye and let everything go."""
        self._acquisition.close()
        self._report()
        self._vision.close()
        self._line.close()

    def _take_frame(self) -> None:
        grab = self._acquisition.next_grab(WAIT_MS)
        received_ns = time.monotonic_ns()
        self._vision.service()  # slots given back meanwhile are free for this frame
        if grab is not None:
            self._hand_on(grab, received_ns)
            self._acquisition.requeue(grab)

    def _hand_on(self, grab: Grab, received_ns: int) -> None:
        acquisition = self._acquisition
        arrival, lost = acquisition.admit(grab)
        for frame_id in lost:
            self._line.send(FrameLost(acquisition.key(frame_id), f"frame {frame_id} never came"))
        if arrival is Arrival.TOO_LATE:
            return
        evidence = acquisition.evidence(grab, received_ns)
        cause = ""
        if arrival is Arrival.NEW:
            cause = _unusable(grab) or self._vision.offer(evidence, grab.pixels)
        self._line.send(FrameSeen(evidence))
        if cause:
            _LOG.warning("frame %d: %s", grab.frame_id, cause)
            self._line.send(FrameLost(evidence.key, f"frame {grab.frame_id}: {cause}"))

    def _report(self) -> None:
        session, name = self._acquisition.session, self._acquisition.name
        if session != self._session:
            self._session = session
            self._vision.begin(session) if session else self._vision.end()
            self._line.state(CameraState(name, session, session != 0, "acquires" if session else "does not acquire"))
        for event in self._acquisition.events():
            text = event.text if event.frame_id is None else f"frame {event.frame_id}: {event.text}"
            _LOG.warning("%s", text)
            self._line.state(CameraState(name, session, session != 0, text))


def _unusable(grab: Grab) -> str:
    if not grab.complete:
        return "incomplete"
    return "" if grab.consistent else "stale buffer: chunks and buffer information disagree"


def build(path: Path, name: str) -> CameraLoop:
    """Put the parts together.

    Raises:
        ConfigError: the station document is wrong, or names no such camera.
    """
    station, runtime = config.load(path), config.runtime_dir()
    camera = next((camera for camera in station.cameras if camera.name == name), None)
    if camera is None:
        raise config.ConfigError(f"{path}: no camera is named {name}; the station has {_names(station)}")
    os.environ.update(camera.environment)
    settings = CameraSettings(
        producer=config.resolve(path, camera.producer),
        serial=camera.serial,
        width=camera.width,
        height=camera.height,
        exposure_us=camera.exposure_us,
        trigger_source=camera.trigger_source,
        buffers=camera.ring_slots,
    )
    hello = Hello(PROTO, "camera", name, os.getpid())
    acquisition = Acquisition(name, GenICamCamera(settings), int(camera.frame_timeout_ms * 1e6))
    vision = VisionSide(runtime / f"camera-{name}.sock", hello, camera.ring_slots, camera.width * camera.height)
    return CameraLoop(acquisition, LineLink(runtime / "line.sock", hello), vision)


def main(path: Path, name: str) -> int:
    """Run until SIGTERM and return the exit status.

    EX_CONFIG with one line on stderr where only a person can help; EX_UNAVAILABLE after too many failures, for systemd
    to start a fresh process. Called by: `python -m daemon camera STATION NAME`.
    """
    logging.basicConfig(level=logging.INFO, format=f"camera {name}: %(levelname)s %(message)s", stream=sys.stderr)
    stop: list[int] = []
    try:
        loop = build(path, name)
    except config.ConfigError as error:
        print(f"camera {name}: {error}", file=sys.stderr)
        return os.EX_CONFIG
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stop.append(received))
    try:
        _serve(loop, stop)
    except ProducerMissing as error:
        print(f"camera {name}: {error}", file=sys.stderr)
        return os.EX_CONFIG
    except GiveUp as error:
        print(f"{error}; this process ends, systemd starts another", file=sys.stderr)
        return os.EX_UNAVAILABLE
    finally:
        loop.close()
    return os.EX_OK


def _serve(loop: CameraLoop, stop: list[int]) -> None:
    watchdog = notify.Watchdog()
    waiting = True
    gc.collect()
    gc.freeze()
    while not stop:
        loop.turn()
        watchdog.advanced()
        if waiting and loop.acquiring:
            waiting = False
            notify.ready("acquires")
    notify.stopping("stops")


def _names(station: config.Station) -> str:
    return ", ".join(camera.name for camera in station.cameras)
