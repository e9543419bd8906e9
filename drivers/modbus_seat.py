"""One client of the device's own Modbus server: what it may see and write, and which proofs of time it was given."""

from collections.abc import Sequence
from typing import Protocol

from drivers.gate.plc_bank import Bank
from drivers.modbus_requests import Registers
from drivers.registers import RegisterMap

KEPT_TURNS = 64


class Host(Protocol):
    """Who decides over a client's requests."""

    def writable(self, address: int, count: int) -> bool:
        """True if a PLC may write all these registers."""

    def refuse(self, seat: "Seat", why: str) -> None:
        """Take note of a write that is not taken."""

    def answer(self, seat: "Seat", address: int, count: int) -> bytes:
        """Return registers for this client."""

    def take(self, seat: "Seat", address: int, values: Sequence[int]) -> None:
        """Take what this client wrote.

        Raises:
            Refused: it may not.
        """


class Seat:
    """A `Registers`: the map as one client meets it. `shown` is what the server serves for it: itself, or a view."""

    def __init__(self, host: Host, bank: Bank, peer: str) -> None:
        self._host = host
        self.peer = peer
        self.turns: dict[int, int] = {}
        self.shown: Registers = self
        self.covers = bank.covers

    def writable(self, address: int, count: int) -> bool:
        if self._host.writable(address, count):
            return True
        self._host.refuse(self, f"registers from {address} are the device's own")
        return False

    def read(self, address: int, count: int) -> bytes:
        return self._host.answer(self, address, count)

    def write(self, address: int, values: Sequence[int]) -> None:
        self._host.take(self, address, values)

    def hand_out(self, turn: int, now_ns: int) -> None:
        """Remember when this client was given a turn; the newest KEPT_TURNS are kept."""
        self.turns[turn] = now_ns
        if len(self.turns) > KEPT_TURNS:
            del self.turns[next(iter(self.turns))]


def plc_areas(registers: RegisterMap) -> bytes:
    """Return one byte per register, 1 where the PLC writes."""
    flags = bytearray(registers.size)
    flags[0 : registers.status_words] = b"\x01" * registers.status_words
    for block in (registers.unit, registers.closed, registers.edge, registers.order):
        for index in range(block.count):
            size = block.length * block.entry
            flags[block.at(index) : block.at(index) + size] = b"\x01" * size
    return bytes(flags)
