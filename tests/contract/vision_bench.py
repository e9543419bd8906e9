"""One vision process and everything around it: line, recorder and camera, played over its real sockets."""

import fcntl
import hashlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from daemon.messages import (
    PROTO,
    FrameReady,
    Hello,
    Ring,
)
from daemon.units import Evidence, FrameKey, UnitId, ViewKey
from daemon.wire import Listener, Message, Peer, PeerGone
from tests.vectors import bundle_1

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

    def hears_more(self, kind: type[M]) -> bool:
        """True if another of this kind had come before the other side went away."""
        assert self._peer is not None
        try:
            while (message := self._peer.receive()) is not None:
                self.heard.append(message)
        except PeerGone:
            pass
        return any(isinstance(message, kind) for message in self.heard)

    def forget(self) -> None:
        self.heard.clear()
        self.hang_up()

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
        bundle_1.make_trust(root / "trust", bundle_1.KEYS)
        self.bundle = bundle_1.make_bundle(root / "bundle")
        self.recipe = bundle_1.make_recipe(root / "recipe", self.bundle)
        self.write_station(production=False)
        self.line = Played(self.runtime, "line")
        self.recorder = Played(self.runtime, "recorder")
        self.camera = Camera(self.runtime)
        self.process: subprocess.Popen[str] | None = None

    def write_station(self, *, production: bool) -> None:
        (self.root / "station.toml").write_text(STATION.format(production=str(production).lower()))

    def write_recipe(self, shots: int = 1, **changes: Any) -> None:
        """Another signed recipe, with that many views of the one camera."""
        shutil.rmtree(self.root / "recipe")
        view = bundle_1.recipe_description(self.bundle)["views"][0]
        views = [{**view, "shot": shot} for shot in range(shots)]
        self.recipe = bundle_1.make_recipe(self.root / "recipe", self.bundle, views=views, **changes)
        if shots > 1:
            text = (self.root / "station.toml").read_text()
            more = f"height = 24\nshots = {shots}\nshot_pitch_mm = 5.0"
            (self.root / "station.toml").write_text(text.replace("height = 24", more))

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


def unit(number: int) -> UnitId:
    return UnitId(3, 0, number)
