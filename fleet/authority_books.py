"""What the authority has done, in one SQLite file: certificates issued, tokens spent, devices revoked.

Every call is one durable transaction (synchronous = FULL). A token is kept as the hash of its nonce.
"""

import datetime
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import FleetError
from signing.certificates import Usage
from signing.identity import DeviceId

SCHEMA = """
CREATE TABLE IF NOT EXISTS issued (
  serial TEXT PRIMARY KEY, device_id TEXT NOT NULL, device TEXT NOT NULL, line TEXT NOT NULL, usage TEXT NOT NULL,
  key_sha256 TEXT NOT NULL, expires TEXT NOT NULL, utc TEXT NOT NULL, certificate BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS issued_by_device ON issued (device_id);
CREATE INDEX IF NOT EXISTS issued_by_name ON issued (device);
CREATE UNIQUE INDEX IF NOT EXISTS client_key_once ON issued (key_sha256) WHERE usage = 'CLIENT';
CREATE TABLE IF NOT EXISTS spent (
  nonce_sha256 TEXT PRIMARY KEY, serial TEXT NOT NULL, let_in_by TEXT NOT NULL, utc TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS revoked (
  device_id TEXT PRIMARY KEY, reason TEXT NOT NULL, by TEXT NOT NULL, utc TEXT NOT NULL) STRICT;
"""
BUSY_S = 10.0


class BooksUnusable(FleetError):
    """The books cannot be read or written; the text says where and what to do. Nothing is issued without them."""


class NotIssued(FleetError):
    """A certificate may not be issued; nothing was written. The text is what the device is told."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate on record; `certificate` in DER, times in UTC."""

    serial: int
    device_id: DeviceId
    device: str
    line: str
    usage: str
    key_sha256: str
    expires: datetime.datetime
    utc: datetime.datetime
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Revoked:
    """A device that gets no certificate any more."""

    device_id: DeviceId
    reason: str
    by: str
    utc: datetime.datetime


class Books:
    """An open file. Calls may come from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the books, made on the first use.

        Raises:
            BooksUnusable: the file cannot be opened.
        """
        self._path, self._lock = path, threading.Lock()
        with self._told():
            self._db = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
            try:
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(SCHEMA)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def record(self, issued: Issued, nonce_sha256: str = "", let_in_by: str = "") -> None:
        """Put a certificate on record, and with it the token that was spent for it ("" = none) and whose that was.

        One transaction with what could stand against it, so two requests at once are one after the other.

        Raises:
            NotIssued: the device is revoked, its name is another's, or key or token were used before.
            BooksUnusable.
        """
        times = (issued.expires.isoformat(), issued.utc.isoformat())
        row = (f"{issued.serial:x}", issued.device_id, issued.device, issued.line, issued.usage, issued.key_sha256)
        with self._transaction() as db:
            _require_free(db, issued)
            try:
                db.execute("INSERT INTO issued VALUES (?,?,?,?,?,?,?,?,?)", (*row, *times, issued.certificate))
                if nonce_sha256:
                    db.execute("INSERT INTO spent VALUES (?,?,?,?)", (nonce_sha256, row[0], let_in_by, times[1]))
            except sqlite3.IntegrityError as error:
                raise NotIssued("this key or token was used before; make a new one") from error

    def issued_for_token(self, nonce_sha256: str) -> Issued | None:
        """Return the certificate for which a token was spent, None if it was not."""
        where = "WHERE serial = (SELECT serial FROM spent WHERE nonce_sha256 = ?)"
        return next(iter(self._select(where, nonce_sha256)), None)

    def issued_to(self, device: DeviceId) -> list[Issued]:
        """Return what was issued to a device, oldest first."""
        return self._select("WHERE device_id = ?", device)

    def identities(self) -> list[Issued]:
        """Return the identity certificates of all devices, oldest first."""
        return self._select("WHERE usage = ?", Usage.IDENTITY.name)

    def revoke(self, entry: Revoked) -> None:
        """Put a revocation on record; the first one of a device stays as it was.

        Raises:
            BooksUnusable.
        """
        row = (entry.device_id, entry.reason, entry.by, entry.utc.isoformat())
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO revoked VALUES (?,?,?,?)", row)

    def revoked(self) -> list[Revoked]:
        """Return all revocations, oldest first."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM revoked ORDER BY utc, device_id").fetchall()
        return [Revoked(DeviceId(r[0]), r[1], r[2], datetime.datetime.fromisoformat(r[3])) for r in rows]

    def is_revoked(self, device: DeviceId) -> bool:
        """Return whether a device is revoked."""
        with self._transaction() as db:
            return db.execute("SELECT 1 FROM revoked WHERE device_id = ?", (device,)).fetchone() is not None

    def _select(self, where: str, value: str) -> list[Issued]:
        with self._transaction() as db:
            rows = db.execute(f"SELECT * FROM issued {where} ORDER BY rowid", (value,)).fetchall()  # noqa: S608
        times = datetime.datetime.fromisoformat
        return [
            Issued(int(r[0], 16), DeviceId(r[1]), r[2], r[3], r[4], r[5], times(r[6]), times(r[7]), r[8]) for r in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise BooksUnusable(f"{self._path}: {error}; make room, or bring it back from a backup") from error


def _require_free(db: sqlite3.Connection, issued: Issued) -> None:
    if db.execute("SELECT 1 FROM revoked WHERE device_id = ?", (issued.device_id,)).fetchone():
        raise NotIssued(f"device {issued.device_id[:16]} is revoked; a revoked device stays out")
    other = db.execute(
        "SELECT device_id FROM issued WHERE device = ? AND device_id <> ?"
        " AND device_id NOT IN (SELECT device_id FROM revoked)",
        (issued.device, issued.device_id),
    ).fetchone()
    if other:
        raise NotIssued(f"{issued.device} is device {other[0][:16]}; revoke that one before another takes its name")
