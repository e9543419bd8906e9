"""What the recorder reads from the ledger: the open batch, what `line` needs after a restart, facts for the report."""

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from daemon import states
from daemon.messages import Owed, PermitRow, PlcTotals, Resume
from daemon.recorder.batch import (
    RELEASED,
    AlarmFact,
    BatchFacts,
    BatchRecord,
    BatchState,
    Gap,
    Island,
    LaneFacts,
    Pace,
    Rules,
    Run,
    SubLot,
    SubLotShare,
    Totals,
    share_out,
    subtract,
)
from daemon.recorder.rows import permit_row
from daemon.units import JudgedView, Outcome, UnitId

REPORTED_ALARMS = 60
RESUMED_UNITS = 512
LONGEST_TALLY = 100

BATCH = """SELECT id, state, bundle, recipe, bundle_name, recipe_name, configuration, actor, reason,
  opened_wall_ns, opened_clock, closed_wall_ns, closed_clock FROM batch"""
PERMITS = """SELECT p.epoch, p.lane, p.number, p.batch, p.configuration, p.verdict, p.bundle, p.views, p.created_ns,
  p.last_edge_ns, p.frame_ns, p.inferred_ns, p.inference_ns, p.judged_ns, p.permit_ns, p.closed_ns, p.entry
FROM permit AS p LEFT JOIN unit AS u USING (epoch, lane, number)
WHERE p.batch = ? AND u.number IS NULL ORDER BY p.rowid"""
LANES = """SELECT epoch, lane FROM unit WHERE batch = :batch UNION SELECT epoch, lane FROM permit WHERE batch = :batch
UNION SELECT epoch, lane FROM gap WHERE batch = :batch UNION SELECT epoch, lane FROM plc_totals WHERE batch = :batch"""
TOTALS = """SELECT created - created_before, max(passed - passed_before, 0), max(diverted - diverted_before, 0),
  first, last
FROM plc_totals WHERE batch = ? AND epoch = ? AND lane = ?"""
NEWEST = """SELECT 0, epoch, lane, created, passed, diverted, first, last, stray_pass, stray_chute FROM plc_totals
WHERE batch = :batch AND epoch = (SELECT max(epoch) FROM plc_totals WHERE batch = :batch)"""
KNOWN = """SELECT coalesce(min(first), 0), coalesce(max(last), 0) FROM (
  SELECT first, last FROM plc_totals WHERE batch = :batch AND epoch = :epoch AND lane = :lane AND first > 0
  UNION ALL SELECT min(number), max(number) FROM unit WHERE batch = :batch AND epoch = :epoch AND lane = :lane
  UNION ALL SELECT min(number), max(number) FROM permit WHERE batch = :batch AND epoch = :epoch AND lane = :lane)"""
RUNS = """SELECT min(number), max(number) FROM (
  SELECT number, number - row_number() OVER (ORDER BY number) AS island
  FROM unit WHERE batch = ? AND epoch = ? AND lane = ?)
GROUP BY island ORDER BY 1"""
SHARING = """SELECT u.epoch, u.lane, u.number FROM unit_view AS v JOIN unit AS u USING (epoch, lane, number)
WHERE v.frame_camera = ? AND v.frame_session = ? AND v.frame_id = ? AND v.region = ? AND u.outcome = 'accepted'
  AND (u.epoch, u.lane, u.number) <> (?, ?, ?) LIMIT 1"""
OPENED = """SELECT u.outcome, u.plc_flags & ? <> 0 OR (? AND p.number IS NOT NULL) AS gate, count(*)
FROM unit AS u LEFT JOIN permit AS p USING (epoch, lane, number)
WHERE u.batch = ? AND u.epoch = ? AND u.lane = ? GROUP BY u.outcome, gate"""
UNPERMITTED = """SELECT count(*) FROM unit AS u LEFT JOIN permit AS p USING (epoch, lane, number)
WHERE u.batch = ? AND u.outcome = 'accepted' AND p.number IS NULL"""
LOTS = """WITH lot (number, bundle, recipe, bundle_name, recipe_name, plan, configuration, begun_wall_ns, signer, key,
  signed_utc, why, entry) AS (
  SELECT 1, bundle, recipe, bundle_name, recipe_name, plan, configuration, opened_wall_ns, '', '', '', '', entry
  FROM batch WHERE id = :batch
  UNION ALL SELECT number, bundle, recipe, bundle_name, recipe_name, plan, configuration, recorded_wall_ns, signer, key,
  signed_utc, why, entry FROM sublot WHERE batch = :batch)"""
