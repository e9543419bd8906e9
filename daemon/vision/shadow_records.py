"""The records of a candidate, written by its own process: see daemon/shadow_file.py.

Rules of this file:
  1. A frame is durable before the line that names it. Counts and lines are durable every FLUSH_S and at the end.
  2. The disk is the recorder's: frames of one unit a KEEP_S at most, of the newest UNITS, and never the last bytes.
"""

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from daemon.evidence_file import Image
from daemon.messages import Judged, Loaded
from daemon.shadow_file import (
    COUNTS,
    DISAGREEMENTS,
    FRAMES,
    Counts,
    Disagreement,
    Sight,
    folder_of,
    frame_file,
    read_counts,
    read_disagreements,
)
from daemon.units import ViewKey
from daemon.vision.judging import Scores
from daemon.vision.shadow_compare import Compared
from daemon.vision.shadow_turn import Missed
from signing.durable import write_durably

FLUSH_S = 2.0
KEEP_S = 1.0
ROWS = 2000
UNITS = 200
QUOTA_BYTES = 256 << 20
RESERVE_BYTES = 512 << 20

_log = logging.getLogger(__name__)


class Records:
    """Owned by the candidate's process.

    Raises (constructor):
        ShadowUnreadable, OSError: what an earlier life left cannot be read, or nothing can be written.
    """

    def __init__(self, state: Path, station: str, loaded: Loaded) -> None:
        self._folder = folder_of(state, loaded.bundle, loaded.recipe)
        (self._folder / FRAMES).mkdir(parents=True, exist_ok=True)
        self._counts = Counts(station, loaded.bundle, loaded.recipe, loaded.bundle_name, loaded.recipe_name)
        if (self._folder / COUNTS).exists():
            self._counts = read_counts(self._folder)
        rows = read_disagreements(self._folder)
        self._rows = len(rows)
        self._held = deque(_digests(row) for row in rows if row.kept)
        self._sizes = self._measured()
        self._flushed_s = self._kept_s = -KEEP_S
        self._changed = True
        self._trouble = ""
        self.flush()

    def compared(
        self, judged: Judged, found: Compared, scores: Mapping[ViewKey, Scores], images: Sequence[Image]
    ) -> None:
        """Count a unit, and store it where the two disagree; `images` in the order of its views."""
        round_ = self._counts.round_of(judged.bundle, judged.recipe)
        round_.add(found.active.verdict, found.candidate.verdict)
        round_.until_ns, self._changed = time.time_ns(), True
        if not found.agree:
            with self._trying():
                self._store(judged, found, scores, images)

    def incomplete(self, judged: Judged) -> None:
        """Count a unit that cannot be compared."""
        self._counts.round_of(judged.bundle, judged.recipe).incomplete += 1
        self._changed = True

    def missed(self, units: Sequence[Missed]) -> None:
        """Count units that were dropped before the candidate."""
        for one in units:
            self._counts.round_of(one.bundle, one.recipe).dropped += one.units
            self._changed = True

    def flush_due(self) -> None:
        """Make durable what changed, at most every FLUSH_S."""
        if self._changed and time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Make durable what changed."""
        self._flushed_s = time.monotonic()
        with self._trying():
            with contextlib.suppress(FileNotFoundError), (self._folder / DISAGREEMENTS).open("rb") as file:
                os.fsync(file.fileno())
            write_durably(self._folder / COUNTS, msgspec.json.encode(self._counts) + b"\n")
            self._changed = False

    def _store(
        self, judged: Judged, found: Compared, scores: Mapping[ViewKey, Scores], images: Sequence[Image]
    ) -> None:
        kept = self._keep([view.digest for view in judged.views], images)
        sights = [
            Sight(view.view, view.key, view.digest, view.scores, dict(scores.get(view.view.role, {})))
            for view in judged.views
        ]
        row = Disagreement(
            judged.unit, time.time_ns(), judged.bundle, judged.recipe, found.active, found.candidate, sights, kept
        )
        if self._rows >= 2 * ROWS:
            self._shorten()
        with (self._folder / DISAGREEMENTS).open("ab", buffering=0) as file:
            file.write(b"\n" + msgspec.json.encode(row))
        self._rows += 1

    def _shorten(self) -> None:
        """Keep the newest lines."""
        rows = read_disagreements(self._folder)[-ROWS:]
        write_durably(self._folder / DISAGREEMENTS, b"".join(b"\n" + msgspec.json.encode(row) for row in rows))
        self._rows = len(rows)

    def _keep(self, digests: Sequence[str], images: Sequence[Image]) -> bool:
        """Write the frames of a unit, if their turn has come; return whether they are there."""
        needed = sum(image.file_bytes for image in images)
        disk = os.statvfs(self._folder)
        if time.monotonic() - self._kept_s < KEEP_S or disk.f_bavail * disk.f_frsize < RESERVE_BYTES + needed:
            return False
        self._kept_s = time.monotonic()
        for digest, image in zip(digests, images, strict=True):
            if digest not in self._sizes:
                write_durably(frame_file(self._folder, digest), image.encoded())
                self._sizes[digest] = image.file_bytes
        self._held.append(tuple(digests))
        while len(self._held) > UNITS or (len(self._held) > 1 and sum(self._sizes.values()) > QUOTA_BYTES):
            self._forget(self._held.popleft())
        return True

    def _forget(self, digests: Sequence[str]) -> None:
        named = {digest for held in self._held for digest in held}
        for digest in set(digests) - named:
            frame_file(self._folder, digest).unlink(missing_ok=True)
            self._sizes.pop(digest, None)

    def _measured(self) -> dict[str, int]:
        """Return what lies here by digest, in bytes; what no line names is thrown away."""
        named, sizes = {digest for held in self._held for digest in held}, {}
        for path in (self._folder / FRAMES).iterdir():
            if path.stem in named and path.suffix == ".pgm":
                sizes[path.stem] = path.stat().st_size
            else:
                path.unlink()
        return sizes

    @contextlib.contextmanager
    def _trying(self) -> Iterator[None]:
        """What cannot be written is left out, and told once."""
        try:
            yield
            self._trouble = ""
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("not written: %s", error)


def _digests(row: Disagreement) -> tuple[str, ...]:
    return tuple(sight.digest for sight in row.sights)
