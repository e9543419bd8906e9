"""Line clearance: an empty-line run before the next start, and who was said to be out of the machine. Pure.

The run: belt on, infeed closed, gate at rest, until nothing was seen at any eye while the belt moved for the length of
the machine. Whatever is seen begins it anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from daemon.units import UnitId
from drivers.registers import signed_delta

LONGEST_NS = 60_000_000_000
REMEMBERED = 256


@dataclass(slots=True)
class Clearance:
    """Owned by Oversight. `length` in encoder counts; `why` is what makes the run necessary, "" = nothing.

    `removed` are units a person said to have taken out: none of them may turn up at an eye.
    """

    length: int
    why: str = ""
    removed: dict[UnitId, None] = field(default_factory=dict)
    _seen: tuple[int, ...] = ()
    _from: int | None = None

    @property
    def pending(self) -> bool:
        """True while the next start must begin with an empty-line run, or the run is on."""
        return bool(self.why)

    def require(self, why: str) -> None:
        """Ask for a run; one that is on begins anew."""
        self.why = self.why or why
        self._from = None

    def take_out(self, units: Iterable[UnitId]) -> None:
        """A person said that these are out of the machine."""
        self.removed |= dict.fromkeys(units)
        for unit in list(self.removed)[:-REMEMBERED]:
            del self.removed[unit]

    def run(self, encoder: int, seen: tuple[int, ...]) -> bool:
        """Note where the belt is and what the eyes counted, while the run is on; return True at its end."""
        if not self.why:
            return False
        if self._from is None or seen != self._seen:
            self._from, self._seen = encoder, seen
        if signed_delta(encoder, self._from) < self.length:
            return False
        self.why, self._from = "", None
        return True
