"""What became of images, on its way to the recorder: numbered, kept until acknowledged, sent again after a reconnect.

Few are under way at a time, so that a recorder that comes back after a pause is not drowned.
"""

import itertools
import queue
from collections import deque
from collections.abc import Callable

import msgspec

from daemon.records import EvidenceRow

# Rows with an explanation have 4 kB: some 26 of them fill what a socket holds, and a full peer is dropped.
WINDOW = 16


class Reports:
    """Owned by thread `infer`; thread `keep` puts rows into `outcomes` and reads `acknowledged`."""

    def __init__(self, outcomes: "queue.SimpleQueue[EvidenceRow]") -> None:
        self._outcomes = outcomes
        self._waiting: deque[EvidenceRow] = deque()
        self._seq = 0
        self._sent = 0
        self.acknowledged = 0

    def pump(self, send: Callable[[EvidenceRow], bool]) -> None:
        """Send what was not sent yet, in order, at most WINDOW ahead of the recorder. Called every turn of the loop."""
        while not self._outcomes.empty():
            self._seq += 1
            self._waiting.append(msgspec.structs.replace(self._outcomes.get_nowait(), seq=self._seq))
        begin, end = self._sent - self.acknowledged, min(WINDOW, len(self._waiting))
        for row in list(itertools.islice(self._waiting, begin, end)) if begin < end else ():
            if not send(row):
                return
            self._sent = row.seq

    def connected(self) -> None:
        """A recorder is there anew: everything that waits is sent again."""
        self._sent = self.acknowledged

    def stored(self, seq: int) -> None:
        """Everything up to `seq` is durable in the ledger; a number that was never sent acknowledges nothing."""
        while self._waiting and self._waiting[0].seq <= min(seq, self._sent):
            self.acknowledged = self._waiting.popleft().seq
