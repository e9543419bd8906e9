"""The bench of the vision process with a bundle of any head, and a camera that shows any frame."""

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from daemon.messages import Bound, FrameReady, Judged
from daemon.units import Evidence, FrameKey
from engines.engine import Frame
from tests.contract.engine_models import make_bundle
from tests.contract.vision_bench import COLUMNS, ROWS, SIDE, SLOTS, Bench, Camera, unit
from tests.vectors import bundle_1


class Showing(Camera):
    """A camera that delivers the frame it is given."""

    def show(self, frame: Frame) -> tuple[FrameKey, str]:
        self._frame_id += 1
        slot = self._frame_id % SLOTS
        os.pwrite(self._fd, frame.tobytes(), slot * ROWS * COLUMNS)
        key = FrameKey("side", self.session, self._frame_id)
        evidence = Evidence(key, self._frame_id, 0, 77, 0, 0, 0, 0, True, True, time.monotonic_ns())
        self.say(FrameReady(evidence, slot, COLUMNS, ROWS))
        return key, hashlib.sha256(frame.tobytes()).hexdigest()


class HeadBench(Bench):
    """Everything around one vision process that judges by a bundle of `engine_models`."""

    def __init__(self, root: Path, kind: str, raw: bytes | None = None, **changes: Any) -> None:
        super().__init__(root)
        self.camera.close()
        self.camera: Showing = Showing(self.runtime)
        for name in ("bundle", "recipe"):
            shutil.rmtree(root / name)
        self.bundle = make_bundle(root / "bundle", kind, raw, **changes)
        self.recipe = bundle_1.make_recipe(root / "recipe", self.bundle, evidence_share=1.0)

    def configure(self, line: str) -> None:
        """Add a line to the section [vision] of the station file."""
        with (self.root / "station.toml").open("a") as station:
            station.write(f"{line}\n")

    def judge(self, number: int, frame: Frame) -> tuple[Judged, str]:
        """Show a frame of a unit; return what is said of it and the digest of the pixels."""
        key, digest = self.camera.show(frame)
        self.line.say(Bound(unit(number), SIDE, key, self.recipe))
        return self.line.hear(Judged, lambda judged: judged.unit == unit(number)), digest

    def close(self) -> None:
        super().close()
        if self.process and self.process.stderr:
            self.process.stderr.close()
