"""The PLC's registers in memory: words of the map, which of them the device may write, and the fixed fields by name."""

import sys
from array import array
from collections.abc import Callable, Sequence

from drivers.registers import Block, RegisterMap, u32

CLOCK_WORDS = 4


class Bank:
    """One flat area of u16 registers. Written by the PLC program and, in device areas, by Modbus requests.

    `refresh` is called before a read that covers the clock, so that clock and encoder belong to the answer.
    """

    def __init__(self, registers: RegisterMap) -> None:
        self.map = registers
        self.words = array("H", bytes(2 * registers.size))
        self.refresh: Callable[[], None] | None = None
        self._writable = _writable(registers)
        self._clock = registers.registers["clock_us"].offset

    def covers(self, address: int, count: int) -> bool:
        """True if all these registers exist."""
        return address + count <= len(self.words)

    def writable(self, address: int, count: int) -> bool:
        """True if the device may write all these registers."""
        return self._writable[address : address + count] == b"\x01" * count

    def read(self, address: int, count: int) -> bytes:
        """Return registers as Modbus sends them, big endian."""
        if self.refresh and address < self._clock + CLOCK_WORDS and address + count > self._clock:
            self.refresh()
        part = self.words[address : address + count]
        if sys.byteorder == "little":
            part.byteswap()
        return part.tobytes()

    def write(self, address: int, values: Sequence[int]) -> None:
        """Set registers, all at once as far as the PLC program can see."""
        self.words[address : address + len(values)] = array("H", values)

    def get(self, name: str) -> int:
        """Return a fixed field by its name in the map."""
        field = self.map.registers[name]
        return self.words[field.offset] if field.words == 1 else u32(self.words, field.offset)

    def set(self, name: str, value: int) -> None:
        """Set a fixed field by its name in the map, modulo its width."""
        field = self.map.registers[name]
        self.put(field.offset, value, field.words)

    def put(self, address: int, value: int, words: int = 2) -> None:
        """Set one u32 (or u16 with words=1) at an address."""
        if words == 1:
            self.words[address] = value & 0xFFFF
        else:
            self.words[address] = (value >> 16) & 0xFFFF
            self.words[address + 1] = value & 0xFFFF

    def add(self, address: int) -> int:
        """Count a u32 up by one and return it."""
        value = (u32(self.words, address) + 1) & 0xFFFFFFFF
        self.put(address, value)
        return value

    def append(self, ring: Block, index: int, head: int, entry: dict[str, int]) -> None:
        """Add an entry to a ring whose u32 sequence number stands at `head`."""
        seq = self.add(head)
        self.write(ring.ring_at(index, seq), ring.write(entry | {"seq": seq}))

    def zero(self, address: int, count: int) -> None:
        self.words[address : address + count] = array("H", bytes(2 * count))


def _writable(registers: RegisterMap) -> bytes:
    flags = bytearray(registers.size)
    names = registers.device_registers
    first, last = registers.registers[names[0]], registers.registers[names[-1]]
    flags[first.offset : last.offset + last.words] = b"\x01" * (last.offset + last.words - first.offset)
    for block in (registers.permit, registers.channel):
        for lane in range(block.count):
            start, size = block.at(lane), block.length * block.entry
            flags[start : start + size] = b"\x01" * size
    return bytes(flags)
