"""Who a camera talks to: it connects to `line` and listens for `vision`, which holds one ring at a time."""

import logging
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon import messages, wire
from daemon.camera.ring import Ring
from daemon.messages import PROTO, Hello
from daemon.units import Evidence
from daemon.wire import Listener, Message, Peer, WireError

RETRY_NS: Final = 50_000_000
BURST: Final = 64
_LOG: Final = logging.getLogger(__name__)


class LineLink:
    """The connection to `line`, or the wish for one. A full or gone line is dropped and tried again."""

    def __init__(self, path: Path, hello: Hello) -> None:
        self._path = path
        self._hello = hello
        self._peer: Peer | None = None
        self._next_try_ns = 0
        self._state: Message | None = None

    @property
    def connected(self) -> bool:
        return self._peer is not None

    def state(self, message: messages.CameraState) -> None:
        """Tell the line, and every later one first of all, what this camera does."""
        self._state = message
        self.send(message)

    def send(self, message: Message) -> None:
        """Send if connected; what the line does not get it does not credit."""
        if self._peer is None:
            return
        try:
            self._peer.send(message)
        except WireError as error:
            self._drop(error)

    def service(self, now_ns: int) -> None:
        """Connect when due; read what came (only Hello does)."""
        if self._peer is None:
            self._connect(now_ns)
            return
        try:
            while self._peer.receive() is not None:
                pass
        except WireError as error:
            self._drop(error)

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def _connect(self, now_ns: int) -> None:
        if now_ns < self._next_try_ns:
            return
        self._next_try_ns = now_ns + RETRY_NS
        self._peer = wire.connect(self._path, self._hello)
        if self._peer is not None and self._state is not None:
            self.send(self._state)

    def _drop(self, cause: Exception) -> None:
        _LOG.warning("connection to line ended: %s", cause)
        self.close()


class VisionSide:
    """The listener for `vision` and the one reader it has. The newest reader replaces the one before."""

    def __init__(self, path: Path, hello: Hello, slots: int, frame_bytes: int) -> None:
        self._listener = Listener(path)
        self._hello = hello
        self._slots = slots
        self._newcomers: list[Peer] = []
        self._reader: Peer | None = None
        self._ring: Ring | None = None
        self._frame_bytes = frame_bytes
        self._session = 0

    def begin(self, session: int) -> None:
        """A new acquisition began: the reader gets a new ring."""
        self._session = session
        self._offer_ring()

    def end(self) -> None:
        """The acquisition ended; frames already lent stay readable."""
        self._session = 0

    def offer(self, evidence: Evidence, pixels: NDArray[np.uint8]) -> str:
        """Copy a frame into the ring and announce it. Returns why it could not be, or nothing."""
        if self._reader is None or self._ring is None:
            return "vision is not connected"
        slot = self._ring.store(pixels)
        if slot is None:
            return "no free slot: vision is too slow"
        height, width = pixels.shape
        self._send(messages.FrameReady(evidence, slot, width, height))
        return "" if self._reader is not None else "vision went away"

    def service(self) -> None:
        """Accept, greet, take back slots. Never blocks."""
        while (peer := self._listener.accept()) is not None:
            self._newcomers.append(peer)
        for peer in tuple(self._newcomers):
            self._greet(peer)
        self._take_back()

    def close(self) -> None:
        self._lose_reader("this camera ends")
        for peer in self._newcomers:
            peer.close()
        self._newcomers.clear()
        self._listener.close()

    def _greet(self, peer: Peer) -> None:
        try:
            message = peer.receive()
            if message is None:
                return
            if not isinstance(message, Hello) or (message.proto, message.process) != (PROTO, "vision"):
                raise WireError(f"expected Hello of vision, protocol {PROTO}; install one release")
            peer.process, peer.name = message.process, message.name
            peer.send(self._hello)
        except WireError as error:
            _LOG.warning("a reader was refused: %s", error)
            peer.close()
        else:
            self._lose_reader("replaced by a newer one")
            self._reader = peer
            self._offer_ring()
        self._newcomers.remove(peer)

    def _offer_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._reader is None or not self._session:
            return
        ring = self._ring = Ring(self._slots, self._frame_bytes)
        self._send(messages.Ring(self._hello.name, self._session, ring.slots, ring.slot_bytes), (ring.fd,))

    def _take_back(self) -> None:
        try:
            for _ in range(BURST):
                message = self._reader.receive() if self._reader is not None else None
                if message is None:
                    return
                if not isinstance(message, messages.Release):
                    raise WireError(f"vision sent {type(message).__name__}, which is not its to send")
                if message.session == self._session and self._ring is not None and not self._ring.release(message.slot):
                    raise WireError(f"vision released slot {message.slot}, which it does not hold")
        except WireError as error:
            self._lose_reader(str(error))

    def _send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        if self._reader is None:
            return
        try:
            self._reader.send(message, fds)
        except WireError as error:
            self._lose_reader(str(error))

    def _lose_reader(self, cause: str) -> None:
        if self._reader is not None:
            _LOG.warning("connection to vision ended: %s", cause)
            self._reader.close()
            self._reader = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
