"""What only a serial line does: no transaction numbers, noise, silences, ports that vanish, one owner."""

import os
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from register_peers import BAUD, TIMEOUT_NS, RtuPeer, Spoil

from daemon.config import ModbusRtu
from drivers.errors import DeviceLost
from drivers.gate.plc_bank import Bank
from drivers.links import Reply
from drivers.modbus import RETRY_NS, rtu_link
from drivers.registers import crc16, load_map
from drivers.serial_timing import Cycle, characters_ns, gap_ns
from drivers.sim.box_fronts import RtuFront
from drivers.sim.box_setup import SetupError

READ_RING = b"\x01\x03\x04\xe8\x00\x0a"


@pytest.fixture
def peer() -> Iterator[RtuPeer]:
    peer = RtuPeer()
    yield peer
    peer.close()


def step(peer: RtuPeer) -> list[Reply]:
    peer.link.connect(peer.now())
    replies = peer.link.service(peer.now())
    peer.turn()
    peer.rest()
    return replies


def drive(peer: RtuPeer, count: int = 0) -> list[Reply]:
    """Step until the link is up and so many answers came."""
    replies: list[Reply] = []
    end = time.monotonic() + 10
    while not peer.link.up or len(replies) < count:
        assert time.monotonic() < end
        replies += step(peer)
    return replies


def framed(body: bytes) -> bytes:
    return body + struct.pack("<H", crc16(body))


def test_noise_around_an_answer_is_passed_over(peer: RtuPeer) -> None:
    drive(peer)
    peer.spoil = Spoil.SILENT
    peer.link.read("read it", 0x4E8, 10)
    while peer.requests[-1] != READ_RING[1:]:
        step(peer)
    wrong_checksum = bytearray(framed(b"\x01\x03\x14" + bytes(20)))
    wrong_checksum[-1] ^= 1
    right = framed(b"\x01\x03\x14" + bytes(range(20)))
    peer.say(b"\x01\x00\xff" + framed(READ_RING) + bytes(wrong_checksum) + right + b"\x01\x83")
    (reply,) = drive(peer, 1)
    assert list(reply.words) == [0x0001 + 0x0202 * n for n in range(10)]
    peer.spoil = Spoil.NOTHING
    peer.say(b"\x01\x03\x04 noise while nobody asked")
    peer.link.read("read it", 0x4E8, 10)
    assert list(drive(peer, 1)[0].words) == [0] * 10


def test_an_answer_that_comes_after_its_timeout_answers_nothing_else(peer: RtuPeer) -> None:
    """The same request is asked again after the loss: the old answer would fit it, byte for byte."""
    drive(peer)
    peer.spoil = Spoil.SILENT
    peer.link.read("read it", 0x4E8, 10)
    with pytest.raises(DeviceLost, match="no answer"):
        drive(peer, 1)
    peer.spoil = Spoil.NOTHING
    say, old = peer.say, framed(b"\x01\x03\x14" + b"\xde\xad" * 10)

    def old_first(data: bytes) -> None:
        peer.say = say
        say(old)
        say(data)

    peer.say = old_first
    drive(peer)
    assert peer.say == say
    peer.link.read("read it", 0x4E8, 10)
    assert list(drive(peer, 1)[0].words) == [0] * 10


def test_a_peer_that_is_always_too_late_never_brings_the_link_up(peer: RtuPeer) -> None:
    late: list[tuple[int, bytes]] = []
    say = peer.say
    peer.say = lambda data: late.append((peer.now() + RETRY_NS + 15_000_000, data))
    end = peer.now() + 6 * RETRY_NS
    while peer.now() < end:
        try:
            step(peer)
        except DeviceLost as error:
            assert "no answer" in str(error)
        while late and late[0][0] <= peer.now():
            say(late.pop(0)[1])
        assert not peer.link.up
    assert len(peer.requests) > 3


