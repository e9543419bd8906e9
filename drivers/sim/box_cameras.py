"""The cameras of the line in a box: pictures in, edges and scenes out, faults on the way, exposures back as truth."""

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.config import Camera
from drivers.sim.belt import Scene
from drivers.sim.camera_feed import CameraFault, CameraFeed, CameraSpec
from drivers.sim.faults import FaultName
from drivers.sim.lanes import Lanes
from drivers.sim.machine import Pulse

READOUT_NS = 700_000
DRIFT_PPB = 50_000
JITTER_NS = 2_000
BUSY_NS = 1_000_000
LATE_NS = 30_000_000
_INSIDE = {
    FaultName.BUSY_TRIGGER: CameraFault.BUSY,
    FaultName.FRAME_LOST: CameraFault.DROP_FRAME,
    FaultName.FRAME_DUP: CameraFault.DUP_FRAME,
    FaultName.FRAME_REORDER: CameraFault.REORDER,
    FaultName.INCOMPLETE_FRAME: CameraFault.INCOMPLETE,
    FaultName.STALE_BUFFER: CameraFault.STALE,
}
EDGE_FAULTS = (*_INSIDE, FaultName.EDGE_LOST, FaultName.EDGE_EXTRA, FaultName.EDGE_LATE)

Pictures = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Head:
    """One camera and its wires. `unsent` counts edges that met no connected camera."""

    name: str
    index: int
    lane: int
    line: int
    feed: CameraFeed
    digests: list[str]
    unsent: int = 0


@dataclass(slots=True)
class Cameras:
    """Owned by the box's loop. Faults strike the first camera of the vial's lane."""

    heads: list[Head]
    belt: Lanes
    by_station: dict[int, Head]
    half_period_ns: int
    planned: dict[int, FaultName] = field(default_factory=dict)
    dark: bool = False

    def close(self) -> None:
        for head in self.heads:
            head.feed.close()

    def plan(self, vial: int, fault: FaultName) -> None:
        """The fault strikes the edge or exposure of that vial at the first camera of its lane."""
        self.planned[vial] = fault

    def darken(self, dark: bool) -> None:
        """The lamp of the first camera goes out, or on again: for what comes before its lens from now on."""
        self.dark = dark

    def show(self, scenes: list[Scene]) -> None:
        """Put what the belt carries before the lenses."""
        for scene in scenes:
            head = self.heads[scene.camera]
            picture = self.belt.vials[scene.vial - 1].picture if scene.vial else head.feed.spec.background
            if self.dark and head is self.heads[0]:
                picture = head.feed.spec.background - 1
            head.feed.scene(scene.from_ns, scene.to_ns, picture)

    def trigger(self, pulse: Pulse) -> FaultName | None:
        """Send an edge down its wire; returns the fault that struck it."""
        head = self.by_station[pulse.station]
        first = next(other for other in self.heads if other.lane == head.lane)
        fault = self.planned.pop(pulse.vial, None) if head is first and pulse.vial else None
        if fault in _INSIDE:
            head.feed.fault(_INSIDE[fault], BUSY_NS, pulse.due_ns - 1000)
        if fault is FaultName.EDGE_LATE:
            self._edge(head, pulse.due_ns + min(LATE_NS, self.half_period_ns))
        elif fault is not FaultName.EDGE_LOST:
            self._edge(head, pulse.due_ns, pulse.encoder)
        if fault is FaultName.EDGE_EXTRA:
            self._edge(head, pulse.due_ns + self.half_period_ns)
        return fault

    def exposures(self, head: Head) -> list[dict[str, Any]]:
        """Take the camera's messages; return what it exposed, as the truth log holds it."""
        head.feed.service()
        return [
            {
                "camera": head.name,
                "vial": self.belt.before_lens(head.index, exposed.at_ns),
                "frame_id": exposed.frame_id,
                "device_ts": exposed.device_ts,
                "at_ns": exposed.at_ns,
                "picture": exposed.picture,
                "acquisition": exposed.ordinal,
                "flags": [str(flag.name).lower() for flag in exposed.flags],
            }
            for exposed in head.feed.exposed()
        ]

    def _edge(self, head: Head, due_ns: int, encoder: int | None = None) -> None:
        counts = self.belt.encoder(due_ns) if encoder is None else encoder
        head.unsent += not head.feed.edge(head.line, due_ns, counts, 1 << head.line)


def open_head(camera: Camera, index: int, pictures: Pictures, folder: Path, seed: int) -> Head:
    """Offer one camera of the station document with its pool; the last picture is the empty belt, the one before it
    the same without light.

    Raises:
        ValueError: pictures of another size than the station document says, or a serial that cannot be a file name.
        OSError: the folder cannot hold a socket.
    """
    if pictures.shape[1:] != (camera.height, camera.width):
        height, width = pictures.shape[1:]
        raise ValueError(f"camera {camera.name}: pictures are {width}x{height}; set width and height so in the station")
    chance = random.Random(f"{seed} camera {camera.serial}")
    spec = CameraSpec(
        serial=camera.serial,
        user_id=camera.name,
        background=len(pictures) - 1,
        exposure_ns=int(camera.exposure_us * 1000),
        readout_ns=READOUT_NS,
        uptime_ns=chance.randrange(60, 100_000) * 1_000_000_000,
        drift_ppb=chance.randrange(-DRIFT_PPB, DRIFT_PPB + 1),
        jitter_ns=JITTER_NS,
    )
    line = int(camera.trigger_source.removeprefix("Line")) if camera.trigger_source.startswith("Line") else 1
    digests = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    return Head(camera.name, index, camera.lane, line, CameraFeed(folder, spec, pictures), digests)
