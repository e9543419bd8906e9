"""Maps a device's clock to CLOCK_MONOTONIC, with a bound on the error.

A reading is (device tick in ns, monotonic before, monotonic after). The tick was taken somewhere between the two,
so the offset is known to half the round trip. The narrowest of the last readings wins; it ages by DRIFT_PPM.
Pure: the caller brings the time. Used by camera (TimestampLatch) and by line (the PLC's clock).
"""

from collections import deque
from dataclasses import dataclass

DRIFT_PPM = 100
WINDOW = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """One comparison of the two clocks, all in ns."""

    device_ns: int
    before_ns: int
    after_ns: int

    @property
    def half_trip_ns(self) -> int:
        return (self.after_ns - self.before_ns + 1) // 2

    @property
    def offset_ns(self) -> int:
        return (self.before_ns + self.after_ns) // 2 - self.device_ns


class ClockMap:
    """Owned by the loop that takes the readings."""

    def __init__(self, window: int = WINDOW) -> None:
        self._readings: deque[Reading] = deque(maxlen=window)

    def clear(self) -> None:
        """Forget everything: the device restarted or was reset."""
        self._readings.clear()

    @property
    def known(self) -> bool:
        return bool(self._readings)

    def add(self, reading: Reading) -> None:
        self._readings.append(reading)

    def to_monotonic(self, device_ns: int) -> tuple[int, int]:
        """Return (monotonic ns, uncertainty ns) of a device time.

        Raises:
            LookupError: no reading was taken yet.
        """
        if not self._readings:
            raise LookupError("the device clock was not read yet")
        best = min(self._readings, key=lambda r: self._uncertainty(r, device_ns))
        return device_ns + best.offset_ns, self._uncertainty(best, device_ns)

    @staticmethod
    def _uncertainty(reading: Reading, device_ns: int) -> int:
        return reading.half_trip_ns + abs(device_ns - reading.device_ns) * DRIFT_PPM // 1_000_000
