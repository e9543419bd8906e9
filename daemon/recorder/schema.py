"""The ledger's file: its lock, its settings, its schema and the one way forward from every older one.

A new ledger is made by the first schema file and every step after it. An older one is carried on by the steps it lacks,
each in one transaction, never with a batch open: software does not change inside a batch (law 5). What an older schema
held stays where it is; its digests go into entry 0 (docs/interfaces/records-v1.md).
"""

import fcntl
import functools
import hashlib
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.ledger_file import APPLICATION_ID, SCHEMA_VERSION
from daemon.recorder.wall import WallTime
from daemon.records import Genesis, Record, TableDigest, encode_body
from signing.chain import START, leaf, link

BUSY_MS = 2000
# What the next start may find cured; SQLite's primary result codes.
PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
}
LOG_LIMIT = f"journal_size_limit = {64 << 20}"
BUSY_STEPS = 200_000  # of SQLite's virtual machine
Advanced = Callable[[], None]
SCHEMA_FILES = tuple(f"ledger-schema-v{version}.sql" for version in range(1, SCHEMA_VERSION + 1))
TRAIL_VERSION = 3
OLDER_TABLES = ("batch", "permit", "unit", "unit_view", "gap", "alarm", "conflict", "plc_totals")


class LedgerError(Exception):
    """The ledger cannot be used or refuses; the text says what to do."""


class LedgerBusy(LedgerError):
    """The ledger cannot be opened now (full disk, another recorder) and may be whole: the next start tries again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What entry 0 of a new trail says, or its whole body where it is built again."""

    release: str
    now: WallTime
    genesis: bytes | None


def passing(error: BaseException) -> bool:
    """True for what is no damage: the next start, or more room, may cure it."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in PASSING


def schema_path(version: int) -> Path:
    """Return the file that leads to a schema version, of this checkout or of the installed release."""
    name = SCHEMA_FILES[version - 1]
    here = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / name
    return here if here.exists() else Path(sys.prefix) / "share" / "linewarden" / "interfaces" / name


def lock(path: Path) -> int:
    """Return the descriptor that holds the ledger's lock until it is closed.

    Raises:
        LedgerError: another recorder has it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerBusy(f"{path}: cannot be opened: {error.strerror}; check the state directory") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LedgerBusy(f"{path}: another recorder uses this ledger: stop it first") from error
    return fd


def nobody() -> None:
    """Nobody waits."""


def while_busy(db: sqlite3.Connection, advanced: Advanced) -> None:
    """Call `advanced` while a query goes on, every few milliseconds of its work."""

    def go_on() -> int:
        advanced()
        return 0

    db.set_progress_handler(go_on, BUSY_STEPS)


