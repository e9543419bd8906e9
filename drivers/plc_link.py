"""The PLC as the line sees it: heartbeats, epochs, permits and rings of register map v1 over a RegisterLink.

Rings are read by sequence number, so a missed poll loses nothing; an overrun is an event of its own. Every event
carries what the PLC latched; times are mapped from the PLC's clock to CLOCK_MONOTONIC with their uncertainty.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from drivers.errors import DeviceLost
from drivers.links import RegisterLink, Remarking, Reply
from drivers.plc_clock import PlcClock
from drivers.registers import DEVICE_BASE, Block, RegisterMap, channel_check, permit_check, split, u32

HURRY_NS = 1_000_000
MAX_READ = 120
BACK_MARGIN = 8


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The connection stands and the PLC answered; what it says next was so before a new epoch is asked for."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The connection is gone; nothing that was permitted counts any more."""

    cause: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One status read: the fixed registers by name, lane heads; all of it later than `at_ns` (CLOCK_MONOTONIC ns)."""

    registers: dict[str, int]
    lanes: list[dict[str, int]]
    at_ns: int


@dataclass(frozen=True, slots=True)
class EpochGranted:
    """The PLC agreed to a new epoch for this link; all its permit slots are zero."""

    epoch: int


@dataclass(frozen=True, slots=True)
class EpochTaken:
    """The PLC granted an epoch to an older request of ours that came late, or to somebody else; ours is over."""


@dataclass(frozen=True, slots=True)
class PlcRestarted:
    """The PLC started again. `memory_lost` when its counters went back."""

    memory_lost: bool


@dataclass(frozen=True, slots=True)
class Created:
    """A unit exists: the infeed eye saw it. `at_ns` CLOCK_MONOTONIC, `encoder` in counts (u32, wraps)."""

    lane: int
    epoch: int
    number: int
    encoder: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class EdgeLatched:
    """Trigger edge `k` of a camera station; number 0 = sync shot."""

    station: int
    k: int
    epoch: int
    lane: int
    number: int
    shot: int
    encoder: int
    at_ns: int
    uncertainty_ns: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The PLC closed a unit: flags and cause as in the map."""

    lane: int
    epoch: int
    number: int
    flags: int
    cause: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Overrun:
    """Entries of a ring were overwritten before they were read."""

    ring: str
    index: int
    missing: int


@dataclass(frozen=True, slots=True)
class Remark:
    """The link is up and tells of something that a person should hear of."""

    text: str


