"""Rows of equal results: when the line stops for them, and what does not count."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.line.streaks import JUDGED, PRODUCT, Streaks
from daemon.units import Reason, StopRules

RULES = StopRules(consecutive_rejects=4, same_defect=3, late_run=3, zero_rejects_in=10)


def _codes(streaks: Streaks, *units: tuple[Reason, str]) -> list[str]:
    return [code for reason, defect in units for code, _ in streaks.finished(reason, defect)]


def _defect(code: str) -> tuple[Reason, str]:
    return Reason.DEFECT, code


GOOD = (Reason.NONE, "")
LATE = (Reason.LATE, "")


def test_consecutive_rejects_stop_whatever_the_defect() -> None:
    streaks = Streaks(RULES)
    assert _codes(streaks, _defect("a"), _defect("b"), _defect("a"), _defect("b")) == ["CONSECUTIVE_REJECTS"]


def test_one_good_unit_begins_anew() -> None:
    streaks = Streaks(RULES)
    assert _codes(streaks, *[_defect("a"), _defect("b"), _defect("c"), GOOD] * 5) == []


def test_the_same_defect_stops_earlier() -> None:
    assert _codes(Streaks(RULES), _defect("a"), _defect("a"), _defect("a")) == ["SAME_DEFECT"]


def test_doubt_and_bad_light_count_as_rejects_without_a_defect() -> None:
    units = [(Reason.DOUBTFUL, ""), (Reason.LIGHT, ""), (Reason.DOUBTFUL, ""), (Reason.LIGHT, "")]
    assert _codes(Streaks(RULES), *units) == ["CONSECUTIVE_REJECTS"]


def test_three_late_in_a_row_are_a_fault_once() -> None:
    assert _codes(Streaks(RULES), LATE, LATE, GOOD, LATE, LATE, LATE, LATE) == ["LATE_RUN"]


def test_no_reject_for_long_is_said_again_and_again() -> None:
    assert _codes(Streaks(RULES), *[GOOD] * 30) == ["ZERO_REJECTS"] * 3


def test_what_the_line_itself_refused_counts_for_nothing() -> None:
    for reason in set(Reason) - JUDGED - {Reason.LATE}:
        units = [_defect("a"), _defect("b"), (reason, ""), _defect("a"), (reason, ""), _defect("b")]
        assert _codes(Streaks(RULES), *units) == ["CONSECUTIVE_REJECTS"]


def test_a_zero_switches_a_rule_off() -> None:
    off = StopRules(0, 0, 0, 0)
    assert _codes(Streaks(off), *[_defect("a")] * 50, *[LATE] * 50, *[GOOD] * 50) == []


def test_a_reset_begins_anew() -> None:
    streaks = Streaks(RULES)
    _codes(streaks, _defect("a"), _defect("b"), LATE, LATE)
    streaks.reset()
    assert _codes(streaks, _defect("a"), _defect("a"), LATE, LATE) == []


@given(st.lists(st.sampled_from([GOOD, LATE, _defect("a"), _defect("b"), (Reason.NO_IMAGE, "")]), max_size=80))
def test_against_a_plain_count(units: list[tuple[Reason, str]]) -> None:
    found = _codes(Streaks(RULES), *units).count("CONSECUTIVE_REJECTS")
    row, expected = 0, 0
    for reason, _ in units:
        if reason in JUDGED:
            row = row + 1 if reason in PRODUCT else 0
            expected += reason in PRODUCT and row == RULES.consecutive_rejects
    assert found == expected
