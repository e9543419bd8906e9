"""32-bit values with the low word first, for controllers that keep them so. Pure.

The map and everything above a link have the high word first. The other order exists on the wire only: a link swaps
what it sends and receives (`Order`), a server shows its registers through `LowFirst`.
"""

import dataclasses
import struct
from collections.abc import Callable, Sequence

from drivers.modbus_requests import Registers
from drivers.registers import Block, RegisterMap

Order = Callable[[int, Sequence[int]], list[int]]


def high_first(address: int, words: Sequence[int]) -> list[int]:
    """Return the words as they are: the order of the map."""
    return list(words)


def low_first(registers: RegisterMap) -> Order:
    """Return what exchanges the words of every u32 of this map, from either order to the other."""
    firsts = wide_fields(registers)

    def swap(address: int, words: Sequence[int]) -> list[int]:
        """Swap registers read from or written to `address`.

        Raises:
            ValueError: the range cuts a 32-bit value in two.
        """
        end = address + len(words)
        if firsts[address - 1 : address] == b"\x01" or firsts[end - 1 : end] == b"\x01":
            raise ValueError(f"registers {address} to {end - 1} cut a 32-bit value in two")
        swapped = list(words)
        at = firsts.find(1, address, end)
        while at >= 0:
            here = at - address
            swapped[here], swapped[here + 1] = swapped[here + 1], swapped[here]
            at = firsts.find(1, at + 2, end)
        return swapped

    return swap


def wide_fields(registers: RegisterMap) -> bytes:
    """Return one byte per register of the map, 1 where a u32 begins."""
    firsts = bytearray(registers.size)
    for field in registers.registers.values():
        firsts[field.offset] = field.words == 2
    parts = (getattr(registers, part.name) for part in dataclasses.fields(registers))
    for block in (part for part in parts if isinstance(part, Block)):
        for start in _entries(block):
            for field in block.fields.values():
                firsts[start + field.offset] = field.words == 2
    return bytes(firsts)


class LowFirst:
    """Registers of the map as a controller with the low word first shows them. A `Registers`."""

    def __init__(self, registers: Registers, layout: RegisterMap) -> None:
        self._registers = registers
        self._firsts = wide_fields(layout)
        self._swap = low_first(layout)
        self.covers = registers.covers
        self.writable = registers.writable

    def read(self, address: int, count: int) -> bytes:
        """Return registers as Modbus sends them; a range may begin or end inside a value."""
        start, size = self._whole(address, count)
        words = struct.unpack(f">{size}H", self._registers.read(start, size))
        part = self._swap(start, words)[address - start : address - start + count]
        return struct.pack(f">{count}H", *part)

    def write(self, address: int, values: Sequence[int]) -> None:
        """Set registers, all at once; the other half of a value that the range cuts keeps what it had."""
        start, size = self._whole(address, len(values))
        words = self._swap(start, struct.unpack(f">{size}H", self._registers.read(start, size)))
        words[address - start : address - start + len(values)] = values
        self._registers.write(start, self._swap(start, words))

    def _whole(self, address: int, count: int) -> tuple[int, int]:
        start = address - (self._firsts[address - 1 : address] == b"\x01")
        end = address + count + (self._firsts[address + count - 1 : address + count] == b"\x01")
        return start, end - start


def _entries(block: Block) -> list[int]:
    return [block.at(index, slot) for index in range(block.count) for slot in range(block.length)]
