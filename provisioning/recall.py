"""The scope of a question that is not about one unit: which units in which batches, and whether they passed the gate.

Counts first, then the units, one after the other and never all in memory.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.units import UnitId
from provisioning import ledger_search
from provisioning.ledger_search import Window
from provisioning.shares import (
    BatchLine,
    Share,
    all_batches,
    batch_named,
    batches,
    in_spans,
    shares_of,
    some,
    tally,
    whole,
)
from provisioning.timeline import Moment, act_moment, in_order, rows_of, surroundings
from provisioning.trace import PASSED, UnknownToLedger

MOST_ALARMS = 5_000
IN_FLIGHT = 512
UNIT_COLUMNS = """u.epoch, u.lane, u.number, u.batch, u.outcome, u.verdict, u.reason, u.defect, u.channel,
  u.recorded_wall_ns, u.clock, u.entry"""


@dataclass(frozen=True, slots=True)
class UnitLine:
    """One unit of a scope. `passed`: it went past the gate. entry 0: recorded under an older schema."""

    unit: str
    batch: str
    outcome: str
    passed: bool
    verdict: str
    reason: str
    defect: str
    channel: str
    recorded_wall_ns: int
    clock: str
    entry: int


Lister = Callable[[], Iterator[UnitLine]]


@dataclass(frozen=True, slots=True)
class Scope:
    """The answer. `matched` is what the question was taken to mean; `list_units` yields them in order of record.

    `counted` False: counting the units would take too long, the shares have no counts of them; they can be listed.
    """

    kind: str
    value: str
    matched: list[str]
    shares: list[Share]
    list_units: Lister
    notes: list[str] = field(default_factory=list)
    timeline: list[Moment] = field(default_factory=list)
    counted: bool = True

    def total(self) -> Counter[str]:
        """Return the units by outcome."""
        found: Counter[str] = Counter()
        for share in self.shares:
            found.update(share.counts)
        return found


def of_lot(db: sqlite3.Connection, name: str) -> Scope:
    """Return the scope of a batch, by its id or an unambiguous beginning of it.

    Raises:
        UnknownToLedger: none, or several.
    """
    return _of_batches(db, "lot", name, [batch_named(db, name)], [])


def of_document(db: sqlite3.Connection, kind: str, value: str) -> Scope:
    """Return the scope of a bundle, recipe or configuration: by (the beginning of) its digest or of its name.

    Several that fit are all in it: a recall leaves nothing out that could be meant.

    Raises:
        UnknownToLedger: none fits.
    """
    everything = [(batch, *ran) for batch in batches(db) for ran in _ran(db, kind, batch)]
    found = [row for row in everything if value and (row[1].startswith(value.lower()) or row[2].startswith(value))]
    if not found:
        known = sorted({f"{name} {digest[:12]}".strip() for _, digest, name in everything})
        raise UnknownToLedger(f"no batch ran with {kind} {value!r}; there are {some(known)}")
    matched = sorted({f"{name} {digest}".strip() for _, digest, name in found})
    return _of_batches(db, kind, value, list(dict.fromkeys(batch for batch, _, _ in found)), matched)


def _ran(db: sqlite3.Connection, kind: str, batch: BatchLine) -> list[tuple[str, str]]:
    """Return digest and name of what a batch was opened with, and of what a swap inside it brought."""
    columns = f"{kind}, {kind}_name" if kind != "configuration" else "configuration, ''"
    swaps = db.execute(f"SELECT {columns} FROM sublot WHERE batch = ? ORDER BY number", (batch.id,))
    return [(getattr(batch, kind), getattr(batch, f"{kind}_name", "")), *swaps]


def of_defect(db: sqlite3.Connection, code: str) -> Scope:
    """Return the units in which a defect was found.

    Raises:
        UnknownToLedger: no unit has it.
    """
    known = ledger_search.defects(db)
    wanted = code.strip().lower().replace(" ", "_")
    found = [name for name in known if name.lower().replace(" ", "_") == wanted]
    if not found:
        raise UnknownToLedger(f"no unit has the defect {code!r}; there are {some(known)}")
    sql = f"SELECT batch, outcome, count(*) FROM unit WHERE {_DEFECT} GROUP BY batch, outcome"
    shares = [share for name in found for share in tally(db, sql, (name,))]

    def listed() -> Iterator[UnitLine]:
        listing = f"SELECT {UNIT_COLUMNS} FROM unit AS u WHERE {_DEFECT} AND batch = ? ORDER BY u.rowid"
        for share in shares:
            for name in found:
                yield from _units(db, listing, (name, share.batch.id))

    return Scope("defect", code, found, shares, listed)


def of_signer(db: sqlite3.Connection, who: str) -> Scope:
    """Return the batches that a person opened or closed, or in which that person acted, and the acts.

    Raises:
        UnknownToLedger: nobody of that name.
    """
    people = ledger_search.people(db)
    found = [name for name in people if name == who] or [name for name in people if name.lower() == who.lower()]
    if not found:
        raise UnknownToLedger(f"{who!r} did nothing that is on record; on record are {some(people)}")
    acted = {batch for name in found for (batch,) in db.execute("SELECT batch FROM audit WHERE who = ?", (name,))}
    mine = [b for b in batches(db) if b.id in acted or b.actor in found or b.closed_actor in found]
    scope = _of_batches(db, "signer", who, mine, found)
    scope.timeline.extend(_acts(db, found, mine))
    return scope


def of_window(db: sqlite3.Connection, window: Window, text: str) -> Scope:
    """Return the units recorded in a stretch of time, and the acts and alarms nearest to its middle."""
    parts = ledger_search.spans(db, "unit", window)
    shares = [share for share in (in_spans(db, batch, parts) for batch in all_batches(db)) if share.units]

    def listed() -> Iterator[UnitLine]:
        for part in parts:
            yield from _units(
                db, f"SELECT {UNIT_COLUMNS} FROM unit AS u WHERE rowid BETWEEN ? AND ?", (part.first, part.last)
            )

    scope = Scope("time", text, [text], shares, listed)
    scope.timeline.extend(surroundings(db, window))
    return scope


def of_alarm(db: sqlite3.Connection, value: str) -> Scope:
    """Return the units that alarms of a code name; of one alarm (its entry number) also those that were in the machine.

    Raises:
        UnknownToLedger: no such alarm.
    """
    if value.isdecimal() and len(value) <= 18:
        return _of_one_alarm(db, int(value))
    code = value.partition("/")[0].upper().replace("-", "_").replace(" ", "_")
    known = ledger_search.alarm_codes(db)
    if code not in known:
        raise UnknownToLedger(f"no alarm {value!r} is on record; there are {some(known)}")
    rang = dict(db.execute(f"SELECT batch, count(*) FROM alarm WHERE {_RANG} GROUP BY batch", (code,)).fetchall())
    limited = sum(rang.values()) > MOST_ALARMS
    sql = f"SELECT u.batch, u.outcome, count(*) FROM {_NAMED} JOIN unit AS u {_SAME} GROUP BY u.batch, u.outcome"
    named = {} if limited else {share.batch.id: share.counts for share in tally(db, sql, (code,))}
    lines = {batch.id: batch for batch in batches(db)}
    names = [name for name in lines if name in rang or name in named]
    names += [name for name in sorted(rang | named) if name not in lines]
    shares = [Share(lines.get(n, BatchLine(n)), named.get(n, {}), "rows", rang.get(n, 0)) for n in names]

    def listed() -> Iterator[UnitLine]:
        yield from _units(db, f"SELECT {UNIT_COLUMNS} FROM {_NAMED} JOIN unit AS u {_SAME}", (code,))

    notes = [f"rang {sum(rang.values())} times"]
    return Scope("alarm", value, [code], shares, listed, notes, counted=not limited)


_DEFECT = "defect = ? AND defect <> ''"
_SAME = "ON u.epoch = n.epoch AND u.lane = n.lane AND u.number = n.number"
_RANG = "code = ? AND code <> 'STATE'"
_NAMED = f"(SELECT DISTINCT epoch, lane, number FROM alarm WHERE {_RANG} AND number IS NOT NULL) AS n"


def _of_one_alarm(db: sqlite3.Connection, entry: int) -> Scope:
    rowid = ledger_search.around_entry(db, "alarm", entry)
    sql = "SELECT code, text, at_ns, epoch, lane, number, recorded_wall_ns, batch, entry FROM alarm WHERE rowid = ?"
    row = db.execute(sql, (rowid,)).fetchone()
    if row is None or row[-1] != entry or not entry:
        raise UnknownToLedger(f"entry {entry} is no alarm; `linewarden trace alarm CODE` lists those of a code")
    code, text, at_ns, *unit, wall_ns, batch, _ = row
    named = str(UnitId(*unit)) if unit[0] is not None else ""
    units = [line for line in _in_machine(db, entry, at_ns, named)]
    counts = Counter((line.batch, line.outcome) for line in units)
    shares = shares_of(db, [(name, outcome, count) for (name, outcome), count in counts.items()])
    notes = [f"in batch {batch or 'none'}" + (f", about unit {named}" if named else "")]
    notes.append("the units are those that were between infeed and gate when it rang")
    scope = Scope("alarm", str(entry), [f"{code} {text}".strip()], shares, lambda: iter(units), notes)
    scope.timeline.extend(surroundings(db, Window(wall_ns - 30 * 10**9, wall_ns + 30 * 10**9)))
    return scope


def _in_machine(db: sqlite3.Connection, entry: int, at_ns: int, named: str) -> Iterator[UnitLine]:
    """Yield the unit an alarm names and those created before and closed after it; their rows were written after it."""
    first = ledger_search.around_entry(db, "unit", entry)
    sql = f"SELECT created_ns, closed_ns, {UNIT_COLUMNS} FROM unit AS u WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    for created, closed, *columns in db.execute(sql, (first - IN_FLIGHT, first + IN_FLIGHT)):
        line = _line(columns)
        if line.unit == named or 0 < created <= at_ns <= closed:
            yield line


def _of_batches(
    db: sqlite3.Connection, kind: str, value: str, found: Sequence[BatchLine], matched: Sequence[str]
) -> Scope:
    shares = [whole(db, batch) for batch in found]

    def listed() -> Iterator[UnitLine]:
        for batch in found:
            for place in ledger_search.places(db, batch.id):
                yield from _units(db, _OF_PLACE, (place.batch, place.epoch, place.lane))

    return Scope(kind, value, list(matched), shares, listed)


_OF_SPAN = f"SELECT {UNIT_COLUMNS} FROM unit AS u WHERE rowid BETWEEN ? AND ?"
_OF_PLACE = f"SELECT {UNIT_COLUMNS} FROM unit AS u WHERE batch = ? AND epoch = ? AND lane = ? ORDER BY rowid"


def _units(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[UnitLine]:
    return (_line(row) for row in db.execute(sql, values))


def _line(row: Sequence[Any]) -> UnitLine:
    epoch, lane, number, batch, outcome, *rest = row
    verdict, reason, defect, channel, wall_ns, clock, entry = rest
    unit = str(UnitId(epoch, lane, number))
    return UnitLine(unit, batch, outcome, outcome in PASSED, verdict, reason, defect, channel, wall_ns, clock, entry)


def _acts(db: sqlite3.Connection, names: Sequence[str], mine: Sequence[BatchLine]) -> list[Moment]:
    found = [
        act_moment(row)
        for name in names
        for row in rows_of(db, "SELECT * FROM audit WHERE who = ? ORDER BY entry DESC LIMIT 200", (name,))
    ]
    for batch in mine:
        if batch.actor in names:
            found.append(Moment(batch.opened_wall_ns, "batch", f"opened batch {batch.id}", 0))
        if batch.closed_actor in names:
            found.append(Moment(batch.closed_wall_ns, "batch", f"closed batch {batch.id}", 0))
    return in_order(found)
