"""What the candidate makes of a unit that was judged. Pure: the caller brings its scores.

The candidate is asked only where the active pair had scores of every view that the candidate's recipe asks for; in bad
light or after a fault neither could show what it can. Its verdict is the one that it would have sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from daemon.messages import Judged
from daemon.shadow_file import Opinion
from daemon.units import JudgedView, Verdict, ViewKey
from daemon.vision.judging import Rules, Scores, judge


@dataclass(frozen=True, slots=True)
class Compared:
    """Both opinions about one unit; they agree when both accept it or neither does."""

    active: Opinion
    candidate: Opinion

    @property
    def agree(self) -> bool:
        return (self.active.verdict is Verdict.ACCEPT) == (self.candidate.verdict is Verdict.ACCEPT)


def wanted(rules: Rules, views: Iterable[JudgedView]) -> list[int] | None:
    """Return which of a unit's views the candidate judges, by their places; None where it cannot be compared."""
    places = {view.view.role: place for place, view in enumerate(views) if view.scores}
    if not rules.limits or not rules.limits.keys() <= places.keys():
        return None
    return sorted(places[view] for view in rules.limits)


def compare(rules: Rules, judged: Judged, scores: Mapping[ViewKey, Scores]) -> Compared:
    """Return both opinions; `scores` are the candidate's by view of its recipe, empty where its engine failed."""
    said = judge(rules, scores)
    active = Opinion(judged.verdict, judged.reason, judged.defect)
    return Compared(active, Opinion(said.verdict, said.reason, said.defect))
