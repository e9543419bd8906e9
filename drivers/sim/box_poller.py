"""Wiring modbus-server, the PLC's end: a communication block that polls the device's Modbus server.

Once in CYCLE_NS: read the device's registers and its mail, take a status, write what is new in the rings and then that
status, which stands for everything up to its sequence numbers; write the order if it changed. It copies; the gate
program between the copies judges.
"""

import select
import time
from collections.abc import Iterator, Sequence

from drivers.errors import DeviceLost
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_mailbox import Mailbox
from drivers.links import Reply
from drivers.modbus import MAX_WRITE, ModbusLink
from drivers.registers import Block, u32

CYCLE_NS = 4_000_000
MOST_PIECES = 16


class Rings:
    """What of the PLC's rings was written to the device over this connection."""

    def __init__(self, bank: Bank, lanes: int, stations: Sequence[int]) -> None:
        self._bank = bank
        layout = bank.map
        created, closed = (layout.lane.fields[name].offset for name in ("created_seq", "closed_seq"))
        self._heads: list[tuple[Block, int, int]] = [
            *((layout.unit, lane, layout.lane.at(lane) + created) for lane in range(lanes)),
            *((layout.edge, station, layout.station.at(station)) for station in stations),
            *((layout.closed, lane, layout.lane.at(lane) + closed) for lane in range(lanes)),
        ]
        self._done: dict[int, int] = {}
        self._starts = 0

    def forget(self) -> None:
        """The device has none of it: the rings are written anew, as far as they reach back."""
        self._done.clear()

    def pieces(self, status: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield (address, registers) of what is new up to this status; what was taken counts as written."""
        starts = status[self._bank.map.registers["starts"].offset]
        if starts != self._starts:
            self._starts = starts
            self.forget()
        for block, index, head_at in self._heads:
            head, done = u32(status, head_at), self._done.get(head_at, 0)
            if done > head:
                done = 0
            done = max(done, head - block.length)
            while done < head:
                room = block.length - done % block.length
                count = min(head - done, room, MAX_WRITE // block.entry)
                at = block.ring_at(index, done + 1)
                done += count
                self._done[head_at] = done
                yield at, list(self._bank.words[at : at + count * block.entry])


class PollerFront:
    """A `Front`. The device listens, the box connects; a cut link is a closed connection that is not made again."""

    port = 0

    def __init__(self, bank: Bank, link: ModbusLink, lanes: int, stations: Sequence[int]) -> None:
        self._bank = bank
        self._map = bank.map
        self._link = link
        self._epoll = select.epoll()
        self._fd = -1
        self._cut = False
        self._status_size = bank.map.status_words
        self._next_ns = 0
        self._claimed = False
        self._ordered: list[int] = []
        self._rings = Rings(bank, lanes, stations)
        self.mailbox = Mailbox(bank, lanes)
        first, last = (
            bank.map.registers[name] for name in (bank.map.device_registers[0], bank.map.device_registers[-1])
        )
        self._device = (first.offset, last.offset + last.words - first.offset)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def scan(self, at_ns: int) -> None:
        """Begin a cycle when it is time to and the last one is over."""
        if self._cut:
            return
        if self._link.up and self._link.idle and at_ns >= self._next_ns:
            self._next_ns = at_ns + CYCLE_NS
            self._link.read("read device", *self._device)
            self._link.read("read mail", self._map.mail.base, self._map.order.base - self._map.mail.base)
        self.service()

    def service(self) -> None:
        if self._cut:
            return
        if self._link.connect(time.monotonic_ns()):
            self._connected()
        try:
            while replies := self._link.service(time.monotonic_ns()):
                for reply in replies:
                    self._take(reply)
        except DeviceLost:
            pass
        self._watch()

    def shut(self) -> None:
        self._cut = True
        self._link.close()
        self._watch()

    def open(self) -> None:
        self._cut = False

    def close(self) -> None:
        self._link.close()
        if not self._epoll.closed:
            self._epoll.close()

    def _watch(self) -> None:
        """Poll the connection's descriptor; a closed one left the epoll by itself."""
        fd = self._link.fileno()
        if fd != self._fd and fd >= 0:
            self._epoll.register(fd, select.EPOLLIN)
        self._fd = fd

    def _connected(self) -> None:
        self._claimed = False
        self._ordered = []
        self._rings.forget()
        self.mailbox.connected()
        self._next_ns = 0

    def _take(self, reply: Reply) -> None:
        if reply.tag == "read device":
            self._bank.write(self._device[0], reply.words)
        elif reply.tag == "read mail":
            self.mailbox.take(reply.words)
            self._tell(self._map.mail.read(reply.words)["turn"])

    def _tell(self, turn: int) -> None:
        """Write the status that belongs to this turn, behind the ring entries that it stands for."""
        if self._bank.refresh:
            self._bank.refresh()
        status = list(self._bank.words[: self._status_size])
        status[self._map.registers["turn_echo"].offset] = turn
        if self._claimed:
            for piece, (address, words) in enumerate(self._rings.pieces(status)):
                self._link.write("ring", address, words)
                if piece + 1 >= MOST_PIECES:
                    return
        self._claimed = True
        self._link.write("status", 0, status)
        order = self.mailbox.order()
        if order != self._ordered:
            self._ordered = order
            self._link.write("order", self._map.order.base, order)
