"""Wall time with its quality, for the record. Decisions never use it (they use CLOCK_MONOTONIC)."""

import ctypes
import enum
import time
from dataclasses import dataclass

STA_UNSYNC = 0x0040
TIME_ERROR = 5
STATUS_OFFSET = 40 if ctypes.sizeof(ctypes.c_long) == 8 else 20  # of `status` in struct timex, adjtimex(2)
TIMEX_BYTES = 256


class ClockQuality(enum.StrEnum):
    """What the kernel says about its wall clock."""

    NTP = "ntp"
    UNSYNCHRONISED = "unsynchronised"


@dataclass(frozen=True, slots=True)
class WallTime:
    """UTC in ns since 1970 and how far it can be trusted."""

    ns: int
    quality: ClockQuality


class WallClock:
    """Reads the wall clock and asks the kernel whether it is synchronised (adjtimex(2), read only)."""

    def __init__(self) -> None:
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex

    def now(self) -> WallTime:
        return WallTime(time.time_ns(), self._quality())

    def _quality(self) -> ClockQuality:
        timex = ctypes.create_string_buffer(TIMEX_BYTES)
        state = self._adjtimex(timex)
        status = ctypes.c_int.from_buffer(timex, STATUS_OFFSET).value
        good = 0 <= state < TIME_ERROR and not status & STA_UNSYNC
        return ClockQuality.NTP if good else ClockQuality.UNSYNCHRONISED