Connection = LinkUp | LinkDown | EpochGranted | EpochTaken | PlcRestarted | Remark
Event = Connection | Snapshot | Created | EdgeLatched | Closed | Overrun


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and periods, ns. `stations` are the trigger stations in use."""

    identity: int
    plc_identity: int
    lanes: int
    stations: tuple[int, ...]
    poll_ns: int
    heartbeat_ns: int
    timeout_ns: int


class Plc:
    """Owned by the line loop. `service` returns events in the order in which the PLC made them."""

    def __init__(
        self,
        link: RegisterLink,
        registers: RegisterMap,
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now = clock
        self._link = link
        self._remarking = link if isinstance(link, Remarking) else None
        self._map = registers
        self._settings = settings
        self._heads: dict[tuple[str, int], int] = {}
        self._wanted: dict[tuple[str, int], int] = {}
        self._fixed = [(n, f.offset, f.words) for n, f in registers.registers.items() if f.offset < DEVICE_BASE]
        self._clock = PlcClock()
        self._read_at = (0, 0)
        self._nonce = 0
        self._beat = 0
        self._events: list[Event] = []
        self._beat_seen = (0, 0)
        self._next_poll_ns = 0
        self._next_beat_ns = 0
        self._starts: int | None = None
        self._last_epoch = 0
        self.epoch = 0
        self.command_bits = 0
        self.mode = 0
        self.state = 0
        self.lamps = 0
        self.epoch_proposal = 0
        self.back_read = False
        self.edges_until_ns = 0
        self.rings_until_ns = 0

    def fileno(self) -> int:
        return self._link.fileno()

    @property
    def up(self) -> bool:
        return self._link.up

    def alive(self, now_ns: int) -> bool:
        """True while the PLC's heartbeat moved within the timeout, on our clock."""
        return self.up and now_ns - self._beat_seen[1] <= self._settings.timeout_ns

    def service(self, now_ns: int) -> list[Event]:
        """Do what is due and return what happened. Called by the line loop every turn."""
        if self._link.connect(now_ns):
            self._linked(now_ns)
        self.flush()
        if self.up:
            self._due(now_ns)
            self.flush()
        events, self._events = self._events, []
        return events

    def flush(self) -> None:
        """Move what can be moved on the wire now; the events come with the next `service`."""
        try:
            for reply in self._link.service(self._now()):
                self._events.extend(self._answered(reply))
        except DeviceLost as error:
            self.epoch = 0
            self._events.append(LinkDown(str(error)))
        if self._remarking:
            self._events.extend(Remark(text) for text in self._remarking.remarks())

    def hurry(self) -> None:
        """Somebody waits for an edge record: poll again 1 ms after the last poll instead of at its period."""
        self._next_poll_ns = min(self._next_poll_ns, self._read_at[0] + HURRY_NS)

    def permit(self, lane: int, number: int) -> None:
        """Write the permit of one unit of the current epoch, in one request, ahead of every queued read."""
        slot = number % self._map.permit.length
        check = permit_check(number, self.epoch, lane, slot, self._settings.identity)
        words = [*split(number), self.epoch & 0xFFFF, check]
        self._link.write("permit", self._map.permit.at(lane, slot), words, lane, number)
        self.flush()

    def revoke(self, lane: int, number: int) -> None:
        """Write zeros over the permit of one unit."""
        slot = number % self._map.permit.length
        self._link.write("revoke", self._map.permit.at(lane, slot), [0, 0, 0, 0], lane, number)

    def divert(self, lane: int, number: int, channel: int) -> None:
        """Name the reject channel of one unit of the current epoch; it decides where, never whether, it is rejected."""
        if self.epoch:
            slot = number % self._map.channel.length
            check = channel_check(number, self.epoch, lane, channel, self._settings.identity)
            self._link.write("divert", self._map.channel.at(lane, slot), [*split(number), channel, check], lane, number)

    def command(self, bits: int, mode: int, state: int, lamps: int = 0) -> None:
        """Set the command word, sent at once when it changed and with every heartbeat."""
        if (bits, mode, state, lamps) != (self.command_bits, self.mode, self.state, self.lamps):
            self.command_bits, self.mode, self.state, self.lamps = bits, mode, state, lamps
            self._next_beat_ns = 0

    def ask_epoch(self, proposal: int) -> None:
        """Ask for a new epoch with a fresh nonce; EpochGranted follows."""
        self._nonce = secrets.randbelow(0xFFFFFFFE) + 1
        self.epoch_proposal = max(self.epoch_proposal, proposal)
        self.epoch = 0
        self._next_beat_ns = 0

    def close(self) -> None:
        self._link.close()

    def _linked(self, now_ns: int) -> None:
        self._wanted.clear()
        self._clock.clear()
        self._beat_seen = (-1, now_ns)
        self._next_poll_ns = self._next_beat_ns = 0

    def _due(self, now_ns: int) -> None:
        if now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + self._settings.heartbeat_ns
            self._beat = self._beat % 0xFFFF + 1
            self._link.write("beat", self._map.registers["device_heartbeat"].offset, self._heartbeat())
        if now_ns >= self._next_poll_ns and self._link.idle:
            self._next_poll_ns = now_ns + self._settings.poll_ns
            self._link.read("read status", 0, self._map.status_words)

    def _heartbeat(self) -> list[int]:
        words = [self._beat, max(self._beat_seen[0], 0), *split(self._settings.identity), *split(self._nonce)]
        return [*words, *split(self._proposal()), self.command_bits, self.mode, self.state, self.lamps]

    def _proposal(self) -> int:
        """Return an epoch above every one used, so that a PLC that forgot its own grants none of them again."""
        self.epoch_proposal = max(self.epoch_proposal, self.epoch + 1 if self.epoch else 0)
        return self.epoch_proposal

    def _answered(self, reply: Reply) -> Iterator[Event]:
        if reply.tag == "read status":
            yield from self._status(reply)
        elif reply.tag.startswith("read "):
            yield from self._ring(reply)

    def _status(self, reply: Reply) -> Iterator[Event]:
        words = reply.words
        fixed = {n: words[a] if size == 1 else u32(words, a) for n, a, size in self._fixed}
        self._read_at = (reply.sent_ns, reply.received_ns)
        self._clock.add(fixed["clock_us"], *self._read_at)
        first = self._beat_seen[0] < 0
        if fixed["plc_heartbeat"] != self._beat_seen[0]:
            self._beat_seen = (fixed["plc_heartbeat"], reply.received_ns)
        lanes = [self._lane(words, lane) for lane in range(self._settings.lanes)]
        yield from self._started(fixed, words)
        if first:
            yield LinkUp()
        elif self._nonce and fixed["epoch_nonce_granted"] == self._nonce and self.epoch != fixed["epoch"]:
            self.epoch = self._last_epoch = fixed["epoch"]
            yield EpochGranted(self.epoch)
        yield Snapshot(fixed, lanes, reply.sent_ns)
        self._want(words)
        yield from self._fetch()
        self._drained()

    def _lane(self, words: Sequence[int], lane: int) -> dict[str, int]:
        strays = self._map.stray.read(words, self._map.stray.at(lane))
        return self._map.lane.read(words, self._map.lane.at(lane)) | strays

    def _started(self, fixed: dict[str, int], words: Sequence[int]) -> Iterator[Event]:
        """Find out whether the PLC started anew, or only granted an older request of ours that came late.

        A PLC without memory grants our nonce the next epoch, as proposed. Where our nonce has a later one, somebody's
        was granted in between, and then ours again.
        """
        starts, epoch, nonce = fixed["starts"], fixed["epoch"], fixed["epoch_nonce_granted"]
        forgotten, ours = self.epoch and (epoch, nonce) != (self.epoch, self._nonce), nonce == self._nonce
        back = any(u32(words, address) < self._heads.get((r, i), 0) for r, i, _block, address in self._rings())
        went_on = nonce and epoch > self._last_epoch + ours and starts == self._starts and not back
        if forgotten and went_on:
            self.epoch = 0
            if not ours:
                yield EpochTaken()
        elif self._starts is not None and (starts != self._starts or forgotten or back or epoch < self._last_epoch):
            self._heads = {(ring, index): 0 for ring, index, _block, _address in self._rings()}
            self._clock.clear()
            self._clock.add(fixed["clock_us"], *self._read_at)
            self.epoch = 0
            lost, self._last_epoch = starts <= self._starts or epoch < self._last_epoch, epoch
            yield PlcRestarted(memory_lost=lost)
        self._starts = starts

    def _rings(self) -> Iterator[tuple[str, int, Block, int]]:
        """Yield (ring, index, block, address of its head) of every ring in use, in reading order."""
        for lane in range(self._settings.lanes):
            yield "unit", lane, self._map.unit, self._map.lane.at(lane) + self._map.lane.fields["created_seq"].offset
        for station in self._settings.stations:
            yield "edge", station, self._map.edge, self._map.station.at(station)
        for lane in range(self._settings.lanes):
            yield "closed", lane, self._map.closed, self._map.lane.at(lane) + self._map.lane.fields["closed_seq"].offset

    def _want(self, words: Sequence[int]) -> None:
        """Read up to the heads; a full ring that is read back loses its oldest entries meanwhile."""
        for ring, index, block, address in self._rings():
            head = u32(words, address)
            if (ring, index) not in self._heads:
                oldest = head - block.length + BACK_MARGIN if head >= block.length else 0
                self._heads[ring, index] = oldest if self.back_read and ring != "edge" else head
            self._wanted[ring, index] = head

    def _fetch(self) -> Iterator[Event]:
        for ring, index, block, _address in self._rings():
            done, head = self._heads[ring, index], self._wanted[ring, index]
            if head - done > block.length:
                yield Overrun(ring, index, head - done - block.length)
                done = self._heads[ring, index] = head - block.length
            if head > done:
                room = block.length - done % block.length
                count = min(head - done, room, MAX_READ // block.entry)
                self._link.read(f"read {ring}", block.ring_at(index, done + 1), count * block.entry, index, done + 1)

    def _ring(self, reply: Reply) -> Iterator[Event]:
        ring = reply.tag.removeprefix("read ")
        block = {"unit": self._map.unit, "edge": self._map.edge, "closed": self._map.closed}[ring]
        for position in range(len(reply.words) // block.entry):
            entry = block.read(reply.words, position * block.entry)
            expected = reply.seq + position
            if self._heads.get((ring, reply.index)) != expected - 1:
                return
            if entry["seq"] != expected:
                yield Overrun(ring, reply.index, 1)
            else:
                yield self._entry(ring, reply.index, entry)
            self._heads[ring, reply.index] = expected
        self._next_poll_ns = 0
        self._drained()

    def _drained(self) -> None:
        """Note until when everything is known: the last status read whose rings were read to their heads."""
        behind = {ring for (ring, index), head in self._wanted.items() if self._heads[ring, index] != head}
        if "edge" not in behind:
            self.edges_until_ns = self._read_at[0]
        if not behind:
            self.rings_until_ns = self._read_at[0]

    def _entry(self, ring: str, index: int, e: dict[str, int]) -> Event:
        at_ns, uncertainty = self._clock.to_monotonic(e["time_us"])
        if ring == "unit":
            return Created(index, e["epoch"], e["number"], e["encoder"], at_ns)
        if ring == "closed":
            return Closed(index, e["epoch"], e["number"], e["flags"], e["cause"], at_ns)
        return EdgeLatched(
            index, e["seq"], e["epoch"], e["lane"], e["number"], e["shot"], e["encoder"], at_ns, uncertainty
        )
