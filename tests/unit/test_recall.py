"""Which units does it concern? Over 100,000 units whose counts are known: every question against the truth, and every
look of it answered from an index."""

import csv
import io
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_ledger import ALARMS, BEGIN_NS, BUNDLES, DEFECTS, PEOPLE, PITCH_NS, QA, Plan, batch_name, make

from provisioning import cli, ledger_search, recall, trace
from provisioning.cli_trace import window_of
from provisioning.ledger_search import Span, Window
from provisioning.trace import UnknownToLedger
from provisioning.trace_document import scope_document, write_csv, write_scope

UNITS, BATCH_UNITS = 100_000, 5_000
BATCHES = UNITS // BATCH_UNITS
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    path = folder / "ledger.sqlite"
    return path, make(path, Plan(UNITS, BATCH_UNITS, viewed=50, seed=7, open_last=True, archived_batches=5))


@pytest.fixture
def made(ledger):
    return ledger[1]


@pytest.fixture
def db(ledger):
    with closing(sqlite3.connect(f"file:{ledger[0]}?mode=ro", uri=True)) as opened:
        yield opened


@pytest.fixture(scope="module")
def recorded(ledger):
    """(recorded_wall_ns, outcome) of every unit, in order of record."""
    with closing(sqlite3.connect(ledger[0])) as db:
        return db.execute("SELECT recorded_wall_ns, outcome FROM unit ORDER BY rowid").fetchall()


def all_of(made, wanted=lambda index: True):
    found = Counter()
    for index in range(BATCHES):
        if wanted(index):
            found.update(made.outcomes[batch_name(index)])
    return found


@pytest.mark.clause("ALCOA+ available", "Annex 11 draft §12.4")
@pytest.mark.parametrize("index", [0, 7, BATCHES - 1])
def test_a_lot_is_its_units_in_order_of_record(db, made, index):
    scope = recall.of_lot(db, batch_name(index))
    assert scope.total() == made.outcomes[batch_name(index)]
    lines = list(scope.list_units())
    assert Counter(line.outcome for line in lines) == scope.total()
    assert [line.entry for line in lines] == sorted(line.entry for line in lines)
    assert {line.batch for line in lines} == {batch_name(index)}
    assert scope.shares[0].passed == sum(line.passed for line in lines) == made.outcomes[batch_name(index)]["accepted"]
    assert scope.shares[0].counted == ("rows" if index == BATCHES - 1 else "report")


@pytest.mark.parametrize("value", [BUNDLES[1], "bbb", "vials 1.1.0", "vials 1.1"])
def test_a_bundle_by_digest_or_name_or_the_beginning_of_one(db, made, value):
    scope = recall.of_document(db, "bundle", value)
    assert scope.total() == all_of(made, lambda index: index % 2 == 1)
    assert scope.matched == [f"vials 1.1.0 {BUNDLES[1]}"]


@pytest.mark.clause("ALCOA+ available")
def test_a_beginning_that_fits_two_bundles_leaves_neither_out(db, made):
    scope = recall.of_document(db, "bundle", "vials")
    assert len(scope.matched) == 2
    assert scope.total() == all_of(made)
    assert sum(1 for _ in scope.list_units()) == UNITS


@pytest.mark.parametrize(("kind", "value"), [("recipe", "2R"), ("recipe", "eeee"), ("configuration", "cc")])
def test_other_documents(db, made, kind, value):
    assert recall.of_document(db, kind, value).total() == all_of(made)


@pytest.mark.clause("ALCOA+ available")
@pytest.mark.parametrize("code", [DEFECTS[0], "Low Fill"])
def test_a_defect_names_every_unit_that_has_it(db, made, code):
    wanted = code.lower().replace(" ", "_")
    scope = recall.of_defect(db, code)
    assert scope.total() == Counter({"rejected": made.defects[wanted]})
    lines = list(scope.list_units())
    assert len(lines) == made.defects[wanted] > 0
    assert {(line.defect, line.passed) for line in lines} == {(wanted, False)}


@pytest.mark.clause("ALCOA+ available", "Annex 11 draft §12.4")
def test_a_person_who_opened_and_one_who_only_closed(db, made):
    opener = recall.of_signer(db, PEOPLE[0])
    assert opener.total() == all_of(made, lambda index: index % 2 == 0)
    assert {share.batch.actor for share in opener.shares} == {PEOPLE[0]}
    closer = recall.of_signer(db, QA.upper())
    assert {share.batch.id for share in closer.shares} == {batch_name(index) for index in range(BATCHES - 1)}
    assert any("batch-close" in moment.text for moment in closer.timeline)


