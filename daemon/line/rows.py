"""Rows on their way to the recorder: numbered, kept until acknowledged, sent again after a reconnect (law 4)."""

import itertools
from collections import deque
from collections.abc import Callable

import msgspec

from daemon.line.tracking import Grant
from daemon.line.unit import Finish, channel_of
from daemon.messages import AlarmRow, Arm, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.records import AuditRow
from daemon.wire import Message

Row = PermitRow | UnitRow | GapRow | AlarmRow | PlcTotals | AuditRow

HOLD_ROWS = 64
HOLD_NS = 500_000_000


class Rows:
    """Owned by the line loop. `oldest_ns` tells since when the oldest row waits."""

    def __init__(self, send: Callable[[Message], bool]) -> None:
        self._send = send
        self._waiting: deque[tuple[int, int, Row]] = deque()
        self._seq = 0
        self._sent = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, row: Row, now_ns: int) -> int:
        """Number a row and return the number; it stays here until the recorder says that it is durable."""
        self._seq += 1
        self._waiting.append((self._seq, now_ns, msgspec.structs.replace(row, seq=self._seq)))
        return self._seq

    def waits(self, seq: int) -> bool:
        """True while the row of that number is not durable yet."""
        return bool(self._waiting) and seq >= self._waiting[0][0]

    def pump(self) -> None:
        """Send what was not sent yet, in order, as far as the recorder takes it. Called every turn of the loop."""
        if not self._waiting or self._waiting[-1][0] <= self._sent:
            return
        for seq, _since, row in itertools.islice(self._waiting, max(0, self._sent - self._waiting[0][0] + 1), None):
            if not self._send(row):
                return
            self._sent = seq

    def stored(self, seq: int) -> None:
        """Everything up to `seq` is durable."""
        while self._waiting and self._waiting[0][0] <= seq:
            self._waiting.popleft()

    def connected(self) -> None:
        """A recorder said Hello: everything that waits is sent again."""
        self._sent = 0

    def overdue(self, now_ns: int) -> bool:
        """True when law 4 holds the line: too many rows, or one for too long, without acknowledgement."""
        if not self._waiting:
            return False
        return len(self._waiting) >= HOLD_ROWS or now_ns - self._waiting[0][1] > HOLD_NS


def permit_row(grant: Grant, arm: Arm) -> PermitRow:
    """Return the row that goes with a permit."""
    judged = grant.judged
    return PermitRow(
        seq=0,
        unit=grant.unit,
        batch=arm.batch,
        configuration=arm.configuration,
        verdict=judged.verdict,
        views=judged.views,
        bundle=judged.bundle,
        stages=grant.stages,
    )


def unit_row(finish: Finish, arm: Arm) -> UnitRow:
    """Return the final row of a closed unit."""
    channel, defect = channel_of(finish)
    return UnitRow(
        seq=0,
        unit=finish.unit,
        batch=arm.batch,
        configuration=arm.configuration,
        outcome=finish.outcome,
        verdict=finish.verdict,
        reason=finish.reason,
        channel=channel,
        defect=defect,
        source=finish.source,
        views=finish.judged.views if finish.judged else [],
        bundle=finish.judged.bundle if finish.judged else "",
        plc_flags=finish.flags,
        encoder=finish.encoder,
        stages=finish.stages,
    )
