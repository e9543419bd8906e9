"""The box's end of a simulated camera: what stands before the lens, and the wires into the camera.

`simline.cti` (folder `simline/`) is the camera. It connects to `FOLDER/SERIAL.sock` from inside the process that opens
the camera, and gets one memfd: a header page, the scene table and the pool of pictures (`protocol.h` has the layout).
Optics are written there (`scene`), electrical edges are sent (`edge`); the camera never learns a unit number, and its
own record of what it exposed comes back (`exposed`). Nothing here blocks and there is no thread: the box's loop waits
on `fileno()` and calls `service()`.

The scene table is a ring of 64 entries. An entry's generation is 0 while it is written; the entry is written
milliseconds before its validity begins, with a system call in between, so no reader can take half of it as current.
"""

import mmap
import os
import re
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from time import monotonic_ns
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = 0x4E494C53
VERSION: Final = 1
PIXEL_FORMAT_MONO8: Final = 0x01080001
SCENES: Final = 64
_HEADER: Final = struct.Struct("<8I2Qqq4Q2I32s32s32s")
_MESSAGE: Final = struct.Struct("<IIqqQQIIIIQ")
_ACQUISITIONS_AT: Final = 28
_BOOT_AT: Final = 48
_TRUTH_LOST_AT: Final = 96
_SCENE_AT: Final = 4096
_POOL_AT: Final = 8192
_DIMENSIONS: Final = 3
_SERIAL: Final = re.compile(r"[A-Za-z0-9_-]{1,31}")


class _Type(IntEnum):
    HELLO = 1
    WELCOME = 2
    EDGE = 3
    FAULT = 4
    EXPOSED = 5
    ACQUISITION = 6
    RESET = 7


class CameraOption(IntFlag):
    """How the camera's link behaves."""

    NONE = 0
    GEV16 = 1
    """Block ids as GigE Vision 1.x sends them: 1 to 65535, then 1 again."""
    WAIT = 2
    """A frame without a free buffer waits for one instead of being dropped."""


class CameraFault(IntEnum):
    """What can go wrong inside the camera or on its link; each order strikes once."""

    BUSY = 1
    """The next trigger is missed, and so is every other one until `arg` ns after it."""
    DROP_FRAME = 2
    """The next frame uses up its frame id and never arrives."""
    DUP_FRAME = 3
    """The next frame arrives twice."""
    REORDER = 4
    """The next frame arrives after the one that follows it."""
    INCOMPLETE = 5
    """The next frame arrives half filled, without chunks, flagged incomplete."""
    STALE = 6
    """The next frame's buffer information is new; its memory (pixels, chunks) is what it was before."""
    CORRUPT = 7
    """The next frame's chunks are garbage."""


class ExposureFlag(IntFlag):
    """How an exposure ended."""

    DELIVERED = 1
    UNDERRUN = 2
    DROPPED = 4
    DUPLICATED = 8
    REORDERED = 16
    INCOMPLETE = 32
    STALE = 64
    CORRUPT = 128


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """What the simulated camera is.

    A trigger within `busy_ns` of an exposure start is missed; 0 stands for exposure + readout. The device clock reads
    `uptime_ns` at construction, runs off by `drift_ppb`, and each stamp is off by up to +- `jitter_ns`. An acquisition
    begins with `first_frame_id`, 1 to 65536.
    """

    serial: str
    user_id: str = ""
    background: int = 0
    exposure_ns: int = 200_000
    readout_ns: int = 800_000
    busy_ns: int = 0
    uptime_ns: int = 3_600_000_000_000
    drift_ppb: int = 0
    jitter_ns: int = 0
    options: CameraOption = CameraOption.NONE
    first_frame_id: int = 1


@dataclass(frozen=True, slots=True)
class Exposed:
    """One exposure as the camera saw it: the box's truth about a frame key.

    `ordinal` counts the acquisition starts of this feed; (ordinal, frame_id) is unique, and so is `device_ts` until
    the camera is switched off.
    """

    frame_id: int
    device_ts: int
    at_ns: int
    picture: int
    ordinal: int
    flags: ExposureFlag
    encoder: int
    line_status: int


