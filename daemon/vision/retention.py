"""Which images may be deleted here, read from the ledger: those that a site archive has, of batches that are closed.

First the oldest of accepted units, then the oldest of the others. An image whose newest row is not in the archive yet
stays, whatever else was said about it.
"""

import sqlite3
from collections import deque
from pathlib import Path

import msgspec

from daemon.ledger_file import LEDGER, LedgerUnreadable, confirmed, reading
from daemon.records import EvidenceRow, Kept, decode_body
from daemon.units import Verdict

SLICE = 512
_ROWS = """SELECT e.entry, e.digest, coalesce(u.verdict, '') FROM evidence AS e
LEFT JOIN unit AS u USING (epoch, lane, number)
WHERE e.entry > ? AND e.entry < ? AND e.state = 'retained' ORDER BY e.entry LIMIT ?"""
_ABOUT = """SELECT e.entry, e.state, e.batch, n.body FROM evidence AS e JOIN entry AS n ON n.seq = e.entry
WHERE e.digest = ? ORDER BY e.entry"""
_KNOWN = """SELECT count(*) FROM evidence WHERE (epoch, lane, number, camera, region, shot) = (?, ?, ?, ?, ?, ?)
AND digest = ? AND state = ?"""


class Retention:
    """Owned by thread `keep`. It goes through the ledger once and begins again when the archive has grown."""

    def __init__(self, state: Path) -> None:
        self._path = state / LEDGER
        self._archived = 0
        self._places = [0, 0]
        self._found: deque[str] = deque()

    def look(self) -> list[EvidenceRow] | None:
        """Return the rows of the next image that may be deleted now, one for each view of a unit.

        Empty: not this one, look again. None: there are none until the archive grows. Reads at most SLICE rows.
        """
        try:
            with reading(self._path) as db:
                archived = confirmed(db)
                if archived != self._archived:
                    self._archived, self._places = archived, [0, 0]
                if not self._found and not self._search(db):
                    return None
                return _releasable(db, self._found.popleft(), archived) if self._found else []
        except LedgerUnreadable:
            return None

    def news(self, rows: list[EvidenceRow]) -> list[EvidenceRow]:
        """Return those that the ledger has not, in whichever session they were sent; all where it cannot be read."""
        try:
            with reading(self._path) as db:
                return [row for row in rows if not db.execute(_KNOWN, _values(row)).fetchone()[0]]
        except LedgerUnreadable:
            return rows

    def _search(self, db: sqlite3.Connection) -> bool:
        """Find what comes next, first among accepted units, then among all; False when both are through."""
        for turn, place in enumerate(self._places):
            rows = db.execute(_ROWS, (place, self._archived, SLICE)).fetchall()
            if rows:
                self._places[turn] = rows[-1][0]
                self._found.extend(dict.fromkeys(digest for _, digest, of in rows if turn or of == Verdict.ACCEPT))
                return True
        return False


def _values(row: EvidenceRow) -> tuple[object, ...]:
    return (*msgspec.structs.astuple(row.unit), *msgspec.structs.astuple(row.view), row.digest, row.state.value)


def _releasable(db: sqlite3.Connection, digest: str, archived: int) -> list[EvidenceRow]:
    """Return the rows of an image, one for each view of a unit, if all of them are archived; else nothing."""
    opened = db.execute("SELECT id FROM batch WHERE state = 'open'").fetchone()
    found = db.execute(_ABOUT, (digest,)).fetchall()
    entry, state = found[-1][:2]
    if entry >= archived or state != Kept.RETAINED or (opened and opened[0] in {row[2] for row in found}):
        return []
    rows = [decode_body(body).row for _, kept, _, body in found if kept == Kept.RETAINED]
    return list({(row.unit, row.view): row for row in rows if isinstance(row, EvidenceRow)}.values())
