"""Sub-lots in the ledger: what judges from when on, by whose signature; whose units they are; nothing is altered."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import BUNDLE, CONFIGURATION, NOW, OPENING, look, permit, totals, unit
from test_batch import SCHEMA
from trail_world import SUBLOT, TrailWorld, complaint

from daemon import ledger_file
from daemon.messages import AlarmRow, Loaded
from daemon.recorder import reading
from daemon.recorder.batch import Island, Rules, Run, SubLot, share_out, why_open
from daemon.recorder.ledger import Ledger
from daemon.recorder.rebuild import rebuild
from daemon.recorder.report import MAX_DOCUMENT, build_report, document
from daemon.recorder.rows import Received
from daemon.recorder.schema import LedgerError
from daemon.recorder.swap import MOST_SUBLOTS, misorder
from daemon.records import AuditRow, BatchClosed, SubLotOpened
from daemon.units import Outcome, UnitId
from provisioning import recall, trace
from provisioning.batch_report import build
from signing.order import SwapOrder

QA_SCHEMA = json.loads((Path(__file__).parents[2] / "docs/interfaces/batch-report-v1.schema.json").read_text())
LOADED = Loaded("d", "e", "d", "e", [], 120.0, 10.0, 20.0, 200.0)
RULES = Rules(automatic=True, permitted_flag=1)
NEW = {"bundle": SUBLOT.bundle, "configuration": SUBLOT.configuration}
LOT = SUBLOT
BACK = msgspec.structs.replace(
    LOT, number=3, bundle=BUNDLE, recipe=OPENING.recipe, configuration=CONFIGURATION, signed_utc="2026-11-23T00:50:00Z"
)


def told(row: SubLotOpened) -> Received:
    act = AuditRow(0, 1, "swap", row.actor, row.role, row.reason, "old", "new", True, "done", "{order}")
    return Received(9, msgspec.structs.replace(act, seq=row.number), row.batch, "recorder")


def by(number, new=False, **other):
    """A unit of the old or the new side, with the permit that goes with it."""
    changes = NEW if new else {}
    return [
        msgspec.structs.replace(permit(number, seq=2 * number), **changes),
        unit(number, seq=2 * number + 1, **changes, **other),
    ]


@pytest.fixture
def world(tmp_path):
    with closing(TrailWorld(tmp_path)) as world:
        world.ledger.open_batch(OPENING, NOW)
        yield world


def swapped(world, *lots):
    for lot in lots:
        world.ledger.begin_sublot(lot, NOW, told(lot))


def facts(world):
    return reading.facts(world.ledger.database, world.ledger.current_batch(), 0, RULES)


def there_and_back(world):
    """Ten units, the middle ones by another pair; the last of the old side is recorded after the swap."""
    for number in (1, 2, 3):
        world.write(*by(number))
    swapped(world, LOT)
    world.write(*by(4), *by(5, new=True), *by(6, new=True, outcome=Outcome.REJECTED))
    swapped(world, BACK)
    world.write(*by(7, new=True), *by(8), *by(9), *by(10), totals(10, 9, seq=99))


@pytest.mark.clause("21 CFR 211.188", "21 CFR 11.70", "ALCOA+ attributable")
def test_a_swap_is_an_entry_beside_the_act_and_everything_verifies(world, tmp_path):
    there_and_back(world)
    world.sign()
    assert complaint(tmp_path) == ""
    assert look(world.path, "SELECT number, signer, why FROM sublot ORDER BY number") == [
        (2, "Anna Berg", LOT.why),
        (3, "Anna Berg", LOT.why),
    ]
    assert look(world.path, "SELECT s.entry + 1 = a.entry FROM sublot AS s JOIN audit AS a ON a.seq = s.number") == [
        (1,),
        (1,),
    ]
    batch = world.ledger.current_batch()
    assert [(lot.number, lot.bundle) for lot in batch.sublots] == [(1, BUNDLE), (2, NEW["bundle"]), (3, BUNDLE)]
    world.ledger.prove("B-1", lambda: None)


@pytest.mark.clause("21 CFR 211.188")
def test_the_units_of_each_sub_lot_are_counted_and_the_batch_closes(world, tmp_path):
    there_and_back(world)
    found = facts(world)
    assert why_open(found) == ()
    assert [(share.number, share.outcomes, share.places) for share in found.shares] == [
        (1, {"accepted": 4}, {(1, 0): Run(1, 4)}),
        (2, {"accepted": 2, "rejected": 1}, {(1, 0): Run(5, 7)}),
        (3, {"accepted": 3}, {(1, 0): Run(8, 10)}),
    ]
    report = build_report(found)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert [lot["signed_by"] for lot in report["sublots"]] == [None, "Anna Berg", "Anna Berg"]
    text = msgspec.json.encode(report).decode()
    world.ledger.close_batch(BatchClosed(0, "B-1", "a.person", "done", text), NOW)
    with ledger_file.reading(world.path) as db:
        for_qa = build(db, "B-1", tmp_path)
        jsonschema.Draft202012Validator(QA_SCHEMA).validate(for_qa)
        assert for_qa["sublots"] == report["sublots"] and for_qa["cross_check"]["differences"] == []
        own = trace.story(db, UnitId(1, 0, 6)).batch
        assert (own["sublot"], own["bundle"], own["recipe_name"]) == (2, NEW["bundle"], "2R 2")
        told_by_trace = [trace.story(db, UnitId(1, 0, number)).batch["sublot"] for number in (3, 4, 5, 8, 10)]
        assert told_by_trace == [1, 1, 2, 3, 3]
        for text in (NEW["bundle"][:8], BUNDLE[:8]):
            assert [share.batch.id for share in recall.of_document(db, "bundle", text).shares] == ["B-1"]


@pytest.mark.clause("21 CFR 211.192")
@pytest.mark.parametrize(
    "changes",
    [
        {"configuration": "9" * 64},
        {"bundle": NEW["bundle"]},
        {"configuration": NEW["configuration"]},
    ],
)
def test_an_accepted_unit_of_no_sub_lot_keeps_the_batch_open(world, changes):
    there_and_back(world)
    world.write(permit(11, seq=100), unit(11, seq=101, **changes), totals(11, 10, seq=102))
    assert facts(world).foreign == 1
    assert any("another configuration" in line for line in why_open(facts(world)))


def test_a_batch_without_a_swap_has_no_shares_and_one_sub_lot(world):
    world.write(*by(1), totals(1, 1, seq=9))
    assert list(facts(world).shares) == []
    assert build_report(facts(world))["sublots"] == []
    assert [lot.number for lot in world.ledger.current_batch().sublots] == [1]


def test_a_sub_lot_belongs_to_the_open_batch(world):
    with pytest.raises(LedgerError, match="batch B-9 is not open"):
        swapped(world, msgspec.structs.replace(LOT, batch="B-9"))
    assert look(world.path, "SELECT count(*) FROM sublot") == [(0,)]


@pytest.mark.clause("21 CFR 11.10(e)", "ALCOA+ enduring")
@pytest.mark.parametrize("column", ["signer", "bundle", "configuration", "number", "why", "batch"])
def test_a_sub_lot_that_is_altered_is_named(world, tmp_path, column):
    there_and_back(world)
    world.sign()
    with closing(sqlite3.connect(world.path, isolation_level=None)) as db:
        made = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'sublot'"
        ).fetchall()
        for name, _ in made:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(f"UPDATE sublot SET {column} = 77 WHERE number = 2")
        for _, sql in made:
            db.execute(sql)
    assert "table sublot" in complaint(tmp_path)


def test_sub_lots_are_append_only(world):
    swapped(world, LOT)
    for sql in ("UPDATE sublot SET why = 'x'", "DELETE FROM sublot"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            world.ledger.database.execute(sql)


@pytest.mark.clause("Annex 11 §7.1", "Annex 11 §17")
def test_the_tables_are_built_again_from_the_entries(world, tmp_path):
    there_and_back(world)
    world.sign()
    with ledger_file.reading(world.path) as db:
        records = [(entry.body, entry.chain) for entry in ledger_file.entries(db)]
        notes = [head.note for head in ledger_file.checkpoints(db)]
    again = tmp_path / "again"
    again.mkdir()
    rebuild(again / "ledger.sqlite", records, notes)
    assert look(again / "ledger.sqlite", "SELECT * FROM sublot") == look(world.path, "SELECT * FROM sublot")
    with closing(Ledger(again / "ledger.sqlite")) as ledger:
        assert ledger.current_batch() == world.ledger.current_batch()


def test_a_restarted_line_needs_no_empty_run_for_the_recipe_of_the_sub_lot(world):
    swapped(world, LOT)
    world.write(AlarmRow(1, 1, "STATE", "EXECUTE", "EXECUTE", None))
    assert world.ledger.resume().owed.recipe == LOT.recipe


# ---- sharing out alone ----------------------------------------------------------------------------------------------

LOTS = st.lists(st.sampled_from("ABC"), min_size=1, max_size=5).map(
    lambda names: [name for k, name in enumerate(names) if not k or names[k - 1] != name]
)


def test_a_unit_recorded_before_a_sub_lot_began_is_none_of_its(world):
    """Line began anew behind a swap: of what it found in the machine only what was permitted is of the old side."""
    world.write(*by(1), *by(2))
    swapped(world, LOT)
    world.write(unit(3, seq=20, **NEW, outcome=Outcome.REJECTED), *by(4), *by(5, new=True))
    swapped(world, BACK)
    world.write(*by(6), totals(6, 5, seq=99))
    assert [(share.number, sum(share.outcomes.values())) for share in facts(world).shares] == [(1, 3), (2, 2), (3, 1)]


def test_a_report_of_as_many_sub_lots_as_there_may_be_fits_into_one_message(world):
    """Texts as long as they may be, and more places than are named."""
    long = {name: "漢" * 64 for name in ("bundle_name", "recipe_name")} | {"signer": "漢" * 100, "why": "漢" * 1000}
    lots = tuple(SubLot(k, *["a" * 64] * 2, long["bundle_name"], long["recipe_name"], "b" * 64, str(k) * 32, 1,
                        long["signer"], "c" * 64, "2026-11-23T00:50:00Z", long["why"])
                 for k in range(1, MOST_SUBLOTS + 1))  # fmt: skip
    islands = [Island(4_000_000_000 + epoch, lane, lot.configuration, outcome.value, 10**9, 10**9, 4 * 10**9, 0)
               for lot in lots for epoch in range(5) for lane in range(4) for outcome in Outcome]  # fmt: skip
    batch = replace(world.ledger.current_batch(), sublots=lots)
    found = replace(facts(world), batch=batch, shares=share_out(lots, islands))
    text = document(build_report(found))
    assert len(text.encode()) <= MAX_DOCUMENT
    assert len(json.loads(text)["sublots"][0]["places"]) == 16
    order = SwapOrder(batch.id, "d", "e", "Anna Berg", "f", "why", "2026-11-23T00:51:00Z")
    assert "16 sub-lots" in misorder(order, batch, LOADED)
    assert "16 sub-lots" not in misorder(order, replace(batch, sublots=lots[1:]), LOADED)


@given(LOTS, st.lists(st.integers(1, 5), min_size=10, max_size=10), st.integers(1, 2))
def test_every_unit_is_in_the_sub_lot_that_it_was_made_in(names, sizes, lanes):
    lots = [SubLot(k, name, name, name, name, "", name, 0) for k, name in enumerate(names, 1)]
    islands, expected = [], {lot.number: Counter() for lot in lots}
    for lane in range(lanes):
        first = 1
        for lot in lots:
            size = sizes[(lot.number + 5 * lane) % 10]
            islands.append(Island(1, lane, lot.configuration, "accepted", size, first, first + size - 1, 0))
            expected[lot.number]["accepted"] += size
            first += size
    shares = share_out(lots, islands)
    assert {share.number: share.outcomes for share in shares} == expected
    assert all(set(share.places) == {(1, lane) for lane in range(lanes)} for share in shares)
