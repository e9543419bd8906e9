"""The unit ledger: one SQLite file, one writer (docs/interfaces/ledger-schema-v*.sql). Group commit lives here.

WAL with synchronous=FULL: when `store` returns, the rows are on disk. A transaction that fails is rolled back whole
and nothing of it is acknowledged, so that the caller keeps the rows and tries again.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, Resume, UnitRow
from daemon.recorder import reading
from daemon.recorder.batch import BatchFacts, BatchRecord, Rules
from daemon.recorder.rows import (
    Entry,
    Refusal,
    Row,
    Values,
    agrees,
    alarm_values,
    as_json,
    digest,
    fits,
    gap_values,
    permit_values,
    totals_values,
    unit_values,
    view_values,
)
from daemon.recorder.wall import WallTime
from daemon.units import Outcome

SCHEMA_FILES = ("ledger-schema-v1.sql", "ledger-schema-v2.sql")
SCHEMA_VERSION = len(SCHEMA_FILES)
APPLICATION_ID = 0x4C575244
UNLIMITED_PAGES = 0xFFFFFFFE
BUSY_MS = 2000

INSERT_UNIT = f"INSERT INTO unit VALUES ({', '.join('?' * 25)}) ON CONFLICT DO NOTHING"
INSERT_VIEW = f"INSERT INTO unit_view VALUES ({', '.join('?' * 13)})"
INSERT_PERMIT = f"INSERT INTO permit VALUES ({', '.join('?' * 19)}) ON CONFLICT DO NOTHING"
INSERT_GAP = f"INSERT INTO gap VALUES ({', '.join('?' * 11)}) ON CONFLICT DO NOTHING"
INSERT_ALARM = f"INSERT INTO alarm VALUES ({', '.join('?' * 14)}) ON CONFLICT DO NOTHING"
INSERT_CONFLICT = f"INSERT INTO conflict VALUES ({', '.join('?' * 9)}) ON CONFLICT DO NOTHING"
INSERT_TOTALS = f"""INSERT INTO plc_totals VALUES ({", ".join("?" * 17)})
ON CONFLICT (batch, epoch, lane) DO UPDATE SET session = excluded.session, seq = excluded.seq,
  created = excluded.created, passed = excluded.passed, diverted = excluded.diverted,
  first = CASE WHEN first = 0 OR excluded.first BETWEEN 1 AND first THEN excluded.first ELSE first END,
  last = max(last, excluded.last), created_before = min(created_before, excluded.created_before),
  passed_before = min(passed_before, excluded.passed_before),
  diverted_before = min(diverted_before, excluded.diverted_before),
  recorded_wall_ns = excluded.recorded_wall_ns, clock = excluded.clock,
  stray_pass = excluded.stray_pass, stray_chute = excluded.stray_chute
WHERE excluded.session <> session OR excluded.seq >= seq"""
INSERT_SESSION = """INSERT INTO session VALUES (?, ?, ?, ?)
ON CONFLICT (session) DO UPDATE SET acknowledged = excluded.acknowledged WHERE excluded.acknowledged > acknowledged"""
INSERT_BATCH = """INSERT INTO batch (id, state, station, bundle, recipe, bundle_name, recipe_name, register_map,
  release, configuration, actor, role, reason, opened_wall_ns, opened_clock, since_epoch)
