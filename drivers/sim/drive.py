"""Travel of the belt as a function of time, and back. Pure: the caller brings the time.

While the belt runs its speed swings slowly by MODULATION around the nominal value, so travel is known in closed form
and its inverse by a few Newton steps. Every start and stop takes effect `delay_ns` after the order, as a drive with a
brake does; that is what makes edges computed less than `delay_ns` ahead final.
"""

import math

MODULATION = 0.01
PERIOD_S = 7.3
KEPT = 32
ROUNDING_S = 1e-9
_TURN = 2.0 * math.pi / PERIOD_S
_NS = 1_000_000_000


class Drive:
    """Used by Belt. Travel in mm from 0, times in ns of any one clock."""

    def __init__(self, speed_mm_s: float, delay_ns: int, start_ns: int) -> None:
        self._speed = speed_mm_s
        self.delay_ns = delay_ns
        self._since: list[tuple[int, float, bool]] = [(start_ns, 0.0, False)]

    @property
    def running(self) -> bool:
        """The last order: the belt runs, or will within `delay_ns`."""
        return self._since[-1][2]

    def order(self, running: bool, now_ns: int) -> bool:
        """Start or stop `delay_ns` from now. Returns False if that was the order already."""
        if running == self.running:
            return False
        effect_ns = now_ns + self.delay_ns
        self._since.append((effect_ns, self._seconds(effect_ns), running))
        del self._since[:-KEPT]
        return True

    def at(self, at_ns: int) -> float:
        """Travel in mm at a time, past or planned."""
        return self._travel(self._seconds(at_ns))

    def when(self, travel_mm: float) -> int | None:
        """Time at which the travel is (or was) reached; None if the present plan never gets there."""
        seconds = self._inverse(travel_mm)
        _, last, running = self._since[-1]
        if not running and seconds > last + ROUNDING_S:
            return None
        for since_ns, base, running in reversed(self._since):
            if running and seconds >= base:
                return since_ns + round((seconds - base) * _NS)
        return self._since[0][0]

    def _seconds(self, at_ns: int) -> float:
        """Running time in s that had gathered at a time."""
        for since_ns, base, running in reversed(self._since):
            if at_ns >= since_ns:
                return base + (at_ns - since_ns) / _NS if running else base
        return self._since[0][1]

    def _travel(self, seconds: float) -> float:
        return self._speed * (seconds + MODULATION * (1.0 - math.cos(_TURN * seconds)) / _TURN)

    def _inverse(self, travel_mm: float) -> float:
        seconds = travel_mm / self._speed
        for _ in range(4):
            slope = self._speed * (1.0 + MODULATION * math.sin(_TURN * seconds))
            seconds -= (self._travel(seconds) - travel_mm) / slope
        return seconds
