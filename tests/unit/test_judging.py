"""judging: ACCEPT exactly when every expected view has every class finite, in 0..1 and below its limit."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.units import Channel, Reason, Verdict, ViewKey
from daemon.vision.judging import Limit, Rules, judge

BODY, CRIMP = ViewKey("body"), ViewKey("crimp")
LIMIT = Limit(0.4, 0.6)
RULES = Rules(
    {BODY: {"particle": LIMIT, "crack": LIMIT}, CRIMP: {"scratch": LIMIT}},
    {"particle": Channel.CRITICAL, "crack": Channel.CRITICAL, "scratch": Channel.COSMETIC},
)
GOOD = {BODY: {"particle": 0.1, "crack": 0.2}, CRIMP: {"scratch": 0.3}}

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1) | st.floats(0, 0.4)
scores = st.dictionaries(st.sampled_from(["particle", "crack", "scratch", "other"]), numbers)
complete = st.fixed_dictionaries(
    {
        BODY: st.fixed_dictionaries({"particle": numbers, "crack": numbers}),
        CRIMP: st.fixed_dictionaries({"scratch": numbers}),
    }
)
anything = st.dictionaries(st.sampled_from([BODY, CRIMP, ViewKey("body", 1), ViewKey("other")]), scores)


def acceptable(views: dict[ViewKey, dict[str, float]]) -> bool:
    """The rule again, in the plainest words."""
    return all(
        view in views
        and set(views[view]) == set(limits)
        and all(math.isfinite(views[view][name]) and 0 <= views[view][name] <= 1 for name in limits)
        and all(views[view][name] < limits[name].accept_below for name in limits)
        for view, limits in RULES.limits.items()
    )


@given(complete | anything)
@example(GOOD)
@example({**GOOD, CRIMP: {"scratch": 0.4}})
@example({**GOOD, CRIMP: {"scratch": math.nan}})
@example({**GOOD, CRIMP: {"scratch": -0.1}})
@example({**GOOD, CRIMP: {}})
@example({BODY: GOOD[BODY]})
def test_accept_means_every_score_of_every_view_is_good(views: dict[ViewKey, dict[str, float]]) -> None:
    judgement = judge(RULES, views)
    assert (judgement.verdict is Verdict.ACCEPT) == acceptable(views)
    assert (judgement.reason is Reason.NONE) == (judgement.verdict is Verdict.ACCEPT)
    assert (judgement.channel is Channel.NONE) == (judgement.verdict is Verdict.ACCEPT)
    assert (judgement.reason is Reason.DEFECT) == (judgement.verdict is Verdict.REJECT)
    assert bool(judgement.defect) == (judgement.reason in (Reason.DEFECT, Reason.DOUBTFUL))


@given(anything)
def test_rules_without_views_accept_nothing(views: dict[ViewKey, dict[str, float]]) -> None:
    assert judge(Rules({}, {}), views).verdict is Verdict.UNDECIDED
    assert judge(Rules({BODY: {}}, {}), views).verdict is Verdict.UNDECIDED


def test_a_good_unit() -> None:
    assert judge(RULES, GOOD).verdict is Verdict.ACCEPT


def test_the_limits_belong_to_the_worse_side() -> None:
    assert judge(RULES, {**GOOD, CRIMP: {"scratch": 0.4}}).reason is Reason.DOUBTFUL
    assert judge(RULES, {**GOOD, CRIMP: {"scratch": 0.6}}).reason is Reason.DEFECT


def test_the_worst_defect_names_the_channel() -> None:
    """Severity before score: a critical defect is not hidden behind a clearer cosmetic one."""
    judgement = judge(RULES, {BODY: {"particle": 0.61, "crack": 0.1}, CRIMP: {"scratch": 0.99}})
    assert (judgement.defect, judgement.channel) == ("particle", Channel.CRITICAL)
    judgement = judge(RULES, {**GOOD, CRIMP: {"scratch": 0.99}})
    assert (judgement.defect, judgement.channel) == ("scratch", Channel.COSMETIC)


def test_a_defect_counts_though_another_view_is_missing() -> None:
    assert judge(RULES, {BODY: {"particle": 0.9, "crack": 0.1}}).reason is Reason.DEFECT


def test_a_missing_view_is_no_image() -> None:
    assert judge(RULES, {BODY: GOOD[BODY]}).reason is Reason.NO_IMAGE


@pytest.mark.clause("Annex 11 §5")
def test_a_bad_number_is_an_engine_fault_and_spoils_its_view() -> None:
    judgement = judge(RULES, {**GOOD, BODY: {"particle": 0.99, "crack": math.nan}})
    assert (judgement.verdict, judgement.reason, judgement.channel) == (
        Verdict.UNDECIDED,
        Reason.ENGINE_FAULT,
        Channel.GREY,
    )


def test_a_class_without_a_channel_is_critical() -> None:
    rules = Rules(RULES.limits, {})
    assert judge(rules, {**GOOD, CRIMP: {"scratch": 0.99}}).channel is Channel.CRITICAL
