"""The unit ledger: one SQLite file, one writer (docs/interfaces/ledger-schema-v*.sql). Group commit lives here.

WAL with synchronous=FULL: when `store` returns, the rows are on disk. A transaction that fails is rolled back whole
and nothing of it is acknowledged, so that the caller keeps the rows and tries again. Each row that is news is an entry
of the audit trail, in the same transaction (trail.py).
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from daemon.config import release
from daemon.ledger_file import DAMAGED, LedgerUnreadable
from daemon.messages import Resume
from daemon.recorder import reading, tables
from daemon.recorder.batch import BatchFacts, BatchRecord, Rules
from daemon.recorder.rows import Received, Refusal, Values, as_json
from daemon.recorder.schema import (
    Advanced,
    LedgerBusy,
    LedgerError,
    Origin,
    lock,
    nobody,
    open_database,
    passing,
    while_busy,
)
from daemon.recorder.trail import Head, Stamp, Trail
from daemon.recorder.wall import WallClock, WallTime
from daemon.recorder.writers import Writers, Written, conflict_of
from daemon.records import BatchClosed, BatchOpened, SubLotOpened

UNLIMITED_PAGES = 0xFFFFFFFE
RECORDER = "recorder"
INSERT_CHECKPOINT = "INSERT INTO checkpoint (size, note) VALUES (?, ?) ON CONFLICT DO NOTHING"


class LedgerUnwritable(LedgerBusy):
    """The transaction was rolled back (disk full, quota, I/O error); keep the rows and try again."""


class Ledger:
    """One open ledger. Owned by the recorder's loop; `close` it or let the process die, both are safe.

    Raises (constructor):
        LedgerError: in use by another recorder, not a ledger, or of a schema that cannot be used.

    Args (constructor):
        genesis: the body of entry 0 of a ledger that is built again; a new one gets its own.
        advanced: called while an older ledger is carried on, which may take minutes.
    """

    def __init__(self, path: Path, genesis: bytes | None = None, advanced: Advanced = nobody) -> None:
        self._lock = lock(path.with_suffix(".lock"))
        try:
            self._db = open_database(path, Origin(release(), WallClock().now(), genesis), advanced)
        except LedgerError:
            os.close(self._lock)
            raise
        self._writers = Writers(self._db)
        try:
            self._trail = Trail(self._db)
        except (LedgerUnreadable, *DAMAGED, TypeError) as error:
            self._db.close()
            os.close(self._lock)
            if passing(error):
                raise LedgerBusy(f"{path}: cannot be read now ({error}): make room on the disk or check it") from error
            raise LedgerError(f"{path}: {error}: keep the file, restore from the archive") from error

    @property
    def head(self) -> Head:
        """The head of the tree over all durable entries."""
        return self._trail.head

    @property
    def chain(self) -> bytes:
        """The chain hash of the newest entry."""
        return self._trail.chain

    @property
    def database(self) -> sqlite3.Connection:
        """The open file, for reading by the recorder itself."""
        return self._db

    def while_busy(self, advanced: Advanced) -> None:
        """Call `advanced` from now on while a long query goes on, every few milliseconds of its work."""
        while_busy(self._db, advanced)

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def store(self, rows: Sequence[Received], acknowledged: dict[int, int], now: WallTime) -> list[Refusal]:
        """Write all rows and the new acknowledged numbers in one transaction; durable when it returns.

        Args:
            rows: received rows in order. Equal rows already on record are ignored.
            acknowledged: per session the sequence number up to which everything is in the ledger after this call.

        Returns:
            The rows that contradict the ledger; they are in table conflict, nothing stored was changed.

        Raises:
            LedgerUnwritable: nothing was written.
        """
        stamp = (now.ns, now.quality.value)
        with self._transaction():
            refusals = [refusal for received in rows if (refusal := self._write(received, stamp))]
            for session, seq in acknowledged.items():
                self._writers.session(session, seq, stamp)
        return refusals

    def open_batch(self, opening: BatchOpened, now: WallTime, told: Received | None = None) -> BatchRecord:
        """Record a new open batch, and in the same transaction the act that opened it; durable when it returns.

        Raises:
            LedgerError: a batch is open, or the id was used before.  LedgerUnwritable: nothing was written.
        """
        if current := self.current_batch():
            raise LedgerError(f"batch {current.id} is open: close it first")
        with self._transaction():
            known = reading.batch(self._db, opening.id)
            if not known:
                row = msgspec.structs.replace(opening, since_epoch=reading.last_epoch(self._db))
                self._write_told(Received(0, row, opening.id, RECORDER), told, now)
        if known:
            raise LedgerError(f"batch {opening.id} is already on record: choose another id")
        opened = self.current_batch()
        if opened is None:
            raise LedgerError("the batch is not on record: check the disk")
        return opened

    def begin_sublot(self, row: SubLotOpened, now: WallTime, told: Received) -> BatchRecord:
        """Record what judges from now on inside the open batch, and the act; durable when it returns.

        Raises:
            LedgerError: that batch is not open.  LedgerUnwritable: nothing was written.
        """
        current = self.current_batch()
        if current is None or current.id != row.batch:
            raise LedgerError(f"batch {row.batch} is not open")
        with self._transaction():
            self._write_told(Received(0, row, row.batch, RECORDER), told, now)
        return self.current_batch() or current

    def close_batch(self, closing: BatchClosed, now: WallTime, told: Received | None = None) -> None:
        """Record the end of an open batch and the act that closed it; durable when it returns.

        The caller has checked the closing rule.

        Raises:
            LedgerError: that batch is not open.  LedgerUnwritable: nothing was written.
        """
        current = self.current_batch()
        if current is None or current.id != closing.id:
            raise LedgerError(f"batch {closing.id} is not open")
        with self._transaction():
            self._write_told(Received(0, closing, closing.id, RECORDER), told, now)

    def add_checkpoint(self, size: int, note: str) -> bool:
        """Store a signed tree head over the first `size` entries; False: one of that size is there and stays.

        Raises:
            LedgerUnwritable: nothing was written.
        """
        with self._transaction():
            added = self._db.execute(INSERT_CHECKPOINT, (size, note)).rowcount
        return bool(added)

    def anchored(self, size: int) -> None:
        """Note that the checkpoint of that size was extended into the NV index.

        Raises:
            LedgerUnwritable: nothing was written.
        """
        with self._transaction():
            self._db.execute("UPDATE checkpoint SET anchored = 1 WHERE size = ?", (size,))

    def restore(self, body: bytes, received: Received, stamp: Values) -> bool:
        """Write one entry again, body byte for byte, inside `restoring`; False when its row is not news."""
        written, _ = self._writers.write(received, stamp, self._trail.next)
        self._trail.append_body(body)
        return written is Written.NEWS

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """One transaction for many `restore`."""
        with self._transaction():
            yield

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

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """What is read inside is read of one moment, whoever else has the file open."""
        with _translated(), tables.one_moment(self._db):
            yield

    def prove(self, batch: str, advanced: Advanced) -> None:
        """See that the rows of the open batch say what its entries say (about 45 µs an entry).

        Raises:
            TrailBroken: the first row that does not.
        """
        with _translated():
            tables.verify_batch(self._db, batch, self._trail.head.root, progress=lambda _: advanced())

    def units(self, batch: str) -> int:
        """Return how many unit rows a batch has."""
        with _translated():
            return reading.units(self._db, batch)

    def line_state(self, batch: str) -> str:
        """Return the last state of the line on record in a batch, "" when none is."""
        with _translated():
            return reading.line_state(self._db, batch)

    def resume(self) -> Resume:
        """Return what a line that connects has to know about the open batch and the newest epoch."""
        with _translated():
            return reading.resume(self._db)

    def acknowledged(self, session: int) -> int:
        """Return up to which sequence number everything of this life of a process is in the ledger, 0 for a new one."""
        with _translated():
            return reading.acknowledged(self._db, session)

    def last_event(self) -> tuple[str, str]:
        """Return (kind, boot id) of the newest opening or closing of the trail, empty when there is none."""
        with _translated():
            return reading.last_event(self._db)

    def set_quota(self, pages: int) -> int:
        """Limit the file to `pages` pages of 4 KiB (0 lifts the limit) until the ledger is closed; simulation only.

        Returns:
            The limit in force; it cannot be below what the file has now.
        """
        limit: int = self._db.execute(f"PRAGMA max_page_count = {pages or UNLIMITED_PAGES:d}").fetchone()[0]
        return limit

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._trail.begin()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
            self._trail.rollback()
            raise LedgerUnwritable(f"ledger not written ({error}): make room on the disk or check it") from error
        except BaseException:
            self._trail.rollback()
            raise
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _write_told(self, received: Received, told: Received | None, now: WallTime) -> None:
        for row in (received, told) if told else (received,):
            self._write(row, (now.ns, now.quality.value))

    def _write(self, received: Received, stamp: Values) -> Refusal | None:
        written, why = self._writers.write(received, stamp, self._trail.next)
        batch = getattr(received.row, "batch", "") or received.batch
        at = Stamp(stamp[0], stamp[1], received.origin, received.session, received.batch)
        if written is Written.NEWS:
            self._trail.append(received.row, at)
        if not why:
            return None
        refused = Received(received.session, conflict_of(received.row, why, as_json(received.row)), batch)
        if self._writers.write(refused, stamp, self._trail.next)[0] is Written.NEWS:
            self._trail.append(refused.row, replace(at, batch=batch))
        return Refusal(received, why)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"ledger not readable ({error}): check the disk") from error
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise LedgerError(f"a row cannot be read ({error}): `linewarden audit verify` names it") from error