@pytest.mark.parametrize("code", ALARMS)
def test_an_alarm_code_names_the_units_it_rang_for(db, made, code):
    scope = recall.of_alarm(db, code.lower())
    assert sum(share.alarms for share in scope.shares) == made.alarms[code]
    named = {str(trace.UnitId(*row)) for row in db.execute(
        "SELECT epoch, lane, number FROM alarm WHERE code = ? AND number IS NOT NULL", (code,))}  # fmt: skip
    assert {line.unit for line in scope.list_units()} == named
    assert scope.total().total() == len(named)


def test_units_of_too_many_alarms_are_listed_and_never_counted_as_none(db, monkeypatch, ledger, capsys):
    monkeypatch.setattr(recall, "MOST_ALARMS", 10)
    scope = recall.of_alarm(db, ALARMS[0])
    assert not scope.counted
    assert len(list(scope.list_units())) > 10
    document = scope_document(scope)
    assert [document[key] for key in ("units_by_outcome", "units_passed", "units_not_passed")] == [None, None, None]
    assert cli.main(["trace", "alarm", ALARMS[0], "--state", str(ledger[0].parent)]) == 0
    out = capsys.readouterr().out
    assert "too many to count" in out
    assert "0 passed" not in out


def test_one_alarm_by_its_entry_names_the_unit_and_what_was_in_the_machine(db):
    newest = "SELECT entry, number, at_ns FROM alarm WHERE number IS NOT NULL ORDER BY rowid DESC LIMIT 1"
    entry, unit, at_ns = db.execute(newest).fetchone()
    scope = recall.of_alarm(db, str(entry))
    lines = list(scope.list_units())
    assert str(unit) in {line.unit.split(".")[2] for line in lines}
    for line in lines:
        stamps = "SELECT created_ns, closed_ns FROM unit WHERE entry = ?"
        created, closed = db.execute(stamps, (line.entry,)).fetchone()
        assert line.unit.endswith(f".{unit}") or created <= at_ns <= closed


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(-5, UNITS + 5), st.integers(0, UNITS)))
def test_a_stretch_of_time_counts_as_the_rows_do(ledger, recorded, drawn):
    first, length = drawn
    window = Window(BEGIN_NS + first * PITCH_NS, BEGIN_NS + (first + length) * PITCH_NS)
    with closing(sqlite3.connect(f"file:{ledger[0]}?mode=ro", uri=True)) as db:
        scope = recall.of_window(db, window, "x")
        assert scope.total() == Counter(outcome for at, outcome in recorded if window.begin_ns <= at <= window.end_ns)
        assert len(list(islice(scope.list_units(), 50))) == min(50, scope.total().total())


@pytest.mark.clause("ALCOA+ available", "IEC 62443-4-2 CR 2.11")
def test_a_clock_that_was_set_back_hides_nothing(ledger, tmp_path):
    path = tmp_path / "ledger.sqlite"
    made = make(path, Plan(400, 400, viewed=100, open_last=True))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        row = list(db.execute("SELECT * FROM unit WHERE number = 1").fetchone())
        step, hour = made.entries, 3_600_000_000_000
        values = (step, "recorder", 7, step, 0, "clock-step", "recorder", "machine", "set", "", "", "", 1, "", "")
        db.execute(f"INSERT INTO audit VALUES ({', '.join('?' * 18)})", (*values, BEGIN_NS - hour, "ntp", b"d"))
        for number in range(1001, 1011):
            changed = {0: 99, 2: number, 22: BEGIN_NS - hour + number, 25: step + number}
            marks = ", ".join("?" * 26)
            db.execute(f"INSERT INTO unit VALUES ({marks})", [changed.get(i, old) for i, old in enumerate(row)])
        before = recall.of_window(db, Window(BEGIN_NS - 2 * hour, BEGIN_NS - 1), "x")
        assert [line.unit for line in before.list_units()] == [f"99.0.{number}" for number in range(1001, 1011)]
        after = recall.of_window(db, Window(BEGIN_NS, BEGIN_NS + hour), "x")
        assert after.total().total() == 400
        assert recall.of_window(db, Window(0, BEGIN_NS + hour), "x").total().total() == 410


