import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.recorder.batch import (
    ACCOUNTED,
    RELEASED,
    AlarmFact,
    BatchFacts,
    BatchRecord,
    BatchState,
    Gap,
    LaneFacts,
    Pace,
    Run,
    Totals,
    runs,
    subtract,
    units_in,
    why_open,
)
from daemon.recorder.gather import Watermark
from daemon.recorder.report import MAX_DOCUMENT, build_report, document, quantile, summary_ms, utc_text
from daemon.units import Outcome, UnitId

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/interfaces/report-v1.schema.json").read_text())
NUMBERS = st.sets(st.integers(1, 60), max_size=40)

RECORD = BatchRecord(
    id="B-1",
    state=BatchState.OPEN,
    bundle="b" * 64,
    recipe="r" * 64,
    bundle_name="vials",
    recipe_name="2R",
    configuration="c" * 64,
    actor="a.person",
    reason="test",
    opened_wall_ns=1_795_000_000_123_456_789,
    opened_clock="unsynchronised",
)


def lane(created=10, passed=8, epoch=1, first=1, **other):
    first, last = (first, first + created - 1) if created else (0, 0)
    fields = {
        "epoch": epoch,
        "lane": 0,
        "totals": Totals(created, passed, created - passed, first, last),
        "runs": (Run(first, last),) if created else (),
        "released": passed,
    }
    return LaneFacts(**(fields | other))


def facts(**other):
    fields = {
        "batch": RECORD,
        "outcomes": {"accepted": 8, "rejected": 2},
        "reasons": {"defect": 1, "late": 1},
        "defects": {"crack": 1},
        "lanes": (lane(),),
        "open_permits": (),
        "gaps": (),
        "conflicts": 0,
        "unstored": 0,
        "unpermitted": 0,
        "stray": 0,
        "foreign": 0,
        "paces": (Pace(10, 900_000_000),),
        "trigger_to_frame_ns": (2_000_000, 3_000_000),
        "frame_to_verdict_ns": (),
        "alarms": (AlarmFact(5, "FRAME_LOST", "a frame was lost", "execute", "1.0.3"),),
        "alarm_count": 1,
    }
    return BatchFacts(**(fields | other))


def check(report):
    jsonschema.validate(report, SCHEMA, cls=jsonschema.Draft202012Validator)
    return report


def test_a_clean_batch_may_close_and_its_report_holds_to_the_schema():
    assert why_open(facts()) == ()
    report = check(build_report(facts()))
    assert report["units"] == {
        "in": 10,
        "accepted": 8,
        "rejected": 2,
        "undecided": 0,
        "sampled": 0,
        "removed": 0,
        "quarantined": 0,
        "escaped": 0,
    }
    assert report["late"] == 1
    assert report["rate_per_min"] == 600.0
    assert report["latency_ms"]["trigger_to_frame"] == {"n": 2, "p50": 2.0, "p99": 3.0, "p999": 3.0, "max": 3.0}
    assert report["batch"]["opened"] == "2026-11-18T11:06:40.123Z"
    assert report["plc"]["created"] == 10


@pytest.mark.clause("21 CFR 11.10(f)", "21 CFR 211.192")
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"outcomes": {"accepted": 8, "rejected": 1}}, "10 units came in and 9 are accounted for"),
        ({"outcomes": {"accepted": 8, "rejected": 3}}, "10 units came in and 11 are accounted for"),
        ({"outcomes": {"accepted": 8, "rejected": 1, "quarantined": 1}}, "1 units are quarantined"),
        ({"outcomes": {"accepted": 8, "rejected": 1, "escaped": 1}}, "1 units are escaped"),
        ({"open_permits": [UnitId(1, 0, n) for n in range(1, 8)]}, "7 permits have no unit row (1.0.1, 1.0.2, 1.0.3"),
        ({"unstored": 3}, "3 rows are not on disk yet"),
        ({"lanes": (lane(runs=(Run(1, 4), Run(6, 10))),)}, "no row for 1 units of the PLC (5)"),
        ({"lanes": (lane(runs=(Run(1, 12),)),)}, "2 rows for units the PLC does not know (11-12)"),
        ({"lanes": (lane(totals=None),)}, "the PLC's totals are missing"),
        ({"lanes": (lane(totals=Totals(10, 8, 2, 1, 11), runs=(Run(1, 11),)),)}, "its totals do not agree"),
        ({"lanes": (lane(passed=9, released=8),)}, "the PLC passed 9 units, the ledger knows of 8"),
        ({"unpermitted": 1}, "1 accepted units have no permit"),
        ({"stray": 1}, "1 accepted units belong to no batch"),
        ({"foreign": 1}, "judged under another configuration"),
        ({"conflicts": 1}, "1 rows contradict others"),
    ],
)
def test_one_thing_wrong_keeps_the_batch_open_and_is_named(change, complaint):
    why = why_open(facts(**change))
    assert any(complaint in line for line in why)
    report = check(build_report(facts(**change)))
    assert not report["closed"]
    assert report["not_closed_because"] == list(why)