FOREIGN = f"""{LOTS} SELECT count(*) FROM unit AS u LEFT JOIN permit AS p USING (epoch, lane, number)
LEFT JOIN (SELECT DISTINCT configuration, bundle FROM lot) AS l ON l.configuration = u.configuration
WHERE u.batch = :batch AND u.outcome = 'accepted' AND (l.bundle IS NULL
  OR coalesce(nullif(u.bundle, ''), p.bundle, iif(:automatic, '', l.bundle)) <> l.bundle
  OR ifnull(p.configuration, u.configuration) <> u.configuration OR ifnull(p.bundle, l.bundle) <> l.bundle)"""
ISLANDS = """SELECT epoch, lane, configuration, outcome, count(*), min(number), max(number), began FROM (
 SELECT *, min(entry) OVER (PARTITION BY epoch, lane, island) AS began FROM (
  SELECT *, sum(fresh) OVER (PARTITION BY epoch, lane ORDER BY number) AS island FROM (
    SELECT epoch, lane, number, configuration, outcome, entry,
      configuration IS NOT lag(configuration) OVER (PARTITION BY epoch, lane ORDER BY number) AS fresh
    FROM unit WHERE batch = ?)))
GROUP BY epoch, lane, island, outcome ORDER BY epoch, lane, island"""
RECORDED = "SELECT epoch, lane, number FROM unit ORDER BY rowid DESC LIMIT ?"
STATE = "SELECT state FROM alarm WHERE batch = ? AND code = 'STATE' ORDER BY rowid DESC LIMIT 1"
REVOKED = """SELECT entry, max(at_ns) FROM alarm WHERE batch = ?
AND code IN ('CAMERA_UNSYNCED', 'TOO_CLOSE', 'ESCAPED', 'PERMITS_REVOKED') GROUP BY entry"""
BOOTS = """SELECT entry FROM (SELECT entry, new, lag(new) OVER (ORDER BY entry) AS before FROM audit
WHERE what = 'trail-open' AND origin = 'recorder' AND done) WHERE new IS NOT before ORDER BY entry"""
EVENT = """SELECT what, new FROM audit WHERE what IN ('trail-open', 'trail-close') AND origin = 'recorder' AND done
ORDER BY entry DESC LIMIT 1"""
RUNNING = frozenset(state.name for state in (*states.RUNNING, states.State.STOPPING, states.State.COMPLETING))
ABORTED = """SELECT state FROM alarm WHERE code = 'RESET' OR (code = 'STATE' AND state IN ('ABORTED', 'EXECUTE'))
ORDER BY rowid DESC LIMIT 1"""
CLEARED = """SELECT code FROM alarm WHERE code IN ('CLEARED', 'LEFT_BEHIND') OR (code = 'STATE' AND state = 'EXECUTE')
ORDER BY rowid DESC LIMIT 1"""
LATCHED = """SELECT DISTINCT text FROM alarm WHERE code = 'LATCHED'
AND rowid > (SELECT coalesce(max(rowid), 0) FROM alarm WHERE code = 'RESET')"""
REMOVED = """SELECT epoch, lane, number FROM (SELECT * FROM unit ORDER BY rowid DESC LIMIT ?)
WHERE outcome = 'removed'"""
RECIPE = """SELECT coalesce(
  (SELECT recipe FROM sublot WHERE batch = b.id ORDER BY number DESC LIMIT 1), b.recipe)
FROM alarm AS a JOIN batch AS b ON b.id = a.batch
WHERE a.code = 'STATE' AND a.state = 'EXECUTE' ORDER BY a.rowid DESC LIMIT 1"""
MODE = "SELECT text FROM alarm WHERE code = 'MODE' ORDER BY rowid DESC LIMIT 1"
STRAY = """SELECT count(*) FROM unit WHERE epoch = ? AND lane = ? AND outcome = 'accepted'
AND batch NOT IN (SELECT id FROM batch)"""
ALARMS = """SELECT at_ns, code, text, state, epoch, lane, number FROM alarm WHERE batch = ?
ORDER BY rowid DESC LIMIT ?"""


