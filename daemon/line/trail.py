"""What goes on record beside units: every act, every alarm, every change, with or without a batch. Pure.

Nothing switches this off. What is done is always recorded, one row for each; so is everything in a batch. What could
come without end (acts that are refused, and outside of a batch the same line again and again) is recorded one by one
up to a limit and counted beyond it; the counts follow in a row of their own. While many acts wait for the recorder no
other is done but those that stop the line: nobody can make the rows of units wait by acting fast.
"""

from collections import Counter, deque
from collections.abc import Iterable

from daemon.acts import clipped
from daemon.catalogue import catalogue
from daemon.line.arming import Arming
from daemon.line.desk import Note
from daemon.line.rows import HOLD_ROWS, Rows
from daemon.messages import AlarmRow
from daemon.records import AuditRow

MOST_ACTS = MOST_REFUSED = 3 * HOLD_ROWS // 8
MOST_NOTES = 256
MOST_ROWS = 1024
MOST_KINDS = 8
LONGEST_TEXT = 2000
AGAIN_NS = 60_000_000_000
COUNTED_NS = 10_000_000_000

KEPT = {"STATE", "RESET", "CLEARED", "LEFT_BEHIND", "LATCHED", "MODE"}
"""What the recorder reads to tell the next life of the line how to begin (recorder/reading.py): never left out."""

REVOKING = {"CAMERA_UNSYNCED", "TOO_CLOSE", "ESCAPED", "PERMITS_REVOKED"}
"""What makes permits on record count no more for the next life."""

NOTES = {
    "LINE_STARTED": "a process of line begins, with its line mode",
    "PEER_FOUND": "recorder or vision is connected",
    "PEER_LOST": "recorder, vision or a camera process is gone, and why",
    "LOADED": "bundle and recipe that vision has loaded",
    "SUBLOT": "what judges from now on inside the batch by a signed order, and the newest unit of each lane before it",
    "CAMERA": "a camera acquires in a new session, or does not acquire any more",
    "EPOCH": "the epoch agreed with the PLC, or that it is over",
    "KEY_SWITCH": "the PLC's key switch inspection authority as it stands now",
    "PLC": "another PLC or register map than the station's, or a PLC that is aborted; and when that is over",
    "STATE": "the state of the line after a change, and why",
    "MODE": "the PackML mode after a change, by whom",
    "LATCHED": "a fault that waits for a person from now on",
    "RESET": "a person reset the line",
    "CLEARED": "a person said what became of the units in the machine, or the empty-line run saw nothing",
    "UNSHELVED": "the time of an alarm on the shelf is over",
}
"""Codes of alarm rows that are no faults of faults.TABLE."""

NOT_LISTED = "not-listed"
ACT = "ACT"


class Trail:
    """Owned by Control. `act` is called for every act before it is answered, `notes` every few milliseconds."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._done: deque[int] = deque()
        self._refused: deque[int] = deque()
        self._last: dict[tuple[str, str], int] = {}
        self._counted: Counter[str] = Counter()
        self._counted_since = 0
        self._texts = catalogue()

    @property
    def full(self) -> bool:
        """True while so many acts or rows wait for the recorder that nobody may do more than stop the line."""
        return len(self._rows) >= MOST_ROWS or self._waiting(self._done) >= MOST_ACTS

    def act(self, row: AuditRow) -> None:
        """Put an act on record. At most MOST_REFUSED refusals wait for the recorder; more are counted."""
        if not row.done and self._waiting(self._refused) >= MOST_REFUSED:
            self._count(f"{row.what} by {row.who}, refused", row.at_ns)
        else:
            (self._done if row.done else self._refused).append(self._rows.put(row, row.at_ns))

    def notes(self, notes: Iterable[Note], arming: Arming, now_ns: int) -> None:
        """Put alarms and changes on record. An act among them has its own row already."""
        for note in notes:
            if note.code == ACT or (note.code in REVOKING and not arming.ready):
                continue  # before the recorder told what it has this life gave no permit that it could take back
            if self._must(note, arming) or self._is_news(note):
                text = clipped(self._texts.sentence(note.code, note.text), LONGEST_TEXT)
                self._rows.put(AlarmRow(0, note.at_ns, note.code, text, note.state.name, None), now_ns)
            else:
                self._count(note.code, now_ns)
        self._tell(now_ns)

    def _waiting(self, numbers: deque[int]) -> int:
        while numbers and not self._rows.waits(numbers[0]):
            numbers.popleft()
        return len(numbers)

    def _must(self, note: Note, arming: Arming) -> bool:
        """True for what is never left out: in a batch everything, unless the recorder is away for very long."""
        kept = note.code in KEPT or (bool(arming.batch) and note.code in REVOKING)
        return kept or (bool(arming.batch) and len(self._rows) < MOST_ROWS)

    def _is_news(self, note: Note) -> bool:
        """For the rest: the same line once in AGAIN_NS, and none while MOST_NOTES rows wait."""
        key = note.code, note.text
        if len(self._rows) >= MOST_NOTES or note.at_ns - self._last.get(key, -AGAIN_NS) < AGAIN_NS:
            return False
        self._last.pop(key, None)
        self._last[key] = note.at_ns
        if len(self._last) > MOST_NOTES:
            del self._last[next(iter(self._last))]
        return True

    def _count(self, what: str, now_ns: int) -> None:
        if not self._counted:
            self._counted_since = now_ns
        self._counted[what if what in self._counted or len(self._counted) < MOST_KINDS else "other"] += 1

    def _tell(self, now_ns: int) -> None:
        """Say how many were left out, once they can be recorded."""
        if not self._counted or now_ns - self._counted_since < COUNTED_NS or len(self._rows) >= MOST_NOTES:
            return
        why = f"the same again, or more than can wait for the recorder, in {(now_ns - self._counted_since) / 1e9:.0f} s"
        found = "; ".join(f"{count} x {what}" for what, count in self._counted.most_common())
        self._counted.clear()
        self._rows.put(AuditRow(0, now_ns, NOT_LISTED, "line", "machine", why, "", found, True, ""), now_ns)
