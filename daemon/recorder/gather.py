"""Group commit: rows are gathered and written in one transaction at most once per group time, then acknowledged.

A quiet recorder writes at once; a busy one waits until the group time since the last transaction is over, so no row
waits longer than that before its fsync. When the ledger cannot be written the rows stay here, unacknowledged, and are
tried again every RETRY_NS; at MAX_ROWS the recorder stops reading line, which then holds the infeed by itself.
"""

import enum
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from daemon.messages import AlarmRow
from daemon.recorder.ledger import RECORDER, Ledger, LedgerUnwritable
from daemon.recorder.rows import Received, Refusal, storable
from daemon.recorder.wall import WallClock
from daemon.records import AuditRow
from daemon.units import UnitId

MAX_ROWS = 4096
RETRY_NS = 50_000_000
FLUSH_ROUNDS = 2


class Trouble(enum.StrEnum):
    """Alarm codes of the recorder."""

    UNWRITABLE = "LEDGER_UNWRITABLE"
    WRITTEN_AGAIN = "LEDGER_WRITTEN_AGAIN"
    REFUSED = "ROW_REFUSED"
    PEER_DROPPED = "RECORDER_PEER_DROPPED"
    OTHER_BUNDLE = "BUNDLE_NOT_ARMED"
    OTHER_BATCH = "ROW_OF_ANOTHER_BATCH"
    SKIPPED = "ROW_NUMBER_SKIPPED"
    UNSIGNED = "TRAIL_NOT_SIGNED"


@dataclass(frozen=True, slots=True)
class Watermark:
    """Sequence numbers of one life of a process that are stored: all up to `value`, and `beyond` it after a hole."""

    value: int = 0
    beyond: frozenset[int] = frozenset()

    def advance(self, seqs: Iterable[int]) -> "Watermark":
        """Return the mark after these numbers are stored too. Numbers begin at 1 and leave no hole."""
        value, beyond = self.value, {seq for seq in seqs if seq > self.value} | self.beyond
        while value + 1 in beyond:
            value += 1
            beyond.discard(value)
        return Watermark(value, frozenset(beyond))


class Gather:
    """Rows that are not durable yet, and how far each life of a process is acknowledged. The loop owns it."""

    def __init__(self, ledger: Ledger, clock: WallClock, session: int, group_ns: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._session = session
        self._group_ns = group_ns
        self._rows: list[Received] = []
        self._marks: dict[int, Watermark] = {}
        self._known: dict[int, int] = {}
        self._skipped: set[int] = set()
        self._own_seq = 0
        self._due_ns = 0
        self.failure = ""

    @property
    def unstored(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        return len(self._rows) >= MAX_ROWS

    def begin(self, session: int) -> None:
        """Learn how far a life of line is acknowledged; called at its Hello.

        Line sends all that is not acknowledged again, in order: a connection acknowledges only what came through it,
        so that a life that happens to have the number of an earlier one is never told that its rows are stored.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self._known[session] = self._ledger.acknowledged(session)
        self._marks.pop(session, None)

    def add(self, received: Received) -> None:
        self._rows.append(received)

    def alarm(self, code: Trouble, text: str, batch: str, unit: UnitId | None = None) -> None:
        """Add an alarm of the recorder's own to the rows."""
        self._own_seq += 1
        row = AlarmRow(self._own_seq, time.monotonic_ns(), code.value, text, "", unit)
        self.add(Received(self._session, row, batch, RECORDER))

    def audit(self, row: AuditRow, batch: str) -> None:
        """Add an act or event of the recorder's own to the rows."""
        self.add(self.numbered(row, batch))

    def numbered(self, row: AuditRow, batch: str) -> Received:
        """Return an act or event of the recorder's own with its number, for whoever writes it himself."""
        self._own_seq += 1
        return Received(self._session, msgspec.structs.replace(row, seq=self._own_seq), batch, RECORDER)

    def wait_ns(self, now_ns: int) -> int | None:
        """Return how long until a transaction is due, None when nothing is gathered."""
        return max(0, self._due_ns - now_ns) if self._rows else None

    def commit(self, now_ns: int) -> Mapping[int, int]:
        """Write what is gathered; return {session: acknowledged} of the lives that had rows in it.

        A refused row is alarmed in the next transaction. On failure nothing is acknowledged and `failure` says why.
        """
        rows = self._rows
        marks = self._advanced(rows)
        acknowledged = {session: mark.value for session, mark in marks.items()}
        try:
            refusals = self._ledger.store(rows, acknowledged, self._clock.now())
        except LedgerUnwritable as error:
            self._fail(str(error), now_ns)
            return {}
        self._rows = []
        self._marks |= marks
        self._due_ns = now_ns + self._group_ns
        self._alarm_after(rows, refusals, marks)
        return acknowledged

    def flush(self, now_ns: int) -> Mapping[int, int]:
        """Write what is gathered and the alarms that follow from it; return as `commit`."""
        acknowledged: dict[int, int] = {}
        for _ in range(FLUSH_ROUNDS):
            if self._rows:
                acknowledged |= self.commit(now_ns)
        return acknowledged

    def _alarm_after(self, rows: list[Received], refusals: list[Refusal], marks: dict[int, Watermark]) -> None:
        for refusal in refusals:
            refused = refusal.received
            if refused.origin != RECORDER:  # an alarm over an alarm of our own would never end
                unit = getattr(refused.row, "unit", None)
                self.alarm(Trouble.REFUSED, refusal.why, refused.batch, unit if unit and storable(unit) else None)
        origins = {received.session: received.origin for received in rows}
        for session in (session for session, mark in marks.items() if mark.beyond and session not in self._skipped):
            self._skipped.add(session)
            text = f"row {marks[session].value + 1} of {origins[session]} never came: restart it"
            self.alarm(Trouble.SKIPPED, text, rows[0].batch)
        if self.failure:
            self.failure = ""
            self.alarm(Trouble.WRITTEN_AGAIN, f"{len(rows)} rows that waited are stored", rows[0].batch)

    def _advanced(self, rows: list[Received]) -> dict[int, Watermark]:
        seqs: dict[int, list[int]] = {}
        for received in rows:
            if received.origin != RECORDER:
                seqs.setdefault(received.session, []).append(received.row.seq)
        return {session: self._begun(session, found[0]).advance(found) for session, found in seqs.items()}

    def _begun(self, session: int, first: int) -> Watermark:
        return self._marks.get(session) or Watermark(min(self._known.get(session, 0), first - 1))

    def _fail(self, text: str, now_ns: int) -> None:
        self._due_ns = now_ns + RETRY_NS
        if not self.failure:
            self.alarm(Trouble.UNWRITABLE, text, self._rows[0].batch)
        self.failure = text
