"""How late the line's loop wakes: a histogram of fixed size, so that measuring allocates nothing. Pure.

Wake-ups are counted in steps of STEP_NS; what is later than the last step counts in it, with its own maximum.
"""

from array import array

STEP_NS = 2_000
STEPS = 5_000


class Lateness:
    """Owned by the loop; emptied by whoever asks."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * STEPS))
        self._largest_ns = 0

    def add(self, late_ns: int) -> None:
        """Note one wake-up; early ones count as 0."""
        self._counts[min(max(late_ns, 0) // STEP_NS, STEPS - 1)] += 1
        self._largest_ns = max(self._largest_ns, late_ns)

    def take(self) -> dict[str, float]:
        """Return n, p50, p99, p99.9 and max in us since the last call, and begin anew."""
        total = sum(self._counts)
        shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999} if total else {}
        found = {"n": float(total)} | {name: self._at(share * total) / 1e3 for name, share in shares.items()}
        found["max"] = self._largest_ns / 1e3
        self._counts = array("Q", bytes(8 * STEPS))
        self._largest_ns = 0
        return found

    def _at(self, rank: float) -> float:
        seen = 0
        for step, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min((step + 1) * STEP_NS, self._largest_ns)
        return self._largest_ns
