"""How each kind of row gets into the tables of the ledger: the SQL, and if it is news, known or a contradiction."""

import enum
import hashlib
import sqlite3
from collections.abc import Callable
from typing import Any

from daemon.ledger_file import LedgerUnreadable, frontier
from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.recorder import reading
from daemon.recorder.rows import (
    Received,
    Values,
    agrees,
    alarm_values,
    archived_values,
    audit_values,
    digest,
    evidence_values,
    finite,
    fits,
    gap_values,
    opened_values,
    permit_values,
    sublot_values,
    totals_values,
    unit_values,
    view_values,
)
from daemon.records import ArchivedRow, AuditRow, BatchClosed, BatchOpened, EvidenceRow, RefusedRow, Row, SubLotOpened
from daemon.units import Outcome


def _insert(table: str, columns: int) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * columns)}) ON CONFLICT DO NOTHING"


INSERT_UNIT = _insert("unit", 26)
INSERT_VIEW = _insert("unit_view", 13)
INSERT_PERMIT = _insert("permit", 20)
INSERT_GAP = _insert("gap", 12)
INSERT_ALARM = _insert("alarm", 15)
INSERT_CONFLICT = _insert("conflict", 10)
INSERT_AUDIT = _insert("audit", 18)
INSERT_EVIDENCE = _insert("evidence", 17)
INSERT_ARCHIVED = _insert("archived", 7)
INSERT_SUBLOT = _insert("sublot", 18)
INSERT_TOTALS = f"""INSERT INTO plc_totals VALUES ({", ".join("?" * 18)})
ON CONFLICT (batch, epoch, lane) DO UPDATE SET session = excluded.session, seq = excluded.seq,
  created = excluded.created, passed = excluded.passed, diverted = excluded.diverted,
  first = CASE WHEN first = 0 OR excluded.first BETWEEN 1 AND first THEN excluded.first ELSE first END,
  last = max(last, excluded.last), created_before = min(created_before, excluded.created_before),
  passed_before = min(passed_before, excluded.passed_before),
  diverted_before = min(diverted_before, excluded.diverted_before),
  recorded_wall_ns = excluded.recorded_wall_ns, clock = excluded.clock,
  stray_pass = excluded.stray_pass, stray_chute = excluded.stray_chute, entry = excluded.entry
WHERE excluded.session <> session OR excluded.seq >= seq"""
INSERT_SESSION = """INSERT INTO session VALUES (?, ?, ?, ?, ?)
ON CONFLICT (session) DO UPDATE SET acknowledged = excluded.acknowledged, digest = excluded.digest
WHERE excluded.acknowledged > acknowledged"""
OPEN_BATCH = """INSERT INTO batch (id, station, bundle, recipe, bundle_name, recipe_name, register_map,
  release, configuration, actor, role, reason, since_epoch, plan, opened_wall_ns, opened_clock, entry, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')"""
CLOSE_BATCH = """UPDATE batch SET state = 'closed', closed_actor = ?, closed_reason = ?, report = ?,
  closed_wall_ns = ?, closed_clock = ?, closed_entry = ? WHERE id = ? AND state = 'open'"""

TOO_LARGE = "a number is too large to be stored"
NO_NUMBER = "a score is not a number"


class Written(enum.Enum):
    """What became of a row in its table. NEWS gets an entry of the trail, KNOWN stands there already."""

    NEWS = enum.auto()
    KNOWN = enum.auto()


Result = tuple[Written, str]


