"""What the device knows of the reject board: events and status as registers of map v1, permits on their way. Pure.

`Mirror` takes events strictly in order and tells a board's new life from its old one. `Outbox` numbers what the board
must get in order within an epoch and offers it again until it is acknowledged or too old to be worth anything.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from drivers.gate.plc_bank import Bank
from drivers.registers import DEVICE_BASE, RegisterMap, signed_delta
from drivers.serial_frames import VERSION, BoardEvent, Frame, Permit, Revoke, Ring, Status, Totals

MAX_U32 = 0xFFFFFFFF
MOST_WAITING = 64


class Mirror:
    """Owned by BoardLink. `received` is the newest event that was taken; nothing is taken before the first status."""

    def __init__(self, registers: RegisterMap) -> None:
        self.bank = Bank(registers)
        self.received = 0
        self._life: tuple[int, int, int] | None = None

    def status(self, status: Status, head: int, asked_nonce: int) -> bool:
        """Compare a status with what is known; returns True if it begins another life of the board.

        `head` is the newest event at that moment, `asked_nonce` the nonce that the device asks an epoch with.
        """
        life, before = (status.starts, status.nonce, status.epoch), self._life
        granted = before is not None and status.nonce == asked_nonce != before[1] and status.starts == before[0]
        fresh = before is None or signed_delta(head, self.received) < 0 or not (granted or life == before)
        if fresh:
            self._forget()
        oldest = (status.tail - 1) & MAX_U32
        if fresh or signed_delta(oldest, self.received) > 0:
            self.received = oldest
        self._life = life
        return fresh

    def _forget(self) -> None:
        """Empty what the board writes; what the device says of itself stays."""
        rings = self.bank.map.permit.base
        self.bank.zero(0, DEVICE_BASE)
        self.bank.zero(rings, len(self.bank.words) - rings)

    def missing(self, head: int) -> bool:
        """True while events up to `head` have not come."""
        return signed_delta(head, self.received) > 0

    def event(self, sequence: int, event: BoardEvent) -> bool:
        """Take the next event; returns True if one before it is missing. One that came before changes nothing."""
        step = signed_delta(sequence, self.received)
        if self._life is None or step != 1:
            return self._life is not None and step > 1
        self.received = sequence
        self._enter(event)
        return False

    def apply(self, status: Status) -> None:
        """Put a status into the registers."""
        bank = self.bank
        for name, value in _fixed(status).items():
            bank.set(name, value)
        for index, lane in enumerate(status.lanes[: bank.map.lane.count]):
            self._lane(index, lane)

    def _lane(self, index: int, lane: Totals) -> None:
        block, stray = self.bank.map.lane, self.bank.map.stray
        for name in ("passed", "diverted", "created"):
            self.bank.put(block.at(index) + block.fields[name].offset, getattr(lane, name))
        for name in ("stray_pass", "stray_chute"):
            self.bank.put(stray.at(index) + stray.fields[name].offset, getattr(lane, name), 1)

    def _enter(self, event: BoardEvent) -> None:
        registers = self.bank.map
        entry = {"seq": event.seq, "epoch": event.epoch, "number": event.number, "time_us": event.time_us}
        heads = registers.lane.at(event.index)
        match event.ring:
            case Ring.UNIT:
                block, head = registers.unit, heads + registers.lane.fields["created_seq"].offset
                entry |= {"encoder": event.encoder}
            case Ring.CLOSED:
                block, head = registers.closed, heads + registers.lane.fields["closed_seq"].offset
                entry |= {"flags": event.first, "cause": event.second}
            case Ring.EDGE:
                block, head = registers.edge, registers.station.at(event.index)
                entry |= {"encoder": event.encoder, "lane": event.first, "shot": event.second}
        if event.index < block.count and event.seq:
            self.bank.write(block.ring_at(event.index, event.seq), block.write(entry))
            self.bank.put(head, event.seq)


def _fixed(status: Status) -> dict[str, int]:
    return {
        "map_version": VERSION,
        "plc_state": status.state,
        "plc_identity": status.identity,
        "plc_heartbeat": status.beat,
        "device_heartbeat_echo": status.device_beat,
        "device_identity_expected": status.device,
        "epoch": status.epoch,
        "epoch_nonce_granted": status.nonce,
        "authority": status.authority,
        "cause": status.cause,
        "clock_us": status.clock_us,
        "encoder": status.encoder,
        "refused_permits": status.refused,
        "foreign_writes": status.foreign,
        "starts": status.starts,
        "stray_pass": sum(lane.stray_pass for lane in status.lanes),
        "stray_chute": sum(lane.stray_chute for lane in status.lanes),
        "inputs": status.inputs,
        "chute_encoder": status.chute_encoder,
        "pass_encoder": status.pass_encoder,
        "gate_encoder": status.gate_encoder,
    }


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A control frame that was not acknowledged. `until_ns`: what it permits is not offered after that."""

    sequence: int
    said: Permit | Revoke
    until_ns: int


class Outbox:
    """Owned by BoardLink. Frames wait in order of their sequence; the board takes the next one only."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._sequence = 0
        self.sent_ns = 0

    @property
    def waiting(self) -> int:
        """Frames that were not acknowledged."""
        return len(self._waiting)

    def clear(self) -> None:
        """A new epoch: the board counts from 1 again."""
        self._waiting.clear()
        self._sequence = 0

    def add(self, said: Permit | Revoke, now_ns: int, until_ns: int) -> Frame:
        """Number a frame and return it for its first sending. A revocation also takes the place of a waiting permit."""
        if isinstance(said, Revoke):
            self._void(said)
        self._sequence += 1
        self._waiting.append(_Waiting(self._sequence, said, until_ns))
        self.sent_ns = now_ns
        return Frame(said, self._sequence)

    def _void(self, said: Revoke) -> None:
        """No permit of that unit is offered again, lest it stand until its revocation comes behind it."""
        for index, item in enumerate(self._waiting):
            if type(item.said) is Permit and (item.said.lane, item.said.number) == (said.lane, said.number):
                self._waiting[index] = replace(item, said=said)

    def acknowledged(self, sequence: int) -> None:
        """The board took everything up to there."""
        while self._waiting and self._waiting[0].sequence <= sequence:
            self._waiting.popleft()

    def again(self, now_ns: int, echo: int) -> Iterator[Frame]:
        """Yield everything that waits, in order; a permit that has become too old goes as its own revocation."""
        self.sent_ns = now_ns
        for item in self._waiting:
            said = item.said
            if isinstance(said, Permit) and now_ns > item.until_ns:
                yield Frame(Revoke(said.device, said.epoch, said.number, said.lane), item.sequence)
            elif isinstance(said, Permit):
                yield Frame(replace(said, echo=echo), item.sequence)
            else:
                yield Frame(said, item.sequence)
