"""Acts and alarms on one timeline, found in the ledger by who, what, when, batch and words. Read-only."""

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon import ledger_file
from daemon.config import release
from daemon.ledger_file import LedgerUnreadable
from daemon.units import UnitId
from provisioning.audit_text import AuditTrail, Happening, Title
from provisioning.ledger_search import LARGEST
from signing.chain import ChainError, parse_note

_ACTS = """SELECT entry, recorded_wall_ns AS at_ns, clock, 'act' AS kind, what, who, role, old, new, why, done, answer,
  batch, signature, NULL AS epoch, NULL AS lane, NULL AS number FROM audit"""
_ALARMS = """SELECT entry, recorded_wall_ns, clock, 'alarm', code, origin, 'automatic', '', state, text, 1, '',
  batch, '', epoch, lane, number FROM alarm"""
_TEXT = "what || char(10) || who || char(10) || role || char(10) || old || char(10) || new || char(10) || why || answer"


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; "" = everything. `who`, `what` and `text` need to be contained, ASCII case does not matter.

    `begin_ns` and `end_ns` are UTC, both included; `limit` 0 = no limit, otherwise the newest so many.
    """

    who: str = ""
    what: str = ""
    text: str = ""
    batch: str = ""
    begin_ns: int = 0
    end_ns: int = LARGEST
    limit: int = 0


def find(db: sqlite3.Connection, query: Query) -> list[Happening]:
    """Return what fits, oldest first."""
    columns = {"who": query.who, "what": query.what, _TEXT: query.text}
    where = [f"instr(lower({column}), lower(?)) > 0" for column, word in columns.items() if word]
    values: list[Any] = [word for word in columns.values() if word]
    if query.batch:
        where, values = [*where, "batch = ?"], [*values, query.batch]
    where, values = [*where, "at_ns BETWEEN ? AND ?"], [*values, query.begin_ns, query.end_ns]
    sql = f"SELECT * FROM ({_ACTS} UNION ALL {_ALARMS}) WHERE {' AND '.join(where)}"
    found = db.execute(f"{sql} ORDER BY entry DESC, at_ns DESC LIMIT ?", (*values, query.limit or -1)).fetchall()
    return [_happening(row) for row in reversed(found)]


def trail_of(db: sqlite3.Connection, batch: str) -> AuditTrail:
    """Return the document of the whole trail or of one batch, under the newest checkpoint.

    Raises:
        LedgerUnreadable: there is no such batch, or no checkpoint, or it is none.
    """
    if batch and not db.execute("SELECT 1 FROM batch WHERE id = ?", (batch,)).fetchone():
        raise LedgerUnreadable(f"no batch {batch!r} on record")
    notes = ledger_file.checkpoints(db)
    try:
        head = parse_note(notes[-1].note)
    except (IndexError, ChainError) as error:
        raise LedgerUnreadable(
            f"no checkpoint in this ledger yet: the recorder signs one at its start: {error}"
        ) from error
    title = Title(
        head.origin,
        head.origin.split("/")[-2],
        batch,
        head.size,
        head.root.hex(),
        notes[-1].note,
        time.time_ns(),
        release(),
    )
    return AuditTrail(title, [item for item in find(db, Query(batch=batch)) if item.entry < head.size])


def _happening(row: tuple[Any, ...]) -> Happening:
    names = msgspec.structs.fields(Happening)[: len(row) - 3]
    fields = {field.name: value for field, value in zip(names, row, strict=False)}
    unit = "" if row[-1] is None else str(UnitId(*row[-3:]))
    return Happening(**fields | {"done": bool(fields["done"]), "unit": unit})
