"""What the record says around the units of a batch: acts, alarms, states, images, signatures, refused rows, archive."""

import sqlite3
from typing import Any

from daemon import faults, ledger_file
from daemon.recorder.report import utc_text
from daemon.records import Kept
from daemon.units import UnitId
from provisioning import ledger_search
from provisioning.timeline import rows_of
from signing.chain import ChainError, parse_note

LISTED = 200
NAMED_UNITS = 40
AROUND = 64
OF_THE_LINE = ("STATE", "MODE", "ACT")
NOTE = "note"
RANG = f"FROM alarm WHERE batch = ? AND code NOT IN {OF_THE_LINE}"
UNKNOWN, YES, NO = "unknown", "yes", "no"


def acts(db: sqlite3.Connection, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the trail of a batch: every act, done or refused. Older schemas knew acts as notes of the line."""
    sql = """SELECT recorded_wall_ns, clock, what, who, role, why, old, new, done, answer, entry FROM audit
    WHERE entry BETWEEN ? AND ? AND (batch = ? OR (batch = '' AND new = ?)) ORDER BY entry"""
    last = batch["closed_entry"] + AROUND if batch["closed_entry"] else ledger_search.LARGEST
    found = rows_of(db, sql, (batch["entry"] - AROUND, last, batch["id"], batch["id"]))
    sql = """SELECT recorded_wall_ns, clock, text AS what, entry FROM alarm
    WHERE batch = ? AND code = 'ACT' AND entry = 0 ORDER BY rowid"""
    notes = [row | dict.fromkeys(("who", "role", "why", "old", "new", "answer"), "") | {"done": 1}
             for row in rows_of(db, sql, (batch["id"],))]  # fmt: skip
    return [_stamped(row) | {"done": bool(row["done"])} for row in notes + found]


def alarms(db: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return the alarms by code with the line's reaction to each, and the newest of them one by one."""
    sql = f"SELECT code, count(*), min(recorded_wall_ns), max(recorded_wall_ns) {RANG} GROUP BY code ORDER BY 2 DESC"
    codes = [
        {"code": code, "count": count, "reaction": _reaction(code)}
        | {"first_utc": utc_text(first), "last_utc": utc_text(last)}
        for code, count, first, last in db.execute(sql, (name,))
    ]
    columns = "recorded_wall_ns, clock, code, text, state, epoch, lane, number, entry"
    newest = rows_of(db, f"SELECT {columns} {RANG} ORDER BY rowid DESC LIMIT {LISTED}", (name,))
    total = sum(row["count"] for row in codes)
    listed = [_stamped(_with_unit(row)) for row in reversed(newest)]
    return {"count": total, "by_code": codes, "listed": listed, "not_listed": total - len(listed)}


def states(db: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    """Return how the line went through its states, with the cause of each stop; the newest LISTED."""
    sql = f"""SELECT recorded_wall_ns, clock, state, text, entry FROM alarm
    WHERE batch = ? AND code IN ('STATE', 'MODE') ORDER BY rowid DESC LIMIT {LISTED}"""
    return [_stamped(row) for row in reversed(rows_of(db, sql, (name,)))]


def images(db: sqlite3.Connection, batch: dict[str, Any]) -> dict[str, Any]:
    """Return what became of the images of the batch, each by the newest word on it."""
    sql = """SELECT epoch, lane, number, camera, region, shot, state, why, bytes FROM evidence
    WHERE batch = ? ORDER BY entry"""
    newest = {tuple(row[:6]): row[6:] for row in db.execute(sql, (batch["id"],))}
    found: dict[str, Any] = {state.value: 0 for state in Kept}
    for state, _, _ in newest.values():
        found[state] += 1
    dropped = sorted((UnitId(*key[:3]), why) for key, (state, why, _) in newest.items() if state == Kept.DROPPED)
    return found | {
        "recorded": bool(batch["entry"]),
        "retained_bytes": sum(size for state, _, size in newest.values() if state == Kept.RETAINED),
        "dropped_units": [{"unit": str(unit), "why": why} for unit, why in dropped[:NAMED_UNITS]],
    }


def archive(db: sqlite3.Connection, batch: dict[str, Any]) -> dict[str, Any]:
    """Return whether a site archive has confirmed everything of the batch; an open batch never is."""
    sql = "SELECT target, max(size) AS entries, images, recorded_wall_ns, clock FROM archived GROUP BY target"
    targets = [_stamped(row) for row in rows_of(db, sql, ())]
    return {"archived": archived(db, batch["id"]), "targets": targets}


def archived(db: sqlite3.Connection, name: str) -> str:
    """Return yes, no, or unknown for a batch that was recorded under an older schema."""
    opened, closed = db.execute("SELECT entry, closed_entry FROM batch WHERE id = ?", (name,)).fetchone()
    if not opened:
        return UNKNOWN
    sql = "SELECT entry FROM evidence WHERE batch = ? AND state = ? ORDER BY entry DESC LIMIT 1"
    image = db.execute(sql, (name, Kept.RETAINED.value)).fetchone()
    newest = max(closed, image[0] if image else 0, *(_last_entry(db, p) for p in ledger_search.places(db, name)), 0)
    return YES if closed and newest < ledger_file.confirmed(db) else NO


def signatures(db: sqlite3.Connection, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the first signed tree head over the batch's opening, the first over its closing, and how many between.

    The signatures are named, not checked: that is what `linewarden audit verify` does.
    """
    everything = ledger_file.checkpoints(db, batch["entry"] + 1) if batch["entry"] else []
    end = batch["closed_entry"] + 1 if batch["closed_entry"] else 0
    covering = [head for head in everything if end and head.size >= end][:1]
    inside = [head for head in everything if not end or head.size < end]
    shown = [*inside[:1], *(covering or inside[-1:])]
    return {
        "covered": bool(covering),
        "between": max(0, len(inside) - 1),
        "checkpoints": [_head(head) for head in dict.fromkeys(shown)],
    }


def refused(db: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    """Return the rows that contradicted the record and were not taken."""
    sql = f"SELECT recorded_wall_ns, clock, kind, why, entry FROM conflict WHERE batch = ? LIMIT {LISTED}"
    return [_stamped(row) for row in rows_of(db, sql, (name,))]


def _head(head: ledger_file.StoredCheckpoint) -> dict[str, Any]:
    found = {"entries": head.size, "root_sha256": "", "keys": [], "anchored_in_tpm": head.anchored}
    try:
        note = parse_note(head.note)
    except ChainError as error:
        return found | {"problem": str(error)}
    keys = [key.hex() for key, _ in note.signatures]
    return found | {"root_sha256": note.root.hex(), "origin": note.origin, "keys": keys}


def _reaction(code: str) -> str:
    row = faults.TABLE.get(code)
    return row.reaction.value if row else NOTE


def _last_entry(db: sqlite3.Connection, place: ledger_search.Place) -> int:
    last = ledger_search.place_span(db, place).last
    return int(db.execute("SELECT entry FROM unit WHERE rowid = ?", (last,)).fetchone()[0])


def _with_unit(row: dict[str, Any]) -> dict[str, Any]:
    unit = tuple(row.pop(name) for name in ("epoch", "lane", "number"))
    return row | {"unit": str(UnitId(*unit)) if unit[0] is not None else None}


def _stamped(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its time as text, first."""
    return {"utc": utc_text(row["recorded_wall_ns"])} | {k: v for k, v in row.items() if k != "recorded_wall_ns"}
