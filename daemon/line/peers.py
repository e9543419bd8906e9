"""Who talks to the line: it listens for cameras, vision and people, and connects to the recorder."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon.messages import (
    PROTO,
    Act,
    Answer,
    Arm,
    Ask,
    CameraState,
    FrameLost,
    FrameSeen,
    Hello,
    Judged,
    Latches,
    Loaded,
    Resume,
    Staged,
    Status,
    Stored,
    VisionFault,
)
from daemon.wire import Listener, Message, Peer, PeerFull, WireError, connect

RETRY_NS = 50_000_000
BATCH = 32
MOST_PEERS = 40
GREETING_NS = 1_000_000_000
OURS = ("camera", "vision", "recorder")


class Peers:
    """Owned by the line loop. `gone` is called once for every peer that goes."""

    def __init__(self, runtime: Path, gone: Callable[[Peer, str], None]) -> None:
        self._listener = Listener(runtime / "line.sock")
        self._recorder_path = runtime / "recorder.sock"
        self._gone = gone
        self._peers: list[Peer] = []
        self._strangers: dict[Peer, int] = {}
        self._next_try_ns = 0
        self.vision: Peer | None = None
        self.recorder: Peer | None = None
        self._hello = Hello(PROTO, "line", "line", secrets.randbits(32))

    def filenos(self) -> list[int]:
        return [self._listener.fileno(), *(peer.fileno() for peer in self._peers)]

    def service(self, now_ns: int, ready: list[int]) -> Iterator[tuple[Peer, Message]]:
        """Accept, connect and yield what arrived on the `ready` descriptors; who breaks the protocol is dropped."""
        readable = [peer for peer in self._peers if peer.fileno() in ready]
        self._connect_recorder(now_ns)
        if self._listener.fileno() in ready and (peer := self._listener.accept()):
            self._admit(peer, now_ns)
        self._expel_strangers(now_ns)
        for peer in readable:
            yield from self._read(peer)

    @property
    def vision_up(self) -> bool:
        """True while vision is connected."""
        return self.vision is not None

    @property
    def recorder_up(self) -> bool:
        """True while the recorder is connected."""
        return self.recorder is not None

    def to_vision(self, message: Message) -> None:
        if self.vision:
            self._send(self.vision, message)

    def to_recorder(self, message: Message) -> bool:
        """Send a row; False when the recorder is away or its queue is full for now, the row is then sent again."""
        if not self.recorder:
            return False
        try:
            self.recorder.send(message)
        except PeerFull:
            return False
        except WireError as error:
            self._drop(self.recorder, str(error))
            return False
        return True

    def answer(self, peer: Peer, message: Answer | Status | Latches) -> None:
        self._send(peer, message)

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._listener.close()

    def _connect_recorder(self, now_ns: int) -> None:
        if self.recorder or now_ns < self._next_try_ns:
            return
        self._next_try_ns = now_ns + RETRY_NS
        peer = connect(self._recorder_path, self._hello)
        if peer:
            peer.process = peer.name = "recorder"
            self.recorder = peer
            self._peers.append(peer)

    def _admit(self, peer: Peer, now_ns: int) -> None:
        """Take a new peer in. When there are too many, the oldest one that is no process of the device goes."""
        if len(self._peers) >= MOST_PEERS:
            guests = [other for other in self._peers if other.process not in OURS]
            if not guests:
                peer.close()
                return
            self._drop(guests[0], "too many connections")
        self._peers.append(peer)
        self._strangers[peer] = now_ns

    def _expel_strangers(self, now_ns: int) -> None:
        """Who does not say who he is goes."""
        for peer, since_ns in list(self._strangers.items()):
            if peer.process or peer not in self._peers:
                del self._strangers[peer]
            elif now_ns - since_ns > GREETING_NS:
                self._drop(peer, "did not greet")

    def _read(self, peer: Peer) -> Iterator[tuple[Peer, Message]]:
        """Guests get one message a turn: whatever they ask in whatever number, vials come first."""
        for _ in range(BATCH if peer.process in OURS else 1):
            if peer not in self._peers:
                return
            try:
                message = peer.receive()
            except WireError as error:
                self._drop(peer, str(error))
                return
            if message is None:
                return
            if isinstance(message, Hello):
                self._greet(peer, message)
            if not self._may_say(peer, message):
                self._drop(peer, f"{peer.process or 'a stranger'} sent {type(message).__name__}, not its to send")
                return
            yield peer, message

    def _may_say(self, peer: Peer, message: Message) -> bool:
        """Verdicts come from the one vision, records from the one recorder, frames from the camera they name."""
        match message:
            case Judged() | Loaded() | Staged() | VisionFault():
                return peer is self.vision
            case Stored() | Resume() | Arm():
                return peer is self.recorder
            case CameraState():
                return (peer.process, peer.name) == ("camera", message.camera)
            case FrameSeen():
                return (peer.process, peer.name) == ("camera", message.evidence.key.camera)
            case FrameLost():
                return (peer.process, peer.name) == ("camera", message.key.camera)
            case Act() | Ask() | Hello() | Answer():
                return bool(peer.process)
            case _:
                return False

    def _greet(self, peer: Peer, hello: Hello) -> None:
        if hello.proto != PROTO:
            self._drop(peer, f"speaks protocol {hello.proto}, this line speaks {PROTO}")
            return
        peer.process, peer.name = hello.process, hello.name
        if hello.process == "recorder":
            return
        if hello.process == "vision":
            if self.vision and self.vision is not peer:
                self._drop(self.vision, "replaced by a newer vision")
            self.vision = peer
        self._send(peer, self._hello)

    def _send(self, peer: Peer, message: Message) -> None:
        try:
            peer.send(message)
        except WireError as error:
            self._drop(peer, str(error))

    def _drop(self, peer: Peer, why: str) -> None:
        if peer not in self._peers:
            return
        self._peers.remove(peer)
        if peer is self.vision:
            self.vision = None
        if peer is self.recorder:
            self.recorder = None
        peer.close()
        self._gone(peer, why)