class CameraFeed:
    """One simulated camera, offered as `FOLDER/SERIAL.sock`. Used by one loop, from one thread.

    Args:
        folder: what `$SIMLINE_DIR` names for the process that opens the camera.
        spec: what the camera is; the serial holds 1 to 31 letters, digits, `-` or `_`.
        pictures: (n, height, width) uint8 Mono8, or the path of a .npy file of that shape; copied once.

    Raises:
        ValueError: pictures, background or serial do not fit.
        OSError: the socket cannot be made.
    """

    def __init__(self, folder: Path, spec: CameraSpec, pictures: NDArray[np.uint8] | Path) -> None:
        pool = np.load(pictures, mmap_mode="r", allow_pickle=False) if isinstance(pictures, Path) else pictures
        _check(spec, pool)
        self.spec: Final = spec
        self.path: Final = folder / f"{spec.serial}.sock"
        self._pictures = int(pool.shape[0])
        self._memory = os.memfd_create(f"simline-{spec.serial}", os.MFD_CLOEXEC)
        os.ftruncate(self._memory, _POOL_AT + pool.size)
        self._map = mmap.mmap(self._memory, _POOL_AT + pool.size)
        self._scenes = memoryview(self._map)[_SCENE_AT : _SCENE_AT + 32 * SCENES].cast("q")
        self._generation = 0
        self._write_header(pool)
        self._epoll = select.epoll()
        self._listener: socket.socket | None = None
        self._camera: socket.socket | None = None
        self._exposed: list[Exposed] = []
        self._acquiring = False
        self.restore_link()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_header(self, pool: NDArray[np.uint8]) -> None:
        spec, (count, height, width) = self.spec, pool.shape
        serial, user = spec.serial.encode(), (spec.user_id or spec.serial).encode()[:31]
        head = (MAGIC, VERSION, width, height, PIXEL_FORMAT_MONO8, count, spec.background, 0, _SCENE_AT, _POOL_AT)
        clock = (monotonic_ns() - spec.uptime_ns, spec.drift_ppb, spec.jitter_ns)
        options = int(spec.options) | (spec.first_frame_id - 1) << 16
        timing = (spec.exposure_ns, spec.readout_ns, spec.busy_ns)
        _HEADER.pack_into(self._map, 0, *head, *clock, *timing, 0, options, serial, b"SimLine", user)
        view = np.frombuffer(self._map, np.uint8, pool.size, _POOL_AT)
        view[:] = pool.reshape(-1)

    def fileno(self) -> int:
        """An epoll descriptor, the same one for the feed's life: readable when `service()` has work."""
        return self._epoll.fileno()

    @property
    def connected(self) -> bool:
        """Whether a process has this camera open, as far as `service()` has noticed."""
        return self._camera is not None

    @property
    def acquiring(self) -> bool:
        """Whether the camera's acquisition runs, as far as `service()` has noticed."""
        return self._acquiring

    @property
    def acquisitions(self) -> int:
        """Ordinal of the newest acquisition start; 0 before the first."""
        return int(struct.unpack_from("<I", self._map, _ACQUISITIONS_AT)[0])

    @property
    def truth_lost(self) -> int:
        """Exposure records that the camera could not hand back because `service()` was called too rarely."""
        return int(struct.unpack_from("<I", self._map, _TRUTH_LOST_AT)[0])

    def service(self) -> None:
        """Accepts the camera, takes its messages. Never blocks; cheap when nothing happened."""
        for fd, _ in self._epoll.poll(0):
            if self._listener is not None and fd == self._listener.fileno():
                self._accept(self._listener)
            elif self._camera is not None and fd == self._camera.fileno():
                self._drain(self._camera)

    def scene(self, from_ns: int, to_ns: int, picture: int) -> None:
        """Puts a picture before the lens in [from_ns, to_ns), CLOCK_MONOTONIC; the newest valid scene is seen.

        Raises:
            ValueError: no such picture.
        """
        if not 0 <= picture < self._pictures:
            raise ValueError(f"picture {picture} is not in the pool of {self._pictures}")
        self._generation += 1
        at, scenes = self._generation % SCENES * 4, self._scenes
        scenes[at] = 0
        scenes[at + 1] = from_ns
        scenes[at + 2] = to_ns
        scenes[at + 3] = picture
        scenes[at] = self._generation

    def edge(self, line: int, due_ns: int, encoder: int, line_status: int) -> bool:
        """Line `line` rises at `due_ns` (CLOCK_MONOTONIC); several may be ahead, in any order.

        Returns:
            False if no camera is connected or it takes no messages: the edge is lost, as on a cut wire.
        """
        return self._send(_Type.EDGE, line, due_ns, encoder, line_status)

    def fault(self, kind: CameraFault, arg: int = 0, from_ns: int = 0) -> bool:
        """Orders a fault for the first trigger or exposure at or after `from_ns`. Returns as `edge` does."""
        return self._send(_Type.FAULT, kind, from_ns, arg, 0)

    def exposed(self) -> list[Exposed]:
        """The exposures since the last call, in the order in which the camera reported them."""
        taken, self._exposed = self._exposed, []
        return taken

    def drop_link(self) -> None:
        """Pulls the cable: the camera is lost to its consumer and no longer listed."""
        self._hang_up()
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)

    def restore_link(self, *, reboot: bool = False) -> None:
        """Puts the cable back; with `reboot` the camera was off meanwhile and its clock starts again."""
        if reboot:
            self._reboot()
        if self._listener is not None:
            return
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(self.path))
        self._listener.listen(4)
        self._epoll.register(self._listener, select.EPOLLIN)

    def close(self) -> None:
        """Takes the camera away for good. May be called twice."""
        if self._epoll.closed:
            return
        self.drop_link()
        self._epoll.close()
        self._scenes.release()
        os.close(self._memory)

    def _reboot(self) -> None:
        struct.pack_into("<q", self._map, _BOOT_AT, monotonic_ns())

    def _hang_up(self) -> None:
        if self._camera is not None:
            self._epoll.unregister(self._camera)
            self._camera.close()
            self._camera = None
            self._acquiring = False

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection, _ = listener.accept()
            if self._camera is not None:
                self._drain(self._camera)
            if self._camera is not None:
                connection.close()
                return
            connection.setblocking(False)
            self._camera = connection
            self._epoll.register(connection, select.EPOLLIN)
            socket.send_fds(connection, [_message(_Type.WELCOME)], [self._memory])

    def _send(self, kind: _Type, code: int, when_ns: int, value: int, line_status: int) -> bool:
        if self._camera is None:
            return False
        try:
            self._camera.send(_MESSAGE.pack(kind, code, when_ns, value, 0, 0, 0, 0, 0, line_status, 0))
        except OSError:
            return False
        return True

    def _drain(self, camera: socket.socket) -> None:
        while self._camera is camera:
            try:
                data = camera.recv(_MESSAGE.size)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if len(data) == _MESSAGE.size:
                self._take(data)
            else:
                self._hang_up()

    def _take(self, data: bytes) -> None:
        kind, code, when, value, frame_id, stamp, picture, ordinal, flags, lines, _ = _MESSAGE.unpack(data)
        if kind == _Type.EXPOSED:
            record = Exposed(frame_id, stamp, when, picture, ordinal, ExposureFlag(flags), value, lines)
            self._exposed.append(record)
        elif kind == _Type.ACQUISITION:
            self._acquiring = bool(code)
        elif kind == _Type.RESET:
            self._hang_up()
            self._reboot()


def _message(kind: _Type) -> bytes:
    return _MESSAGE.pack(kind, VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _check(spec: CameraSpec, pool: NDArray[np.uint8]) -> None:
    if pool.ndim != _DIMENSIONS or pool.dtype != np.uint8 or 0 in pool.shape:
        raise ValueError(f"pictures must be (n, height, width) uint8, not {pool.shape} {pool.dtype}")
    if not 0 <= spec.background < pool.shape[0]:
        raise ValueError(f"background picture {spec.background} is not in the pool of {pool.shape[0]}")
    if not _SERIAL.fullmatch(spec.serial):
        raise ValueError(f"serial {spec.serial!r} must be 1 to 31 letters, digits, '-' or '_'")
