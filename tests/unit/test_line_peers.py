"""The line listens to each message only from the peer whose it is to send."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.line.peers import MOST_PEERS, Peers
from daemon.messages import (
    PROTO,
    Ask,
    CameraState,
    FrameLost,
    Hello,
    Judged,
    Loaded,
    PermitRow,
    Resume,
    Stored,
    VisionFault,
)
from daemon.units import Channel, FrameKey, Reason, Stages, UnitId, Verdict
from daemon.wire import Listener, Message, Peer, WireError, connect

UNIT = UnitId(1, 0, 1)
JUDGED = Judged(UNIT, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", [], "d", "r", 1, 2, 3, 4)
LOADED = Loaded("d", "r", "b", "r", [], 120.0, 20.0, 40.0, 100.0)
PERMIT = PermitRow(1, UNIT, "B", "c", Verdict.ACCEPT, [], "d", Stages())


class Room:
    """The line's peers, and who connects to them."""

    def __init__(self, folder: Path) -> None:
        self.recorder = Listener(folder / "recorder.sock")
        self.gone: list[str] = []
        self.peers = Peers(folder, lambda peer, why: self.gone.append(f"{peer.process}: {why}"))
        self.path = folder / "line.sock"
        self.others: list[Peer] = []

    def come(self, process: str, name: str = "") -> Peer:
        peer = connect(self.path, Hello(PROTO, process, name or process, 1))
        assert peer is not None
        self.others.append(peer)
        self.turn()
        return peer

    def turn(self, rounds: int = 3) -> list[Message]:
        heard: list[Message] = []
        for now in range(rounds):
            watched = self.peers.filenos()
            heard += [message for _peer, message in self.peers.service(now * 10**9, watched)]
        return heard

    def close(self) -> None:
        for peer in self.others:
            peer.close()
        self.peers.close()
        self.recorder.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
@pytest.mark.parametrize(
    ("process", "message"),
    [
        ("cli", JUDGED),
        ("cli", Stored(10**9)),
        ("cli", Resume(9, [PERMIT])),
        ("cli", LOADED),
        ("camera", JUDGED),
        ("camera", VisionFault("X", "y")),
        ("camera", CameraState("other", 5, True, "")),
        ("camera", FrameLost(FrameKey("other", 1, 1), "gap")),
        ("vision", Stored(3)),
        ("vision", CameraState("vision", 5, True, "")),
        ("recorder", Stored(3)),
        ("cli", PERMIT),
    ],
)
def test_a_peer_that_says_what_is_not_its_to_say_is_dropped(room: Room, process: str, message: Message) -> None:
    peer = room.come(process)
    peer.send(message)
    assert message not in room.turn()
    assert len(room.gone) == 1


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
def test_a_stranger_without_hello_is_not_heard(room: Room) -> None:
    peer = room.come("cli")
    stranger = connect(room.path, Hello(PROTO + 1, "vision", "vision", 1))
    assert stranger is not None
    room.others.append(stranger)
    room.turn()
    with pytest.raises(WireError):
        for _ in range(9):
            stranger.send(JUDGED)
    peer.send(Ask("status"))
    assert room.turn() == [Ask("status")]


def test_the_one_vision_is_heard_and_a_newer_one_replaces_it(room: Room) -> None:
    first = room.come("vision")
    first.send(JUDGED)
    assert room.turn() == [JUDGED]
    second = room.come("vision")
    assert room.gone == ["vision: replaced by a newer vision"]
    second.send(LOADED)
    assert room.turn() == [LOADED]


@pytest.mark.clause("21 CFR 11.10(h)", "ALCOA+ accurate")
def test_only_the_recorder_that_the_line_called_may_acknowledge(room: Room) -> None:
    room.turn()
    recorder = room.recorder.accept()
    assert recorder is not None
    room.others.append(recorder)
    recorder.send(Hello(PROTO, "recorder", "recorder", 1))
    recorder.send(Stored(3))
    assert room.turn()[-1] == Stored(3)


def test_a_guest_that_floods_gets_one_message_a_turn(room: Room) -> None:
    guest = room.come("cli")
    for _ in range(20):
        guest.send(Ask("status"))
    assert len(room.turn(rounds=1)) == 1
    assert len(room.turn(rounds=5)) == 5


def test_who_does_not_greet_goes(room: Room) -> None:
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.connect(str(room.path))
    room.turn()
    room.turn()
    assert room.gone == [": did not greet"]
    silent.close()


def test_too_many_guests_never_keep_the_device_s_own_out(room: Room) -> None:
    vision = room.come("vision")
    for _ in range(MOST_PEERS + 5):
        room.come("cli")
    camera = room.come("camera", "side")
    assert room.peers.vision is not None and "vision: replaced" not in str(room.gone)
    camera.send(CameraState("side", 1, True, ""))
    assert room.turn(rounds=1) == [CameraState("side", 1, True, "")]
    assert vision.receive() is not None
