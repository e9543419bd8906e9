"""The ledger's file: one recorder has it, every schema ever released is carried on, nothing foreign is touched."""

import sqlite3
from contextlib import closing

import pytest
from ledger_rows import look

from daemon.ledger_file import SCHEMA_VERSION
from daemon.recorder.ledger import Ledger
from daemon.recorder.schema import LedgerError, schema_path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.mark.clause("ALCOA+ consistent", "IEC 62443-4-2 CR 3.9")
def test_only_one_recorder_has_the_ledger(path):
    with closing(Ledger(path)), pytest.raises(LedgerError, match="stop it first"):
        Ledger(path)


@pytest.mark.clause("21 CFR 11.10(h)")
@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("CREATE TABLE other (x)", "not a Linewarden ledger"),
        ("PRAGMA application_id = 1280791108; PRAGMA user_version = 5; CREATE TABLE t (x)", "schema version 5"),
    ],
)
def test_a_foreign_or_newer_file_is_refused(path, sql, complaint):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)
    with pytest.raises(LedgerError, match=complaint):
        Ledger(path)


@pytest.mark.clause("Annex 11 §4.8", "Annex 11 §17")
def test_a_ledger_of_version_1_is_carried_on(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(schema_path(1).read_text())
        db.execute("INSERT INTO plc_totals VALUES ('B', 3, 0, 7, 5, 20, 15, 5, 1, 20, 0, 0, 0, 9, 'ntp')")
        db.commit()
    with closing(Ledger(path)):
        assert look(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
        assert look(path, "SELECT created, clock, stray_pass, stray_chute FROM plc_totals") == [(20, "ntp", 0, 0)]


@pytest.mark.clause("Annex 11 §4.8")
def test_a_step_that_cannot_be_written_leaves_the_ledger_as_it_was(path, monkeypatch):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(schema_path(1).read_text())
    monkeypatch.setattr("daemon.recorder.schema.BUSY_MS", 10)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"schema 4 not written .*start again"):
            Ledger(path)
    assert look(path, "PRAGMA user_version") == [(1,)]


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, " * 400)
    with pytest.raises(LedgerError, match="not a usable ledger"):
        Ledger(path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="check the state directory"):
        Ledger(tmp_path / "nowhere" / "ledger.sqlite")
