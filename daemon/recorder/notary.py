"""The recorder's care for its trail: it says how it begins and ends, has its heads signed, and watches the clock."""

import contextlib
import time

from daemon.config import release
from daemon.recorder import events
from daemon.recorder.gather import Gather, Trouble
from daemon.recorder.heads import Anchored, Heads, Signed
from daemon.recorder.ledger import Ledger, LedgerUnwritable
from daemon.recorder.wall import WallClock

LAST_WORD_S = 1.5
CLOCK_NS = 100_000_000


class Notary:
    """Owned by the recorder's loop. Never waits for the key, but for the last head at the end."""

    def __init__(self, ledger: Ledger, gather: Gather, clock: WallClock, heads: Heads) -> None:
        self._ledger = ledger
        self._gather = gather
        self._clock = clock
        self._heads = heads
        self._boot = events.boot_id()
        self._watch = events.ClockWatch(clock.now(), time.monotonic_ns())
        self._looked_ns = 0
        self._failure = ""
        self._unmarked: int | None = None

    def opened(self, batch: str) -> None:
        """Say that the trail goes on, and how it ended before."""
        about = f"release {release()}, key {self._heads.key}"
        self._gather.audit(events.opened(self._ledger.last_event(), self._boot, about), batch)

    def tick(self, now_ns: int, batch: str) -> None:
        """Do what is due. Called every turn of the loop."""
        if now_ns - self._looked_ns >= CLOCK_NS:
            self._looked_ns = now_ns
            for row in self._watch.look(self._clock.now(), time.monotonic_ns()):
                self._gather.audit(row, batch)
            self._heads.tick(self._ledger.head, now_ns)
        self._take(now_ns, batch)

    def witness(self, now_ns: int) -> None:
        """A batch was opened or closed: have the trail signed and anchored as it stands."""
        self._heads.ask(self._ledger.head, now_ns, anchor=True)

    def closed(self, batch: str) -> None:
        """Say that the trail ends here in order; the caller writes it, then calls `close`."""
        self._gather.audit(events.closed(self._boot), batch)

    def close(self, batch: str) -> None:
        """Sign and anchor the last head, at most LAST_WORD_S, and end the thread."""
        end = time.monotonic() + LAST_WORD_S
        self.witness(time.monotonic_ns())
        while not self._heads.idle and (left := end - time.monotonic()) > 0:
            self._take(time.monotonic_ns(), batch, left)
        self._heads.close(max(0.1, end - time.monotonic()))

    def _take(self, now_ns: int, batch: str, wait_s: float = 0.0) -> None:
        for made in self._heads.done(now_ns, wait_s):
            try:
                self._store(made)
            except LedgerUnwritable:
                self._heads.lost(made.size, now_ns)
            self._tell(made.failure, batch)
        if self._heads.hangs(now_ns):
            self._tell("the key does not answer", batch)
        self._mark()

    def _tell(self, failure: str, batch: str) -> None:
        if failure and failure != self._failure:
            self._gather.alarm(Trouble.UNSIGNED, f"the trail's head is not signed: {failure}", batch)
        self._failure = failure

    def _mark(self) -> None:
        """Mark the head that the TPM has, however often it takes: a mark that is lost would refuse the next start."""
        if self._unmarked is None:
            return
        with contextlib.suppress(LedgerUnwritable):
            self._ledger.anchored(self._unmarked)
            self._unmarked = None
            self._heads.marked()

    def _store(self, made: Signed | Anchored) -> None:
        if isinstance(made, Anchored):
            if not made.failure:
                self._unmarked = made.size
        elif made.note and self._ledger.add_checkpoint(made.size, made.note) and made.anchor:
            self._heads.anchor(made)
