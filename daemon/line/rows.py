"""Rows on their way to the recorder: numbered, kept until acknowledged, sent again after a reconnect (law 4)."""

from collections import deque
from collections.abc import Callable

import msgspec

from daemon.line.tracking import Finish, Grant, channel_of
from daemon.wire import AlarmRow, Arm, GapRow, Message, Peer, PermitRow, PlcTotals, UnitRow, WireError

Row = PermitRow | UnitRow | GapRow | AlarmRow | PlcTotals

HOLD_ROWS = 64
HOLD_NS = 500_000_000


class Rows:
    """Owned by the line loop. `oldest_ns` tells since when the oldest row waits."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._waiting: deque[tuple[int, int, Row]] = deque()
        self._seq = 0
        self._connected = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, row: Row, now_ns: int) -> None:
        """Number a row and send it; it stays here until the recorder says that it is durable."""
        self._seq += 1
        row = msgspec.structs.replace(row, seq=self._seq)
        self._waiting.append((self._seq, now_ns, row))
        if self._connected:
            self._send(row)

    def stored(self, seq: int) -> None:
        """Everything up to `seq` is durable."""
        while self._waiting and self._waiting[0][0] <= seq:
            self._waiting.popleft()

    def connected(self) -> None:
        """A recorder said Hello: send everything again, in order."""
        self._connected = True
        for _seq, _since, row in list(self._waiting):
            self._send(row)

    def disconnected(self) -> None:
        self._connected = False

    def overdue(self, now_ns: int) -> bool:
        """True when law 4 holds the line: too many rows, or one for too long, without acknowledgement."""
        if not self._waiting:
            return False
        return len(self._waiting) >= HOLD_ROWS or now_ns - self._waiting[0][1] > HOLD_NS


def send_or_drop(peer: Peer, message: Message) -> bool:
    """Send; False when the peer is gone or does not read, so that the caller drops it."""
    try:
        peer.send(message)
    except WireError:
        return False
    return True


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
