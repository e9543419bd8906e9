import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_rows import (
    BATCH,
    BUNDLE,
    NOW,
    OPENING,
    SESSION,
    alarm,
    entries,
    gap,
    look,
    permit,
    totals,
    unit,
    views,
)

from daemon.messages import AlarmRow, PlcTotals, Resume
from daemon.recorder.batch import Rules, Run, Totals, why_open
from daemon.recorder.ledger import Ledger, LedgerUnwritable
from daemon.recorder.rows import Received
from daemon.recorder.schema import LedgerError
from daemon.records import BatchClosed
from daemon.units import Outcome, Reason, UnitId, Verdict

RULES = Rules(automatic=True, permitted_flag=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    with closing(Ledger(path)) as opened:
        yield opened


@pytest.fixture
def batch(ledger):
    return ledger.open_batch(OPENING, NOW)


def numbers(path, table="unit"):
    return [number for (number,) in look(path, f"SELECT number FROM {table} ORDER BY number")]


def escape(seq):
    return AlarmRow(seq, 5, "ESCAPED", "unit 1.0.2 was said to be removed and was seen past the gate", "ABORTED", None)


def write(ledger, *rows):
    return ledger.store(entries(*rows), {}, NOW)


@pytest.mark.clause("ALCOA+ enduring")
def test_a_new_ledger_is_durable_and_named(ledger, path):
    assert look(path, "PRAGMA application_id") == [(0x4C575244,)]
    assert look(path, "PRAGMA user_version") == [(4,)]
    assert look(path, "PRAGMA journal_mode") == [("wal",)]
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.clause("21 CFR 211.188", "ALCOA+ original")
def test_a_unit_row_keeps_everything_that_explains_the_verdict(ledger, path):
    row = unit(7, outcome=Outcome.REJECTED)
    write(ledger, row)
    columns = "batch, outcome, reason, channel, defect, source, bundle, configuration, plc_flags, encoder"
    assert look(path, f"SELECT {columns} FROM unit") == [
        (BATCH, "rejected", "defect", "critical", "crack", "line", BUNDLE, "c" * 64, 6, 28000)
    ]
    assert look(path, "SELECT last_edge_ns, inference_ns, closed_ns, recorded_wall_ns, clock FROM unit") == [
        (row.stages.last_edge_ns, row.stages.inference_ns, row.stages.closed_ns, NOW.ns, "unsynchronised")
    ]
    assert look(
        path, "SELECT frame_camera, frame_session, frame_id, device_ts, pixel_digest, scores FROM unit_view"
    ) == [
        ("side", 9, 7, 7000, f"{7:064x}", '{"crack":0.1,"good":0.9}'),
        ("crimp", 9, 7, 7000, f"{7:064x}", '{"crack":0.1,"good":0.9}'),
    ]


def test_the_same_row_again_is_ignored(ledger, path):
    write(ledger, unit(1, seq=1), permit(1, seq=2), gap(3, 4, seq=3), alarm(4))
    assert write(ledger, unit(1, seq=9), permit(1, seq=10), gap(3, 4, seq=3), alarm(4)) == []
    for table in ("unit", "permit", "gap", "alarm"):
        assert look(path, f"SELECT count(*) FROM {table}") == [(1,)]


@pytest.mark.clause("21 CFR 11.10(e)", "ALCOA+ original", "ALCOA+ complete", "ALCOA+ consistent")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (unit(1), unit(1, outcome=Outcome.REJECTED)),
        (unit(1), unit(1, encoder=1)),
        (unit(1, outcome=Outcome.REJECTED), unit(1, outcome=Outcome.QUARANTINED, source="plc")),
        (unit(1, outcome=Outcome.REJECTED, source="plc"), unit(1)),
        (permit(1), permit(1, verdict=Verdict.REJECT)),
    ],
)
def test_a_row_that_contradicts_is_refused_and_kept_aside(ledger, path, first, second):
    write(ledger, first)
    before = look(path, "SELECT outcome, encoder FROM unit"), look(path, "SELECT verdict FROM permit")
    (refusal,) = write(ledger, second)
    assert refusal.received.row == second
    assert before == (look(path, "SELECT outcome, encoder FROM unit"), look(path, "SELECT verdict FROM permit"))
    write(ledger, second)
    assert len(look(path, "SELECT why FROM conflict")) == 1


def test_a_unit_read_again_from_the_ring_after_a_restart_agrees_with_its_row(ledger, path):
    write(ledger, unit(1), unit(2, outcome=Outcome.REJECTED))
    again = [
        unit(1, outcome=Outcome.QUARANTINED, source="plc", reason=Reason.LINE_DOWN),
        unit(2, outcome=Outcome.REJECTED, source="plc", reason=Reason.LINE_DOWN),
    ]
    assert write(ledger, *again) == []
    assert look(path, "SELECT outcome, source FROM unit ORDER BY number") == [
        ("accepted", "line"),
        ("rejected", "line"),
    ]


