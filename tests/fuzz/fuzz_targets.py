"""Every parser of this project that faces a wire, a file or a chunk, as a function of bytes.

A target returns for anything: what it raises beyond the errors its parser documents is a bug, and so is a broken
promise that it checks itself. Used by `make fuzz` (atheris, coverage-guided) and by test_fuzz_corpus.py, which plays
the kept corpus and seeded mutations of it in every `make test`.
"""

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from daemon import config, wire
from daemon.messages import Act, Hello
from daemon.recipe import Recipe
from daemon.uplink.ddi import Orchestrator, OrderError
from drivers.board_mirror import Mirror
from drivers.errors import DeviceLost
from drivers.framings import RtuFraming, TcpFraming
from drivers.gate.plc_bank import Bank
from drivers.gpio_socket import RECORD, Reader
from drivers.modbus import UNREADABLE
from drivers.modbus_host import HostLink, Listen
from drivers.modbus_requests import answer
from drivers.modbus_seat import Seat
from drivers.registers import crc16, load_map
from drivers.serial_frames import (
    BoardEvent,
    Decoder,
    Frame,
    Ping,
    Ring,
    Status,
    Totals,
    encode,
    stuff,
    unstuff,
)
from provisioning.simstation import Layout, station_text
from signing.approval import read_approval
from signing.dsse import open_model_signature
from signing.errors import SigningError
from signing.keyring import load_trust, read_trust
from signing.manifest import BundleManifest, strict_json
from signing.order import read_swap_order
from signing.trust import Role

MAP = load_map()
ASKED = 10
REGISTERS = list(range(1000, 1000 + ASKED))
VECTORS = Path(__file__).parents[1] / "vectors" / "bundle-1"
TRUST = load_trust(VECTORS / "trust", production=False)


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes what the wire brought; `seeds` are good inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def modbus_answer(framing: TcpFraming | RtuFraming, data: bytes) -> None:
    """One read is outstanding, its answer comes in pieces: found, an exception answer, or unreadable; never a wait
    that consumes for ever."""
    asked = ReadHoldingRegistersRequest(address=0, count=ASKED, dev_id=1)
    framing.request(asked)
    step, received = (1 + data[0] % 64, b"") if data else (1, b"")
    for at in range(1, len(data), step):
        received += data[at : at + step]
        try:
            used, pdu = framing.answer(received, asked)
        except UNREADABLE:
            return
        if not 0 <= used <= len(received):
            raise AssertionError(f"{used} of {len(received)} bytes used")
        received = received[used:]
        if pdu is not None:
            return


def modbus_request(data: bytes) -> None:
    """A server answers every request, and no request changes a register that is the PLC's."""
    bank = Bank(MAP)
    if not data:
        return
    reply = answer(bank, data)
    if not 2 <= len(reply) <= 253:
        raise AssertionError(f"an answer of {len(reply)} bytes")
    changed = [at for at, word in enumerate(bank.words) if word]
    if any(not bank.writable(at, 1) for at in changed):
        raise AssertionError(f"a request wrote the PLC's registers {changed}")


def board_frames(data: bytes) -> None:
    """A reject board talks: the stream as it comes, then its bytes with a true checksum, as a board gone mad would."""
    mirror = Mirror(MAP)
    mad = stuff(data + struct.pack(">I", zlib.crc32(data)))
    for frame in Decoder().feed(data + b"\0" + mad + b"\0"):
        assert list(Decoder().feed(encode(frame))) == [frame]
        if isinstance(frame.said, Status):
            mirror.status(frame.said, frame.sequence, 7)
            mirror.apply(frame.said)
        elif isinstance(frame.said, BoardEvent):
            mirror.event(frame.sequence, frame.said)


def process_message(data: bytes) -> None:
    try:
        wire.decode(data)
    except wire.WireError:
        return


def station_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            config.load(Path(file.name))
        except config.ConfigError as error:
            if "\n" in str(error).strip():
                raise AssertionError(f"more than one line: {error}") from error


def signed_document(kind: type, data: bytes) -> None:
    try:
        strict_json(data, kind, "document")
    except SigningError:
        return


def refused_or_read(read: Callable[[], object]) -> None:
    with contextlib.suppress(SigningError):
        read()


