"""How many units of which batches: whole batches, parts of them, by the report of the closing or from rows. Read-only.

A closed batch counts by the report with which it was closed, as long as no row of it came later.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.units import Outcome
from provisioning import ledger_search
from provisioning.ledger_search import Place, Span
from provisioning.trace import PASSED, UnknownToLedger

BATCH_COLUMNS = """id, state, opened_wall_ns, closed_wall_ns, actor, closed_actor, bundle, bundle_name, recipe,
  recipe_name, configuration"""
REPORTED = "json_extract(report, '$.units')"

_reported = msgspec.json.Decoder(dict[str, int])


@dataclass(frozen=True, slots=True)
class BatchLine:
    """What a scope says of a batch; of units without a batch the id is "" and the rest is empty."""

    id: str
    state: str = ""
    opened_wall_ns: int = 0
    closed_wall_ns: int = 0
    actor: str = ""
    closed_actor: str = ""
    bundle: str = ""
    bundle_name: str = ""
    recipe: str = ""
    recipe_name: str = ""
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a batch that a question is about: units by outcome, counted from rows or by the report."""

    batch: BatchLine
    counts: dict[str, int]
    counted: str = "rows"
    alarms: int = 0

    @property
    def units(self) -> int:
        return sum(self.counts.values())

    @property
    def passed(self) -> int:
        return sum(count for outcome, count in self.counts.items() if outcome in PASSED)


def batch_named(db: sqlite3.Connection, name: str) -> BatchLine:
    """Return the batch with that id, or the only one whose id begins so.

    Raises:
        UnknownToLedger: none, or several.
    """
    everything = batches(db)
    exact = [batch for batch in everything if batch.id == name]
    found = exact or [batch for batch in everything if batch.id.startswith(name) and name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownToLedger(f"{name!r} begins {len(found)} batches: {some(batch.id for batch in found)}")
    raise UnknownToLedger(f"no batch {name!r} is on record; there are {some(batch.id for batch in everything)}")


def batches(db: sqlite3.Connection) -> list[BatchLine]:
    """Return all batches, the newest first."""
    return [BatchLine(*row) for row in db.execute(f"SELECT {BATCH_COLUMNS} FROM batch ORDER BY rowid DESC")]


def whole(db: sqlite3.Connection, batch: BatchLine) -> Share:
    """Return all units of a batch by outcome."""
    counts = _by_report(db, batch)
    if counts is not None:
        return Share(batch, counts, "report")
    rows = db.execute("SELECT outcome, count(*) FROM unit WHERE batch = ? GROUP BY outcome", (batch.id,))
    return Share(batch, dict(rows.fetchall()))


def _by_report(db: sqlite3.Connection, batch: BatchLine) -> dict[str, int] | None:
    """Return the counts with which a batch was closed, None where rows came later or cannot be told from earlier."""
    if batch.state != "closed" or _has_late_rows(db, batch.id):
        return None
    sql = f"SELECT {REPORTED} FROM batch WHERE id = ? AND json_valid(report)"
    row = db.execute(sql, (batch.id,)).fetchone()
    if row is None or row[0] is None:
        return None
    units = _reported.decode(row[0])
    return {outcome.value: units[outcome.value] for outcome in Outcome if units.get(outcome.value)}


def _has_late_rows(db: sqlite3.Connection, name: str) -> bool:
    (closed_entry,) = db.execute("SELECT closed_entry FROM batch WHERE id = ?", (name,)).fetchone()
    newest = [ledger_search.place_span(db, place).last for place in ledger_search.places(db, name)]
    entries = [db.execute("SELECT entry FROM unit WHERE rowid = ?", (row,)).fetchone()[0] for row in newest]
    return any(entry > closed_entry for entry in entries) or not closed_entry


def in_spans(db: sqlite3.Connection, batch: BatchLine, parts: Sequence[Span]) -> Share:
    """Return the part of a batch that lies in these rows; the report is used where that is all of it."""
    where = [(place, ledger_search.place_span(db, place)) for place in ledger_search.places(db, batch.id)]
    if all(any(part.first <= own.first and own.last <= part.last for part in parts) for _, own in where):
        return whole(db, batch)
    counts: Counter[str] = Counter()
    for place, own in where:
        for part in parts:
            both = Span(max(part.first, own.first), min(part.last, own.last))
            counts.update(_outcomes(db, place, both) if both.first <= both.last else {})
    return Share(batch, dict(counts))


def _outcomes(db: sqlite3.Connection, place: Place, part: Span) -> dict[str, int]:
    sql = """SELECT outcome, count(*) FROM unit
    WHERE batch = ? AND epoch = ? AND lane = ? AND rowid BETWEEN ? AND ? GROUP BY outcome"""
    return dict(db.execute(sql, (place.batch, place.epoch, place.lane, part.first, part.last)).fetchall())


def all_batches(db: sqlite3.Connection) -> list[BatchLine]:
    """Return all batches, newest first, and what else stands as a batch on unit rows."""
    known = batches(db)
    names = {batch.id for batch in known}
    return known + [BatchLine(name) for name in ledger_search.unit_batches(db) if name not in names]


def tally(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Share]:
    """Return what a statement for (batch, outcome, count) finds, as shares, the newest batch first."""
    return shares_of(db, db.execute(sql, values).fetchall())


def shares_of(db: sqlite3.Connection, rows: Sequence[tuple[str, str, int]]) -> list[Share]:
    """Return (batch, outcome, count) as shares, the newest batch first."""
    found: dict[str, Counter[str]] = {}
    for name, outcome, count in rows:
        found.setdefault(name, Counter())[outcome] += count
    lines = {batch.id: batch for batch in batches(db)}
    names = [name for name in lines if name in found] + sorted(name for name in found if name not in lines)
    return [Share(lines.get(name, BatchLine(name)), dict(found[name])) for name in names]


def some(names: Iterable[str]) -> str:
    """Return the first few names as one text, for a sentence."""
    found = list(names)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return (", ".join(found[:8]) + more) or "none"
