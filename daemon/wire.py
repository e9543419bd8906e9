"""Messages between the processes and the socket that carries them (DESIGN section 2, docs/interfaces/wire.md).

AF_UNIX SOCK_SEQPACKET in $RUNTIME_DIRECTORY, one msgpack tagged union, at most MAX_BYTES a message, the first one
`Hello`. Everything is non-blocking: a peer whose queue is full is dropped, an unknown tag is refused.
"""

import os
import socket
from pathlib import Path

import msgspec

from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, Stages, UnitId, Verdict, ViewKey

PROTO = 1
MAX_BYTES = 64 * 1024


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message in both directions. `process` is line, camera, vision, recorder or cli."""

    proto: int
    process: str
    name: str
    session: int


class CameraState(msgspec.Struct, frozen=True, tag="camera_state"):
    """camera -> line, on every change. A new `session` makes the camera UNSYNCED at once; 0 = not acquiring."""

    camera: str
    session: int
    acquiring: bool
    text: str


class FrameSeen(msgspec.Struct, frozen=True, tag="frame_seen"):
    """camera -> line: evidence of one delivered frame."""

    evidence: Evidence


class FrameLost(msgspec.Struct, frozen=True, tag="frame_lost"):
    """camera -> line: a frame id that will never be judged (gap, incomplete, stale, no free slot), with the cause."""

    key: FrameKey
    cause: str


class FrameReady(msgspec.Struct, frozen=True, tag="frame_ready"):
    """camera -> vision: the frame lies in ring slot `slot` until vision sends Release."""

    evidence: Evidence
    slot: int
    width: int
    height: int


class Ring(msgspec.Struct, frozen=True, tag="ring"):
    """camera -> vision, with the ring's memfd attached (SCM_RIGHTS): a new ring and session begin."""

    camera: str
    session: int
    slots: int
    slot_bytes: int


class Release(msgspec.Struct, frozen=True, tag="release"):
    """vision -> camera: slot may be written again. A release of another session is ignored."""

    session: int
    slot: int


class Bound(msgspec.Struct, frozen=True, tag="bound"):
    """line -> vision: this frame is this view of this unit."""

    unit: UnitId
    view: ViewKey
    key: FrameKey


class Unbound(msgspec.Struct, frozen=True, tag="unbound"):
    """line -> vision: this frame belongs to no unit that can still be accepted; release it."""

    key: FrameKey


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """vision -> line: the verdict over all views of one unit. `bundle` is the digest that judged."""

    unit: UnitId
    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str
    views: list[JudgedView]
    bundle: str
    frame_ns: int
    inferred_ns: int
    inference_ns: int
    judged_ns: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """vision -> line and recorder: what is verified, loaded and warm. Digests are sha256 of the signed documents."""

    bundle: str
    recipe: str
    bundle_name: str
    recipe_name: str
    views: list[ViewKey]
    max_latency_ms: float
    window_ms: float
    min_gap_mm: float
    max_gap_mm: float


class VisionFault(msgspec.Struct, frozen=True, tag="vision_fault"):
    """vision -> line: an alarm of the vision process (evidence dropped, engine error), with a code of faults.py."""

    code: str
    text: str


class Arm(msgspec.Struct, frozen=True, tag="arm"):
    """recorder -> line and vision: the open batch and what may judge it. Empty batch = nothing is armed."""

    batch: str
    bundle: str
    recipe: str
    configuration: str


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """recorder -> line after Hello: newest epoch on record and the permitted units that have no row yet.

    Of the open batch also: `since_epoch` the newest epoch when it was opened, `recorded` its newest 256 unit rows,
    `running` True once it has any row (then a restarted line goes on by itself).
    """

    last_epoch: int
    permitted: list["PermitRow"]
    since_epoch: int = 0
    recorded: list[UnitId] = []
    running: bool = False


class PermitRow(msgspec.Struct, frozen=True, tag="permit_row"):
    """line -> recorder, sent with the permit: the verdict behind it, durable before the unit is at the gate."""

    seq: int
    unit: UnitId
    batch: str
    configuration: str
    verdict: Verdict
    views: list[JudgedView]
    bundle: str
    stages: Stages


class UnitRow(msgspec.Struct, frozen=True, tag="unit_row"):
    """line -> recorder: the final row of a unit. Re-sent until acknowledged; idempotent by `unit`.

    `source` is "line", or "plc" for a unit that went by without the line and was read from the PLC's closed ring.
    """

    seq: int
    unit: UnitId
    batch: str
    configuration: str
    outcome: Outcome
    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str
    source: str
    views: list[JudgedView]
    bundle: str
    plc_flags: int
    encoder: int
    stages: Stages


class GapRow(msgspec.Struct, frozen=True, tag="gap_row"):
    """line -> recorder: units older than the PLC's closed ring, by number range (DESIGN section 3)."""

    seq: int
    epoch: int
    lane: int
    first: int
    last: int
    cause: str


class AlarmRow(msgspec.Struct, frozen=True, tag="alarm_row"):
    """line -> recorder: an alarm or state change for the batch record."""

    seq: int
    at_ns: int
    code: str
    text: str
    state: str
    unit: UnitId | None


class PlcTotals(msgspec.Struct, frozen=True, tag="plc_totals"):
    """line -> recorder: the PLC's own counts of one epoch and lane, newest wins; the base of reconciliation."""

    seq: int
    epoch: int
    lane: int
    created: int
    passed: int
    diverted: int
    first: int
    last: int


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """recorder -> line: everything up to and including `seq` is durable."""

    seq: int


class Act(msgspec.Struct, frozen=True, tag="act"):
    """A human or machine act, to the owner of what it changes. `reason` is never empty. Answered by Answer.

    Kinds now: batch-open, batch-close (recorder); reset, clear, stop, start (line); record-quota (recorder, and only
    on a simulated station).
    """

    kind: str
    actor: str
    role: str
    reason: str
    old: str
    new: str
    signature: str = ""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Owner -> asker. `ok` False carries the one line that says what to do."""

    ok: bool
    text: str


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """cli -> line or recorder: `what` is "status" or, to the recorder, "report"."""

    what: str


class Status(msgspec.Struct, frozen=True, tag="status"):
    """line -> cli: one snapshot. `conditions` = (name, met, what to do); `alarms` newest last."""

    state: str
    mode: str
    authority: str
    batch: str
    epoch: int
    first_out: str
    conditions: list[tuple[str, bool, str]]
    counts: dict[str, int]
    reasons: dict[str, int]
    alarms: list[tuple[int, str, str]]
    recent: list[tuple[str, str, str, str]]
    latency_ms: dict[str, float]
    cameras: dict[str, str]
    unstored: int
    bundle: str


class Report(msgspec.Struct, frozen=True, tag="report"):
    """recorder -> cli: the batch report as JSON text (docs/interfaces/report-v1.schema.json)."""

    document: str


Message = (
    Hello | CameraState | FrameSeen | FrameLost | FrameReady | Ring | Release | Bound | Unbound | Judged | Loaded
    | VisionFault | Arm | Resume | PermitRow | UnitRow | GapRow | AlarmRow | PlcTotals | Stored | Act | Answer | Ask
    | Status | Report
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
    except msgspec.MsgspecError as error:
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
        self._sock.listen(16)

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> Peer | None:
        """Return the next peer, or None when nobody waits."""
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionError):
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
