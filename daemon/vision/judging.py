"""From the scores of a unit's views to its verdict. Pure.

Rules of this file:
  1. ACCEPT only if every expected view has, for every class of its limits, a finite score in 0..1 below `accept_below`.
  2. A view with one bad number is no view: none of its scores is used, not even to name a defect.
  3. What cannot be judged is UNDECIDED, never ACCEPT. A defect seen in a sound view is REJECT whatever else is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from daemon.units import Channel, Reason, Verdict, ViewKey

Scores = Mapping[str, float]

_SEVERITY = {Channel.CRITICAL: 2, Channel.COSMETIC: 1}


@dataclass(frozen=True, slots=True)
class Limit:
    """Score of one class: good below `accept_below`, a defect from `reject_from` on, doubtful between. Both in 0..1."""

    accept_below: float
    reject_from: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What the signed recipe asks of a unit: the expected views with a limit per class, and the channel per class."""

    limits: Mapping[ViewKey, Mapping[str, Limit]]
    channels: Mapping[str, Channel]


@dataclass(frozen=True, slots=True)
class Judgement:
    """`defect` is the class that decided, "" where none did."""

    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str


_ACCEPT = Judgement(Verdict.ACCEPT, Reason.NONE, Channel.NONE, "")


def judge(rules: Rules, views: Mapping[ViewKey, Scores], *, dark: bool = False) -> Judgement:
    """Judge one unit.

    Args:
        views: scores per class of each view that was inferred; an empty mapping where the engine failed.
        dark: a view was taken in light out of its band; what the others say can then only reject.
    """
    sound = {
        view: views[view] for view, limits in rules.limits.items() if view in views and _sound(limits, views[view])
    }
    defect = _worst(rules, sound)
    if defect:
        return Judgement(Verdict.REJECT, Reason.DEFECT, rules.channels.get(defect, Channel.CRITICAL), defect)
    if dark:
        return _undecided(Reason.LIGHT)
    if any(view not in views for view in rules.limits) or not rules.limits:
        return _undecided(Reason.NO_IMAGE)
    if len(sound) != len(rules.limits):
        return _undecided(Reason.ENGINE_FAULT)
    doubt = next(_doubts(rules, sound), "")
    return _undecided(Reason.DOUBTFUL, doubt) if doubt else _ACCEPT


def _sound(limits: Mapping[str, Limit], scores: Scores) -> bool:
    return bool(limits) and limits.keys() == scores.keys() and all(0.0 <= score <= 1.0 for score in scores.values())


def _worst(rules: Rules, views: Mapping[ViewKey, Scores]) -> str:
    found = [
        (_SEVERITY.get(rules.channels.get(name, Channel.CRITICAL), 0), score, name)
        for view, scores in views.items()
        for name, score in scores.items()
        if score >= rules.limits[view][name].reject_from
    ]
    return max(found)[2] if found else ""


def _doubts(rules: Rules, views: Mapping[ViewKey, Scores]) -> Iterator[str]:
    for view, scores in views.items():
        for name, score in scores.items():
            if not score < rules.limits[view][name].accept_below:
                yield name


def _undecided(reason: Reason, defect: str = "") -> Judgement:
    return Judgement(Verdict.UNDECIDED, reason, Channel.GREY, defect)