@pytest.mark.clause("ALCOA+ complete", "Annex 11 draft §8")
def test_no_alarm_and_no_gap_is_ever_dropped(ledger, path):
    write(ledger, alarm(1), gap(3, 4, seq=2))
    assert write(ledger, alarm(1), alarm(1, "another text"), gap(3, 4, seq=2), gap(3, 4, seq=3)) == []
    assert look(path, "SELECT count(*) FROM alarm") == [(2,)]
    assert look(path, "SELECT count(*) FROM gap") == [(2,)]


def test_a_number_that_cannot_be_stored_is_refused_not_fatal(ledger, path):
    (refusal,) = write(ledger, unit(1, encoder=2**64 - 1), unit(2))[:1]
    assert "too large" in refusal.why
    assert numbers(path) == [2]


@pytest.mark.parametrize("table", ["unit", "unit_view", "permit", "gap", "alarm", "conflict"])
def test_rows_cannot_be_changed_or_deleted(ledger, path, table):
    write(ledger, unit(1), permit(1), gap(2, 3), alarm(1))
    write(ledger, unit(1, encoder=0))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        column = db.execute(f"SELECT name FROM pragma_table_info('{table}') LIMIT 1").fetchone()[0]
        for sql in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(sql)


@pytest.mark.clause("21 CFR 11.10(e)", "21 CFR 11.10(f)")
def test_a_batch_closes_once_and_never_changes(ledger, batch, path):
    ledger.close_batch(BatchClosed(0, BATCH, "a.person", "done", "{}"), NOW)
    assert ledger.current_batch() is None
    assert ledger.last_report() == "{}"
    with pytest.raises(LedgerError, match="not open"):
        ledger.close_batch(BatchClosed(0, BATCH, "a.person", "again", "{}"), NOW)
    with pytest.raises(LedgerError, match="already on record"):
        ledger.open_batch(OPENING, NOW)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for sql in ("UPDATE batch SET state = 'open'", "UPDATE batch SET report = ''", "DELETE FROM batch"):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(sql)


@pytest.mark.clause("21 CFR 11.10(f)")
def test_two_batches_are_never_open(ledger, batch):
    with pytest.raises(LedgerError, match=f"batch {BATCH} is open"):
        ledger.open_batch(OPENING, NOW)


@pytest.mark.clause("ALCOA+ complete", "21 CFR 211.192")
def test_numbers_without_a_row_are_named_and_those_with_a_permit_counted(ledger, batch):
    write(ledger, unit(1), permit(2), unit(4, outcome=Outcome.REJECTED), permit(6), totals(5, 1))
    resume = ledger.resume()
    assert resume.missing == [UnitId(1, 0, number) for number in (2, 3, 5, 6)]
    assert resume.missing_permitted == 2
    write(ledger, *(unit(number, outcome=Outcome.REMOVED) for number in (2, 3, 5, 6)))
    assert (ledger.resume().missing, ledger.resume().missing_permitted) == ([], 0)


def test_the_newest_totals_win(ledger, path):
    write(ledger, totals(5, 5, seq=8))
    write(ledger, totals(4, 4, seq=7))
    ledger.store([Received(SESSION + 1, totals(6, 5, seq=1), BATCH)], {}, NOW)
    assert look(path, "SELECT created, passed, diverted FROM plc_totals") == [(6, 5, 1)]


@pytest.mark.clause("Annex 11 §16", "IEC 62443-4-2 CR 7.4")
def test_a_restart_finds_batch_epoch_permits_and_acknowledgement(path):
    with closing(Ledger(path)) as first:
        first.open_batch(OPENING, NOW)
        rows = entries(permit(1, seq=1), unit(1, seq=2), permit(2, seq=3), permit(3, seq=4, epoch=2))
        first.store(rows, {SESSION: 4}, NOW)
    with closing(Ledger(path)) as second:
        assert second.current_batch().configuration == OPENING.configuration
        permits = [permit(2), permit(3, epoch=2)]
        assert second.resume() == Resume(
            2, permits, 0, [UnitId(1, 0, 1)], False, "", [UnitId(1, 0, 2), UnitId(2, 0, 3)], 2
        )
        assert second.acknowledged(SESSION) == 4
        assert second.acknowledged(SESSION + 1) == 0


@pytest.mark.clause("IEC 62443-4-2 CR 2.10", "ALCOA+ enduring")
def test_a_full_ledger_writes_nothing_and_goes_on_when_there_is_room(ledger, path):
    limit = ledger.set_quota(1)
    assert limit > 1
    stored = []
    with pytest.raises(LedgerUnwritable, match="full"):
        for start in range(1, 4000, 10):
            ledger.store(entries(*(unit(n, seq=n) for n in range(start, start + 10))), {SESSION: start + 9}, NOW)
            stored += range(start, start + 10)
    assert numbers(path) == stored
    assert ledger.acknowledged(SESSION) == len(stored)
    ledger.set_quota(0)
    write(ledger, unit(len(stored) + 1))
    assert numbers(path) == [*stored, len(stored) + 1]


