"""Do the tables say what the entries say? Every row against the entry that wrote it, and no row without one."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from daemon import ledger_file
from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.recorder.rows import (
    Received,
    Values,
    alarm_values,
    archived_values,
    audit_values,
    digest,
    evidence_values,
    gap_values,
    permit_values,
    sublot_values,
    unit_values,
    view_values,
)
from daemon.recorder.schema import OLDER_TABLES, definitions, expected_definitions, new_in_memory, table_digest
from daemon.recorder.verify import TOLD_EVERY, Progress, TrailBroken, Walk, excerpt, silent
from daemon.recorder.writers import Writers, session_digest
from daemon.records import (
    ArchivedRow,
    AuditRow,
    BatchClosed,
    BatchOpened,
    EvidenceRow,
    Genesis,
    Record,
    RefusedRow,
    SubLotOpened,
    decode_body,
)

BY_UNIT = "WHERE epoch = ? AND lane = ? AND number = ?"
FOLDED = {BatchOpened: "batch", BatchClosed: "batch", PlcTotals: "plc_totals"}
OF_BATCH = ("unit", "permit", "gap", "alarm", "conflict", "sublot")
FOLDED_KEYS = {"batch": "id", "plc_totals": "batch, epoch, lane"}


@dataclass(frozen=True, slots=True)
class Expected:
    """Rows that must stand in a table under a key."""

    table: str
    where: str
    key: Values
    rows: list[Values]


@dataclass(slots=True)
class _Seen:
    rows: Counter[str] = field(default_factory=Counter)
    by_batch: Counter[tuple[str, str]] = field(default_factory=Counter)
    genesis: Genesis | None = None
    genesis_at: int = 0


def verify_tables(db: sqlite3.Connection, *, progress: Progress = silent) -> int:
    """Compare every table with the entries; return how many rows were compared.

    Raises:
        TrailBroken: the first row that differs, is missing or was added.
    """
    _definitions_agree(db)
    seen = _Seen()
    with closing(new_in_memory()) as folded:
        writers, following = Writers(folded), 0
        for entry in ledger_file.entries(db):
            _entry_agrees(db, entry.seq, entry.body, writers, seen)
            following = entry.seq + 1
            if not entry.seq % TOLD_EVERY:
                progress(entry.seq)
        with one_moment(db):
            for entry in ledger_file.entries(db, following):
                _entry_agrees(db, entry.seq, entry.body, writers, seen)
            for table in FOLDED_KEYS:
                _folded_agrees(db, folded, table, "entry > ?", 0)
            _nothing_added(db, seen)
            _older_batches_agree(db)
            _sessions_agree(db, seen)
    return seen.rows.total()


def verify_batch(db: sqlite3.Connection, batch: str, root: bytes, *, progress: Progress = silent) -> None:
    """Compare the rows of an open batch with the entries since its opening, before its report is made of them.

    Args:
        root: of the tree as the writer has it in memory: the entries must lead to it.

    Raises:
        TrailBroken: the first entry or row that differs, is missing or was added.
    """
    (first,) = db.execute("SELECT entry FROM batch WHERE id = ?", (batch,)).fetchone()
    seen, walk = _Seen(), Walk(db, first)
    with closing(new_in_memory()) as folded:
        writers = Writers(folded)
        for entry in ledger_file.entries(db, first):
            walk.step(entry.seq, entry.body, entry.chain)
            _entry_agrees(db, entry.seq, entry.body, writers, seen)
            if not entry.seq % TOLD_EVERY:
                progress(entry.seq)
        for table, column in (("plc_totals", "batch"), ("batch", "id")):
            _folded_agrees(db, folded, table, f"{column} = ?", batch)
    if walk.frontier.root() != root:
        raise TrailBroken("an entry of the batch was altered and chained again")
    for table in OF_BATCH:
        sql = f"SELECT count(*) FROM {table} WHERE batch = ? AND (entry >= ? OR entry = 0)"
        count, made = db.execute(sql, (batch, first)).fetchone()[0], seen.by_batch[table, batch]
        if count != made:
            raise TrailBroken(f"table {table} has {count} rows of the batch, entries wrote {made}")


@contextmanager
def one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Sums are compared over one moment of a ledger that may be written meanwhile; a short one, for the log grows."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")


def integrity(db: sqlite3.Connection) -> None:
    """Let SQLite look for damage of the file and of its indexes, one table after the other.

    Raises:
        TrailBroken: with SQLite's first finding.
    """
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        found = db.execute(f"PRAGMA integrity_check({table})").fetchone()[0]
        if found != "ok":
            raise TrailBroken(f"the ledger's file is damaged: {str(found).splitlines()[-1]}")


def _definitions_agree(db: sqlite3.Connection) -> None:
    found, expected = definitions(db), expected_definitions()
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise TrailBroken(f"{name} of the ledger is not defined as this release does it")


def _entry_agrees(db: sqlite3.Connection, seq: int, body: bytes, writers: Writers, seen: _Seen) -> None:
    try:
        record = decode_body(body)
    except msgspec.MsgspecError as error:
        raise TrailBroken(f"entry {seq} cannot be read ({error}): {excerpt(body)}") from error
    if record.entry != seq:
        raise TrailBroken(f"entry {seq} says that it is entry {record.entry}")
    row, stamp = record.row, (record.at, record.clock)
    received = Received(record.session, row, record.batch, record.origin)
    if isinstance(row, Genesis):
        seen.genesis, seen.genesis_at = row, record.at
    elif type(row) in FOLDED:
        writers.write(received, stamp, seq)
    for expected in _expected(record, received):
        seen.by_batch[expected.table, getattr(row, "batch", record.batch)] += 1
        seen.rows[expected.table] += len(expected.rows)
        sql = f"SELECT * FROM {expected.table} {expected.where}"
        if db.execute(sql, expected.key).fetchall() != expected.rows:
            raise TrailBroken(f"table {expected.table} does not say what entry {seq} says: {excerpt(body)}")


def _expected(record: Record, received: Received) -> Iterator[Expected]:
    row, stamp, seq = record.row, (record.at, record.clock), record.entry
    match row:
        case UnitRow():
            key = msgspec.structs.astuple(row.unit)
            yield Expected("unit", BY_UNIT, key, [(*unit_values(row), *stamp, digest(row), seq)])
            views = [view_values(row.unit, position, view) for position, view in enumerate(row.views)]
            yield Expected("unit_view", f"{BY_UNIT} ORDER BY position", key, views)
        case PermitRow():
            key = msgspec.structs.astuple(row.unit)
            yield Expected("permit", BY_UNIT, key, [(*permit_values(row), *stamp, digest(row), seq)])
        case RefusedRow():
            own = bytes.fromhex(row.digest)
            values = (row.kind, own, row.why, row.message, record.session, row.seq, record.batch, *stamp, seq)
            yield Expected("conflict", "WHERE kind = ? AND digest = ?", (row.kind, own), [values])
        case AlarmRow():
            key = (record.origin, record.session, row.seq, digest(row))
            where = "WHERE origin = ? AND session = ? AND seq = ? AND digest = ?"
            yield Expected("alarm", where, key, [(*alarm_values(received, row), *stamp, digest(row), seq)])
        case GapRow():
            key = (record.session, row.seq, digest(row))
            values = (*gap_values(received, row), *stamp, digest(row), seq)
            yield Expected("gap", "WHERE session = ? AND seq = ? AND digest = ?", key, [values])
        case AuditRow():
            yield _by_entry("audit", seq, (*audit_values(received, row), *stamp, digest(row)))
        case EvidenceRow():
            yield _by_entry("evidence", seq, (*evidence_values(received, row), *stamp, digest(row)))
        case ArchivedRow():
            yield _by_entry("archived", seq, (*archived_values(row), *stamp))
        case SubLotOpened():
            yield _by_entry("sublot", seq, (*sublot_values(row), *stamp))


def _by_entry(table: str, seq: int, values: Values) -> Expected:
    return Expected(table, "WHERE entry = ?", (seq,), [(seq, *values)])


def _folded_agrees(
    db: sqlite3.Connection, folded: sqlite3.Connection, table: str, where: str, value: str | int
) -> None:
    sql = f"SELECT * FROM {table} WHERE {where} ORDER BY {FOLDED_KEYS[table]}"
    found, made = db.execute(sql, (value,)).fetchall(), folded.execute(sql, (value,)).fetchall()
    odd: set[tuple[Any, ...]] = set(found) ^ set(made)
    if odd:
        raise TrailBroken(f"table {table} does not say what the entries say: {sorted(map(str, odd))[0][:200]}")


def _nothing_added(db: sqlite3.Connection, seen: _Seen) -> None:
    older = seen.genesis.tables if seen.genesis else {}
    for table in OLDER_TABLES:
        said = older.get(table)
        if said and table_digest(db, table, said.columns) != said:
            raise TrailBroken(f"rows of schema {seen.genesis and seen.genesis.schema} in table {table} were altered")
        if table not in FOLDED_KEYS:
            _counted(db, table, seen.rows[table] + (said.rows if said else 0))
        elif not said and db.execute(f"SELECT count(*) FROM {table} WHERE entry = 0").fetchone()[0]:
            raise TrailBroken(f"table {table} has a row that no entry wrote")
    for table in ("audit", "evidence", "archived", "sublot"):
        _counted(db, table, seen.rows[table])


def _older_batches_agree(db: sqlite3.Connection) -> None:
    """What this release added to the batches of an older schema holds nothing."""
    sql = "SELECT id FROM batch WHERE entry = 0 AND (closed_entry <> 0 OR plan <> '') LIMIT 1"
    if found := db.execute(sql).fetchone():
        raise TrailBroken(f"batch {found[0]} of an older schema was altered: no entry wrote its plan or closing")


def _counted(db: sqlite3.Connection, table: str, expected: int) -> None:
    count = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    if count != expected:
        raise TrailBroken(f"table {table} has {count} rows, the entries wrote {expected}")


def _sessions_agree(db: sqlite3.Connection, seen: _Seen) -> None:
    for *values, said in db.execute("SELECT session, acknowledged, begun_wall_ns, clock, digest FROM session"):
        older = not said and seen.genesis is not None and seen.genesis.schema and values[2] <= seen.genesis_at
        if not older and said != session_digest(tuple(values)):
            raise TrailBroken(f"the mark of session {values[0]} was altered")
