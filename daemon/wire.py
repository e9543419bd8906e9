"""The socket between the processes (DESIGN section 2, docs/interfaces/wire.md); messages.py has what travels on it.

AF_UNIX SOCK_SEQPACKET in $RUNTIME_DIRECTORY, one msgpack tagged union, at most MAX_BYTES a message, the first one
`Hello`. Everything is non-blocking: a peer whose queue is full is dropped, an unknown tag is refused.
"""

import os
import socket
from pathlib import Path

import msgspec

from daemon.messages import (
    Act,
    AlarmRow,
    Answer,
    Arm,
    Ask,
    Bound,
    CameraState,
    FrameLost,
    FrameReady,
    FrameSeen,
    GapRow,
    Hello,
    Judged,
    Latches,
    Loaded,
    PermitRow,
    PlcTotals,
    Release,
    Report,
    Resume,
    Ring,
    Staged,
    Status,
    Stored,
    Unbound,
    UnitRow,
    VisionFault,
)
from daemon.records import ArchivedRow, AuditRow, EvidenceRow

MAX_BYTES = 64 * 1024
# Processes and people of the group may connect; systemd's UMask= would leave that to one user.
FOR_THE_GROUP = 0o660

Message = (
    Hello | CameraState | FrameSeen | FrameLost | FrameReady | Ring | Release | Bound | Unbound | Judged | Loaded
    | VisionFault | Arm | Resume | PermitRow | UnitRow | GapRow | AlarmRow | PlcTotals | Stored | Act | Answer | Ask
    | Status | Report | Latches | Staged | AuditRow | EvidenceRow | ArchivedRow
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class WireError(Exception):
    """The peer broke the protocol or went away; drop the connection and tell the operator."""


class PeerGone(WireError):
    """The peer closed the connection."""


class PeerFull(WireError):
    """The peer does not read; it is dropped."""


def encode(message: Message) -> bytes:
    """Return the bytes of one message.

    Raises:
        WireError: the message is larger than MAX_BYTES.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_BYTES:
        raise WireError(f"message {type(message).__name__} has {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def decode(data: bytes) -> Message:
    """Return the message in `data`.

    Raises:
        WireError: not msgpack, an unknown tag or a wrong field.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"unreadable message of {len(data)} bytes: {error}") from error


class Peer:
    """One connected peer, non-blocking. Owned by the loop that polls its `fileno()`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.name = ""
        self.process = ""

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Queue one message in the kernel.

        Raises:
            PeerFull: the kernel's queue is full, the caller drops this peer.
            PeerGone: the peer closed.
        """
        data = encode(message)
        try:
            if fds:
                socket.send_fds(self._sock, [data], list(fds))
            else:
                self._sock.send(data)
        except BlockingIOError as error:
            raise PeerFull(f"{self.process or 'peer'} {self.name} does not read") from error
        except OSError as error:
            raise PeerGone(f"{self.process or 'peer'} {self.name} is gone: {error.strerror}") from error

    def receive(self) -> Message | None:
        """Return the next message, or None when nothing waits.

        Raises:
            PeerGone: the peer closed.  WireError: the peer sent nonsense.
        """
        message, fds = self.receive_fds()
        for fd in fds:
            os.close(fd)
        return message

    def receive_fds(self) -> tuple[Message | None, list[int]]:
        """As `receive`, with the file descriptors that came along; the caller owns and closes them."""
        try:
            data, fds, _flags, _addr = socket.recv_fds(self._sock, MAX_BYTES, 4)
        except BlockingIOError:
            return None, []
        except OSError as error:
            raise PeerGone(f"{self.process or 'peer'} {self.name} is gone: {error.strerror}") from error
        if not data:
            raise PeerGone(f"{self.process or 'peer'} {self.name} closed the connection")
        try:
            return decode(data), fds
        except WireError:
            for fd in fds:
                os.close(fd)
            raise

    def close(self) -> None:
        self._sock.close()


class Listener:
    """A listening socket at `path`; replaces the stale one of an earlier life."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        self._sock.bind(str(path))
        path.chmod(FOR_THE_GROUP)
        self._sock.listen(16)

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> Peer | None:
        """Return the next peer, or None when nobody waits."""
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return None
        return Peer(sock)

    def close(self) -> None:
        self._sock.close()


def connect(path: Path, hello: Hello) -> Peer | None:
    """Connect to a listener and say Hello; None when nobody listens there yet (the caller tries again later)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
        peer = Peer(sock)
        peer.send(hello)
    except (OSError, WireError):
        sock.close()
        return None
    return peer
