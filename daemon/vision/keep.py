"""Evidence store, first form: the raw frames of units that were not accepted, and a share of the others.

Files are content-addressed: `evidence/ab/abcd….pgm`, named by the sha256 of the raw pixels, which the unit's row holds.
`evidence/index.jsonl` says which unit, view and verdict a file belongs to. Nothing here can change a verdict or delay
one: a full queue, a full disk or a reached quota drops evidence and counts it.
"""

import os
import queue
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.units import FrameKey, Reason, UnitId, Verdict, ViewKey

QUEUED = 24
IDLE_S = 0.2

_HEADER_BYTES = 32


class Entry(msgspec.Struct, frozen=True):
    """One line of index.jsonl."""

    unit: UnitId
    view: ViewKey
    key: FrameKey
    verdict: Verdict
    reason: Reason
    defect: str
    scores: dict[str, float]
    digest: str
    file: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame to keep: `pixels` are `height` rows of `width` bytes, whose sha256 (hex) is `entry.digest`."""

    entry: Entry
    width: int
    height: int
    pixels: bytes


class Keeper:
    """`offer` and `dropped` belong to thread `infer`, everything else to thread `keep`."""

    def __init__(self, state: Path, quota_bytes: int) -> None:
        self._root = state / "evidence"
        self._quota = quota_bytes
        self._used = 0
        self._queue: queue.Queue[Kept] = queue.Queue(QUEUED)
        self._stopping = False
        self.turns = 0
        self.dropped = 0
        self.failure = ""

    def offer(self, item: Kept) -> None:
        """Take over one frame, or drop it when the queue is full. Never blocks."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._drop("the queue is full")

    def stop(self) -> None:
        """Ask `run` to write what is queued and to return."""
        self._stopping = True

    def run(self) -> None:
        """Body of thread `keep`: write what is offered until `stop`."""
        for file in self._root.rglob("*.pgm"):
            self.turns += 1
            self._used += file.lstat().st_size
        while True:
            self.turns += 1
            try:
                item = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                if self._stopping:
                    return
                continue
            self._keep(item)

    def _keep(self, item: Kept) -> None:
        path = self._root / item.entry.file
        needed = len(item.pixels) + _HEADER_BYTES
        if self._used + needed > self._quota:
            self._drop(f"the quota of {self._quota >> 20} MB is used up")
            return
        try:
            if not path.exists():
                _write(path, b"P5\n%d %d\n255\n" % (item.width, item.height), item.pixels)
                self._used += needed
            with (self._root / "index.jsonl").open("ab") as index:
                index.write(msgspec.json.encode(item.entry) + b"\n")
        except OSError as error:
            self._drop(f"{path.parent}: {error.strerror}")

    def _drop(self, why: str) -> None:
        self.failure = why
        self.dropped += 1


def file_of(digest: str) -> str:
    """Return where the frame with this digest lies in the store, relative to it."""
    return f"{digest[:2]}/{digest}.pgm"


def _write(path: Path, header: bytes, pixels: bytes) -> None:
    """Visible only when whole. No fsync: a file torn by a power cut does not match its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(header)
        file.write(pixels)
    os.replace(temporary, path)
