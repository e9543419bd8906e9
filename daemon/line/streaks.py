"""Rows of equal results that no healthy process makes: rejects, one defect, no reject at all, late verdicts. Pure.

The numbers are QA's, in the recipe (`stops`); 0 switches a rule off. What the line itself refused (stopped, no link,
no record) counts for nothing here: those causes have their own faults.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.units import Reason, StopRules

PRODUCT = {Reason.DEFECT, Reason.DOUBTFUL, Reason.LIGHT}
JUDGED = {Reason.NONE, *PRODUCT}


@dataclass(slots=True)
class Streaks:
    """Owned by Oversight. `rules` change between batches only."""

    rules: StopRules
    rejects: int = 0
    same: int = 0
    defect: str = ""
    without: int = 0
    late: int = 0

    def reset(self) -> None:
        """A person looked, or another batch begins: count anew."""
        self.rejects = self.same = self.without = self.late = 0
        self.defect = ""

    def finished(self, reason: Reason, defect: str) -> Iterator[tuple[str, str]]:
        """Count one unit; yield (code, text) of every rule that it fills just now."""
        if reason is Reason.LATE:
            self.late += 1
            if self.late == self.rules.late_run:
                yield "LATE_RUN", f"{self.late} units in a row"
        if reason in JUDGED:
            self.late = 0
            yield from self._judged(reason, defect)

    def _judged(self, reason: Reason, defect: str) -> Iterator[tuple[str, str]]:
        rejected = reason in PRODUCT
        self.rejects = self.rejects + 1 if rejected else 0
        self.without = 0 if rejected else self.without + 1
        self.same = self.same + 1 if rejected and defect and defect == self.defect else int(rejected and bool(defect))
        self.defect = defect if rejected else ""
        rules = self.rules
        if rejected and self.rejects == rules.consecutive_rejects:
            yield "CONSECUTIVE_REJECTS", f"{self.rejects} units"
        if defect and self.same == rules.same_defect:
            yield "SAME_DEFECT", f"{defect}: {self.same} units"
        if rules.zero_rejects_in and self.without and self.without % rules.zero_rejects_in == 0:
            yield "ZERO_REJECTS", f"{self.without} units without a reject"
