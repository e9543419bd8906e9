"""A timerfd on CLOCK_MONOTONIC, through ctypes: the os module has it from Python 3.13 only."""

import ctypes
import os
import time
from contextlib import suppress

_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_ABSOLUTE = 1
_NS = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("it_interval", _TimeSpec), ("it_value", _TimeSpec))


class Alarm:
    """Readable once the time set has come. Owned by one loop.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer: timerfd_create failed")

    def fileno(self) -> int:
        return self._fd

    def set(self, at_ns: int) -> None:
        """Ring once at a time of CLOCK_MONOTONIC, at once if it is past; 0 = never."""
        self._set(_TFD_ABSOLUTE, 0, at_ns)

    def take(self) -> None:
        """Make it unreadable until it rings again."""
        with suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)

    def _set(self, flags: int, period_ns: int, first_ns: int) -> None:
        setting = _Setting(_TimeSpec(*divmod(period_ns, _NS)), _TimeSpec(*divmod(first_ns, _NS)))
        if self._libc.timerfd_settime(self._fd, flags, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "no timer: timerfd_settime failed")


class Ticker(Alarm):
    """Readable once a period. Owned by one loop.

    Raises:
        OSError: the kernel gives no timer.
    """

    def __init__(self, period_ns: int) -> None:
        super().__init__()
        try:
            self._set(0, period_ns, period_ns)
        except OSError:
            self.close()
            raise
