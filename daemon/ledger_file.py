"""Reading the ledger beside its one writer: entries, checkpoints, subtrees. For uplink and the command line.

A reader never waits for the recorder and never holds it up for long: read in slices, close what you opened.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from signing.chain import START, TILE_LEVELS, Frontier, complete_subtrees, leaf, subtree

LEDGER = "ledger.sqlite"
APPLICATION_ID = 0x4C575244
SCHEMA_VERSION = 4
SLICE = 4096
BUSY_S = 2.0
# What SQLite raises over a damaged file: its own errors, and text that is none.
DAMAGED = (sqlite3.Error, UnicodeError)


class LedgerUnreadable(Exception):
    """The ledger cannot be read; the text names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as it lies in the ledger."""

    seq: int
    body: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A tree head over the first `size` entries; `anchored`: extended into the TPM's NV index."""

    size: int
    note: str
    anchored: bool


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger read-only for the time of a `with` block; what SQLite then raises is translated.

    Raises:
        LedgerUnreadable: not there, not a ledger, of a newer schema, or damaged.
    """
    if not path.is_file():
        raise LedgerUnreadable(f"{path}: there is no ledger here; name the device's state folder")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as db:
            _admit(db, path)
            yield db
    except DAMAGED as error:
        raise LedgerUnreadable(f"{path}: not a readable ledger: {error}") from error


def entries(db: sqlite3.Connection, first: int = 0, end: int | None = None) -> Iterator[StoredEntry]:
    """Yield the entries from `first` to before `end`, in slices, so that no long read holds up the writer."""
    while end is None or first < end:
        limit = SLICE if end is None else min(SLICE, end - first)
        sql = "SELECT seq, body, chain FROM entry WHERE seq >= ? ORDER BY seq LIMIT ?"
        found = [StoredEntry(*row) for row in db.execute(sql, (first, limit))]
        yield from found
        if len(found) < limit:
            return
        first = found[-1].seq + 1


def size(db: sqlite3.Connection) -> int:
    """Return how many entries there are."""
    return int(db.execute("SELECT coalesce(max(seq) + 1, 0) FROM entry").fetchone()[0])


def chain_before(db: sqlite3.Connection, seq: int) -> bytes:
    """Return the stored chain hash of the entry before `seq`."""
    if not seq:
        return START
    found = db.execute("SELECT chain FROM entry WHERE seq = ?", (seq - 1,)).fetchone()
    if not found:
        raise LedgerUnreadable(f"entry {seq - 1} is missing: restore the ledger from the archive")
    return bytes(found[0])


def checkpoints(db: sqlite3.Connection, first: int = 0) -> list[StoredCheckpoint]:
    """Return the checkpoints over at least `first` entries, smallest first."""
    return list(heads(db, first))


def heads(db: sqlite3.Connection, first: int = 0) -> Iterator[StoredCheckpoint]:
    """Yield the checkpoints over at least `first` entries, smallest first, in slices: there may be very many."""
    sql = "SELECT size, note, anchored FROM checkpoint WHERE size >= ? ORDER BY size LIMIT ?"
    while found := db.execute(sql, (first, SLICE)).fetchall():
        for number, note, anchored in found:
            yield StoredCheckpoint(number, note, bool(anchored))
        first = found[-1][0] + 1


def signed(db: sqlite3.Connection) -> int:
    """Return how many entries the newest checkpoint covers, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()[0])


def confirmed(db: sqlite3.Connection) -> int:
    """Return how many entries a site archive has confirmed, 0 for none."""
    return int(db.execute("SELECT coalesce(max(size), 0) FROM archived").fetchone()[0])


def frontier(db: sqlite3.Connection, end: int) -> Frontier:
    """Return the tree over the first `end` entries, from the stored subtrees and at most 255 bodies."""
    return Frontier(end, [(level, _subtree(db, level, position)) for level, position in complete_subtrees(end)])


def _subtree(db: sqlite3.Connection, level: int, position: int) -> bytes:
    """Return the root of one complete subtree; its level is that of a tile or its children are."""
    below = level - level % TILE_LEVELS
    first, count = position << (level - below), 1 << (level - below)
    if not below:
        rows = db.execute("SELECT body FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq", (first, first + count))
        return subtree(_whole([leaf(body) for (body,) in rows], count, level, position))
    sql = "SELECT hash FROM node WHERE level = ? AND position >= ? AND position < ? ORDER BY position"
    found = [bytes(stored) for (stored,) in db.execute(sql, (below, first, first + count))]
    return subtree(_whole(found, count, level, position))


def _whole(found: list[bytes], count: int, level: int, position: int) -> list[bytes]:
    if len(found) != count:
        raise LedgerUnreadable(f"tree node {level}/{position}: {count - len(found)} of what lies under it are missing")
    return found


def _admit(db: sqlite3.Connection, path: Path) -> None:
    kind, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != APPLICATION_ID:
        raise LedgerUnreadable(f"{path}: not a Linewarden ledger")
    if version != SCHEMA_VERSION:
        todo = "install its release" if version > SCHEMA_VERSION else "start the recorder once, it carries it on"
        raise LedgerUnreadable(f"{path}: schema version {version}, this release reads {SCHEMA_VERSION}: {todo}")
