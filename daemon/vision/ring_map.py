"""The reading side of a camera's frame ring: a sealed memfd, mapped read-only (DESIGN section 2).

Slot i begins at byte i * slot_bytes; a frame lies at its start, rows contiguous, one byte per pixel.
"""

import fcntl
import mmap
import os

import numpy as np
import numpy.typing as npt

from daemon.messages import Ring

_NEEDED_SEALS = fcntl.F_SEAL_SHRINK


class RingRefused(Exception):
    """The ring or a slot of it cannot be read; drop the connection to that camera."""


class RingMap:
    """One mapped ring. The memory is unmapped when the last image of it is forgotten."""

    def __init__(self, message: Ring, fd: int) -> None:
        """Map the ring in `fd`, which the caller keeps and closes.

        Raises:
            RingRefused: not sealed against shrinking (reading it could then kill this process), or too small.
        """
        self.camera = message.camera
        self.session = message.session
        self._slots = message.slots
        self._slot_bytes = message.slot_bytes
        size = message.slots * message.slot_bytes
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _NEEDED_SEALS
            if not sealed or size <= 0 or os.fstat(fd).st_size < size:
                raise RingRefused(f"camera {message.camera}: its ring is not sealed or smaller than {size} bytes")
            memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except OSError as error:
            raise RingRefused(f"camera {message.camera}: its ring cannot be mapped: {error.strerror}") from error
        self._pixels: npt.NDArray[np.uint8] = np.frombuffer(memory, np.uint8)

    def image(self, slot: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Return slot `slot` as (height, width) uint8, C-contiguous, read-only, valid until `Release`.

        Raises:
            RingRefused: no such slot, or the frame does not fit into one.
        """
        if not 0 <= slot < self._slots or width <= 0 or height <= 0 or width * height > self._slot_bytes:
            raise RingRefused(f"camera {self.camera}: slot {slot} with {width} x {height} pixels is not in its ring")
        start = slot * self._slot_bytes
        return self._pixels[start : start + width * height].reshape(height, width)
