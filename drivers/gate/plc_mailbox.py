"""The PLC's side of the mail of wiring modbus-server: results into its own slots, triggers and acks out. Pure.

It copies and decides nothing that lets a unit pass: the gate program judges every slot again. What is old, of another
epoch or not a permit leaves the slot empty or empties it; a lost result empties them all.
"""

from collections.abc import Sequence

from drivers.gate.plc_bank import Bank
from drivers.handshake import MAX_U16, PERMIT, MailFlag
from drivers.registers import split, u32

MOST_AGE_MS = 80


class Mailbox:
    """Owned by the communication block. `connected`, then `take` with every mail read and `order` for what to write."""

    def __init__(self, bank: Bank, lanes: int) -> None:
        self._bank = bank
        self._map = bank.map
        self._heads = [bank.map.lane.at(lane) + bank.map.lane.fields["created_seq"].offset for lane in range(lanes)]
        self._order = {"toggle": 0, "trigger": 0, "lane": 0, "number": 0, "epoch": 0}
        self._lane = 0
        self._fresh = True
        self._taken = 0
        self._announced: list[int] = []
        self.lost = 0
        self.naks = 0

    def connected(self) -> None:
        """A connection begins: results and units from before it are none of its business, nor is what they left."""
        self._fresh = True
        self._empty()
        self._order["number"] = 0

    def take(self, mail: Sequence[int]) -> None:
        """Take one answer that begins at mail.turn and holds the whole queue."""
        fields = self._map.mail.read(mail)
        head = fields["result_head"]
        if self._fresh:
            self._fresh = False
            self._taken = head
            self._announced = [u32(self._bank.words, at) for at in self._heads]
            return
        self._results(mail, head)
        if fields["flags"] & MailFlag.ACK_TOGGLE == (MailFlag.ACK_TOGGLE if self._order["toggle"] else 0):
            self.naks += self._order["number"] != 0 and fields["nak"] == self._order["trigger"]
            self._announce()

    def order(self) -> list[int]:
        """Return the registers of order.* to write, in one request."""
        return self._map.order.write(self._order | {"result_ack": self._taken})

    def _results(self, mail: Sequence[int], head: int) -> None:
        block = self._map.result
        fresh = (head - self._taken) & MAX_U16
        if fresh > block.length:
            self.lost += fresh - block.length
            self._empty()
        for back in reversed(range(min(fresh, block.length))):
            seq = (head - back) & MAX_U16
            entry = block.read(mail, block.at(0, seq % block.length) - self._map.mail.base)
            if entry["seq"] == seq and entry["number"] and entry["lane"] < len(self._heads):
                self._apply(entry)
        self._taken = head

    def _empty(self) -> None:
        """Empty every permit slot: a withdrawal may be among what was not seen."""
        block = self._map.permit
        for lane in range(len(self._heads)):
            self._bank.zero(block.at(lane), block.length * block.entry)

    def _apply(self, entry: dict[str, int]) -> None:
        lane, number = entry["lane"], entry["number"]
        block = self._map.permit
        at = block.at(lane, number % block.length)
        young = entry["age_ms"] <= MOST_AGE_MS and entry["epoch"] == self._bank.get("epoch")
        if entry["verdict"] == PERMIT:
            if young:
                self._bank.write(at, [*split(number), entry["epoch"] & MAX_U16, entry["check"]])
            return
        if u32(self._bank.words, at) == number:
            self._bank.zero(at, block.entry)
        if young and entry["check"]:
            place = self._map.channel.at(lane, number % self._map.channel.length)
            self._bank.write(place, [*split(number), entry["channel"], entry["check"]])

    def _announce(self) -> None:
        """Announce the next unit, lane by lane in turn; what left the ring meanwhile is left out."""
        words, ring = self._bank.words, self._map.unit
        for _ in self._heads:
            self._lane = (self._lane + 1) % len(self._heads)
            head = u32(words, self._heads[self._lane])
            done = min(self._announced[self._lane], head)
            self._announced[self._lane] = done = max(done, head - ring.length)
            if head > done:
                self._announced[self._lane] = done + 1
                entry = ring.read(words, ring.ring_at(self._lane, done + 1))
                order = {"lane": self._lane, "number": entry["number"], "epoch": entry["epoch"]}
                trigger = (self._order["trigger"] + 1) & MAX_U16
                self._order = order | {"toggle": 1 - self._order["toggle"], "trigger": trigger}
                return
