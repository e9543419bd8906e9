"""Direct wiring: the units that an earlier life of this computer left in the machine. Pure.

Without a PLC nobody but this process knows where the units are, and that knowledge dies with it. After a restart inside
a batch the machine stands until a named person took every body out; an empty-line run must find none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from daemon.line.unit import Finish, Seen, TrackedUnit, finish
from daemon.messages import Resume
from daemon.units import Outcome, Reason, UnitId

NAMED = 8
HOW = "take out every body up to the eyes behind the gate"


@dataclass(slots=True)
class EarlierLife:
    """Owned by Oversight. `behind_gate`: so many of the units may have passed; as many bodies must come back."""

    units: list[UnitId] = field(default_factory=list)
    behind_gate: int = 0

    def found(self, resume: Resume, running: bool) -> str:
        """Note which units have no row; return what a person has to do, "" if nothing can be in the machine."""
        self.units, self.behind_gate = list(resume.missing), resume.missing_permitted
        if not self.units and not running:
            return ""
        names = ", ".join(map(str, self.units[:NAMED])) + (" ..." if len(self.units) > NAMED else "")
        known = f"{len(self.units)} units have no row ({names})" if names else "no unit is known to be missing"
        back = f", and the newest {self.behind_gate} behind the pass eye" if self.behind_gate else ""
        return f"{known}; {HOW}{back}, then `linewarden clear --removed`"

    def refusal(self, disposition: str) -> str:
        """Why a person may not say that of these units; "" if he may."""
        if not self.units or disposition == Outcome.REMOVED.value:
            return ""
        return f"no eye can tell the units of an earlier life apart: {HOW} and `linewarden clear --removed`"

    def removed(self, at_ns: int) -> Iterator[Finish]:
        """A named person took them out: their rows."""
        units, self.units, self.behind_gate = self.units, [], 0
        for unit in units:
            told = Seen(unit, False, True, False, False, False, 0, at_ns)
            yield finish(TrackedUnit(unit, 0, 0), told, Outcome.REMOVED, Reason.LINE_DOWN)
