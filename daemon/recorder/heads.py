"""Signed tree heads: when one is due, and the thread that signs, for a TPM takes its time and rows do not wait for it.

A head is made when a batch opens or closes, when the recorder starts or stops, and every minute in which entries came.
At the first four, and once an hour, its note is extended into the TPM's NV index, which wears out.
"""

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

from daemon.recorder.trail import Head
from signing import chain
from signing.device_key import DeviceKey
from signing.errors import SigningError

PERIOD_NS = 60_000_000_000
ANCHOR_NS = 3_600_000_000_000
RETRY_NS = 10_000_000_000
HANGS_NS = 30_000_000_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A tree head that was signed, `note` empty where that failed. `anchor`: extend it once it is durable."""

    size: int
    note: str
    anchor: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Anchored:
    """The note over that size was extended into the NV index, if `failure` is empty."""

    size: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Sign:
    head: Head
    anchor: bool


@dataclass(frozen=True, slots=True)
class _Anchor:
    size: int
    note: str


class Heads:
    """Owned by the recorder's loop: `tick` and `ask` what is to be signed, `done` gives what the thread has finished.

    A signed note is to be made durable first and given to `anchor` then; the next is extended when the ledger has the
    mark of the one before it (`marked`). So the ledger never lacks more than one mark of what the NV index holds. After
    an extension that failed nobody knows whether the TPM took it: no other follows before the next start, which finds
    out (verify.unmarked_anchor).
    """

    def __init__(self, key: DeviceKey, origin: str, signed_size: int) -> None:
        self._key = key
        self._origin = origin
        self._tasks: queue.SimpleQueue[_Sign | _Anchor | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Signed | Anchored] = queue.SimpleQueue()
        self._size = signed_size
        self._under_way = 0
        self._given_ns = 0
        self._next_ns = 0
        self._anchor_ns = 0
        self._anchors = True
        self._waiting: deque[Signed] = deque()
        self._extending = False
        self._thread = threading.Thread(target=self._run, name="sign", daemon=True)
        self._thread.start()

    @property
    def key(self) -> str:
        """Id and kind of the key that signs."""
        return f"{self._key.key_id.hex()} ({self._key.kind})"

    @property
    def idle(self) -> bool:
        return not self._under_way

    def tick(self, head: Head, now_ns: int) -> None:
        """Ask for a head when the minute is over and entries came since the last."""
        if now_ns >= self._next_ns and self.idle:
            self.ask(head, now_ns, anchor=now_ns >= self._anchor_ns)

    def ask(self, head: Head, now_ns: int, *, anchor: bool) -> None:
        """Have this head signed now, if it is not yet; with `anchor` it goes into the NV index as well."""
        if head.size == self._size:
            return
        self._size = head.size
        self._next_ns = now_ns + PERIOD_NS
        if anchor:
            self._anchor_ns = now_ns + ANCHOR_NS
        self._give(_Sign(head, anchor and self._anchors))

    def anchor(self, signed: Signed) -> None:
        """Extend a note that is durable now into the NV index, after those before it."""
        self._waiting.append(signed)
        self._extend_next()

    def marked(self) -> None:
        """The ledger knows of the last extension."""
        self._extending = False
        self._extend_next()

    def done(self, now_ns: int, wait_s: float = 0.0) -> list[Signed | Anchored]:
        """Return what was finished; wait for the first of it at most `wait_s`."""
        found: list[Signed | Anchored] = []
        while self._under_way:
            try:
                found.append(self._results.get(timeout=wait_s) if wait_s else self._results.get_nowait())
            except queue.Empty:
                break
            self._under_way -= 1
            wait_s = 0.0
        if any(isinstance(made, Anchored) and made.failure for made in found):
            self._anchors = False
        for made in found:
            if isinstance(made, Signed) and not made.note:
                self.lost(made.size, now_ns)
        return found

    def lost(self, size: int, now_ns: int) -> None:
        """A head was not signed, or its note is not durable: the next is anchored, and due soon."""
        self._anchor_ns = 0
        if size >= self._size:
            self._size, self._next_ns = 0, now_ns + RETRY_NS

    def hangs(self, now_ns: int) -> bool:
        """True when the key has not answered for HANGS_NS."""
        return bool(self._under_way) and now_ns - self._given_ns > HANGS_NS

    def close(self, wait_s: float) -> None:
        """End the thread. A TPM that hangs does not hold up the end of the process."""
        self._tasks.put(None)
        self._thread.join(wait_s)
        if not self._thread.is_alive():
            self._key.close()

    def _extend_next(self) -> None:
        if self._anchors and not self._extending and self._waiting:
            self._extending = True
            signed = self._waiting.popleft()
            self._give(_Anchor(signed.size, signed.note))

    def _give(self, task: _Sign | _Anchor) -> None:
        self._given_ns = self._given_ns if self._under_way else time.monotonic_ns()
        self._under_way += 1
        self._tasks.put(task)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._results.put(self._sign(task) if isinstance(task, _Sign) else self._extend(task))

    def _sign(self, task: _Sign) -> Signed:
        text = chain.head_text(self._origin, task.head.size, task.head.root)
        try:
            made = self._key.sign(text.encode())
            anchor = task.anchor and self._key.anchored() is not None
        except Exception as error:  # the libraries under a TPM raise what they like, and this thread must go on
            return Signed(task.head.size, "", False, _one_line(error))
        return Signed(task.head.size, chain.note(text, [(self._origin, self._key.key_id, made)]), anchor)

    def _extend(self, task: _Anchor) -> Anchored:
        try:
            self._key.anchor(chain.note_digest(task.note))
        except Exception as error:  # as in _sign
            return Anchored(task.size, _one_line(error))
        return Anchored(task.size)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SigningError) else f"{type(error).__name__}: {text}"
