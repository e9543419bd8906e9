"""What the PLC believes of the device: is it alive, which epoch is agreed, which permits and channels count. Pure.

A permit counts only while the device's heartbeat is fresh on the PLC's own clock and carries the expected identity, in
the epoch both agreed on, for the unit it names. Every change of any of that zeroes all slots.
"""

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import MAX_U32, Cause, Flag, Key, Unit
from drivers.registers import Block, channel_check, permit_check, u32

HEARTBEAT_TIMEOUT_US = 80_000
AUTOMATIC = 2


class Device:
    """Owned by Plc. `scan` once per scan, before anything is decided in it."""

    def __init__(self, bank: Bank, expected: int, lanes: int) -> None:
        self._bank = bank
        self._permit: Block = bank.map.permit
        self._channel: Block = bank.map.channel
        self._channels = frozenset(bank.map.channels.values())
        self._expected = expected
        self._lanes = lanes
        at = {name: field.offset for name, field in bank.map.registers.items()}
        self._beat_at, self._identity_at = at["device_heartbeat"], at["device_identity"]
        self._nonce_at, self._proposal_at, self._mode_at = at["epoch_nonce"], at["epoch_proposal"], at["line_mode"]
        self.epoch = 0
        self._reset()

    def _reset(self) -> None:
        self.beat = 0
        self._fresh_us = -1
        self.alive = False
        self.foreign = False
        self.nonce = 0
        self.foreign_writes = 0

    def start(self, retained: bool) -> None:
        """The PLC program starts: a new epoch nobody agreed to yet."""
        self.epoch = min(self.epoch + 1, MAX_U32) if retained else 1
        self._reset()
        self.clear()

    def scan(self, now_us: int) -> bool:
        """Judge heartbeat and identity, answer a request for an epoch. Returns True if a new epoch was granted."""
        words = self._bank.words
        identity = u32(words, self._identity_at)
        known = identity == self._expected
        self.foreign = not known and identity != 0
        if words[self._beat_at] != self.beat:
            self.beat = words[self._beat_at]
            if known:
                self._fresh_us = now_us
            else:
                self.foreign_writes += 1
        alive = known and self._fresh_us >= 0 and now_us - self._fresh_us <= HEARTBEAT_TIMEOUT_US
        if not alive or not self.alive:
            self.clear()
        self.alive = alive
        nonce = u32(words, self._nonce_at)
        return known and nonce not in (0, self.nonce) and self._grant(nonce)

    def _grant(self, nonce: int) -> bool:
        self.nonce = nonce
        self.epoch = min(max(self.epoch + 1, u32(self._bank.words, self._proposal_at)), MAX_U32)
        self.clear()
        return True

    def slot_cause(self, unit: Unit) -> Cause:
        """Judge the permit slot of a unit, whatever the device's state. The last epoch names no single agreement."""
        words, at = self._bank.words, unit.slot_at
        if unit.epoch != self.epoch or not self.nonce or self.epoch == MAX_U32:
            return Cause.RESTART if unit.flags & Flag.SURVIVED_RESTART else Cause.WRONG_EPOCH
        if u32(words, at) != unit.number:
            return Cause.NO_PERMIT
        if words[at + 2] != self.epoch & 0xFFFF:
            return Cause.WRONG_EPOCH
        if words[at + 3] != permit_check(unit.number, self.epoch, unit.lane, unit.slot, self._expected):
            return Cause.BAD_CHECK
        return Cause.NONE

    def cause(self, unit: Unit, key: int, legacy_accept: bool) -> Cause:
        """Return NONE if the unit may pass the gate.

        Under LEGACY the old inspection alone decides and permits mean nothing; under BOTH it takes two accepts.
        """
        if key == Key.LEGACY:
            return Cause.NONE if legacy_accept else Cause.AUTHORITY
        checks: tuple[tuple[bool, Cause], ...] = (
            (self.foreign, Cause.FOREIGN_DEVICE),
            (not self.alive, Cause.HEARTBEAT_STALE),
            (key != Key.LINEWARDEN and not (key == Key.BOTH and legacy_accept), Cause.AUTHORITY),
            (self._bank.words[self._mode_at] != AUTOMATIC, Cause.MODE),
        )
        return next((cause for wrong, cause in checks if wrong), None) or self.slot_cause(unit)

    def channel(self, unit: Unit) -> int:
        """Return the reject channel named for a unit; 0 (critical) unless a valid one stands in its slot."""
        words, at = self._bank.words, self._channel.at(unit.lane, unit.slot)
        channel = words[at + 2]
        named = u32(words, at) == unit.number and unit.epoch == self.epoch and channel in self._channels
        check = channel_check(unit.number, self.epoch, unit.lane, channel, self._expected)
        return channel if named and words[at + 3] == check else 0

    def place(self, lane: int, number: int) -> tuple[int, int]:
        """Return (slot, address of the slot) of a unit."""
        slot = number % self._permit.length
        return slot, self._permit.at(lane, slot)

    def consume(self, unit: Unit) -> None:
        """Zero the slots of a unit: at its creation and when they were used."""
        self._bank.zero(unit.slot_at, self._permit.entry)
        self._bank.zero(self._channel.at(unit.lane, unit.slot), self._channel.entry)

    def clear(self) -> None:
        """Zero every slot."""
        for lane in range(self._lanes):
            for block in (self._permit, self._channel):
                self._bank.zero(block.at(lane), block.length * block.entry)
