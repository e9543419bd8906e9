"""Thread `keep`: the evidence store, `evidence/ab/<sha256 of the pixels>.pgm` (docs/operations/evidence.md).

Rules of this file:
  1. Nothing here can change a verdict or delay one: what cannot be kept is dropped, reported and alarmed.
  2. An image is reported as retained only when it is durable; what is about to be done is in `pending` before.
  3. An image is deleted only if an archive has it, and never to make room for what is not archived.
"""

import contextlib
import logging
import os
import queue
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.evidence_file import EVIDENCE, Image, ImageDamaged, image_file, image_files, is_whole, read_image
from daemon.records import EvidenceRow, Kept
from daemon.vision.pending import CAPACITY, Pending
from daemon.vision.plan import Seen
from daemon.vision.retention import Retention
from signing.durable import sync_directory, write_durably

QUEUED = 24
LOST = 1024
TOGETHER = 8
IDLE_S = 0.2
RESERVE_BYTES = 128 << 20
NEWEST = 64
LOOKS = 256
LOOK_AGAIN_S = 5.0
SPARE = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """One image to keep, and the row that will say so (number 0, state retained).

    `seen` is what its model gave where that can explain why the unit was not accepted; `defect` is what decided.
    """

    row: EvidenceRow
    image: Image
    seen: Seen | None = None
    defect: str = ""

    def explained(self) -> EvidenceRow:
        """Return the row with the explanation in it."""
        if self.seen is None:
            return self.row
        return msgspec.structs.replace(self.row, explanation=self.seen.explanation(self.defect))


