"""Permits on their way out. Pure.

A PLC remembers which permits it used, so a permit goes to it at once and its row follows. With direct wiring nothing
outlives this process, so a permit waits until its row is durable: a unit without a permit on record did not pass.
"""

from collections import deque

from daemon.line.rows import Rows
from daemon.messages import PermitRow
from daemon.units import UnitId
from drivers.plc_link import Plc

LATEST_NS = 120_000_000


class Permits:
    """Owned by Control. `after_record`: wait for the disk."""

    def __init__(self, plc: Plc, rows: Rows, *, after_record: bool) -> None:
        self._plc = plc
        self._rows = rows
        self._after_record = after_record
        self._waiting: deque[tuple[int, UnitId, int]] = deque()

    def grant(self, row: PermitRow, now_ns: int) -> None:
        """Give the permit, and put it on record."""
        if not self._after_record:
            self._give(row.unit)
        seq = self._rows.put(row, now_ns)
        if self._after_record:
            self._waiting.append((seq, row.unit, row.stages.last_edge_ns + LATEST_NS))

    def revoke(self, unit: UnitId) -> None:
        """Take the permit back, given or not."""
        self._waiting = deque(entry for entry in self._waiting if entry[1] != unit)
        self._plc.revoke(unit.lane, unit.number)

    def stored(self, seq: int, now_ns: int) -> None:
        """Everything up to `seq` is durable. What the disk made late is late: its unit goes to the chute."""
        while self._waiting and self._waiting[0][0] <= seq:
            _, unit, latest_ns = self._waiting.popleft()
            if now_ns <= latest_ns:
                self._give(unit)

    def _give(self, unit: UnitId) -> None:
        """A permit of another epoch counts no more: the same number may be another unit by now.

        The epoch can change between two permits of one turn, before the line hears of it: a permit moves the wire.
        """
        if unit.epoch == self._plc.epoch:
            self._plc.permit(unit.lane, unit.number)
