"""Frames of the serial reject board, protocol version 1 (docs/interfaces/serial-board-v1.md). Pure.

A frame is header, payload and CRC-32, stuffed by COBS between two zero bytes. All numbers are big endian. The same
bytes are made and read by drivers/board/board_core.c; tests/vectors/serial-board holds them.
"""

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
HEADER = struct.Struct(">BBBII")
CRC = struct.Struct(">I")
LONGEST = 240
NAK = 1


class Kind(enum.IntEnum):
    """What a frame says. Below 0x80 the device speaks, above it the board."""

    BEAT = 0x01
    PING = 0x02
    PERMIT = 0x03
    REVOKE = 0x04
    SORT = 0x05
    STATUS = 0x81
    EVENT = 0x82


class Ring(enum.IntEnum):
    """Which ring of the map an event belongs to."""

    UNIT = 1
    EDGE = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Beat:
    """The device lives: registers device_heartbeat to lamps of the map. `echo` is the board's last beat seen."""

    device: int
    beat: int
    echo: int
    nonce: int
    proposal: int
    command: int
    mode: int
    state: int
    lamps: int


@dataclass(frozen=True, slots=True)
class Ping:
    """A STATUS with this stamp is wanted. `again`: events behind `acknowledge` are missing, send them again."""

    stamp: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Permit:
    """Spare this unit. `place` is the slot of the map, `check` its check word, `echo` the board's last beat seen."""

    device: int
    epoch: int
    number: int
    lane: int
    place: int
    check: int
    echo: int


@dataclass(frozen=True, slots=True)
class Sort(Permit):
    """Eject this unit into a reject channel: `place` is 0x8000 + channel. Never spares anything."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take back the permit of this unit."""

    device: int
    epoch: int
    number: int
    lane: int


@dataclass(frozen=True, slots=True)
class Totals:
    """One lane in this epoch, and the bodies behind its gate that no unit accounts for."""

    passed: int
    diverted: int
    created: int
    stray_pass: int
    stray_chute: int


@dataclass(frozen=True, slots=True)
class Status:
    """The board at the moment `clock_us`, which lies after it received the PING with this stamp.

    The frame's sequence is the newest event, `tail` the oldest one still held.
    """

    stamp: int
    beat: int
    device_beat: int
    clock_us: int
    encoder: int
    tail: int
    state: int
    identity: int
    device: int
    epoch: int
    nonce: int
    authority: int
    cause: int
    refused: int
    foreign: int
    starts: int
    inputs: int
    chute_encoder: int
    pass_encoder: int
    gate_encoder: int
    bad_frames: int
    refused_frames: int
    lanes: tuple[Totals, ...]


@dataclass(frozen=True, slots=True)
class BoardEvent:
    """An entry of a ring: `seq` is its number there, `first` and `second` lane and shot of an edge, or flags and cause
    of a closed unit."""

    ring: Ring
    index: int
    seq: int
    epoch: int
    number: int
    first: int
    second: int
    encoder: int
    time_us: int


Said = Beat | Ping | Permit | Sort | Revoke | Status | BoardEvent


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `sequence` counts events (board) or permits, revocations and sorts of an epoch (device), 0 elsewhere;
    `acknowledge` is the last one of the other side that was taken in order."""

    said: Said
    sequence: int = 0
    acknowledge: int = 0


_BEAT = struct.Struct(">IHHIIHHHH")
_PING = struct.Struct(">IH")
_PERMIT = struct.Struct(">IIIHHHH")
_REVOKE = struct.Struct(">IIIH")
_EVENT = struct.Struct(">BBIIIHHII")
_STATUS = struct.Struct(">IHHIIIHIIIIHHIHHHIIIHHH")
_TOTALS = struct.Struct(">IIIHH")
_KINDS: dict[type[Said], Kind] = {
    Beat: Kind.BEAT,
    Ping: Kind.PING,
    Permit: Kind.PERMIT,
    Sort: Kind.SORT,
    Revoke: Kind.REVOKE,
    Status: Kind.STATUS,
    BoardEvent: Kind.EVENT,
}


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame as they go on the wire, with both delimiters."""
    payload = _payload(frame.said)
    kind = _KINDS[type(frame.said)]
    body = HEADER.pack(VERSION, kind, len(payload), frame.sequence, frame.acknowledge) + payload
    return b"\0" + stuff(body + CRC.pack(zlib.crc32(body))) + b"\0"


