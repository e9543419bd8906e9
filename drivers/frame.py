"""What a camera hands out: frames with the evidence that the hardware latched, and what a camera can do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """How to open a camera; from the station document.

    `width`, `height` in pixels, 0 leaves the camera's own size and pixel format. `trigger_source` is an SFNC name
    (`Line1`, `Software`), empty for a camera that runs freely. `buffers` frames can be in flight to this process.
    """

    producer: Path
    serial: str
    width: int = 0
    height: int = 0
    exposure_us: float = 0.0
    trigger_source: str = "Line1"
    buffers: int = 16


@dataclass(frozen=True, slots=True)
class CameraTraits:
    """What this camera offers as evidence (DESIGN section 4). Known after `open`.

    A camera without `edge_counter` or `timestamps` cannot be bound by two witnesses and is refused in production.
    """

    hardware_trigger: bool
    software_trigger: bool
    edge_counter: bool
    timestamps: bool
    encoder: bool
    latch: bool


@dataclass(frozen=True, slots=True)
class Grab:
    """One delivered buffer, valid until `requeue`.

    `device_ts` in device clock ns (0 without timestamps). `edge_count` and `missed` are since acquisition start, None
    where the camera has no such chunk or the frame is incomplete. `consistent` is False if the chunks in the memory
    are not those of the frame that the producer announced: a stale buffer. Only a frame that is `complete` and
    `consistent` may be credited. `pixels` is (height, row bytes) uint8, read-only, the producer's own memory.
    """

    frame_id: int
    device_ts: int
    edge_count: int | None
    missed: int | None
    encoder: int
    line_status: int
    complete: bool
    consistent: bool
    width: int
    height: int
    pixels: NDArray[np.uint8]
    buffer: Any = field(repr=False, compare=False)
    """The driver's own handle."""


@dataclass(frozen=True, slots=True)
class ClockLatch:
    """The device clock read `device_ts` ns somewhere between the two CLOCK_MONOTONIC stamps."""

    device_ts: int
    before_ns: int
    after_ns: int
