"""Wiring modbus-server against strangers, liars, floods and silence: nothing is stalled, nothing is permitted."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from host_box import ADU, HOST, MAP, PLC_IDENTITY, HostBench, reading, writing

from drivers.modbus_host import TURN_REQUESTS
from drivers.modbus_server import MAX_CLIENTS
from drivers.plc_link import LinkDown, LinkUp, Remark

BUSY, BAD_ADDRESS, BAD_VALUE = b"\x90\x06", b"\x90\x02", b"\x90\x03"
STATUS = MAP.status_words
TURN_ECHO = MAP.registers["turn_echo"].offset


@pytest.fixture
def bench() -> Iterator[HostBench]:
    bench = HostBench()
    yield bench
    bench.close()


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
def test_who_is_not_the_plc_reads_and_writes_nothing(bench: HostBench) -> None:
    bench.run()
    at = MAP.permit.at(0, 1)
    with bench.connect() as sock:
        assert bench.ask(sock, reading(2, 2)) == struct.pack(">BBI", 3, 4, PLC_IDENTITY)
        assert bench.ask(sock, writing(at, [0, 1, 1, 1])) == BAD_ADDRESS
        assert bench.ask(sock, writing(100, [9])) == BAD_ADDRESS
        assert bench.ask(sock, writing(MAP.result.base, [1])) == BAD_ADDRESS
        assert bench.ask(sock, writing(8, [0, 1])) == BUSY
        before = list(bench.bank.words[at : at + 8])
        assert bench.ask(sock, writing(MAP.unit.base, [9] * 12)) == BUSY
        assert bench.ask(sock, writing(0, [9] * STATUS)) == BUSY
        assert bench.ask(sock, writing(MAP.order.base, [1] * 8)) == BUSY
        assert bench.mail(sock)["refused_writes"] == 7
    assert list(bench.bank.words[at : at + 8]) == before
    assert bench.plc.up and bench.infeed().number == 1


def test_a_refused_write_is_alarmed(bench: HostBench) -> None:
    bench.run()
    with bench.connect() as sock:
        sock.sendall(ADU.pack(7, 0, 11, 1) + writing(MAP.unit.base, [9, 9]))
        events = bench.until(Remark)
    assert [e.text for e in events if isinstance(e, Remark)] == [f"{HOST}: a write was refused; it is not the only PLC"]


def test_a_second_plc_of_the_same_identity_is_refused(bench: HostBench) -> None:
    bench.run()
    first, bench.front = bench.front, bench.poller()
    try:
        bench.front, second = first, bench.front
        for _ in range(40):
            second.scan(bench.now_ns)
            second.service()
            bench.step()
        assert bench.plc.up
        assert bench.infeed().number == 1
        first.shut()
        bench.until(LinkDown)
        bench.front = second
        bench.until(LinkUp)
    finally:
        first.close()


@pytest.mark.clause("21 CFR 11.10(h)", "Annex 11 draft §15")
def test_an_address_that_is_not_allowed_is_dropped() -> None:
    bench = HostBench(allow=("127.0.0.2",))
    try:
        with bench.connect() as sock:
            sock.sendall(ADU.pack(7, 0, 6, 1) + reading(0, 1))
            assert bench.hear(sock) == b""
        with socket.create_connection((HOST, bench.port), 10, ("127.0.0.2", 0)) as sock:
            assert bench.ask(sock, reading(0, 1)) == b"\x03\x02\x00\x00"
        assert not bench.plc.up
    finally:
        bench.close()


class Hand:
    """A PLC by hand: one raw client that writes what the test says."""

    def __init__(self, bench: HostBench, sock: socket.socket) -> None:
        self.bench = bench
        self.sock = sock
        self.beat = 0

    def turn(self) -> int:
        return self.bench.mail(self.sock)["turn"]

    def status(self, turn: int, identity: int = PLC_IDENTITY, beats: bool = True) -> bytes:
        self.beat += beats
        words = [0] * STATUS
        words[0], words[2], words[3] = 1, identity >> 16, identity & 0xFFFF
        words[4], words[21], words[TURN_ECHO] = self.beat, 1, turn
        return self.bench.ask(self.sock, writing(0, words))


@pytest.fixture
def hand(bench: HostBench) -> Iterator[Hand]:
    bench.front.shut()
    with bench.connect() as sock:
        yield Hand(bench, sock)


DONE = struct.pack(">BHH", 16, 0, STATUS)


def test_a_status_needs_the_turn_that_this_client_was_given(bench: HostBench, hand: Hand) -> None:
    with bench.connect() as other:
        foreign = bench.mail(other)["turn"]
    assert hand.status(0) == BAD_VALUE
    assert hand.status(foreign) == BAD_VALUE
    assert hand.status(hand.turn(), identity=7) == BAD_VALUE
    assert hand.status(hand.turn()) == DONE
    assert not bench.plc.up
    assert hand.status(hand.turn()) == DONE
    assert bench.plc.up


def test_rings_before_a_status_are_refused(bench: HostBench, hand: Hand) -> None:
    assert bench.ask(hand.sock, writing(MAP.unit.base, [1, 2])) == BUSY
    assert hand.status(hand.turn()) == DONE
    assert bench.ask(hand.sock, writing(MAP.unit.base, [1, 2]))[0] == 16


def test_status_and_order_are_taken_whole_or_not_at_all(bench: HostBench, hand: Hand) -> None:
    assert hand.status(hand.turn()) == DONE
    for address, words in ((13, [1]), (1, [0] * (STATUS - 1)), (0, [1] * 4), (MAP.order.base, [1] * 7)):
        assert bench.ask(hand.sock, writing(address, words)) == BAD_ADDRESS
    assert bench.ask(hand.sock, writing(MAP.order.base, [0] * 8))[0] == 16


def test_a_repeated_or_stale_status_keeps_nothing_alive(bench: HostBench, hand: Hand) -> None:
    """The same turn again and again: the status is taken while it is young and for nothing once it is old."""
    assert hand.status(hand.turn()) == DONE
    turn = hand.turn()
    assert hand.status(turn) == DONE
    assert bench.plc.up
    events = []
    for _ in range(2000):
        hand.beat += 1
        words = [0] * STATUS
        words[0], words[2], words[3] = 1, PLC_IDENTITY >> 16, PLC_IDENTITY & 0xFFFF
        words[4], words[21], words[TURN_ECHO] = hand.beat & 0xFFFF, 1, turn
        try:
            hand.sock.sendall(ADU.pack(7, 0, 2 * STATUS + 7, 1) + writing(0, words))
        except OSError:
            break
        events += bench.step()
        if any(isinstance(e, LinkDown) for e in events):
            break
    assert any(isinstance(e, LinkDown) for e in events)


def test_a_heartbeat_that_does_not_move_never_brings_the_link_up(bench: HostBench, hand: Hand) -> None:
    for _ in range(20):
        assert hand.status(hand.turn(), beats=False) == DONE
    assert not bench.plc.up


def test_many_requests_at_once_are_answered_some_at_a_time(bench: HostBench) -> None:
    bench.agree()
    request = ADU.pack(1, 0, 6, 1) + reading(0, 1)
    with bench.connect() as sock:
        sock.setblocking(False)
        bench.step()
        sock.sendall(request * 300)
        answered = 0
        for _ in range(4000):
            before = answered
            bench.device()
            answered += len(_received(sock)) // 11
            assert answered - before <= 2 * TURN_REQUESTS
            if answered == 300:
                break
        assert answered == 300


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_ten_thousand_requests_disturb_no_permit(bench: HostBench) -> None:
    bench.run()
    with bench.connect() as sock:
        sock.setblocking(False)
        flood, sent = (ADU.pack(1, 0, 6, 1) + reading(0, 1)) * 10_000, 0
        unit = bench.infeed()
        bench.plc.permit(0, unit.number)
        for _ in range(50):
            try:
                sent += sock.send(flood[sent:])
            except OSError:
                break
            bench.step()
        bench.wait(lambda: bench.slot(unit.number)[1] == unit.number)
    assert sent > 1000
    assert bench.judged(unit.number)[1] == 0


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\0\1\0\0\1\x2c\1\3" + bytes(300), b"\xff" * 64, b"\0"])
def test_garbage_disturbs_nobody(bench: HostBench, junk: bytes) -> None:
    bench.run()
    before = list(bench.bank.words[100:112])
    with bench.connect() as sock:
        sock.sendall(junk)
        bench.step(turns=5)
        assert bench.infeed().number == 1
    assert list(bench.bank.words[102:112]) == before[2:]
    assert bench.slot(1) == [0, 0, 0, 0]


def test_half_open_clients_never_keep_the_plc_out(bench: HostBench) -> None:
    """Every place is taken by clients that ask half a request: the longest silent of them makes room."""
    bench.front.shut()
    slow = [bench.connect() for _ in range(MAX_CLIENTS)]
    try:
        for sock in slow:
            sock.sendall(b"\0\1\0\0\0")
        bench.step(turns=20)
        time.sleep(1.05)
        bench.front.open()
        bench.until(LinkUp)
    finally:
        for sock in slow:
            sock.close()


def test_a_client_that_takes_no_answers_is_dropped(bench: HostBench) -> None:
    bench.agree()
    request = (ADU.pack(1, 0, 6, 1) + reading(0, 125)) * 100
    with bench.connect() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.setblocking(False)
        for _ in range(20_000):
            try:
                greedy.send(request)
            except BlockingIOError:
                pass
            except OSError:
                break
            bench.device()
            bench.front.scan(bench.now_ns)
        else:
            pytest.fail("it was never dropped")
    bench.wait(lambda: bench.plc.up)
