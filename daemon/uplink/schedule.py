"""When to ask a server again: jitter, back-off, and what the server itself asks for. Pure; one draw in 0..1 a decision.

A fleet that was switched on together, or lost its server together, must not come back together: each wait is drawn, a
failure waits between half and all of a span that doubles. Nobody can make a device wait longer than `LONGEST_S`.
"""

from dataclasses import dataclass

JITTER = 0.1
LONGEST_BACK_OFF_S = 900.0
LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """`poll_s`: how far two polls of one device are apart where nothing is wrong."""

    poll_s: float

    def first(self, draw: float) -> float:
        """Return the seconds before the first poll of a life: anywhere within one period."""
        return self.poll_s * draw

    def after_success(self, draw: float, asked_s: float = 0.0) -> float:
        """Return the seconds to the next poll; never sooner than `asked_s`, which the server asked for."""
        period = self.poll_s * (1.0 - JITTER + 2.0 * JITTER * draw)
        return max(period, min(asked_s, LONGEST_S) * (1.0 + JITTER * draw))

    def after_failure(self, failures: int, draw: float, asked_s: float = 0.0) -> float:
        """Return the seconds to the next attempt after so many failures in a row (>= 1)."""
        longest = max(self.poll_s, LONGEST_BACK_OFF_S)
        span = min(longest, self.poll_s * 2.0 ** min(failures, 32))
        return min(asked_s, LONGEST_S) + span * (0.5 + 0.5 * draw)


@dataclass(slots=True)
class Polls:
    """The polls of one server: how many failed in a row, and when the next is due (monotonic s). Owned by one duty."""

    schedule: Schedule
    due_s: float
    failures: int = 0

    def succeeded(self, now_s: float, draw: float, asked_s: float = 0.0) -> None:
        self.failures = 0
        self.due_s = now_s + self.schedule.after_success(draw, asked_s)

    def failed(self, now_s: float, draw: float, asked_s: float = 0.0) -> None:
        self.failures += 1
        self.due_s = now_s + self.schedule.after_failure(self.failures, draw, asked_s)
