"""The PLC's clock as its registers show it: 32 bits of microseconds that wrap. Pure."""

from drivers.clock import ClockMap, Reading
from drivers.registers import signed_delta


class PlcClock:
    """The PLC's 32-bit microsecond clock unwrapped and mapped to CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._map = ClockMap()
        self._last_us = 0

    def clear(self) -> None:
        self._map.clear()
        self._last_us = 0

    def add(self, clock_us: int, before_ns: int, after_ns: int) -> None:
        """Take one reading of the clock made between the two stamps."""
        self._last_us = self._unwrap(clock_us)
        self._map.add(Reading(self._last_us * 1000, before_ns, after_ns))

    def to_monotonic(self, clock_us: int) -> tuple[int, int]:
        """Return (CLOCK_MONOTONIC ns, uncertainty ns) of a latched clock value."""
        return self._map.to_monotonic(self._unwrap(clock_us) * 1000)

    def _unwrap(self, clock_us: int) -> int:
        return self._last_us + signed_delta(clock_us, self._last_us & 0xFFFFFFFF)