class Writers:
    """Writes one row at a time inside the ledger's transaction. A text beside the result says what it contradicts.

    A number that is too large for a column is found by SQLite (OverflowError) before anything of its row is written.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._by_type: dict[type[Row], Callable[[Received, Any, Values, int], Result]] = {
            UnitRow: self._unit,
            PermitRow: self._permit,
            GapRow: self._gap,
            AlarmRow: self._alarm,
            PlcTotals: self._totals,
            AuditRow: self._audit,
            EvidenceRow: self._evidence,
            ArchivedRow: self._archived,
            BatchOpened: self._opened,
            SubLotOpened: self._sublot,
            BatchClosed: self._closed,
            RefusedRow: self._refused,
        }

    def write(self, received: Received, stamp: Values, entry: int) -> Result:
        """Write a row as that entry's; `stamp` is (UTC ns, clock quality)."""
        try:
            return self._by_type[type(received.row)](received, received.row, stamp, entry)
        except OverflowError:
            return Written.KNOWN, TOO_LARGE

    def session(self, session: int, acknowledged: int, stamp: Values) -> None:
        """Note how far a life of a process is acknowledged."""
        found = self._db.execute("SELECT begun_wall_ns, clock FROM session WHERE session = ?", (session,)).fetchone()
        values = (session, acknowledged, *(found or stamp))
        self._db.execute(INSERT_SESSION, (*values, session_digest(values)))

    def _news(self, sql: str, values: Values) -> bool:
        return bool(self._db.execute(sql, values).rowcount)

    def _plain(self, sql: str, values: Values) -> Result:
        return (Written.NEWS if self._news(sql, values) else Written.KNOWN), ""

    def _unit(self, received: Received, row: UnitRow, stamp: Values, entry: int) -> Result:
        views = [view_values(row.unit, position, view) for position, view in enumerate(row.views)]
        if not all(map(fits, row.views)):
            return Written.KNOWN, TOO_LARGE
        if not finite(row.views):
            return Written.KNOWN, NO_NUMBER
        own = digest(row)
        if self._news(INSERT_UNIT, (*unit_values(row), *stamp, own, entry)):
            self._db.executemany(INSERT_VIEW, views)
            return Written.NEWS, self._credited_twice(row)
        stored, outcome = reading.stored_unit(self._db, row.unit)
        if stored == own or agrees(row, outcome):
            return Written.KNOWN, ""
        return Written.KNOWN, f"unit {row.unit} is on record as {outcome} and came again as {row.outcome.value}"

    def _credited_twice(self, row: UnitRow) -> str:
        """Law 2: no image is ever credited to another unit. The row stands and the batch stays open."""
        for view in row.views if row.outcome is Outcome.ACCEPTED else ():
            if other := reading.sharing(self._db, row.unit, view):
                return f"frame {view.key} is credited to unit {other} and to unit {row.unit}"
        return ""

    def _permit(self, received: Received, row: PermitRow, stamp: Values, entry: int) -> Result:
        values, own = permit_values(row), digest(row)
        if not finite(row.views):
            return Written.KNOWN, NO_NUMBER
        if self._news(INSERT_PERMIT, (*values, *stamp, own, entry)):
            return Written.NEWS, ""
        same = reading.stored_permit(self._db, row.unit) == own
        return Written.KNOWN, "" if same else f"the permit of unit {row.unit} came again with another content"

    def _gap(self, received: Received, row: GapRow, stamp: Values, entry: int) -> Result:
        return self._plain(INSERT_GAP, (*gap_values(received, row), *stamp, digest(row), entry))

    def _alarm(self, received: Received, row: AlarmRow, stamp: Values, entry: int) -> Result:
        return self._plain(INSERT_ALARM, (*alarm_values(received, row), *stamp, digest(row), entry))

    def _totals(self, received: Received, row: PlcTotals, stamp: Values, entry: int) -> Result:
        if not received.batch:
            return Written.KNOWN, ""  # they are counts of a batch
        values = totals_values(received, row)
        return self._plain(INSERT_TOTALS, (*values, *stamp, row.stray_pass, row.stray_chute, entry))

    def _audit(self, received: Received, row: AuditRow, stamp: Values, entry: int) -> Result:
        if not row.why.strip() or not row.who.strip():
            return Written.KNOWN, f"{row.what}: an act without a person or a reason is not taken"
        return self._plain(INSERT_AUDIT, (entry, *audit_values(received, row), *stamp, digest(row)))

    def _evidence(self, received: Received, row: EvidenceRow, stamp: Values, entry: int) -> Result:
        values, made = evidence_values(received, row), (*stamp, digest(row))
        return self._plain(INSERT_EVIDENCE, (entry, *values, *made))

    def _archived(self, received: Received, row: ArchivedRow, stamp: Values, entry: int) -> Result:
        """The word of the process that talks to the outside counts only for a head that is this trail's own."""
        try:
            own = frontier(self._db, row.size).root().hex() if 0 < row.size <= entry else ""
        except LedgerUnreadable as error:
            return Written.KNOWN, f"archive {row.target} cannot be compared: {error}"
        if own != row.root:
            return Written.KNOWN, f"archive {row.target} holds another trail than this one"
        return self._plain(INSERT_ARCHIVED, (entry, *archived_values(row), *stamp))

    def _opened(self, received: Received, row: BatchOpened, stamp: Values, entry: int) -> Result:
        return self._plain(OPEN_BATCH, (*opened_values(row), *stamp, entry))

    def _sublot(self, received: Received, row: SubLotOpened, stamp: Values, entry: int) -> Result:
        return self._plain(INSERT_SUBLOT, (entry, *sublot_values(row), *stamp))

    def _closed(self, received: Received, row: BatchClosed, stamp: Values, entry: int) -> Result:
        return self._plain(CLOSE_BATCH, (row.actor, row.reason, row.report, *stamp, entry, row.id))

    def _refused(self, received: Received, row: RefusedRow, stamp: Values, entry: int) -> Result:
        named = (row.kind, bytes.fromhex(row.digest), row.why, row.message, received.session, row.seq)
        return self._plain(INSERT_CONFLICT, (*named, received.batch, *stamp, entry))


def session_digest(values: Values) -> str:
    """Return what stands beside a mark (columns session … clock), so that a damaged one is seen."""
    return hashlib.sha256(" ".join(map(str, values)).encode()).hexdigest()


def conflict_of(row: Row, why: str, message: str) -> RefusedRow:
    """Return what is kept of a row that is not taken."""
    return RefusedRow(min(row.seq, 2**63 - 1), type(row).__name__, digest(row).hex(), why, message)