def open_batch(db: sqlite3.Connection) -> BatchRecord | None:
    """Return the open batch."""
    return _batch(db, db.execute(f"{BATCH} WHERE state = 'open'").fetchone())


def batch(db: sqlite3.Connection, name: str) -> BatchRecord | None:
    """Return the batch of that id."""
    return _batch(db, db.execute(f"{BATCH} WHERE id = ?", (name,)).fetchone())


def sublots(db: sqlite3.Connection, name: str) -> tuple[SubLot, ...]:
    """Return the sub-lots of a batch in order; one that saw no swap is its own first."""
    return tuple(SubLot(*row) for row in db.execute(f"{LOTS} SELECT * FROM lot ORDER BY number", {"batch": name}))


def last_report(db: sqlite3.Connection) -> str:
    """Return the report stored with the batch opened last among the closed ones, or an empty text."""
    found = db.execute("SELECT report FROM batch WHERE state = 'closed' ORDER BY rowid DESC LIMIT 1").fetchone()
    return str(found[0]) if found else ""


def resume(db: sqlite3.Connection) -> Resume:
    """Return what a line that connects has to know; without an open batch only the newest epoch.

    A permit older than the last alarm that made the line take permits back does not count for a restarted line: whether
    the revocation reached the PLC is not known. Monotonic times are compared within one boot of this computer only.
    `running` is False after a stop or an abort: a person starts again.
    `recorded` are the newest rows of any batch: more than the PLC's ring of closed units holds.
    """
    found = db.execute("SELECT id, since_epoch FROM batch WHERE state = 'open'").fetchone()
    if found is None:
        return Resume(last_epoch(db), [], owed=owed(db, ""))
    name, since = found
    newest = [UnitId(*row) for row in db.execute(RECORDED, (RESUMED_UNITS,))]
    state = line_state(db, name)
    running = state in RUNNING
    boots = [entry for (entry,) in db.execute(BOOTS)]
    revoked = max(
        ((bisect_right(boots, entry), at_ns) for entry, at_ns in db.execute(REVOKED, (name,))), default=(0, 0)
    )
    permits = [
        permit
        for permit, entry in _permits(db, name)
        if (bisect_right(boots, entry), permit.stages.permit_ns) > revoked
    ]
    missing, permitted = without_row(db, name)
    totals = [PlcTotals(*row) for row in db.execute(NEWEST, {"batch": name})]
    return Resume(last_epoch(db), permits, since, newest, running, state, missing, permitted, totals, owed(db, name))


def owed(db: sqlite3.Connection, name: str) -> Owed:
    """Return what a restart of the line must not lift; `name` is the open batch, "" when none is."""
    return Owed(
        reset=_text(db, ABORTED) == states.State.ABORTED.name,
        empty_run=_text(db, CLEARED) not in ("", "STATE"),
        latched=[code for (code,) in db.execute(LATCHED)],
        removed=[UnitId(*row) for row in db.execute(REMOVED, (RESUMED_UNITS,))],
        recipe=_text(db, RECIPE),
        mode=_text(db, MODE).partition(" ")[0],
    )


def without_row(db: sqlite3.Connection, name: str) -> tuple[list[UnitId], int]:
    """Return the newest numbers given in a batch that have no unit row, and how many of these have a permit."""
    missing: list[UnitId] = []
    for epoch, lane in db.execute(LANES, {"batch": name}).fetchall():
        first, last = db.execute(KNOWN, {"batch": name, "epoch": epoch, "lane": lane}).fetchone()
        rows = [Run(*run) for run in db.execute(RUNS, (name, epoch, lane))]
        rest = subtract((Run(first, last),), rows) if last else ()
        missing += [UnitId(epoch, lane, number) for run in rest for number in range(run.first, run.last + 1)]
    newest = sorted(missing)[-RESUMED_UNITS:]
    return newest, len({permit.unit for permit in permits_without_unit(db, name)} & set(newest))