def stuff(data: bytes) -> bytes:
    """COBS: return the data without a zero byte. Data of a frame is shorter than 254 bytes."""
    return b"".join(bytes((len(run) + 1,)) + run for run in data.split(b"\0"))


def unstuff(data: bytes) -> bytes:
    """Undo COBS.

    Raises:
        ValueError: a code points beyond the end.
    """
    runs: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + data[at]
        if end > len(data) or end == at:
            raise ValueError("a COBS code points beyond the end")
        runs.append(data[at + 1 : end])
        at = end
    return b"\0".join(runs)


def decode(stuffed: bytes) -> Frame:
    """Return the frame between two delimiters.

    Raises:
        ValueError: broken by noise, of another version, or no frame of this protocol.
    """
    if len(stuffed) > LONGEST:
        raise ValueError("too long")
    body = unstuff(stuffed)
    if len(body) < HEADER.size + CRC.size:
        raise ValueError("too short")
    if zlib.crc32(body[: -CRC.size]) != CRC.unpack(body[-CRC.size :])[0]:
        raise ValueError("CRC")
    version, kind, length, sequence, acknowledge = HEADER.unpack_from(body)
    payload = body[HEADER.size : -CRC.size]
    if version != VERSION or length != len(payload):
        raise ValueError(f"version {version}, length {length}")
    try:
        return Frame(_said(Kind(kind), payload), sequence, acknowledge)
    except struct.error as error:
        raise ValueError(f"payload of kind {kind}") from error


class Decoder:
    """Cuts a stream of bytes into frames; noise costs the frames it touches and nothing else."""

    def __init__(self) -> None:
        self._rest = b""
        self.bad = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the whole frames in what arrived. `bad` counts what was none."""
        *whole, rest = (self._rest + data).split(b"\0")
        self._rest = rest[: LONGEST + 1]
        for stuffed in whole:
            if not stuffed:
                continue
            try:
                yield decode(stuffed)
            except ValueError:
                self.bad += 1

    def clear(self) -> None:
        """Forget a frame that has begun."""
        self._rest = b""


def _payload(said: Said) -> bytes:
    match said:
        case Beat():
            counts = (said.device, said.beat, said.echo, said.nonce, said.proposal)
            return _BEAT.pack(*counts, said.command, said.mode, said.state, said.lamps)
        case Ping():
            return _PING.pack(said.stamp, NAK if said.again else 0)
        case Permit():
            named = (said.device, said.epoch, said.number, said.lane)
            return _PERMIT.pack(*named, said.place, said.check, said.echo)
        case Revoke():
            return _REVOKE.pack(said.device, said.epoch, said.number, said.lane)
        case Status():
            return _status_payload(said)
        case BoardEvent():
            unit = (said.ring, said.index, said.seq, said.epoch, said.number)
            return _EVENT.pack(*unit, said.first, said.second, said.encoder, said.time_us)


def _status_payload(said: Status) -> bytes:
    *fixed, lanes = (getattr(said, name) for name in Status.__slots__)
    totals = [_TOTALS.pack(*(getattr(lane, name) for name in Totals.__slots__)) for lane in lanes]
    return _STATUS.pack(*fixed, len(lanes)) + b"".join(totals)


def _said(kind: Kind, payload: bytes) -> Said:
    match kind:
        case Kind.BEAT:
            return Beat(*_BEAT.unpack(payload))
        case Kind.PING:
            stamp, flags = _PING.unpack(payload)
            return Ping(stamp, bool(flags & NAK))
        case Kind.PERMIT:
            return Permit(*_PERMIT.unpack(payload))
        case Kind.SORT:
            return Sort(*_PERMIT.unpack(payload))
        case Kind.REVOKE:
            return Revoke(*_REVOKE.unpack(payload))
        case Kind.EVENT:
            ring, *rest = _EVENT.unpack(payload)
            return BoardEvent(Ring(ring), *rest)
        case Kind.STATUS:
            return _status(payload)


def _status(payload: bytes) -> Status:
    values = _STATUS.unpack_from(payload)
    lanes = values[-1]
    if len(payload) != _STATUS.size + lanes * _TOTALS.size:
        raise ValueError(f"status of {lanes} lanes in {len(payload)} bytes")
    totals = tuple(Totals(*lane) for lane in _TOTALS.iter_unpack(payload[_STATUS.size :]))
    return Status(**dict(zip(Status.__slots__, (*values[:-1], totals), strict=True)))
