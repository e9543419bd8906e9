"""One timeline out of acts, alarms and whatever a question adds to it: who did what and what rang, in order."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon import faults
from daemon.units import UnitId
from provisioning import ledger_search
from provisioning.ledger_search import Window

SECOND_NS = 1_000_000_000
SAME_LIFE_NS = 5 * SECOND_NS
MOST_MOMENTS = 60
MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline, at `wall_ns` UTC. `kind`: unit, batch, act, event, alarm, note, image or line.

    `entry` is 0 for what was recorded under an older schema.
    """

    wall_ns: int
    kind: str
    text: str
    entry: int


def surroundings(db: sqlite3.Connection, window: Window, offset_ns: int = 0) -> list[Moment]:
    """Return acts and alarms recorded in a window, oldest first; of more than MOST_MOMENTS of a kind the nearest.

    Nearest is meant to the middle of the window. `offset_ns`: wall clock minus CLOCK_MONOTONIC where it is known; then
    they stand where they happened.
    """
    acts = [act_moment(row, offset_ns) for row in _within(db, "audit", window)]
    alarms = [alarm_moment(row, offset_ns) for row in _within(db, "alarm", window)]
    return in_order([*_nearest(acts, window), *_nearest(alarms, window)])


def in_order(moments: Sequence[Moment]) -> list[Moment]:
    """Return the moments as they followed each other."""
    return sorted(moments, key=lambda moment: (moment.wall_ns, moment.entry))


def is_cut(moments: Sequence[Moment]) -> bool:
    """True where there may be more acts or alarms around than a timeline of `surroundings` holds."""
    acts = sum(moment.kind in ("act", "event") for moment in moments)
    return acts >= MOST_MOMENTS or sum(moment.kind in ("alarm", "note", "line") for moment in moments) >= MOST_MOMENTS


def _nearest(moments: Sequence[Moment], window: Window) -> list[Moment]:
    middle = (window.begin_ns + window.end_ns) // 2
    return sorted(moments, key=lambda moment: abs(moment.wall_ns - middle))[:MOST_MOMENTS]


def rows_of(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """Return rows as dicts; digests of messages (BLOB) are left out."""
    cursor = db.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [
        {name: value for name, value in zip(names, row, strict=True) if not isinstance(value, bytes)}
        for row in cursor.fetchall()
    ]


def _within(db: sqlite3.Connection, table: str, window: Window) -> list[dict[str, Any]]:
    """Return at most MOST_MOMENTS rows from either side of the middle of a window."""
    middle = (window.begin_ns + window.end_ns) // 2
    sql = f"SELECT * FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid {{}} LIMIT {MOST_MOMENTS}"
    found: list[dict[str, Any]] = []
    for span in ledger_search.spans(db, table, Window(window.begin_ns, middle)):
        found += rows_of(db, sql.format("DESC"), (span.first, span.last))
    for span in ledger_search.spans(db, table, Window(middle + 1, window.end_ns)):
        found += rows_of(db, sql.format("ASC"), (span.first, span.last))
    return found


def act_moment(row: dict[str, Any], offset_ns: int = 0) -> Moment:
    """Return a row of table audit as one line."""
    change = f" {row['old'] or '-'} -> {row['new'] or '-'}" if row["old"] or row["new"] else ""
    done = "" if row["done"] else f" REFUSED: {row['answer']}"
    role = f" ({row['role']})" if row["role"] else ""
    text = f"{row['what']}{change} by {row['who']}{role}: {row['why']}{done}"
    return Moment(_happened(row, offset_ns), "event" if row["role"] == MACHINE else "act", text, row["entry"])


def alarm_moment(row: dict[str, Any], offset_ns: int = 0) -> Moment:
    """Return a row of table alarm as one line."""
    unit = f" [{UnitId(row['epoch'], row['lane'], row['number'])}]" if row["number"] is not None else ""
    kind = {"STATE": "line", "MODE": "line", "ACT": "act"}.get(row["code"], "")
    text = row["text"] if kind else f"{row['code']} {row['text']}"
    kind = kind or ("alarm" if row["code"] in faults.TABLE else "note")
    return Moment(_happened(row, offset_ns), kind, f"{text}{unit}", row["entry"])


def _happened(row: dict[str, Any], offset_ns: int) -> int:
    """Return when it happened, or when it was recorded where the two are too far apart to be of one life."""
    recorded = int(row["recorded_wall_ns"])
    at = int(row["at_ns"]) + offset_ns
    return at if offset_ns and row["at_ns"] and 0 <= recorded - at < SAME_LIFE_NS else recorded
