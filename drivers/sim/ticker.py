"""A timerfd on CLOCK_MONOTONIC, through ctypes: the os module has it from Python 3.13 only."""

import ctypes
import os
import time
from contextlib import suppress

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_NS = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("it_interval", _TimeSpec), ("it_value", _TimeSpec))


class Ticker:
    """Readable once a period. Owned by one loop.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self, period_ns: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer: timerfd_create failed")
        interval = _TimeSpec(*divmod(period_ns, _NS))
        if libc.timerfd_settime(self._fd, 0, ctypes.byref(_Setting(interval, interval)), None) < 0:
            error = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(error, "no timer: timerfd_settime failed")

    def fileno(self) -> int:
        return self._fd

    def take(self) -> None:
        """Make it unreadable until the next period."""
        with suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)