def line_state(db: sqlite3.Connection, name: str) -> str:
    """Return the last state of the line on record in a batch, "" when none is."""
    return _text(db, STATE, name)


def last_epoch(db: sqlite3.Connection) -> int:
    """Return the newest epoch on record, 0 when none."""
    tables = ("unit", "permit", "gap", "plc_totals")
    return max(_count(db, f"SELECT coalesce(max(epoch), 0) FROM {table}") for table in tables)


def acknowledged(db: sqlite3.Connection, session: int) -> int:
    """Return the acknowledged sequence number of a life of line, 0 for a new one."""
    return _count(db, "SELECT coalesce(max(acknowledged), 0) FROM session WHERE session = ?", session)


def permits_without_unit(db: sqlite3.Connection, name: str) -> list[PermitRow]:
    """Return the permits of a batch whose unit has no row, oldest first."""
    return [permit for permit, _ in _permits(db, name)]


def last_event(db: sqlite3.Connection) -> tuple[str, str]:
    """Return (kind, boot id) of the newest opening or closing of the trail, empty when there is none."""
    found = db.execute(EVENT).fetchone()
    return (str(found[0]), str(found[1])) if found else ("", "")


def _permits(db: sqlite3.Connection, name: str) -> list[tuple[PermitRow, int]]:
    """Return the permits of a batch whose unit has no row, oldest first, each with its entry."""
    return [(permit_row(row), entry) for *row, entry in db.execute(PERMITS, (name,))]


def stored_unit(db: sqlite3.Connection, unit: UnitId) -> tuple[bytes, str]:
    """Return (digest, outcome) of a unit that is on record."""
    sql = "SELECT digest, outcome FROM unit WHERE epoch = ? AND lane = ? AND number = ?"
    row: tuple[bytes, str] = db.execute(sql, (unit.epoch, unit.lane, unit.number)).fetchone()
    return row


def sharing(db: sqlite3.Connection, unit: UnitId, view: JudgedView) -> UnitId | None:
    """Return another accepted unit to which the same look is credited."""
    key = (view.key.camera, view.key.session, view.key.frame_id, view.view.region)
    found = db.execute(SHARING, (*key, unit.epoch, unit.lane, unit.number)).fetchone()
    return UnitId(*found) if found else None


def stored_permit(db: sqlite3.Connection, unit: UnitId) -> bytes:
    """Return the digest of a permit that is on record."""
    sql = "SELECT digest FROM permit WHERE epoch = ? AND lane = ? AND number = ?"
    return bytes(db.execute(sql, (unit.epoch, unit.lane, unit.number)).fetchone()[0])


def units(db: sqlite3.Connection, name: str) -> int:
    """Return how many unit rows a batch has."""
    return _count(db, "SELECT count(*) FROM unit WHERE batch = ?", name)


