"""Asks and acts: the CLI's one way to the owners of state (DESIGN section 2). Nothing else here changes a device."""

import select
import time
from pathlib import Path

from daemon.messages import PROTO, Act, Answer, Ask, Hello, Latches, Report, Status
from daemon.wire import Message, Peer, WireError, connect
from provisioning.errors import CommandFailed

ANSWER_S = 2.0


Kind = type[Status] | type[Report] | type[Answer] | type[Latches]


class OwnerError(CommandFailed):
    """An owner does not answer or refuses; the text says which, and what to do."""


class Owner:
    """A connection to `line` or `recorder` that comes back by itself. Never blocks; used by one loop."""

    def __init__(self, runtime: Path, process: str) -> None:
        self.process = process
        self._path = runtime / f"{process}.sock"
        self._peer: Peer | None = None

    def send(self, message: Message) -> bool:
        """Send one message; False when nobody listens at this moment."""
        if self._peer is None:
            self._peer = connect(self._path, Hello(PROTO, "cli", "linewarden", 0))
        if self._peer is None:
            return False
        try:
            self._peer.send(message)
        except WireError:
            self.close()
            return False
        return True

    def receive(self) -> Message | None:
        """Return the next message that is not a greeting, None when there is none now."""
        while self._peer is not None:
            try:
                message = self._peer.receive()
            except WireError:
                self.close()
                return None
            if not isinstance(message, Hello):
                return message
        return None

    def wait(self, seconds: float) -> None:
        """Sleep until something arrives, at most `seconds`."""
        if self._peer is not None:
            select.select([self._peer], [], [], seconds)

    @property
    def connected(self) -> bool:
        return self._peer is not None

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def ask_status(runtime: Path) -> Status:
    """Return one snapshot of the line.

    Raises:
        OwnerError: the line does not answer.
    """
    answer = _exchange(runtime, "line", Ask("status"), Status)
    assert isinstance(answer, Status)
    return answer


def ask_latches(runtime: Path) -> Latches:
    """Return what the PLC latched of the last units of lane 0.

    Raises:
        OwnerError: the line does not answer.
    """
    answer = _exchange(runtime, "line", Ask("latches"), Latches)
    assert isinstance(answer, Latches)
    return answer


def do(runtime: Path, process: str, act: Act, seconds: float = ANSWER_S) -> str:
    """Do one act and return what its owner answered within so many seconds.

    Raises:
        OwnerError: the owner refuses, with its reason, or does not answer.
    """
    answer = _exchange(runtime, process, act, Answer, seconds)
    assert isinstance(answer, Answer)
    if not answer.ok:
        raise OwnerError(f"{process} refuses: {answer.text}")
    return answer.text


def _exchange(runtime: Path, process: str, message: Ask | Act, kind: Kind, seconds: float = ANSWER_S) -> Message:
    owner = Owner(runtime, process)
    try:
        if not owner.send(message):
            raise OwnerError(f"{process} does not listen in {runtime}: it is down or restarting; try again")
        return _await(owner, kind, seconds)
    finally:
        owner.close()


def _await(owner: Owner, kind: Kind, seconds: float) -> Message:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and owner.connected:
        owner.wait(left)
        answer = owner.receive()
        if isinstance(answer, kind):
            return answer
        if isinstance(answer, Answer):
            raise OwnerError(f"{owner.process}: {answer.text}")
    raise OwnerError(f"{owner.process} did not answer within {seconds:g} s: it hangs or restarts; try again")