def test_sampled_and_removed_units_are_accounted_for():
    assert why_open(facts(outcomes={"accepted": 5, "rejected": 2, "undecided": 1, "sampled": 1, "removed": 1})) == ()


def test_an_empty_batch_closes():
    assert why_open(facts(lanes=(), outcomes={})) == ()


def test_a_closed_batch_says_so():
    closed = replace(RECORD, state=BatchState.CLOSED, closed_wall_ns=RECORD.opened_wall_ns, closed_clock="ntp")
    report = check(build_report(facts(batch=closed)))
    assert report["closed"]
    assert report["not_closed_because"] == []


def test_the_box_fills_in_what_only_it_knows_within_the_schema():
    report = build_report(facts())
    report["truth"] = {"missed_defects": 0, "false_rejects": 1, "misbound": 0, "escaped": 0}
    report["latency_ms"]["trigger_to_permit"] = summary_ms([7_000_000])
    report["faults"] = [{"name": "kill-vision", "unit": 40}]
    check(report | {"a_later_key": 1})


@pytest.mark.clause("ALCOA+ accurate", "21 CFR 211.188")
def test_the_schema_refuses_a_report_that_claims_too_much():
    report = build_report(facts(unstored=1))
    with pytest.raises(jsonschema.ValidationError):
        check(report | {"closed": True})
    with pytest.raises(jsonschema.ValidationError):
        check({key: value for key, value in report.items() if key != "truth"})
    with pytest.raises(jsonschema.ValidationError):
        check(report | {"report_version": 2})


def test_an_ended_epoch_reaches_as_far_as_its_rows():
    """The last totals before a restart may be 100 ms old; the PLC's rings told of two units more."""
    ended = lane(created=5, passed=4, runs=(Run(1, 7),), released=6, current=False)
    newest = lane(created=3, passed=3, epoch=2, first=8)
    assert units_in(facts(lanes=(ended, newest))) == 10
    assert why_open(facts(lanes=(ended, newest), outcomes={"accepted": 9, "rejected": 1})) == ()


@pytest.mark.clause("21 CFR 211.192", "ALCOA+ complete")
@pytest.mark.parametrize(
    ("ended", "complaint"),
    [
        ({"created": 5, "runs": (Run(1, 3), Run(5, 7))}, "no row for 1 units of the PLC (4)"),
        ({"created": 5, "runs": (Run(1, 4),)}, "no row for 1 units of the PLC (5)"),
        ({"totals": Totals(9, 4, 5, 1, 7), "runs": (Run(1, 7),)}, "the PLC created 9 units but 7 numbers are known"),
    ],
)
def test_an_ended_epoch_still_misses_what_is_missing(ended, complaint):
    lanes = (lane(**({"passed": 4} | ended | {"current": False})), lane(created=0, passed=0, epoch=2, runs=()))
    assert any(complaint in line for line in why_open(facts(lanes=lanes)))


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (6, ""),
        (1, ""),
        (9, "lane 0: no row for 3 units (6-8) between the epochs 2 and 4"),
        (4, "lane 0: no row for 3 units (1-3) between the epochs 2 and 4"),
    ],
)
def test_numbers_go_on_or_begin_again_from_one_epoch_to_the_next(first, complaint):
    ended = lane(created=5, passed=5, runs=(Run(1, 5),), released=5, epoch=2, current=False)
    empty = lane(created=0, passed=0, epoch=3, runs=(), current=False)
    newest = lane(created=5, passed=3, epoch=4, first=first)
    other = lane(created=0, passed=0, epoch=4, runs=())
    why = why_open(facts(lanes=(newest, replace(other, lane=1), empty, ended)))
    assert why == ((complaint,) if complaint else ())


