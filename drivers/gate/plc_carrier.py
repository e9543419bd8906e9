"""The carrier of a rotary machine: units stand in pockets, and nowhere else. Pure.

The carrier's absolute encoder counts one turn; pocket 0 stands at the infeed eye at 0. All arithmetic is on whole
counts, also where the pitch is none.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Carrier:
    """`turn`: counts of one turn, a multiple of nothing in particular."""

    pockets: int
    turn: int

    def index(self, phase: int) -> int:
        """Return the pocket nearest to the infeed eye."""
        return (phase * self.pockets + self.turn // 2) // self.turn % self.pockets

    def holds(self, phase: int) -> bool:
        """True if a body at the infeed eye stands within a quarter pitch of a pocket's centre."""
        beyond = phase * self.pockets % self.turn
        return 4 * min(beyond, self.turn - beyond) <= self.turn