def test_the_line_is_silent_for_three_and_a_half_characters_before_a_request(peer: RtuPeer) -> None:
    drive(peer)
    for _ in range(5):
        peer.link.read("read it", 0, 2)
    gaps: list[int] = []
    asked, said_ns = len(peer.requests), 0
    while len(gaps) < 4:
        step(peer)
        if len(peer.requests) > asked:
            gaps += [peer.now() - said_ns] if said_ns else []
            asked, said_ns = len(peer.requests), peer.now()
    assert min(gaps) >= gap_ns(BAUD)


def test_a_line_that_is_never_silent_is_lost(peer: RtuPeer) -> None:
    drive(peer)
    peer.link.read("read it", 0, 2)
    drive(peer, 1)
    peer.spoil = Spoil.SILENT
    with pytest.raises(DeviceLost, match="never silent"):
        for _ in range(3000):
            peer.say(b"\xaa")
            step(peer)
            peer.link.write("permit", 1000, [0, 1, 2, 3])


def test_a_flood_is_cut_short(peer: RtuPeer) -> None:
    drive(peer)
    peer.spoil = Spoil.FLOOD
    peer.link.read("read it", 0x4E8, 10)
    with pytest.raises(DeviceLost, match="bytes came and no answer to read it among them"):
        drive(peer, 1)


def test_a_port_that_vanishes_is_lost_and_told(peer: RtuPeer) -> None:
    drive(peer)
    inner, peer.ends = peer.ends[0], ()
    os.close(inner)
    peer.link.read("read it", 0, 2)
    with pytest.raises(DeviceLost, match="hung up|Input/output error"):
        for _ in range(100):
            peer.link.service(peer.now())
            peer.rest()


def test_a_port_belongs_to_one_process(peer: RtuPeer, tmp_path: Path) -> None:
    drive(peer)
    other = rtu_link(os.ttyname(peer.ends[1]), BAUD, "none", 1, TIMEOUT_NS)
    assert not other.connect(time.monotonic_ns())
    with pytest.raises(DeviceLost, match="cannot be opened: Resource temporarily unavailable"):
        other.service(time.monotonic_ns())
    missing = rtu_link(str(tmp_path / "ttyUSB9"), BAUD, "none", 1, TIMEOUT_NS)
    assert not missing.connect(time.monotonic_ns())
    with pytest.raises(DeviceLost, match="ttyUSB9: cannot be opened: No such file"):
        missing.service(time.monotonic_ns())


class FrontBench:
    """A front and a raw descriptor on its line."""

    def __init__(self, folder: Path, baud: int) -> None:
        self.bank = Bank(load_map())
        self.device = folder / "plc.tty"
        self.front = RtuFront(self.bank, ModbusRtu(device=str(self.device), baud=baud))
        self.line = os.open(self.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def ask(self, frame: bytes, size: int) -> tuple[bytes, int]:
        """Return what is said, at least `size` bytes if that is not 0, and ns until it was there."""
        begun = time.monotonic_ns()
        os.write(self.line, frame)
        said = b""
        patience_ns = 10_000_000_000 if size else 60_000_000
        while (not said or len(said) < size) and time.monotonic_ns() - begun < patience_ns:
            select.select([self.front.fileno()], [], [], 0.005)
            self.front.service()
            try:
                said += os.read(self.line, 4096)
            except BlockingIOError:
                continue
        return said, time.monotonic_ns() - begun

    def close(self) -> None:
        os.close(self.line)
        self.front.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FrontBench]:
    bench = FrontBench(tmp_path, 115_200)
    yield bench
    bench.close()


def test_the_front_answers_no_sooner_than_a_line_would(bench: FrontBench) -> None:
    said, took_ns = bench.ask(framed(b"\x01\x03\x00\x00\x00\x58"), 5 + 2 * 88)
    assert said == framed(b"\x01\x03\xb0" + bytes(2 * 88))
    assert took_ns >= characters_ns(8 + 181, 115_200) + gap_ns(115_200)


