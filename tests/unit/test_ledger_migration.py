"""A ledger of every schema ever released is carried on: rows stay, entry 0 holds their digests, nothing goes back."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from ledger_rows import NOW, OPENING, entries, look, permit, totals, unit
from trail_world import TrailWorld, complaint

from daemon import ledger_file
from daemon.ledger_file import SCHEMA_VERSION
from daemon.recorder.ledger import Ledger
from daemon.recorder.schema import LedgerError
from daemon.records import decode_body

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "ledger"
OLDER = (1, 2, 3)
WITHOUT_TRAIL = (1, 2)
TABLES = ("batch", "permit", "unit", "unit_view", "gap", "alarm", "conflict", "plc_totals")


def left_by(version, folder):
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        db.executescript((VECTORS / f"schema-{version}.sql").read_text())
    return folder


@pytest.fixture(params=OLDER)
def older(request, tmp_path):
    """The state folder of a device that ran an older release."""
    return left_by(request.param, tmp_path)


@pytest.fixture(params=WITHOUT_TRAIL)
def without_trail(request, tmp_path):
    """As `older`, of a release that had no audit trail."""
    return left_by(request.param, tmp_path)


def rows(path, table, columns):
    return look(path, f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2, 3")


def columns_of(path, table):
    return [row[1] for row in look(path, f"PRAGMA table_info({table})")]


def test_every_released_schema_has_its_vector():
    assert sorted(path.name for path in VECTORS.iterdir()) == [f"schema-{version}.sql" for version in OLDER]
    assert max(OLDER) + 1 == SCHEMA_VERSION, "a new schema: add the vector of the one before it"


@pytest.mark.clause("Annex 11 §4.8", "Annex 11 §17", "ALCOA+ enduring")
def test_what_was_there_stays_and_its_digests_are_entry_0(without_trail):
    path = without_trail / "ledger.sqlite"
    columns = {table: columns_of(path, table) for table in TABLES}
    before = {table: rows(path, table, columns[table]) for table in TABLES}
    (version,) = look(path, "PRAGMA user_version")[0]
    with closing(TrailWorld(without_trail)) as world:
        assert {table: rows(path, table, columns[table]) for table in TABLES} == before
        with ledger_file.reading(path) as db:
            (first,) = ledger_file.entries(db)
        genesis = decode_body(first.body).row
        assert genesis.schema == version
        assert {name: table.rows for name, table in genesis.tables.items()} == {
            table: len(before[table]) for table in TABLES
        }
        world.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
        world.ledger.store(entries(permit(13, seq=1), unit(13, seq=2), totals(13, 13, seq=3), batch="B-2"), {}, NOW)
        world.sign()
        assert complaint(without_trail) == ""
        assert look(path, "SELECT max(number), count(*) FROM unit") == [(13, 13)]


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ accurate")
@pytest.mark.parametrize("table", TABLES)
def test_an_older_row_that_is_altered_later_is_named(without_trail, table):
    with closing(TrailWorld(without_trail)) as world:
        world.sign()
        assert complaint(without_trail) == ""
    with closing(sqlite3.connect(without_trail / "ledger.sqlite", isolation_level=None)) as db:
        made = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in made:
            db.execute(f"DROP TRIGGER {name}")
        column = {"conflict": "why", "gap": "cause", "plc_totals": "clock", "unit_view": "scores"}.get(table, "batch")
        column = "reason" if table == "batch" else column
        assert db.execute(
            f"UPDATE {table} SET {column} = 'x' WHERE rowid = 1"
            if table != "unit_view"
            else f"UPDATE {table} SET {column} = 'x' WHERE number = 2"
        ).rowcount
        for _, sql in made:
            db.execute(sql)
    assert f"in table {table} were altered" in complaint(without_trail)


@pytest.mark.clause("Annex 11 §4.8", "Annex 11 §17", "ALCOA+ enduring")
def test_a_trail_goes_on_where_the_older_release_left_it(tmp_path):
    path = left_by(3, tmp_path) / "ledger.sqlite"
    entries_before = look(path, "SELECT * FROM entry ORDER BY seq")
    with closing(TrailWorld(tmp_path)) as world:
        assert look(path, "SELECT * FROM entry ORDER BY seq") == entries_before
        assert look(path, "SELECT count(*) FROM sublot") == [(0,)]
        world.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
        world.sign()
        assert complaint(tmp_path) == ""


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10")
def test_software_does_not_change_inside_a_batch(older):
    path = older / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER batch_closes_once")
        db.execute("UPDATE batch SET state = 'open'")
        db.commit()
    image = path.read_bytes()
    with pytest.raises(LedgerError, match=r"batch B-1 is open in schema \d: install release dev again and close it"):
        Ledger(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
    assert len(image) == path.stat().st_size


@pytest.mark.clause("Annex 11 §4.8", "ALCOA+ enduring")
def test_a_step_that_breaks_off_leaves_the_older_ledger(older, tmp_path_factory, monkeypatch):
    """Cut the migration at every statement: the older ledger is whole, and the next start carries it on."""
    kept = tmp_path_factory.mktemp("kept")
    path = older / "ledger.sqlite"
    shutil.copy(path, kept / "ledger.sqlite")
    (version,) = look(path, "PRAGMA user_version")[0]
    real = sqlite3.connect
    for cut in range(3, 60, 4):
        shutil.copy(kept / "ledger.sqlite", path)
        for leftover in older.glob("ledger.sqlite-*"):
            leftover.unlink()
        monkeypatch.setattr("sqlite3.connect", lambda *a, cut=cut, **k: real(*a, factory=_cutting(cut), **k))
        with suppress(LedgerError):
            Ledger(path).close()
        monkeypatch.undo()
        assert look(path, "PRAGMA user_version")[0][0] in (version, SCHEMA_VERSION)
        with closing(TrailWorld(older)) as world:
            assert look(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
            world.sign()
            assert complaint(older) == "", cut


def _cutting(cut):
    class Cutting(sqlite3.Connection):
        done = 0

        def execute(self, sql, *values):
            self.done += 1
            if self.done == cut:
                raise sqlite3.OperationalError("the disk is full")
            return super().execute(sql, *values)

    return Cutting
