"""The frame ring, owner's side: a memfd that this process alone may write (DESIGN section 2).

The owner maps the memory writable and then seals it: no resize, no further writable mapping. A reader maps it
read-only (`daemon/vision/ring_map.py`) and holds a slot from `lend` until its Release; nothing else makes a lent slot
free again while the reader lives. A reader that goes takes its ring with it: the next one gets a new ring.
"""

import fcntl
import mmap
import os
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

F_SEAL_FUTURE_WRITE: Final = 0x0010
"""From linux/fcntl.h; the fcntl module does not name it before Python 3.13."""
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL


class Ring:
    """Slots of equal size for one reader. Owned by the camera's loop.

    Args:
        slots: how many frames can wait for the reader.
        frame_bytes: the largest frame; slots are whole pages.

    Raises:
        OSError: no memory.
        ValueError: slots or frame_bytes below 1.
    """

    def __init__(self, slots: int, frame_bytes: int) -> None:
        if slots < 1 or frame_bytes < 1:
            raise ValueError(f"a ring of {slots} slots of {frame_bytes} bytes is none")
        self.slots: Final = slots
        self.slot_bytes: Final = -(-frame_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self.slots * self.slot_bytes
        self.fd: Final = os.memfd_create("linewarden-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        memory = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._pixels: NDArray[np.uint8] | None = np.frombuffer(memory, np.uint8)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self._free = deque(range(slots))
        self._lent: set[int] = set()

    @property
    def free(self) -> int:
        """How many slots can be lent now."""
        return len(self._free)

    def store(self, pixels: NDArray[np.uint8]) -> int | None:
        """Copy a frame into the slot that is free for longest and lend it; None if every slot is lent.

        Raises:
            ValueError: the frame is larger than a slot, or the ring is closed.
        """
        if self._pixels is None or pixels.size > self.slot_bytes:
            raise ValueError(f"{pixels.size} bytes do not fit into a slot of {self.slot_bytes}")
        if not self._free:
            return None
        slot = self._free.popleft()
        start = slot * self.slot_bytes
        self._pixels[start : start + pixels.size] = pixels.reshape(-1)
        self._lent.add(slot)
        return slot

    def release(self, slot: int) -> bool:
        """The reader has done with a slot. False if it was not lent: the reader broke the protocol."""
        if slot not in self._lent:
            return False
        self._lent.remove(slot)
        self._free.append(slot)
        return True

    def close(self) -> None:
        """Forget the memory; readers keep theirs. May be called twice."""
        if self._pixels is not None:
            self._pixels = None
            os.close(self.fd)
