"""Finding rows in a ledger of any size without reading it whole. Read-only; every look is O(log n) or bounded.

Rows are appended in order of time and never deleted, so a rowid is found by binary search on what only grows: the
entry always, the wall clock between two steps of it. The trail says where the clock stepped. Which lanes, batches or
codes there are is found by leaping through an index from one value to the next.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CLOCK_MAY_STEP = ("trail-open", "clock-step")
LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rowids of a table, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of UTC in ns since 1970, both ends included."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Place:
    """One epoch and lane of a batch."""

    batch: str
    epoch: int
    lane: int


def spans(db: sqlite3.Connection, table: str, window: Window) -> list[Span]:
    """Return the rows of unit, alarm or audit that were recorded in a window, oldest first."""
    whole = _whole(db, table)
    if whole is None:
        return []
    found = []
    for part in _steady(db, table, whole):
        first = first_from(db, table, ("recorded_wall_ns", window.begin_ns), part)
        last = first_from(db, table, ("recorded_wall_ns", window.end_ns + 1), part) - 1
        if first <= last:
            found.append(Span(first, last))
    return found


def first_from(db: sqlite3.Connection, table: str, key: tuple[str, int], part: Span) -> int:
    """Return the first rowid of `part` whose column (key[0]) is at least key[1], part.last + 1 when none is."""
    column, least = key
    sql = f"SELECT {column} FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1"
    low, high = part.first, part.last + 1
    while low < high:
        middle = (low + high) // 2
        if db.execute(sql, (middle,)).fetchone()[0] < least:
            low = middle + 1
        else:
            high = middle
    return low


def around_entry(db: sqlite3.Connection, table: str, entry: int) -> int:
    """Return the first rowid of unit or alarm that was written by `entry` or a later one; last + 1 when none was."""
    whole = _whole(db, table)
    return first_from(db, table, ("entry", entry), whole) if whole else 1


def places(db: sqlite3.Connection, batch: str) -> list[Place]:
    """Return the epochs and lanes in which a batch has units."""
    return [Place(batch, *pair) for pair in _pairs(db, "unit", "batch = ? AND ", (batch,))]


def place_span(db: sqlite3.Connection, place: Place) -> Span:
    """Return first and last rowid of a place; rows of other places may lie between."""
    sql = "SELECT rowid FROM unit WHERE batch = ? AND epoch = ? AND lane = ? ORDER BY rowid {} LIMIT 1"
    first, last = (db.execute(sql.format(way), _key(place)).fetchone()[0] for way in ("ASC", "DESC"))
    return Span(first, last)


def lanes(db: sqlite3.Connection) -> list[tuple[int, int]]:
    """Return every epoch and lane on record."""
    return sorted({pair for table in ("unit", "permit") for pair in _pairs(db, table, "", ())})


def unit_batches(db: sqlite3.Connection) -> list[str]:
    """Return every batch name that stands on a unit row, also "" and names that are no batch."""
    nameless = db.execute("SELECT 1 FROM unit WHERE batch = '' LIMIT 1").fetchone()
    return ([""] if nameless else []) + _leap(db, "SELECT batch FROM unit WHERE batch > ? ORDER BY batch LIMIT 1")


def defects(db: sqlite3.Connection) -> list[str]:
    """Return every defect code on record."""
    return _leap(db, "SELECT defect FROM unit WHERE defect > ? AND defect <> '' ORDER BY defect LIMIT 1")


def alarm_codes(db: sqlite3.Connection) -> list[str]:
    """Return every alarm code on record but STATE, which is no alarm and has no index."""
    return _leap(db, "SELECT code FROM alarm WHERE code > ? AND code <> 'STATE' ORDER BY code LIMIT 1")


def people(db: sqlite3.Connection) -> list[str]:
    """Return everybody who opened or closed a batch or acted."""
    acted = _leap(db, "SELECT who FROM audit WHERE who > ? ORDER BY who LIMIT 1")
    named = db.execute("SELECT actor FROM batch UNION SELECT closed_actor FROM batch")
    return sorted({*acted, *(name for (name,) in named)} - {""})


def _key(place: Place) -> Sequence[Any]:
    return (place.batch, place.epoch, place.lane)


def _whole(db: sqlite3.Connection, table: str) -> Span | None:
    first, last = (db.execute(f"SELECT {end}(rowid) FROM {table}").fetchone()[0] for end in ("min", "max"))
    return None if first is None else Span(first, last)


def _steady(db: sqlite3.Connection, table: str, whole: Span) -> Iterator[Span]:
    """Cut the rows where the wall clock may have stepped."""
    marks = ", ".join("?" * len(CLOCK_MAY_STEP))
    steps = db.execute(f"SELECT entry FROM audit WHERE what IN ({marks}) ORDER BY entry", CLOCK_MAY_STEP).fetchall()
    column = "entry" if table in ("unit", "alarm") else "rowid"
    first = whole.first
    for (entry,) in steps:
        begin = first_from(db, table, (column, entry), Span(first, whole.last)) if first <= whole.last else first
        if begin > first:
            yield Span(first, begin - 1)
            first = begin
    if first <= whole.last:
        yield Span(first, whole.last)


def _pairs(db: sqlite3.Connection, table: str, where: str, values: tuple[Any, ...]) -> Iterator[tuple[int, int]]:
    """Yield the (epoch, lane) of a table in order; two seeks each, however many rows a lane has."""
    select = f"SELECT epoch, lane FROM {table} WHERE {where}"
    same = f"{select}epoch = ? AND lane > ? ORDER BY epoch, lane LIMIT 1"
    later = f"{select}epoch > ? ORDER BY epoch, lane LIMIT 1"
    row = db.execute(later, (*values, -1)).fetchone()
    while row is not None:
        yield int(row[0]), int(row[1])
        row = db.execute(same, (*values, *row)).fetchone() or db.execute(later, (*values, row[0])).fetchone()


def _leap(db: sqlite3.Connection, sql: str) -> list[str]:
    """Return the values of an indexed text column, in order, "" left out."""
    found: list[str] = []
    while (row := db.execute(sql, (found[-1] if found else "",)).fetchone()) is not None:
        found.append(str(row[0]))
    return found