@pytest.mark.clause("ALCOA+ consistent")
def test_a_transaction_that_breaks_off_leaves_nothing_behind(ledger, path):
    with pytest.raises(LedgerUnwritable):
        write(ledger, unit(1), unit(2, defect="\ud800"))
    assert numbers(path) == []
    write(ledger, unit(3))
    assert numbers(path) == [3]


def test_a_restarted_line_hears_the_newest_totals(ledger, batch):
    rows = [PlcTotals(n, epoch, 0, 5, 4, 1, 1, 5, stray_pass=n) for n, epoch in enumerate((1, 2, 2))]
    write(ledger, *rows)
    assert ledger.resume().totals == [msgspec.structs.replace(rows[2], seq=0)]


@pytest.mark.clause("ALCOA+ enduring", "ALCOA+ consistent", "Annex 11 §7.1")
def test_a_torn_log_keeps_whole_transactions_in_order(tmp_path, path, seed):
    """Cut the write-ahead log anywhere: what is left is a prefix of the transactions, none of them in part."""
    with closing(Ledger(path)) as ledger:
        for start in range(1, 61, 3):
            write(ledger, *(unit(number) for number in range(start, start + 3)))
        log = path.with_name(path.name + "-wal")
        data, random = log.read_bytes(), Random(seed)
        shutil.copy(path, tmp_path / "whole.sqlite")
    for case in range(12):
        copy = tmp_path / f"torn{case}.sqlite"
        shutil.copy(tmp_path / "whole.sqlite", copy)
        copy.with_name(copy.name + "-wal").write_bytes(data[: random.randrange(len(data) + 1)])
        with closing(Ledger(copy)):
            found = numbers(copy)
        assert found == list(range(1, len(found) + 1))
        assert len(found) % 3 == 0


@pytest.mark.clause("ALCOA+ accurate", "21 CFR 211.192")
def test_a_frame_credited_to_two_accepted_units_is_found_at_once(ledger, path):
    write(ledger, unit(1), unit(2, outcome=Outcome.REJECTED, views=views(1)))
    (refusal,) = write(ledger, unit(3, views=views(1)))
    assert refusal.why == "frame side/00000009/1 is credited to unit 1.0.1 and to unit 1.0.3"
    assert numbers(path) == [1, 2, 3]


def test_facts_of_a_clean_batch_let_it_close(ledger, batch):
    rows = [row for n in range(1, 9) for row in (permit(n), unit(n))]
    write(ledger, *rows, unit(9, outcome=Outcome.REJECTED), totals(9, 8))
    facts = ledger.facts(batch, unstored=0, rules=RULES)
    assert why_open(facts) == ()
    assert facts.outcomes == {"accepted": 8, "rejected": 1}
    assert facts.reasons == {"defect": 1}
    assert facts.lanes[0].runs == (Run(1, 9),)
    assert facts.trigger_to_frame_ns == [2_000_000] * 9
    assert facts.frame_to_verdict_ns == [3_000_000] * 9
    assert facts.paces[0].span_ns == 800_000_000


@pytest.mark.clause("21 CFR 211.192", "21 CFR 11.10(f)")
@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([permit(2)], "1 permits have no unit row (1.0.2)"),
        ([unit(2)], "accepted units have no permit"),
        ([permit(2), unit(2, batch="other")], "belong to no batch"),
        ([permit(2), unit(2, configuration="d" * 64)], "under another configuration"),
        ([permit(2), unit(2, bundle="d" * 64)], "under another configuration"),
        ([permit(2), unit(2, views=views(1))], "1 rows contradict others"),
        ([unit(1, encoder=0)], "1 rows contradict others"),
        ([unit(2, outcome=Outcome.QUARANTINED)], "1 units are quarantined"),
        ([unit(2, outcome=Outcome.ESCAPED)], "1 units are escaped"),
        ([], "no row for 1 units of the PLC (2)"),
        ([unit(2, outcome=Outcome.REMOVED), escape(1)], "1 escapes are on record that have no row"),
    ],
)
def test_what_keeps_a_batch_open_is_found_in_the_ledger(ledger, batch, rows, complaint):
    write(ledger, permit(1), unit(1), totals(2, 1), *rows)
    assert any(complaint in line for line in why_open(ledger.facts(batch, unstored=0, rules=RULES)))