def facts(db: sqlite3.Connection, record: BatchRecord, unstored: int, rules: Rules) -> BatchFacts:
    """Collect everything the closing rule and the report look at, from the ledger alone."""
    name = record.id
    places = db.execute(LANES, {"batch": name}).fetchall()
    newest = max((epoch for epoch, _ in places), default=0)
    lanes = [_lane(db, (name, epoch, lane), epoch == newest, rules) for epoch, lane in places]
    return BatchFacts(
        batch=record,
        outcomes=_tally(db, "outcome", name),
        reasons=_tally(db, "reason", name, "reason <> 'none'"),
        defects=_tally(db, "defect", name, "defect <> ''"),
        lanes=lanes,
        open_permits=[permit.unit for permit in permits_without_unit(db, name)],
        gaps=_gaps(db, name),
        conflicts=_count(db, "SELECT count(*) FROM conflict WHERE batch = ?", name),
        unstored=unstored,
        unpermitted=_count(db, UNPERMITTED, name) if rules.automatic else 0,
        stray=sum(_count(db, STRAY, lane.epoch, lane.lane) for lane in lanes),
        foreign=int(db.execute(FOREIGN, {"batch": name, "automatic": rules.automatic}).fetchone()[0]),
        paces=_paces(db, name),
        trigger_to_frame_ns=_spans(db, name, "last_edge_ns", "frame_ns"),
        frame_to_verdict_ns=_spans(db, name, "frame_ns", "judged_ns"),
        alarms=_alarms(db, name),
        alarm_count=_count(db, "SELECT count(*) FROM alarm WHERE batch = ?", name),
        escape_alarms=_count(db, "SELECT count(*) FROM alarm WHERE batch = ? AND code = 'ESCAPED'", name),
        shares=_shares(db, record),
    )


def _batch(db: sqlite3.Connection, row: Sequence[Any] | None) -> BatchRecord | None:
    if row is None:
        return None
    name, state, *rest = row
    return replace(BatchRecord(name, BatchState(state), *rest), sublots=sublots(db, name))


def _shares(db: sqlite3.Connection, record: BatchRecord) -> list[SubLotShare]:
    if len(record.sublots) < 2:
        return []
    return share_out(record.sublots, [Island(*row) for row in db.execute(ISLANDS, (record.id,))])


def _text(db: sqlite3.Connection, sql: str, *values: Any) -> str:
    found = db.execute(sql, values).fetchone()
    return str(found[0]) if found else ""


def _count(db: sqlite3.Connection, sql: str, *values: Any) -> int:
    return int(db.execute(sql, values).fetchone()[0])


def _tally(db: sqlite3.Connection, column: str, name: str, where: str = "1") -> dict[str, int]:
    sql = f"SELECT {column}, count(*) FROM unit WHERE batch = ? AND {where} GROUP BY 1 ORDER BY 1 LIMIT {LONGEST_TALLY}"
    return dict(db.execute(sql, (name,)).fetchall())


def _lane(db: sqlite3.Connection, place: tuple[str, int, int], current: bool, rules: Rules) -> LaneFacts:
    _, epoch, lane = place
    totals = db.execute(TOTALS, place).fetchone()
    opened = db.execute(OPENED, (rules.permitted_flag, not current, *place)).fetchall()
    return LaneFacts(
        epoch=epoch,
        lane=lane,
        totals=Totals(*totals) if totals else None,
        runs=tuple(Run(first, last) for first, last in db.execute(RUNS, place)),
        released=sum(count for outcome, gate, count in opened if gate or Outcome(outcome) in RELEASED),
        current=current,
    )


def _gaps(db: sqlite3.Connection, name: str) -> list[Gap]:
    sql = "SELECT epoch, lane, first, last, cause FROM gap WHERE batch = ? ORDER BY epoch, lane, first"
    return [Gap(epoch, lane, Run(first, last), cause) for epoch, lane, first, last, cause in db.execute(sql, (name,))]


def _paces(db: sqlite3.Connection, name: str) -> list[Pace]:
    sql = """SELECT count(*), max(created_ns) - min(created_ns) FROM unit
    WHERE batch = ? AND created_ns > 0 GROUP BY epoch"""
    return [Pace(units, span) for units, span in db.execute(sql, (name,))]


def _spans(db: sqlite3.Connection, name: str, begin: str, end: str) -> list[int]:
    sql = f"SELECT {end} - {begin} FROM unit WHERE batch = ? AND {begin} > 0 AND {end} > 0"
    return [span for (span,) in db.execute(sql, (name,))]


def _alarms(db: sqlite3.Connection, name: str) -> list[AlarmFact]:
    newest = db.execute(ALARMS, (name, REPORTED_ALARMS)).fetchall()
    return [
        AlarmFact(at, code, text, state, str(UnitId(*unit)) if unit[0] is not None else "")
        for at, code, text, state, *unit in reversed(newest)
    ]
