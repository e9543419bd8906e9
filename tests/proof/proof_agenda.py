"""Virtual time: what happens next, happens now. Equal times run in the order they were asked for."""

import heapq
from collections.abc import Callable

START_NS = 1_000_000_000_000
FOREVER_NS = 1 << 62
MS = 1_000_000
Act = Callable[[], None]


class Agenda:
    """Owned by one World. `now` is its CLOCK_MONOTONIC, ns."""

    def __init__(self) -> None:
        self.now = START_NS
        self._heap: list[tuple[int, int, Act]] = []
        self._order = 0
        self.steps = 0

    def at(self, when_ns: int, act: Act) -> None:
        """Do `act` at a time; what is past happens now."""
        self._order += 1
        heapq.heappush(self._heap, (max(when_ns, self.now), self._order, act))

    def after(self, delay_ns: int, act: Act) -> None:
        """Do `act` that much later."""
        self.at(self.now + delay_ns, act)

    def run(self, until_ns: int, done: Callable[[], bool]) -> None:
        """Let time pass until then, or until `done` says so (asked once in 64 steps)."""
        heap = self._heap
        while heap and heap[0][0] <= until_ns:
            self.now, _, act = heapq.heappop(heap)
            act()
            self.steps += 1
            if not self.steps & 63 and done():
                return


class Alarm:
    """A wake-up call of which only the earliest is kept."""

    def __init__(self, agenda: Agenda, act: Act) -> None:
        self._agenda = agenda
        self._act = act
        self._due = FOREVER_NS

    def at(self, when_ns: int) -> None:
        """Wake at that time, unless something earlier is asked for already."""
        when_ns = max(when_ns, self._agenda.now)
        if when_ns < self._due:
            self._due = when_ns
            self._agenda.at(when_ns, self._ring)

    def _ring(self) -> None:
        if self._agenda.now == self._due:
            self._due = FOREVER_NS
            self._act()
