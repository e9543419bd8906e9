"""One contract for every RegisterLink: what the PLC driver may rely on, whatever carries the registers."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from register_peers import FACTORIES, Peer, Spoil, TcpPeer

from drivers.errors import DeviceLost
from drivers.links import Reply

PERMIT, PATIENCE_S = 1000, 30.0


@pytest.fixture(params=FACTORIES)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    peer = FACTORIES[request.param](tmp_path)
    yield peer
    peer.close()


def drive(peer: Peer, done: Callable[[list[Reply]], bool]) -> list[Reply]:
    """Turn both ends until it is done; what the link raises comes through."""
    replies: list[Reply] = []
    end = time.monotonic() + PATIENCE_S
    while not done(replies):
        assert time.monotonic() < end, replies
        peer.link.connect(peer.now())
        replies += peer.link.service(peer.now())
        peer.turn()
        peer.rest()
    return replies


def come_up(peer: Peer) -> None:
    """Drive until the link is up, through the failures before it."""
    end = time.monotonic() + PATIENCE_S
    while not peer.link.up:
        assert time.monotonic() < end
        try:
            drive(peer, lambda _: peer.link.up)
        except DeviceLost:
            continue


def lose(peer: Peer) -> str:
    """Drive until the link is lost; no answer may come meanwhile. Returns why."""
    with pytest.raises(DeviceLost) as caught:
        drive(peer, bool)
    assert not peer.link.up and peer.link.idle
    return str(caught.value)


def read(peer: Peer, address: int, count: int) -> list[int]:
    """Read registers that nobody writes meanwhile."""
    peer.link.read("read it", address, count, 3, 77)
    (reply,) = drive(peer, lambda replies: len(replies) == 1)
    assert (reply.tag, reply.index, reply.seq) == ("read it", 3, 77)
    assert 0 < reply.sent_ns <= reply.received_ns <= peer.now()
    return list(reply.words)


def test_a_link_is_down_until_it_is_connected(peer: Peer) -> None:
    assert not peer.link.up and peer.link.idle
    assert peer.link.service(peer.now()) == []
    come_up(peer)
    assert peer.link.idle and peer.link.fileno() >= 0


def test_connect_says_once_that_it_is_up(peer: Peer) -> None:
    said = []
    end = time.monotonic() + PATIENCE_S
    while not said and time.monotonic() < end:
        said += [True] if peer.link.connect(peer.now()) else []
        peer.turn()
        peer.rest()
    assert peer.link.up
    assert not any(peer.link.connect(peer.now()) for _ in range(20))


def test_registers_are_read_as_they_are(peer: Peer) -> None:
    come_up(peer)
    for address, count in ((0, 1), (0, 88), (1256, 120), (1256, 12)):
        peer.bank.words[address : address + count] = type(peer.bank.words)("H", range(500, 500 + count))
        assert read(peer, address, count) == list(range(500, 500 + count))


def test_a_write_takes_effect_and_is_answered(peer: Peer) -> None:
    come_up(peer)
    peer.link.write("permit", PERMIT, [1, 2, 3, 4], 1, 9)
    (reply,) = drive(peer, lambda replies: len(replies) == 1)
    assert (reply.tag, reply.index, reply.seq, list(reply.words)) == ("permit", 1, 9, [])
    assert list(peer.bank.words[PERMIT : PERMIT + 4]) == [1, 2, 3, 4]


def test_writes_overtake_queued_reads_in_their_own_order(peer: Peer) -> None:
    come_up(peer)
    for address in (1256, 1268, 1280):
        peer.link.read("read ring", address, 12)
    for slot in (0, 1):
        peer.link.write(f"permit {slot}", PERMIT + 4 * slot, [0, 5, 6, 7])
    assert not peer.link.idle
    replies = drive(peer, lambda replies: len(replies) == 5)
    assert [r.tag for r in replies] == ["permit 0", "permit 1", "read ring", "read ring", "read ring"]
    assert peer.link.idle


@pytest.mark.parametrize("address", [60_000, 65_535])
def test_an_error_answer_loses_the_link(peer: Peer, address: int) -> None:
    come_up(peer)
    peer.link.read("read nowhere", address, 1)
    assert "refused read nowhere" in lose(peer)


def test_a_write_where_the_device_may_not_loses_the_link(peer: Peer) -> None:
    come_up(peer)
    peer.link.write("forbidden", 8, [1, 1])
    assert "refused forbidden" in lose(peer)
    assert list(peer.bank.words[8:10]) == [0, 0]


def test_a_peer_that_goes_away_loses_the_link_and_comes_back(peer: Peer) -> None:
    come_up(peer)
    peer.cut()
    peer.link.read("read it", 0, 1)
    lose(peer)
    peer.mend()
    come_up(peer)
    peer.bank.words[0] = 42
    assert read(peer, 0, 1) == [42]


def test_what_was_asked_before_a_loss_or_while_down_is_never_sent(peer: Peer) -> None:
    come_up(peer)
    peer.cut()
    for slot in range(3):
        peer.link.write("permit", PERMIT + 4 * slot, [0, 1, 1, 1])
    lose(peer)
    peer.mend()
    while not peer.link.up:
        peer.link.write("permit", PERMIT + 16, [0, 2, 2, 2])
        with contextlib.suppress(DeviceLost):
            peer.link.connect(peer.now())
            peer.link.service(peer.now())
            peer.turn()
            peer.rest()
    assert read(peer, PERMIT, 20)[8:] == [0] * 12


@pytest.mark.parametrize("spoil", [s for s in Spoil if s not in (Spoil.NOTHING, Spoil.SLOW, Spoil.TWICE)])
@pytest.mark.parametrize("write", [False, True])
def test_what_is_no_answer_is_never_taken_for_one(peer: Peer, spoil: Spoil, write: bool) -> None:
    come_up(peer)
    peer.spoil = spoil
    if write:
        peer.link.write("permit", PERMIT, [1, 2, 3, 4])
    else:
        peer.link.read("read it", 0, 12)
    assert lose(peer)
    peer.spoil = Spoil.NOTHING
    come_up(peer)
    peer.bank.words[0:2] = type(peer.bank.words)("H", (7, 8))
    assert read(peer, 0, 2) == [7, 8]


@pytest.mark.parametrize("spoil", [Spoil.SILENT, Spoil.GARBAGE, Spoil.OTHER_UNIT])
def test_a_peer_that_never_answers_right_never_brings_the_link_up(peer: Peer, spoil: Spoil) -> None:
    peer.spoil = spoil
    with pytest.raises(DeviceLost):
        drive(peer, lambda _: peer.link.up)
    assert not peer.link.up


def test_an_answer_said_twice_answers_nothing_else(peer: Peer) -> None:
    """On a serial line the second one is noise; elsewhere it is a breach and costs the link."""
    come_up(peer)
    peer.bank.words[0:4] = type(peer.bank.words)("H", (1, 2, 3, 4))
    peer.spoil = Spoil.TWICE
    try:
        assert read(peer, 0, 2) == [1, 2]
        peer.spoil = Spoil.NOTHING
        assert read(peer, 2, 2) == [3, 4]
    except DeviceLost as error:
        assert "asked for" in str(error) or "to request" in str(error)
    else:
        assert not isinstance(peer, TcpPeer)


def test_answers_may_come_byte_by_byte(peer: Peer) -> None:
    come_up(peer)
    peer.spoil = Spoil.SLOW
    peer.bank.words[0:10] = type(peer.bank.words)("H", range(10))
    assert read(peer, 0, 10) == list(range(10))
    peer.link.write("permit", PERMIT, [1, 2, 3, 4])
    assert [r.tag for r in drive(peer, lambda replies: len(replies) == 1)] == ["permit"]


def test_a_closed_link_holds_nothing_and_may_connect_again(peer: Peer) -> None:
    come_up(peer)
    peer.link.read("read it", 0, 5)
    peer.link.close()
    assert (peer.link.up, peer.link.idle, peer.link.fileno()) == (False, True, -1)
    peer.link.close()
    come_up(peer)
    assert read(peer, 0, 1) == [0]


def test_a_peer_that_is_not_there_is_told_once(peer: Peer) -> None:
    peer.cut()
    told: list[str] = []
    end = peer.now() + 400_000_000
    while peer.now() < end:
        try:
            peer.link.connect(peer.now())
            peer.link.service(peer.now())
            peer.turn()
        except DeviceLost as error:
            told.append(str(error))
        peer.rest()
    assert len(told) == 1 and "PLC" in told[0]