class _Said:
    """A server that answers one thing to everything."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def get(self, _url: str) -> bytes:
        return self.data


def orchestrator_answer(data: bytes) -> None:
    """A hawkBit server answers a poll, and then the question what its order names."""
    server = Orchestrator(_Said(data), "http://127.0.0.1", "DEFAULT", "d")
    for ask in (server.poll, lambda: server.wish(1)):
        try:
            ask()
        except OrderError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error


def gpio_records(data: bytes) -> None:
    try:
        list(Reader().feed(data))
    except DeviceLost:
        return


def host_write(data: bytes) -> None:
    """A polling PLC writes what it likes: refused or taken, and no permit comes of it."""
    link = HostLink(MAP, Listen("127.0.0.1", 0, 1, frozenset(), 7, 1, 80_000_000), clock=lambda: 10**9)
    seat = Seat(link, Bank(MAP), "127.0.0.1")
    for request in filter(None, data.split(b"|")):
        answer(seat, request)
    permits = link.answer(seat, MAP.permit.at(0), 2 * MAP.permit.entry)
    if any(permits):
        raise AssertionError("a PLC wrote a permit")


def _rtu(pdu: bytes) -> bytes:
    body = b"\x01" + pdu
    return b"\x40" + body + struct.pack("<H", crc16(body))


def _answers(tail: bytes) -> bytes:
    return bytes((3, 2 * ASKED)) + struct.pack(f">{ASKED}H", *REGISTERS) + tail


def _request(pdu: ReadHoldingRegistersRequest | WriteMultipleRegistersRequest) -> bytes:
    return bytes((pdu.function_code,)) + pdu.encode()


STATION = station_text(1502, Path("/run/linewarden"), 600.0, Layout()).encode()
ANSWER = _answers(b"")
STATUS = (7, *[1] * 21, (Totals(1, 1, 1, 0, 0),))
SAID = (Status(*STATUS), BoardEvent(Ring.CLOSED, 0, 1, 1, 1, 6, 1, 9, 9), Ping(1, True))
BOARD_SAYS = (
    *(encode(Frame(said, 1, 1)) for said in SAID),
    *(unstuff(encode(Frame(said))[1:-1])[:-4] for said in SAID),
)
TARGETS: dict[str, Target] = {
    "modbus-answer-tcp": Target(
        lambda data: modbus_answer(TcpFraming(1), data),
        (
            b"\x40" + struct.pack(">HHHB", 1, 0, len(ANSWER) + 1, 1) + ANSWER,
            b"\x02\x00\x01\x00\x00\x00\x03\x01\x83\x02",
        ),
    ),
    "modbus-answer-rtu": Target(
        lambda data: modbus_answer(RtuFraming(1, 921_600), data),
        (_rtu(ANSWER), b"\x01noise" + _rtu(ANSWER)[1:], _rtu(b"\x83\x02")),
    ),
    "modbus-request": Target(
        modbus_request,
        (
            _request(ReadHoldingRegistersRequest(address=0, count=88)),
            _request(WriteMultipleRegistersRequest(address=100, registers=[1, 2, 3])),
            _request(WriteMultipleRegistersRequest(address=1000, registers=[0, 7, 1, 9])),
            bytes((23,)) + struct.pack(">HHHHBHH", 0, 4, 100, 2, 4, 5, 6),
        ),
    ),
    "board-frames": Target(board_frames, BOARD_SAYS),
    "process-message": Target(
        process_message,
        (
            wire.encode(Hello(1, "cli", "linewarden", 0)),
            wire.encode(Act("start", "anna", "operator", "shift", "", "")),
            msgspec.msgpack.encode({"type": "judged", "unit": [1, 0, 7]}),
        ),
    ),
    "orchestrator-answer": Target(
        orchestrator_answer,
        (
            b'{"config":{"polling":{"sleep":"00:01:00"}},"_links":{"deploymentBase":{"href":'
            b'"http://127.0.0.1/DEFAULT/controller/v1/d/deploymentBase/7"}}}',
            b'{"deployment":{"chunks":[{"artifacts":[{"filename":"bundle-%b.recipe-%b"}]}]}}' % (b"a" * 64, b"b" * 64),
        ),
    ),
    "gpio-records": Target(gpio_records, (RECORD.pack(3, 1, 0, 1, 10**9) + RECORD.pack(4, 0, 0, 2, 10**9),)),
    "host-write": Target(
        host_write,
        (
            _request(WriteMultipleRegistersRequest(address=0, registers=[1] * MAP.status_words)),
            _request(WriteMultipleRegistersRequest(address=1000, registers=[0, 7, 1, 9])) + b"|\x03\x00\x00\x00\x05",
        ),
    ),
    "station-file": Target(station_file, (STATION, b"name = 1", b"[wiring]\nkind = 'diverter'\n")),
    "bundle-manifest": Target(lambda data: signed_document(BundleManifest, data), (b'{"format":0,"format":1}', b"{}")),
    "model-signature": Target(
        lambda data: refused_or_read(lambda: open_model_signature(data, Role.QA, TRUST, "qa.sig")),
        ((VECTORS / "bundle" / "signatures" / "qa.sig").read_bytes(),),
    ),
    "approval": Target(
        lambda data: refused_or_read(lambda: read_approval(data, Role.QA, TRUST, ("bundle.json", ""), "qa.approval")),
        ((VECTORS / "bundle" / "signatures" / "qa.approval").read_bytes(),),
    ),
    "swap-order": Target(lambda data: refused_or_read(lambda: read_swap_order(data, TRUST)), (b"{}",)),
    "trust": Target(
        lambda data: refused_or_read(lambda: read_trust(data, "trust.json", production=False)),
        ((VECTORS / "trust" / "trust.json").read_bytes(),),
    ),
    "recipe": Target(lambda data: signed_document(Recipe, data), (b'{"document":"recipe","format":0}', b"[]")),
}