VALUES (?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
CLOSE_BATCH = """UPDATE batch SET state = 'closed', closed_actor = ?, closed_reason = ?, closed_wall_ns = ?,
  closed_clock = ?, report = ? WHERE id = ? AND state = 'open'"""


class LedgerError(Exception):
    """The ledger cannot be used or refuses; the text says what to do."""


class LedgerUnwritable(LedgerError):
    """The transaction was rolled back (disk full, quota, I/O error); keep the rows and try again."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a new batch pins: digests of the signed documents and of everything else that judges."""

    id: str
    station: str
    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    register_map: str
    release: str
    configuration: str
    actor: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """Who closed a batch and the report as it stood."""

    actor: str
    reason: str
    report: str


def schema_path(version: int) -> Path:
    """Return the file that leads to a schema version, of this checkout or of the installed release."""
    name = SCHEMA_FILES[version - 1]
    here = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / name
    return here if here.exists() else Path(sys.prefix) / "share" / "linewarden" / "interfaces" / name


class Ledger:
    """One open ledger. Owned by the recorder's loop; `close` it or let the process die, both are safe.

    Raises (constructor):
        LedgerError: in use by another recorder, not a ledger, or of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = _lock(path.with_suffix(".lock"))
        try:
            self._db = _open(path)
        except LedgerError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def store(self, entries: Sequence[Entry], acknowledged: dict[int, int], now: WallTime) -> list[Refusal]:
        """Write all entries and the new acknowledged numbers in one transaction; durable when it returns.

        Args:
            entries: received rows in order. Equal rows already on record are ignored.
            acknowledged: per session the sequence number up to which everything is in the ledger after this call.

        Returns:
            The entries that contradict the ledger; they are in table conflict, nothing stored was changed.

        Raises:
            LedgerUnwritable: nothing was written.
        """
        stamp = (now.ns, now.quality.value)
        with self._transaction():
            refusals = [refusal for entry in entries if (refusal := self._write(entry, stamp))]
            for session, seq in acknowledged.items():
                self._db.execute(INSERT_SESSION, (session, seq, *stamp))
        return refusals

    def open_batch(self, opening: Opening, now: WallTime) -> BatchRecord:
        """Record a new open batch; durable when it returns.

        Raises:
            LedgerError: a batch is open, or the id was used before.  LedgerUnwritable: nothing was written.
        """
        if current := self.current_batch():
            raise LedgerError(f"batch {current.id} is open: close it first")
        with self._transaction():
            known = reading.batch(self._db, opening.id)
            if not known:
                since = reading.last_epoch(self._db)
                self._db.execute(INSERT_BATCH, (*astuple(opening), now.ns, now.quality.value, since))
        if known:
            raise LedgerError(f"batch {opening.id} is already on record: choose another id")
        return self._current()

    def close_batch(self, batch: str, closing: Closing, now: WallTime) -> None:
        """Record the end of an open batch; durable when it returns. The caller has checked the closing rule.

        Raises:
            LedgerError: that batch is not open.  LedgerUnwritable: nothing was written.
        """
        values = (closing.actor, closing.reason, now.ns, now.quality.value, closing.report, batch)
        with self._transaction():
            changed = self._db.execute(CLOSE_BATCH, values).rowcount
        if not changed:
            raise LedgerError(f"batch {batch} is not open")

    def current_batch(self) -> BatchRecord | None:
        """Return the open batch."""
        with _translated():
            return reading.open_batch(self._db)

    def last_report(self) -> str:
        """Return the JSON report of the batch closed last, empty when there is none."""
        with _translated():
            return reading.last_report(self._db)

    def facts(self, batch: BatchRecord, unstored: int, rules: Rules) -> BatchFacts:
        """Return what the ledger holds of a batch; reads every row of it (about 15 µs a unit)."""
        with _translated():
            return reading.facts(self._db, batch, unstored, rules)

    def units(self, batch: str) -> int:
        """Return how many unit rows a batch has."""
        with _translated():
            return reading.units(self._db, batch)

    def line_state(self, batch: str) -> str:
        """Return the last state of the line on record in a batch, "" when none is."""
        return reading.line_state(self._db, batch)

    def resume(self) -> Resume:
        """Return what a line that connects has to know about the open batch and the newest epoch."""
        with _translated():
            return reading.resume(self._db)

    def acknowledged(self, session: int) -> int:
        """Return up to which sequence number everything of this life of line is in the ledger, 0 for a new one."""
        with _translated():
            return reading.acknowledged(self._db, session)

    def set_quota(self, pages: int) -> int:
        """Limit the file to `pages` pages of 4 KiB (0 lifts the limit) until the ledger is closed; simulation only.

        Returns:
            The limit in force; it cannot be below what the file has now.
        """
        limit: int = self._db.execute(f"PRAGMA max_page_count = {pages or UNLIMITED_PAGES:d}").fetchone()[0]
        return limit

    def _current(self) -> BatchRecord:
        current = self.current_batch()
        if current is None:
            raise LedgerError("the batch is not on record: check the disk")
        return current

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerUnwritable(f"ledger not written ({error}): make room on the disk or check it") from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _write(self, entry: Entry, stamp: Values) -> Refusal | None:
        writers: dict[type[Row], Callable[[Entry, Any, Values], str]] = {
            UnitRow: self._write_unit,
            PermitRow: self._write_permit,
            GapRow: self._write_gap,
            AlarmRow: self._write_alarm,
            PlcTotals: self._write_totals,
        }
        why = writers[type(entry.row)](entry, entry.row, stamp)
        if not why:
            return None
        named = (type(entry.row).__name__, digest(entry.row), why, as_json(entry.row), entry.session)
        batch = getattr(entry.row, "batch", "") or entry.batch
        self._db.execute(INSERT_CONFLICT, (*named, min(entry.row.seq, 2**63 - 1), batch, *stamp))
        return Refusal(entry, why)

    def _write_unit(self, entry: Entry, row: UnitRow, stamp: Values) -> str:
        values = unit_values(row)
        views = [view_values(row.unit, position, view) for position, view in enumerate(row.views)]
        if not all(map(fits, (values, *views))):
            return "a number is too large to be stored"
        own = digest(row)
        if self._db.execute(INSERT_UNIT, (*values, *stamp, own)).rowcount:
            self._db.executemany(INSERT_VIEW, views)
            return self._credited_twice(row)
        stored, outcome = reading.stored_unit(self._db, row.unit)
        if stored == own or agrees(row, outcome):
            return ""
        return f"unit {row.unit} is on record as {outcome} and came again as {row.outcome.value}"

    def _credited_twice(self, row: UnitRow) -> str:
        """Law 2: no image is ever credited to another unit. The row stands and the batch stays open."""
        for view in row.views if row.outcome is Outcome.ACCEPTED else ():
            if other := reading.sharing(self._db, row.unit, view):
                return f"frame {view.key} is credited to unit {other} and to unit {row.unit}"
        return ""

    def _write_permit(self, entry: Entry, row: PermitRow, stamp: Values) -> str:
        values, own = permit_values(row), digest(row)
        if not fits(values):
            return "a number is too large to be stored"
        if self._db.execute(INSERT_PERMIT, (*values, *stamp, own)).rowcount:
            return ""
        same = reading.stored_permit(self._db, row.unit) == own
        return "" if same else f"the permit of unit {row.unit} came again with another content"

    def _write_gap(self, entry: Entry, row: GapRow, stamp: Values) -> str:
        values = gap_values(entry, row)
        if not fits(values):
            return "a number is too large to be stored"
        self._db.execute(INSERT_GAP, (*values, *stamp, digest(row)))
        return ""

    def _write_alarm(self, entry: Entry, row: AlarmRow, stamp: Values) -> str:
        values = alarm_values(entry, row)
        if not fits(values):
            return "a number is too large to be stored"
        self._db.execute(INSERT_ALARM, (*values, *stamp, digest(row)))
        return ""

    def _write_totals(self, entry: Entry, row: PlcTotals, stamp: Values) -> str:
        values = totals_values(entry, row)
        if not fits(values):
            return "a number is too large to be stored"
        self._db.execute(INSERT_TOTALS, (*values, *stamp, row.stray_pass, row.stray_chute))
        return ""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"ledger not readable ({error}): check the disk") from error


def _lock(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be opened: {error.strerror}; check the state directory") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LedgerError(f"{path}: another recorder uses this ledger: stop it first") from error
    return fd


def _open(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: cannot be opened: {error}; check the state directory") from error
    try:
        _prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        raise LedgerError(f"{path}: not a usable ledger ({error}): move it away and keep it") from error
    except (LedgerError, OSError):
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    kind, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and kind != APPLICATION_ID:
        raise LedgerError(f"{path}: not a Linewarden ledger: move it away and keep it")
    if version > SCHEMA_VERSION:
        raise LedgerError(f"{path}: schema version {version} is newer than {SCHEMA_VERSION}: install its release")
    for setting in ("journal_mode = WAL", "synchronous = FULL", "recursive_triggers = ON"):
        db.execute(f"PRAGMA {setting}")
    for following in range(version + 1, SCHEMA_VERSION + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{_schema(following)}\nCOMMIT;")
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{path}: schema {following} not written ({error}): make room, stop what else has it open, start again"
            ) from error


def _schema(version: int) -> str:
    path = schema_path(version)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}; install the release again") from error