class Keeper:
    """`offer`, `acknowledged`, `outcomes` and `dropped` are for thread `infer` too, everything else is thread `keep`'s.

    `outcomes` gives, in order, what has to be told the recorder; `acknowledged` is how many of them it has.
    """

    def __init__(self, state: Path, quota_bytes: int) -> None:
        self._state = state
        self._quota = quota_bytes
        self._used = 0
        self._queue: queue.Queue[Offer] = queue.Queue(QUEUED)
        self._lost: queue.Queue[EvidenceRow] = queue.Queue(LOST)
        self._pending = Pending(state)
        self._retention = Retention(state)
        self._look_again_s = 0.0
        self._stopping = False
        self.outcomes: queue.SimpleQueue[EvidenceRow] = queue.SimpleQueue()
        self.acknowledged = 0
        self.turns = 0
        self.dropped = 0
        self.failure = ""

    def offer(self, item: Offer) -> None:
        """Take over one image, or drop it when the queue is full. Never blocks."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            row = self._dropped(item.row, "the disk is slower than the images come: the queue is full")
            with contextlib.suppress(queue.Full):
                self._lost.put_nowait(row)

    def stop(self) -> None:
        """Ask `run` to write what is queued and to return."""
        self._stopping = True

    def run(self) -> None:
        """Body of thread `keep`: write what is offered until `stop`."""
        self._begin()
        while True:
            self.turns += 1
            stopping = self._stopping
            items = self._taken()
            if items:
                self._keep(items)
            self._tell_lost()
            with contextlib.suppress(OSError):
                self._pending.settle(self.acknowledged)
            if stopping and not items:
                return

    def _taken(self) -> list[Offer]:
        items: list[Offer] = []
        with contextlib.suppress(queue.Empty):
            items.append(self._queue.get(timeout=IDLE_S))
            while len(items) < TOGETHER:
                items.append(self._queue.get_nowait())
        return items

    def _begin(self) -> None:
        """Learn what lies here, throw half files away, and report what an earlier life did not get reported."""
        newest: list[tuple[float, Path]] = []
        for file in image_files(self._state):
            self.turns += 1
            status = file.lstat()
            self._used += status.st_size
            newest.append((status.st_mtime, file))
        for half in (self._state / EVIDENCE).rglob("*.tmp"):
            half.unlink(missing_ok=True)
        damaged = [file for _, file in sorted(newest)[-NEWEST:] if not is_whole(file)]
        if damaged:
            self._fail(f"{len(damaged)} images lie damaged in the store, {damaged[0].name} among them", len(damaged))
        rows = self._pending.load()
        last = {row.digest: row.state for row in rows}
        found = [self._found(row, last[row.digest]) for row in rows]
        for row in self._retention.news(found):
            self._report(row)

    def _found(self, row: EvidenceRow, last: Kept) -> EvidenceRow:
        """Return what the disk says now about a row that was written down and perhaps not carried out.

        `last` is what the newest row about the same image wants.
        """
        self.turns += 1
        path = image_file(self._state, row.digest)
        try:
            if row.state is last is Kept.RELEASED:
                self._remove(path)
            elif row.state is Kept.RETAINED and last is not Kept.RELEASED:
                read_image(path)
                _sync(path)
        except (ImageDamaged, OSError) as error:
            _log.warning("evidence: %s", error)
            return self._dropped(row, "not whole on the disk after a restart")
        return row

    def _keep(self, items: Sequence[Offer]) -> None:
        if len(self._pending) + len(items) > CAPACITY:
            self._fail(f"{len(self._pending)} rows about images wait for the recorder", len(items))
            return
        rows: list[EvidenceRow] = []
        for item in items:
            coming = {row.digest: row.bytes for row in rows if row.state is Kept.RETAINED}
            full, row = self._no_room(item, coming), item.explained()
            rows.append(self._dropped(row, full) if full else row)
        why = self._written_down(rows)
        for item, row in zip(items, rows, strict=True):
            self.turns += 1
            if row.state is Kept.RETAINED and (failed := why or self._store(item)):
                self._report(self._dropped(row, failed))
            else:
                self._report(row)

    def _written_down(self, rows: Iterable[EvidenceRow]) -> str:
        try:
            _make_folder(self._state / EVIDENCE)
            self._pending.intend(rows)
        except OSError as error:
            return f"the list of what is pending cannot be written: {error.strerror}"
        return ""

    def _store(self, item: Offer) -> str:
        """Write one image, durable; return why not."""
        path = image_file(self._state, item.row.digest)
        data = item.image.encoded()
        try:
            if path.exists() and path.read_bytes() == data:
                _sync(path)
                return ""
            _make_folder(path.parent)
            before = path.lstat().st_size if path.exists() else 0
            write_durably(path, data)
            self._used += len(data) - before
        except OSError as error:
            return f"{path.parent}: {error.strerror}"
        return ""

    def _no_room(self, item: Offer, coming: Mapping[str, int]) -> str:
        """Make room for an image behind those that are coming, if that is allowed; return why there is none."""
        if item.row.digest in coming or image_file(self._state, item.row.digest).exists():
            return ""
        needed = sum(coming.values()) + item.row.bytes
        if self._used + needed > self._quota:
            self._make_room(self._quota - self._quota // SPARE - needed)
        if self._used + needed > self._quota:
            return f"the quota of {self._quota >> 20} MB is used up by images that are in no archive yet"
        with contextlib.suppress(OSError):
            disk = os.statvfs(self._state)
            if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + needed:
                return f"the last {RESERVE_BYTES >> 20} MB of the disk are the ledger's"
        return ""

    def _make_room(self, target: int) -> None:
        """Delete archived images until at most `target` bytes are used, or nothing more may go for now."""
        if time.monotonic() < self._look_again_s:
            return
        for _ in range(LOOKS):
            self.turns += 1
            rows = self._retention.look()
            if rows is None:
                self._look_again_s = time.monotonic() + LOOK_AGAIN_S
                return
            if rows and not self._pending.holds(rows[0].digest):
                self._release(rows)
            if self._used <= target:
                return

    def _release(self, rows: list[EvidenceRow]) -> None:
        self.turns += 1
        released = [
            msgspec.structs.replace(row, seq=0, state=Kept.RELEASED, why="archived", explanation=b"") for row in rows
        ]
        if len(self._pending) + len(rows) > CAPACITY or self._written_down(released):
            return
        try:
            self._remove(image_file(self._state, rows[0].digest))
        except OSError as error:
            _log.warning("evidence: %s", error)
            return
        for row in released:
            self._report(row)

    def _remove(self, path: Path) -> None:
        if path.exists():
            size = path.lstat().st_size
            path.unlink()
            sync_directory(path.parent)
            self._used -= size

    def _tell_lost(self) -> None:
        rows: list[EvidenceRow] = []
        with contextlib.suppress(queue.Empty):
            while len(self._pending) + len(rows) < CAPACITY:
                rows.append(self._lost.get_nowait())
        if rows:
            self._written_down(rows)
        for row in rows:
            self._report(row)

    def _report(self, row: EvidenceRow) -> None:
        self._pending.reported(row)
        self.outcomes.put(row)

    def _dropped(self, row: EvidenceRow, why: str) -> EvidenceRow:
        self._fail(why)
        return msgspec.structs.replace(row, state=Kept.DROPPED, why=why)

    def _fail(self, why: str, images: int = 1) -> None:
        self.failure = why
        self.dropped += images


def _sync(path: Path) -> None:
    """See that a file that lies there is on the disk, with its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent)