def test_what_a_plc_counted_before_any_agreement_has_no_place_in_the_order():
    """Epoch 1 is its own, also after it lost its memory: then its numbers lie between those of two later epochs."""
    began = lane(created=11, passed=11, epoch=10, first=40, runs=(Run(40, 50),), released=11, current=False)
    forgot = lane(totals=None, epoch=1, runs=(Run(1, 2),), current=False)
    newest = lane(created=8, passed=6, epoch=11, first=3, runs=(Run(3, 10),))
    assert why_open(facts(lanes=(forgot, began, newest), outcomes={"accepted": 17, "rejected": 4})) == ()
    assert any("(1-2)" in line for line in why_open(facts(lanes=(began, newest))))


def test_a_huge_report_still_fits_one_message():
    alarms = [AlarmFact(n, "CODE", "検" * 1000, "execute", "") for n in range(60)]
    gaps = [Gap(1, 0, Run(n, n), "查" * 1000) for n in range(1, 41)]
    text = document(build_report(facts(alarms=alarms, gaps=gaps, alarm_count=60)))
    assert len(text.encode()) <= MAX_DOCUMENT
    report = check(json.loads(text))
    assert report["alarm_count"] == 60
    assert report["alarms"][-1]["at_ns"] == 59


def test_percentiles_are_nearest_rank():
    values = list(range(1, 1001))
    assert [quantile(values, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile([7], 0.5) == 7
    assert summary_ms(()) == {"n": 0, "p50": None, "p99": None, "p999": None, "max": None}


@pytest.mark.clause("Annex 11 draft §12.2")
def test_times_are_utc_with_milliseconds():
    assert utc_text(0) is None
    assert utc_text(1_000_000) == "1970-01-01T00:00:00.001Z"


@given(NUMBERS, NUMBERS)
def test_runs_and_subtract_agree_with_sets(left, right):
    rest = subtract(runs(left), runs(right))
    assert rest == runs(left - right)
    assert {n for run in rest for n in range(run.first, run.last + 1)} == left - right


@pytest.mark.clause("21 CFR 11.10(f)", "21 CFR 211.192", "ALCOA+ complete")
@given(
    created=st.integers(0, 40),
    recorded=st.dictionaries(st.integers(1, 44), st.sampled_from(list(Outcome)), max_size=44),
    passed=st.integers(0, 44),
)
def test_a_batch_closes_exactly_when_every_unit_of_the_plc_has_one_good_end(created, recorded, passed):
    """The rule of DESIGN section 7, written down a second time over plain sets."""
    counts = {outcome.value: list(recorded.values()).count(outcome) for outcome in set(recorded.values())}
    released = sum(outcome in RELEASED for outcome in recorded.values())
    one = LaneFacts(
        epoch=1,
        lane=0,
        totals=Totals(created, passed, 0, 1 if created else 0, created),
        runs=runs(recorded),
        released=released,
    )
    may_close = (
        set(recorded) == set(range(1, created + 1))
        and all(outcome in ACCOUNTED for outcome in recorded.values())
        and passed <= released
    )
    assert (why_open(facts(lanes=(one,), outcomes=counts)) == ()) is may_close


@pytest.mark.clause("ALCOA+ complete", "ALCOA+ enduring")
@given(st.lists(st.lists(st.integers(1, 60), max_size=12), max_size=12), st.integers(0, 5))
def test_acknowledgement_never_passes_a_row_that_was_not_stored(groups, start):
    mark, stored = Watermark(start), set(range(1, start + 1))
    for group in groups:
        before, mark = mark, mark.advance(group)
        stored |= set(group)
        assert set(range(1, mark.value + 1)) <= stored
        assert mark.value + 1 not in stored
        assert mark.value >= before.value