def open_database(path: Path, origin: Origin, advanced: Advanced = nobody) -> sqlite3.Connection:
    """Open the ledger for its one writer, made new or carried on to this release's schema.

    Raises:
        LedgerError: not a ledger, of a newer schema, or an older one that cannot be carried on now.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
    except sqlite3.Error as error:
        raise LedgerBusy(f"{path}: cannot be opened: {error}; check the state directory") from error
    while_busy(db, advanced)
    try:
        _prepare(db, path, origin)
    except sqlite3.Error as error:
        db.close()
        if passing(error):
            raise LedgerBusy(f"{path}: cannot be opened now ({error}): make room on the disk or check it") from error
        raise LedgerError(f"{path}: not a usable ledger ({error}): keep it, restore from the archive") from error
    except (LedgerError, OSError):
        db.close()
        raise
    return db


def table_digest(db: sqlite3.Connection, table: str, columns: list[str]) -> TableDigest:
    """Return count and sha256 over the rows of a table that no entry wrote, in the order of their key."""
    keys = {name: key for _, name, _, _, _, key in db.execute(f"PRAGMA table_info({table})") if key}
    has_entry = any(row[1] == "entry" for row in db.execute(f"PRAGMA table_info({table})"))
    where = "WHERE entry = 0" if has_entry else ""
    if table == "unit_view" and _has_table(db, "entry"):
        where = "WHERE (epoch, lane, number) IN (SELECT epoch, lane, number FROM unit WHERE entry = 0)"
    order = ", ".join(sorted(keys, key=lambda name: keys[name]))
    found, rows = hashlib.sha256(), 0
    for row in db.execute(f"SELECT {', '.join(columns)} FROM {table} {where} ORDER BY {order}"):
        found.update(msgspec.json.encode(row) + b"\n")
        rows += 1
    return TableDigest(rows, found.hexdigest(), columns)


def definitions(db: sqlite3.Connection) -> dict[str, str]:
    """Return every table, index and trigger with the SQL that made it."""
    return dict(db.execute("SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


@functools.cache
def expected_definitions() -> dict[str, str]:
    """Return what `definitions` gives for a ledger made by this release."""
    with closing(new_in_memory()) as db:
        return definitions(db)


def new_in_memory() -> sqlite3.Connection:
    """Return an empty ledger in memory, without entry 0; the caller closes it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for version in range(1, SCHEMA_VERSION + 1):
        db.executescript(_sql(version))
    return db


def _prepare(db: sqlite3.Connection, path: Path, origin: Origin) -> None:
    kind, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and kind != APPLICATION_ID:
        raise LedgerError(f"{path}: not a Linewarden ledger: move it away and keep it")
    if version > SCHEMA_VERSION:
        raise LedgerError(f"{path}: schema version {version} is newer than {SCHEMA_VERSION}: install its release")
    for setting in ("journal_mode = WAL", "synchronous = FULL", "recursive_triggers = ON", LOG_LIMIT):
        db.execute(f"PRAGMA {setting}")
    if 0 < version < SCHEMA_VERSION:
        _refuse_open_batch(db, path, version)
    if version < SCHEMA_VERSION:
        _carry_on(db, path, version, origin)


def _refuse_open_batch(db: sqlite3.Connection, path: Path, version: int) -> None:
    found = db.execute("SELECT id, release FROM batch WHERE state = 'open'").fetchone()
    if found:
        name, release = found
        raise LedgerError(
            f"{path}: batch {name} is open in schema {version}: install release {release} again and close it first"
        )


def _carry_on(db: sqlite3.Connection, path: Path, version: int, origin: Origin) -> None:
    """Play every missing step and write entry 0, in one transaction: a step that fails leaves the ledger as it was."""
    try:
        db.execute("BEGIN IMMEDIATE")
        for following in range(version + 1, SCHEMA_VERSION + 1):
            older = _older(db) if version and following == TRAIL_VERSION else {}
            for statement in _statements(_sql(following)):
                db.execute(statement)
            if following == TRAIL_VERSION:
                _write_genesis(db, origin, Genesis(0, version, origin.release, older))
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise LedgerBusy(
            f"{path}: schema {SCHEMA_VERSION} not written ({error}): make room, stop what else has it open, start again"
        ) from error


def _older(db: sqlite3.Connection) -> dict[str, TableDigest]:
    return {
        table: table_digest(db, table, [row[1] for row in db.execute(f"PRAGMA table_info({table})")])
        for table in OLDER_TABLES
    }


def _write_genesis(db: sqlite3.Connection, origin: Origin, made: Genesis) -> None:
    at = origin.now
    body = origin.genesis or encode_body(Record(at.ns, "", at.quality.value, 0, "recorder", made, 0))
    db.execute("INSERT INTO entry VALUES (0, ?, ?)", (body, link(START, leaf(body))))


def _statements(sql: str) -> list[str]:
    """Split a schema file into statements: `executescript` would commit the transaction it is called in."""
    found, rest = [], ""
    for line in sql.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    return bool(db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone())


def _sql(version: int) -> str:
    path = schema_path(version)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}; install the release again") from error