def test_a_unit_that_the_legacy_inspection_passed_needs_no_verdict_of_ours(ledger, batch):
    unjudged = unit(1, reason=Reason.LATE, verdict=Verdict.UNDECIDED, bundle="", views=[], plc_flags=8)
    write(ledger, unjudged, unit(2), totals(2, 2))
    assert why_open(ledger.facts(batch, unstored=0, rules=replace(RULES, automatic=False))) == ()
    assert "another configuration" in "".join(why_open(ledger.facts(batch, unstored=0, rules=RULES)))


def test_a_second_batch_in_the_same_epoch_counts_its_own_units_only(ledger, batch, path):
    """The PLC counts on from the first batch; a unit may be counted a moment before its number is read."""
    write(ledger, permit(1), unit(1), unit(2, outcome=Outcome.REJECTED), totals(2, 1))
    ledger.close_batch(BatchClosed(0, BATCH, "a.person", "done", "{}"), NOW)
    second = ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
    assert ledger.resume() == Resume(1, [], 1, [UnitId(1, 0, 2), UnitId(1, 0, 1)], False)
    rows = [msgspec.structs.replace(row, batch="B-2") for row in (permit(3), unit(3))]
    counts = [(3, 1, 0, 0), (3, 1, 3, 3), (3, 2, 3, 3)]
    late = [
        PlcTotals(n, 1, 0, created, passed, 1, first, last) for n, (created, passed, first, last) in enumerate(counts)
    ]
    ledger.store(entries(*rows, *late, batch="B-2"), {}, NOW)
    facts = ledger.facts(second, unstored=0, rules=RULES)
    assert facts.lanes[0].totals == Totals(1, 1, 0, 3, 3)
    assert why_open(facts) == ()
    assert facts.outcomes == {"accepted": 1}


def test_a_unit_for_which_the_gate_opened_and_a_restart_diverted_it_is_accounted_for(ledger, batch):
    """The PLC counted it as passed when it opened the gate; its restart let the gate fall back and the chute saw it."""
    diverted = unit(1, outcome=Outcome.REJECTED, reason=Reason.LINE_FAULT, plc_flags=37)
    write(ledger, permit(1), diverted, totals(1, 1))
    assert why_open(ledger.facts(batch, unstored=0, rules=RULES)) == ()


def test_a_plc_that_lost_its_memory_may_have_opened_the_gate_for_any_permitted_unit(ledger, batch):
    diverted = unit(1, outcome=Outcome.REJECTED, reason=Reason.LINE_FAULT, plc_flags=0)
    write(ledger, permit(1), diverted, totals(1, 1))
    assert why_open(ledger.facts(batch, unstored=0, rules=RULES)) != ()
    write(ledger, totals(0, 0, seq=1, epoch=2))
    assert why_open(ledger.facts(batch, unstored=0, rules=RULES)) == ()


@pytest.mark.clause("21 CFR 211.192", "ALCOA+ accurate")
def test_a_unit_the_plc_passed_and_the_ledger_rejected_is_missed(ledger, batch):
    write(ledger, unit(1, outcome=Outcome.REJECTED), totals(1, 1))
    (line,) = why_open(ledger.facts(batch, unstored=0, rules=RULES))
    assert line.startswith("the PLC passed 1 units, the ledger knows of 0")


def test_a_unit_accepted_on_a_permit_of_an_earlier_life_closes(ledger, batch):
    """A restarted line knows that the unit was permitted, not what was seen; the permit row holds that."""
    passed = unit(1, source="plc", bundle="", views=[], reason=Reason.LINE_DOWN)
    write(ledger, permit(1), passed, totals(1, 1))
    assert why_open(ledger.facts(batch, unstored=0, rules=RULES)) == ()


@pytest.mark.clause("21 CFR 11.10(e)", "ALCOA+ original", "ALCOA+ consistent")
@settings(max_examples=60)
@given(
    sent=st.lists(st.tuples(st.integers(1, 12), st.sampled_from(list(Outcome))), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_any_order_of_repeats_and_contradictions_keeps_the_first_row(tmp_path_factory, sent, cuts):
    """However rows are repeated and grouped: the first row of a unit stands, every other one is equal or refused."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    rows = [unit(number, seq=seq, outcome=outcome) for seq, (number, outcome) in enumerate(sent, 1)]
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    with closing(Ledger(path)) as ledger:
        for begin, end in zip(edges, edges[1:], strict=False):
            write(ledger, *rows[begin:end])
        first = {}
        for number, outcome in sent:
            first.setdefault(number, outcome)
        stored = look(path, "SELECT epoch, lane, number, outcome FROM unit")
        assert {UnitId(*key): outcome for *key, outcome in stored} == {
            UnitId(1, 0, number): outcome.value for number, outcome in first.items()
        }
        contradictions = {(number, outcome) for number, outcome in sent if first[number] is not outcome}
        assert look(path, "SELECT count(*) FROM conflict") == [(len(contradictions),)]