def test_what_a_frame_spends_on_the_wire_is_no_doubt_about_the_answer(bench: FrontBench) -> None:
    """The PLC's clock was read after the whole request had arrived and before its answer left."""
    link = rtu_link(str(bench.device), 115_200, "none", 1, 5_000_000_000)
    while not link.connect(time.monotonic_ns()):
        bench.front.service()
    taken: list[int] = []
    bench.bank.refresh = lambda: taken.append(time.monotonic_ns())
    begun = time.monotonic_ns()
    link.read("read status", 0, 88)
    replies: list[Reply] = []
    while not replies:
        replies += link.service(time.monotonic_ns())
        bench.front.service()
    ended = time.monotonic_ns()
    link.close()
    (reply,) = replies
    assert begun + characters_ns(8, 115_200) <= reply.sent_ns <= taken[0] <= reply.received_ns
    assert reply.received_ns + characters_ns(181, 115_200) <= ended


@pytest.mark.parametrize(
    "frame",
    [
        framed(b"\x02\x03\x00\x00\x00\x01"),
        b"\x01\x03\x00\x00\x00\x01\x00\x00",
        b"\x01",
        b"\xff" + framed(b"\x01\x03\x00\x00\x00\x01"),
        framed(b"\x01\x03\x00\x00\x00\x01")[:-1],
        b"\x55" * 300,
    ],
)
def test_the_front_is_silent_for_what_is_no_request_to_it(bench: FrontBench, frame: bytes) -> None:
    assert bench.ask(frame, 0)[0] == b""
    assert bench.ask(framed(b"\x01\x03\x00\x00\x00\x01"), 7)[0] == framed(b"\x01\x03\x02\x00\x00")


def test_a_cut_line_is_silent_and_comes_back(bench: FrontBench) -> None:
    bench.front.shut()
    assert bench.ask(framed(b"\x01\x06\x00\x64\x00\x07"), 0)[0] == b""
    bench.front.open()
    assert bench.bank.get("device_heartbeat") == 0
    assert bench.ask(framed(b"\x01\x06\x00\x64\x00\x07"), 8)[0] == framed(b"\x01\x06\x00\x64\x00\x07")
    assert bench.bank.get("device_heartbeat") == 7


def test_the_front_makes_its_device_and_takes_nobody_elses(tmp_path: Path) -> None:
    device = tmp_path / "plc.tty"
    device.symlink_to("/dev/pts/of-an-earlier-run")
    front = RtuFront(Bank(load_map()), ModbusRtu(device=str(device)))
    line = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    assert os.isatty(line)
    os.close(line)
    front.close()
    front.close()
    assert not device.is_symlink()
    device.write_text("a real thing")
    with pytest.raises(SetupError, match=r"\$\.wiring\.device"):
        RtuFront(Bank(load_map()), ModbusRtu(device=str(device)))


def test_a_baud_rate_that_cannot_carry_the_heartbeat_is_refused_with_the_arithmetic() -> None:
    cycle = Cycle(88, 12)
    assert cycle.characters == 8 + 5 + 176 + 9 + 24 + 8
    assert cycle.refusal(230_400, 80_000_000) == ""
    assert cycle.refusal(115_200, 80_000_000) == (
        "at 115200 baud one status read and one heartbeat take 29.0 ms (230 characters of 11 bits = 22.0 ms, "
        "4 silences of 1.75 ms = 7.0 ms), more than a third of timeout_ms = 80: "
        "set baud to 230400 or more, or timeout_ms to 87 or more"
    )
    assert cycle.refusal(115_200, 87_000_000) == ""
    assert "set timeout_ms to 23 or more" in cycle.refusal(4_000_000, 20_000_000)
    assert gap_ns(9_600) == 4_010_416 and gap_ns(38_400) == 1_750_000
