"""Wiring serial-board: a reject board with its own eyes as a RegisterLink (docs/interfaces/serial-board-v1.md).

The board pushes events and answers each PING with a status sampled after it; both become registers of map v1 in memory.
What `Plc` writes becomes frames: heartbeat, permit, revocation, channel. A status counts only once every event up to
it has come, so a reader of the registers never sees a head whose entries are missing.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.board_mirror import MOST_WAITING, Mirror, Outbox
from drivers.errors import DeviceLost
from drivers.links import Reply
from drivers.registers import (
    CHANNEL_MARK,
    DEVICE_BASE,
    Block,
    RegisterMap,
    channel_check,
    permit_check,
    u32,
)
from drivers.serial_frames import Beat, BoardEvent, Decoder, Frame, Permit, Ping, Revoke, Sort, Status, encode
from drivers.transports import Transport

MS = 1_000_000
RETRY_NS = 100 * MS
PING_AGAIN_NS = 20 * MS
RESEND_NS = 20 * MS
NAK_NS = 20 * MS
STALL_NS = 20 * MS
MOST_UNSENT = 4096
MOST_STAMPS = 8
BEAT_FIELDS = {
    "device": "device_identity",
    "beat": "device_heartbeat",
    "echo": "plc_heartbeat_echo",
    "nonce": "epoch_nonce",
    "proposal": "epoch_proposal",
    "command": "command",
    "mode": "line_mode",
    "state": "line_state",
    "lamps": "lamps",
}


@dataclass(frozen=True, slots=True)
class Health:
    """Counters of the line: frames broken here and there, frames the board refused, permits dropped here, resends."""

    bad_here: int
    bad_there: int
    refused_there: int
    dropped: int
    resent: int


@dataclass(frozen=True, slots=True)
class _Read:
    tag: str
    address: int
    count: int
    index: int
    seq: int


@dataclass(frozen=True, slots=True)
class _Sample:
    """A status and the stamps between which the board took it."""

    status: Status
    head: int
    sent_ns: int
    received_ns: int


class BoardLink:
    """The way to the board; see RegisterLink. Owned by the line loop, nothing waits."""

    def __init__(
        self,
        transport: Transport,
        registers: RegisterMap,
        timeout_ns: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport = transport
        self._map = registers
        self._timeout_ns = timeout_ns
        self._now = clock
        self._decoder = Decoder()
        self._mirror = Mirror(registers)
        self._outbox = Outbox()
        self._named: dict[tuple[int, int], int] = {}
        self._stamp = 0
        self._next_try_ns = 0
        self._dropped = self._resent = self._bad_there = self._refused_there = 0
        self._forget()
        self._open = self._up = False

    def _forget(self) -> None:
        """Begin a connection with nothing on its way."""
        self._reads: deque[_Read] = deque()
        self._asked: _Read | None = None
        self._held: _Sample | None = None
        self._stamps: dict[int, int] = {}
        self._unsent = b""
        self._heard_ns = self._asked_ns = self._pinged_ns = self._nak_ns = self._moved_ns = 0
        self._gap = False
        self._decoder.clear()
        self._outbox.clear()
        self._named.clear()

    @property
    def up(self) -> bool:
        """True once the board answered on this port, until it is lost."""
        return self._up

    @property
    def idle(self) -> bool:
        """True when no read waits for its answer."""
        return self._asked is None and not self._reads

    @property
    def health(self) -> Health:
        """What the line cost so far."""
        return Health(self._decoder.bad, self._bad_there, self._refused_there, self._dropped, self._resent)

    def fileno(self) -> int:
        return self._transport.fileno()

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        """Queue a read. Below DEVICE_BASE the board is asked; everything else is known here."""
        self._reads.append(_Read(tag, address, count, index, seq))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        """Turn a write into its frame. A permit whose check word does not fit the agreed epoch is not sent."""
        self._mirror.bank.write(address, words)
        registers = self._map
        if address == registers.registers["device_heartbeat"].offset:
            get = self._mirror.bank.get
            self._put(Frame(Beat(**{field: get(name) for field, name in BEAT_FIELDS.items()})))
        elif place := _place(registers.permit, address):
            self._permit(*place, words)
        elif place := _place(registers.channel, address):
            self._sort(place[0], words)

    def connect(self, now_ns: int) -> bool:
        """Open the port when it is time to and greet the board; True when it has told everything it holds."""
        if not self._open and now_ns >= self._next_try_ns:
            self._next_try_ns = now_ns + RETRY_NS
            self._begin()
        if self._up or not self._open:
            return False
        try:
            self._move(now_ns)
        except DeviceLost:
            self.close()
        return self._up

    def service(self, now_ns: int) -> list[Reply]:
        """Receive what arrived, send what waits.

        Raises:
            DeviceLost: the port is gone or the board is silent; the link is down afterwards.
        """
        if not self._up:
            return []
        try:
            replies = self._move(now_ns)
            if self._asked and now_ns - max(self._heard_ns, self._asked_ns) > self._timeout_ns:
                raise DeviceLost(f"no answer within {self._timeout_ns / MS:.0f} ms")
            if self._outbox.waiting > MOST_WAITING or len(self._unsent) > MOST_UNSENT:
                raise DeviceLost("it takes nothing")
        except DeviceLost as error:
            self.close()
            raise DeviceLost(f"reject board {self._transport.name}: {error}") from error
        return replies

    def close(self) -> None:
        self._transport.close()
        self._forget()
        self._open = self._up = False

    def _begin(self) -> None:
        try:
            self._transport.open()
        except DeviceLost:
            return
        self._forget()
        self._open = True
        self._stamp = secrets.randbits(32)

    def _move(self, now_ns: int) -> list[Reply]:
        replies: list[Reply] = []
        if self._transport.ready() and (data := self._transport.receive()):
            arrived_ns = self._now()
            for frame in self._decoder.feed(data):
                self._take(frame, arrived_ns)
        replies += self._sampled(now_ns)
        while self._reads and (self._asked is None or self._reads[0].address >= DEVICE_BASE):
            replies += self._begun(self._reads.popleft(), now_ns)
        self._repeat(now_ns)
        self._flush()
        return replies

    def _take(self, frame: Frame, arrived_ns: int) -> None:
        match frame.said:
            case BoardEvent():
                self._heard_ns = arrived_ns
                self._event(frame.sequence, frame.said, arrived_ns)
            case Status():
                self._heard_ns = arrived_ns
                self._status(frame, frame.said, arrived_ns)
            case _:
                pass

    def _event(self, sequence: int, event: BoardEvent, arrived_ns: int) -> None:
        before = self._mirror.received
        self._gap |= self._mirror.event(sequence, event)
        if self._mirror.received != before:
            self._moved_ns = arrived_ns

    def _status(self, frame: Frame, status: Status, arrived_ns: int) -> None:
        """Take a status that answers a PING of ours which no later one has answered."""
        sent_ns = self._stamps.get(status.stamp)
        if sent_ns is None:
            return
        self._stamps = {stamp: at for stamp, at in self._stamps.items() if at > sent_ns}
        fresh = self._mirror.status(status, frame.sequence, self._mirror.bank.get("epoch_nonce"))
        if fresh:
            self._outbox.clear()
            self._gap, self._moved_ns = True, arrived_ns
        elif status.epoch == self._mirror.bank.get("epoch"):
            self._outbox.acknowledged(frame.acknowledge)
        self._bad_there, self._refused_there = status.bad_frames, status.refused_frames
        if fresh or self._held is None:
            self._held = _Sample(status, frame.sequence, sent_ns, arrived_ns)

    def _sampled(self, now_ns: int) -> list[Reply]:
        """Put the status into the registers once its events are all there."""
        sample = self._held
        if sample is None:
            return []
        if self._mirror.missing(sample.head):
            self._gap |= now_ns - max(self._moved_ns, sample.received_ns) >= STALL_NS
            return []
        self._held, self._gap = None, False
        if sample.status.epoch != self._mirror.bank.get("epoch"):
            self._outbox.clear()
            self._named.clear()
        self._mirror.apply(sample.status)
        self._up = True
        asked, self._asked = self._asked, None
        return [self._reply(asked, sample.sent_ns, sample.received_ns)] if asked else []

    def _begun(self, read: _Read, now_ns: int) -> list[Reply]:
        if read.address >= DEVICE_BASE:
            return [self._reply(read, now_ns, now_ns)]
        self._asked = read
        self._stamps.clear()
        self._ping()
        self._asked_ns = self._pinged_ns
        return []

    def _reply(self, read: _Read, sent_ns: int, received_ns: int) -> Reply:
        words = self._mirror.bank.words[read.address : read.address + read.count].tolist()
        return Reply(read.tag, read.index, read.seq, words, sent_ns, received_ns)

    def _repeat(self, now_ns: int) -> None:
        """Ask again and send again what was not answered in its time."""
        asking = self._asked is not None or not self._up
        nak = self._gap and now_ns - self._nak_ns >= NAK_NS
        if nak or (asking and now_ns - self._pinged_ns >= PING_AGAIN_NS):
            self._ping(nak)
        if self._outbox.waiting and now_ns - self._outbox.sent_ns >= RESEND_NS:
            for frame in self._outbox.again(now_ns, self._mirror.bank.get("plc_heartbeat")):
                self._resent += 1
                self._put(frame)

    def _ping(self, again: bool = False) -> None:
        self._stamp = (self._stamp + 1) & 0xFFFFFFFF
        self._pinged_ns = self._stamps[self._stamp] = self._now()
        if again:
            self._nak_ns, self._gap = self._pinged_ns, False
        while len(self._stamps) > MOST_STAMPS:
            del self._stamps[next(iter(self._stamps))]
        self._put(Frame(Ping(self._stamp, again)))

    def _put(self, frame: Frame) -> None:
        """Append a frame to what goes out, with the newest acknowledgement."""
        if self._open:
            self._unsent += encode(Frame(frame.said, frame.sequence, self._mirror.received))

    def _flush(self) -> None:
        if self._unsent:
            self._unsent = self._unsent[self._transport.send(self._unsent) :]

    def _permit(self, lane: int, slot: int, words: Sequence[int]) -> None:
        get = self._mirror.bank.get
        number, epoch, device = u32(words, 0), get("epoch"), get("device_identity")
        if number == 0:
            if number := self._named.pop((lane, slot), 0):
                self._control(Revoke(device, epoch, number, lane))
            return
        fits = words[3] == permit_check(number, epoch, lane, slot, device) and words[2] == epoch & 0xFFFF
        if not fits or slot != number % self._map.permit.length:
            self._dropped += 1
            return
        self._named[lane, slot] = number
        self._control(Permit(device, epoch, number, lane, slot, words[3], get("plc_heartbeat")))

    def _sort(self, lane: int, words: Sequence[int]) -> None:
        get = self._mirror.bank.get
        number, epoch, device = u32(words, 0), get("epoch"), get("device_identity")
        if number and words[3] == channel_check(number, epoch, lane, words[2], device):
            place = CHANNEL_MARK | words[2]
            self._control(Sort(device, epoch, number, lane, place, words[3], get("plc_heartbeat")))

    def _control(self, said: Permit | Revoke) -> None:
        if self._up:
            now_ns = self._now()
            self._put(self._outbox.add(said, now_ns, now_ns + self._timeout_ns))


def _place(block: Block, address: int) -> tuple[int, int] | None:
    """Return (lane, slot) of the slot that begins at an address, None if none does."""
    lane, offset = divmod(address - block.base, block.stride)
    slot, rest = divmod(offset, block.entry)
    return (lane, slot) if 0 <= lane < block.count and slot < block.length and not rest else None