def test_rows_that_came_after_the_closing_are_counted_from_rows(tmp_path):
    path = tmp_path / "ledger.sqlite"
    made = make(path, Plan(100, 50, viewed=100))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert recall.of_lot(db, batch_name(0)).shares[0].counted == "report"
        row = list(db.execute("SELECT * FROM unit WHERE batch = ? LIMIT 1", (batch_name(0),)).fetchone())
        row[2], row[5], row[25] = 77, "escaped", made.entries
        db.execute(f"INSERT INTO unit VALUES ({', '.join('?' * 26)})", row)
        share = recall.of_lot(db, batch_name(0)).shares[0]
        assert (share.counted, share.counts["escaped"]) == ("rows", 1)
        assert share.passed == made.outcomes[batch_name(0)]["accepted"] + 1


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda db: recall.of_lot(db, "LOT"), "begins 20 batches"),
        (lambda db: recall.of_lot(db, "nope"), "no batch 'nope'"),
        (lambda db: recall.of_lot(db, ""), "no batch ''"),
        (lambda db: recall.of_document(db, "bundle", "zzz"), "no batch ran with bundle 'zzz'"),
        (lambda db: recall.of_document(db, "bundle", ""), "no batch ran with bundle ''"),
        (lambda db: recall.of_defect(db, "dent"), "no unit has the defect 'dent'; there are crack"),
        (lambda db: recall.of_signer(db, "nobody"), "'nobody' did nothing"),
        (lambda db: recall.of_alarm(db, "NOPE"), "no alarm 'NOPE'"),
        (
            lambda db: recall.of_alarm(db, "STATE"),
            "no alarm 'STATE' is on record; there are CAMERA_UNSYNCED, FRAME_LOST",
        ),
        (lambda db: recall.of_alarm(db, "0"), "entry 0 is no alarm"),
        (lambda db: recall.of_alarm(db, "99999999"), "entry 99999999 is no alarm"),
    ],
)
def test_what_is_unknown_is_one_sentence_that_says_what_there_is(db, ask, says):
    with pytest.raises(UnknownToLedger, match=f"^[^\n]*{re.escape(says)}[^\n]*$"):
        ask(db)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-11-20T10:00..2026-11-20T10:30", "2026-11-20T10:00:00+00:00", "2026-11-20T10:30:59.999999+00:00"),
        ("2026-11-20T10:00:05..10:00:06", "2026-11-20T10:00:05+00:00", "2026-11-20T10:00:06.999999+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00", "2026-11-20T23:59:59.999999+00:00"),
        ("2026-11-20..2026-11-21", "2026-11-20T00:00:00+00:00", "2026-11-21T23:59:59.999999+00:00"),
        ("2026-11-20T10:00+02:00..", "2026-11-20T08:00:00+00:00", "2026-11-22T12:00:00+00:00"),
        ("9:30..10:00", "2026-11-22T09:30:00+00:00", "2026-11-22T10:00:59.999999+00:00"),
        ("..2026-11-01", "1970-01-01T00:00:00+00:00", "2026-11-01T23:59:59.999999+00:00"),
    ],
)
def test_times_are_utc_and_reach_to_the_end_of_what_they_name(text, begin, end):
    found = window_of(text, NOW)
    ends = [datetime.fromtimestamp(ns // 1000 / 1e6, UTC) for ns in (found.begin_ns, found.end_ns)]
    assert [
        abs((one - datetime.fromisoformat(other)).total_seconds()) < 1e-5
        for one, other in zip(ends, (begin, end), strict=True)
    ] == [True, True]


@pytest.mark.parametrize("text", ["", "yesterday..", "2026-13-01..", "2026-11-20T10:00..2026-11-20T09:00", "..x"])
def test_a_time_that_says_none_is_refused(text):
    with pytest.raises(UnknownToLedger, match=r"^time [^\n]+$"):
        window_of(text, NOW)


def test_no_question_reads_a_table_from_end_to_end(ledger):
    """What SQLite plans for every look: units, views and permits are sought, never scanned."""
    looks = set()
    with closing(sqlite3.connect(f"file:{ledger[0]}?mode=ro", uri=True)) as db:
        db.set_trace_callback(looks.add)
        unit = trace.named(db, "17")[0]
        trace.story(db, unit)
        asked = [
            recall.of_lot(db, batch_name(3)),
            recall.of_document(db, "bundle", "aaa"),
            recall.of_alarm(db, "LATE_RUN"),
        ]
        asked += [recall.of_defect(db, "crack"), recall.of_signer(db, QA), recall.of_alarm(db, "STRAY_BODY")]
        asked.append(recall.of_window(db, Window(BEGIN_NS, BEGIN_NS + 12_345 * PITCH_NS), "x"))
        for scope in asked:
            list(islice(scope.list_units(), 20))
        db.set_trace_callback(None)
        steps = {step for look in looks for *_, step in db.execute(f"EXPLAIN QUERY PLAN {look}")}
    assert len(looks) > 50
    assert [
        step for step in steps if re.match(r"SCAN (u|unit|unit_view|permit|evidence|entry)\b(?! USING)", step)
    ] == []


def test_a_question_looks_at_a_number_of_rows_that_does_not_grow_with_the_ledger(tmp_path):
    """The same questions over four times the units: as many steps of SQLite's machine, but for the depth of trees."""
    spent = []
    for units in (6_000, 24_000):
        path = tmp_path / f"{units}.sqlite"
        make(path, Plan(units, 1_500, viewed=50, seed=3))
        with closing(sqlite3.connect(path)) as db:
            spent.append([steps(db, ask) for ask in QUESTIONS])
    for few, many in zip(*spent, strict=True):
        assert many < 1.6 * few


QUESTIONS = (
    lambda db: trace.story(db, trace.UnitId(1, 0, 17)),
    lambda db: recall.of_lot(db, batch_name(1)),
    lambda db: recall.of_window(db, Window(BEGIN_NS, BEGIN_NS + 500 * PITCH_NS), "x"),
)


def steps(db, ask):
    """Return how often SQLite's machine made 100 steps."""
    count = [0]

    def step():
        count[0] += 1
        return 0

    db.set_progress_handler(step, 100)
    ask(db)
    db.set_progress_handler(None, 0)
    return count[0] + 20


def test_leaping_finds_what_counting_finds(db):
    assert ledger_search.defects(db) == sorted(DEFECTS)
    assert ledger_search.lanes(db) == [
        tuple(r) for r in db.execute("SELECT DISTINCT epoch, lane FROM unit ORDER BY 1, 2")
    ]
    assert ledger_search.unit_batches(db) == [batch_name(index) for index in range(BATCHES)]
    assert ledger_search.spans(db, "unit", Window(0, ledger_search.LARGEST - 1)) == [Span(1, UNITS)]


@pytest.mark.clause("21 CFR 11.10(b)")
def test_csv_and_json_hold_every_unit(db, made):
    scope = recall.of_defect(db, "fibre")
    written = io.StringIO()
    assert write_csv(scope, written) == made.defects["fibre"]
    rows = list(csv.DictReader(io.StringIO(written.getvalue())))
    assert len(rows) == made.defects["fibre"]
    assert {(row["defect"], row["passed"]) for row in rows} == {("fibre", "no")}
    text = io.StringIO()
    write_scope(scope, text)
    document = json.loads(text.getvalue())
    assert [unit["unit"] for unit in document["units"]] == [row["unit"] for row in rows]
    assert document["units_not_passed"] == len(rows)
    assert sum(batch["units_not_passed"] for batch in document["batches"]) == len(rows)


def test_the_command_shows_counts_first_and_says_how_to_get_the_rest(ledger, capsys):
    assert cli.main(["trace", "defect", "crack", "--limit", "5", "--state", str(ledger[0].parent)]) == 0
    out = capsys.readouterr().out
    total = ledger[1].defects["crack"]
    assert (
        out.index(f"{total} units") < out.index("batches") < out.index(f"and {total - 5} more: --limit N, --csv FILE")
    )


def test_a_csv_that_cannot_be_written_leaves_nothing(ledger, capsys, tmp_path):
    target = tmp_path / "missing" / "units.csv"
    arguments = ["trace", "lot", batch_name(1), "--csv", str(target), "--state", str(ledger[0].parent)]
    assert cli.main(arguments) == cli.FAILED
    assert f"{target}: not written: No such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_csv_is_written_whole(ledger, capsys, tmp_path):
    target = tmp_path / "units.csv"
    assert cli.main(["trace", "lot", batch_name(1), "--csv", str(target), "--state", str(ledger[0].parent)]) == 0
    assert capsys.readouterr() == ("", f"{BATCH_UNITS} units written to {target}\n")
    assert len(target.read_text(encoding="utf-8").splitlines()) == BATCH_UNITS + 1
    assert list(tmp_path.iterdir()) == [target]
