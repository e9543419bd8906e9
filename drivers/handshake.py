"""The device's side of the mail that a polling PLC reads: Ready, Trigger, Ack, NAK, results, Overrun. Pure.

What crosses the register link fills it (permits, withdrawals, reject channels); nothing in here can make a permit. A
NAK and a permit never meet: a unit whose trigger was not taken is barred until its slot is used again.
"""

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.registers import RegisterMap

PERMIT, NO_PERMIT = 1, 0
MAX_U16 = 0xFFFF


class MailFlag(enum.IntFlag):
    """Bits of register mail.flags, as in the map."""

    READY = 1
    BUSY = 2
    RESULT_VALID = 4
    OVERRUN = 8
    NAK = 16
    ACK_TOGGLE = 32


class Nak(enum.IntEnum):
    """Why a trigger was not taken, values as in the map."""

    NONE = 0
    NOT_READY = 1
    WRONG_EPOCH = 2
    QUEUE_FULL = 3
    BAD_LANE = 4
    SEQUENCE = 5


class ResultReason(enum.IntEnum):
    """Why a result is no permit, values as in the map."""

    NONE = 0
    WITHDRAWN = 1
    NAK = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Result:
    """One entry of the queue. `check` is the word of a permit slot or of a channel slot, 0 where neither applies."""

    lane: int
    number: int
    given_ns: int
    check: int = 0
    channel: int = 0
    verdict: int = NO_PERMIT
    reason: ResultReason = ResultReason.NONE
    seq: int = 0
    epoch: int = 0

    def fields(self, now_ns: int) -> dict[str, int]:
        """Return it as the map has it, with its age at this moment."""
        names = ("seq", "lane", "number", "epoch", "verdict", "reason", "channel", "check")
        return {name: getattr(self, name) for name in names} | {
            "age_ms": min(max(now_ns - self.given_ns, 0) // 1_000_000, MAX_U16)
        }


class Handshake:
    """Owned by HostLink. Times are CLOCK_MONOTONIC ns. `ready` is set by the owner before triggers are shown to it."""

    def __init__(self, registers: RegisterMap, lanes: int) -> None:
        self._map = registers
        self._lanes = lanes
        self._results: deque[Result] = deque(maxlen=registers.result.length)
        self._barred: dict[tuple[int, int], int] = {}
        self._given: dict[tuple[int, int], int] = {}
        self._order: dict[str, int] | None = None
        self._head = 0
        self._acked = 0
        self._epoch = 0
        self._ack = self._nak = self._toggle = 0
        self._cause = Nak.NONE
        self._overrun = False
        self.ready = False
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """Results in the queue that the PLC did not acknowledge."""
        return (self._head - self._acked) & MAX_U16

    def begin(self, epoch: int) -> None:
        """A new epoch is agreed, or (0) none any more: no result and no bar of the old one counts.

        The sequence numbers leap over more than the queue holds, so that a PLC that missed a withdrawal sees a loss.
        """
        self._epoch = epoch
        if self._results:
            self._head = (self._head + self._map.result.length + 1) & MAX_U16
        self._results.clear()
        self._barred.clear()
        self._given.clear()
        self._acked = self._head
        self._overrun = False

    def connected(self) -> None:
        """A PLC took the pen: its first order is where its triggers begin."""
        self._order = None
        self.begin(0)

    def permit(self, lane: int, number: int, check: int, now_ns: int) -> bool:
        """Queue the permit of a unit of the agreed epoch. False: its trigger was not taken, so it gets none."""
        if not self._epoch or self._barred.get(self._place(lane, number)) == number:
            return False
        self._given[self._place(lane, number)] = number
        self._add(Result(lane, number, now_ns, check=check, verdict=PERMIT))
        return True

    def withdraw(self, lane: int, number: int, now_ns: int, reason: ResultReason = ResultReason.WITHDRAWN) -> None:
        """Take back a permit, if there was one: void where it stands, and told for a PLC that has copied it already."""
        if self._given.get(self._place(lane, number)) != number:
            return
        del self._given[self._place(lane, number)]
        for index, result in enumerate(self._results):
            if (result.lane, result.number, result.verdict) == (lane, number, PERMIT):
                self._results[index] = replace(result, verdict=NO_PERMIT, reason=reason, check=0)
        self._add(Result(lane, number, now_ns, reason=reason))

    def reject(self, lane: int, number: int, channel: int, check: int, now_ns: int) -> None:
        """Tell the reject channel of a unit that gets no permit."""
        self._add(Result(lane, number, now_ns, check=check, channel=channel, reason=ResultReason.REJECTED))

    def order(self, words: Sequence[int], now_ns: int) -> tuple[int, int] | None:
        """The PLC wrote its order: acknowledgement and, if it changed, a trigger. Returns (lane, number) of a NAK."""
        order, before = self._map.order.read(words), self._order
        self._acknowledge(order["result_ack"])
        self._order = order
        if before is None:
            self._toggle = order["toggle"] & 1
        if before is None or not order["number"] or self._same(order, before):
            return None
        self._toggle = order["toggle"] & 1
        self._cause = self._refusal(order, before)
        if self._cause is Nak.NONE:
            self._ack = order["trigger"]
            return None
        self._nak = order["trigger"]
        if self._cause is Nak.BAD_LANE:
            return None
        lane, number = order["lane"], order["number"]
        self._barred[self._place(lane, number)] = number
        self.withdraw(lane, number, now_ns, ResultReason.NAK)
        return lane, number

    def words(self, turn: int, refused_writes: int) -> list[int]:
        """Return the registers of mail.*, as they are at this moment."""
        fields = {
            "turn": turn,
            "flags": self._flags(),
            "ack": self._ack,
            "nak": self._nak,
            "nak_cause": self._cause,
            "in_flight": min(self.in_flight, MAX_U16),
            "result_head": self._head,
            "refused_writes": refused_writes,
        }
        return self._map.mail.write(fields)

    def results(self, now_ns: int) -> list[int]:
        """Return the registers of the result queue with their ages at this moment."""
        block = self._map.result
        words = [0] * (block.length * block.entry)
        for result in self._results:
            at = result.seq % block.length * block.entry
            words[at : at + block.entry] = block.write(result.fields(now_ns))
        return words

    def _place(self, lane: int, number: int) -> tuple[int, int]:
        return lane, number % self._map.permit.length

    def _add(self, result: Result) -> None:
        if self.waiting >= self._map.result.length:
            self._overrun = True
            self._acked = (self._acked + 1) & MAX_U16
        self._head = (self._head + 1) & MAX_U16
        self._results.append(replace(result, seq=self._head, epoch=self._epoch))

    def _acknowledge(self, seq: int) -> None:
        """Take an acknowledgement that lies within what is unacknowledged; any other says nothing."""
        if (seq - self._acked) & MAX_U16 <= self.waiting:
            self._acked = seq
        if not self.waiting:
            self._overrun = False

    @staticmethod
    def _same(order: dict[str, int], before: dict[str, int]) -> bool:
        return all(order[name] == before[name] for name in ("toggle", "trigger"))

    def _refusal(self, order: dict[str, int], before: dict[str, int]) -> Nak:
        follows = order["trigger"] == (before["trigger"] + 1) & MAX_U16
        toggled = {order["toggle"], before["toggle"]} == {0, 1}
        checks = (
            (order["lane"] >= self._lanes, Nak.BAD_LANE),
            (not (follows and toggled), Nak.SEQUENCE),
            (not self.ready or not self._epoch, Nak.NOT_READY),
            (order["epoch"] != self._epoch, Nak.WRONG_EPOCH),
            (self.waiting >= self._map.result.length, Nak.QUEUE_FULL),
        )
        return next((cause for wrong, cause in checks if wrong), Nak.NONE)

    def _flags(self) -> MailFlag:
        levels = (
            (self.ready, MailFlag.READY),
            (self.in_flight > 0, MailFlag.BUSY),
            (self.waiting > 0, MailFlag.RESULT_VALID),
            (self._overrun, MailFlag.OVERRUN),
            (self._cause is not Nak.NONE, MailFlag.NAK),
            (self._toggle == 1, MailFlag.ACK_TOGGLE),
        )
        flags = MailFlag(0)
        for level, flag in levels:
            flags |= flag if level else MailFlag(0)
        return flags
