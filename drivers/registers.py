"""The register map as data: addresses, fields and rings from docs/interfaces/modbus-map-v1.toml.

Shared by the device's Modbus client and the simulated PLC, so that both sides read one file. Pure apart from
reading that file once.
"""

import enum
import hashlib
import struct
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAP_FILE = "modbus-map-v1.toml"
MAP_VERSION = 1
SIZE = {"u16": 1, "u32": 2}
DEVICE_BASE = 100
CHANNEL_MARK = 0x8000
CHANNEL_SHIFT = 8
CHANNEL_MASK = 7


class Command(enum.IntFlag):
    """Bits of register `command`, as in the map."""

    RUN = 1
    HOLD = 2
    ABORT = 4
    SYNC = 8
    RESET = 16


class PlcState(enum.IntFlag):
    """Bits of register `plc_state`, as in the map."""

    BELT_RUNS = 1
    INFEED_OPEN = 2
    DEVICE_ALIVE = 4
    EPOCH_GRANTED = 8
    ABORTED = 16
    GUARD_CLOSED = 32


class Lamp(enum.IntFlag):
    """Bits of register `lamps`, as in the map."""

    RED = 1
    AMBER = 2
    GREEN = 4
    BLUE = 8
    HORN = 16


def map_path() -> Path:
    """Return the map file of this checkout, or of the installed release."""
    here = Path(__file__).resolve().parent.parent / "docs" / "interfaces" / MAP_FILE
    return here if here.exists() else Path(sys.prefix) / "share" / "linewarden" / "interfaces" / MAP_FILE


@dataclass(frozen=True, slots=True)
class Field:
    """One register of a block or of the fixed area; `offset` in registers."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True, slots=True)
class Block:
    """A repeated group of fields: `base + index * stride`; rings and permit slots repeat inside it."""

    base: int
    stride: int
    count: int
    length: int
    entry: int
    fields: dict[str, Field]

    def at(self, index: int, slot: int = 0) -> int:
        """Return the address of entry `slot` of group `index`."""
        return self.base + index * self.stride + slot * self.entry

    def ring_at(self, index: int, seq: int) -> int:
        """Return the address of the entry with sequence number `seq` (from 1)."""
        return self.at(index, (seq - 1) % self.length)

    def read(self, words: Sequence[int], start: int = 0) -> dict[str, int]:
        """Return the fields of one entry whose first register is `words[start]`."""
        return {
            f.name: words[start + f.offset] if f.words == 1 else u32(words, start + f.offset)
            for f in self.fields.values()
        }

    def write(self, values: dict[str, int]) -> list[int]:
        """Return the registers of one entry; fields not named are 0."""
        words = [0] * self.entry
        for name, value in values.items():
            f = self.fields[name]
            if f.words == 1:
                words[f.offset] = value & 0xFFFF
            else:
                words[f.offset : f.offset + 2] = split(value)
        return words


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """The whole map, version 1."""

    version: int
    digest: str
    registers: dict[str, Field]
    lane: Block
    station: Block
    permit: Block
    unit: Block
    closed: Block
    edge: Block
    mail: Block
    read: Block
    result: Block
    order: Block
    stray: Block
    channel: Block
    flags: dict[str, int]
    causes: dict[str, int]
    channels: dict[str, int]

    @property
    def status_words(self) -> int:
        """Registers of the one status read that begins at 0."""
        last = max(f.offset + f.words for f in self.registers.values() if f.offset < DEVICE_BASE)
        return max(last, self.stray.at(self.stray.count))

    @property
    def device_registers(self) -> list[str]:
        """Names of the fixed registers that the device writes, by address, without a gap between them."""
        found = [f for f in self.registers.values() if f.offset >= DEVICE_BASE]
        return [f.name for f in sorted(found, key=lambda f: f.offset)]

    @property
    def size(self) -> int:
        """Registers in all."""
        return max(b.at(b.count) for b in (self.edge, self.channel, self.order))


def u32(words: Sequence[int], at: int) -> int:
    """Return the u32 at `at`, high word first."""
    return (words[at] << 16) | words[at + 1]


def split(value: int) -> list[int]:
    """Return [high word, low word] of value modulo 2**32."""
    return [(value >> 16) & 0xFFFF, value & 0xFFFF]


def signed_delta(new: int, old: int) -> int:
    """Return new - old for counters that wrap at 2**32, as a signed number."""
    return ((new - old + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS (polynomial 0xA001 reflected, start 0xFFFF)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def permit_check(number: int, epoch: int, lane: int, slot: int, device: int) -> int:
    """Return the check word of a permit: it names the unit, its epoch, its place and the device that gave it."""
    return crc16(struct.pack(">IIHHI", number, epoch, lane, slot, device))


def channel_check(number: int, epoch: int, lane: int, channel: int, device: int) -> int:
    """Return the check word of a reject channel. It is never that of a permit: no slot has bit 15."""
    return permit_check(number, epoch, lane, CHANNEL_MARK | channel, device)


def load_map(path: Path | None = None) -> RegisterMap:
    """Read the map file."""
    data = (path or map_path()).read_bytes()
    document = tomllib.loads(data.decode())
    block, ring = document["block"], document["ring"]
    return RegisterMap(
        version=document["version"],
        digest=hashlib.sha256(data).hexdigest(),
        registers={r["name"]: Field(r["name"], r["address"], SIZE[r["type"]]) for r in document["register"]},
        lane=_block(block["lane"]),
        station=_block(block["station"]),
        permit=_block(block["permit"]),
        unit=_block(ring["unit"]),
        closed=_block(ring["closed"]),
        edge=_block(ring["edge"]),
        mail=_block(block["mail"]),
        read=_block(block["read"]),
        result=_block(block["result"]),
        order=_block(block["order"]),
        stray=_block(block["stray"]),
        channel=_block(block["channel"]),
        flags={f["name"]: 1 << f["bit"] for f in document["flag"]},
        causes={c["name"]: c["value"] for c in document["cause"]},
        channels={c["name"]: c["value"] for c in document["channel"]},
    )


def _block(entry: dict[str, Any]) -> Block:
    fields = {f["name"]: Field(f["name"], f["offset"], SIZE[f["type"]]) for f in entry["fields"]}
    return Block(
        base=entry["base"],
        stride=entry["stride"],
        count=entry["count"],
        length=entry.get("length", entry.get("slots", 1)),
        entry=entry.get("entry", entry.get("slot_stride", entry["stride"])),
        fields=fields,
    )
