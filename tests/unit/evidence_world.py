"""Images to keep, a keeper that runs, and a real ledger in which to record what became of them."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from daemon.evidence_file import Image
from daemon.ledger_file import LEDGER
from daemon.messages import UnitRow
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.records import ArchivedRow, BatchClosed, EvidenceRow, Kept
from daemon.units import Channel, FrameKey, JudgedView, Outcome, Reason, Stages, UnitId, Verdict, ViewKey
from daemon.vision.keep import Keeper, Offer
from tests.unit.ledger_rows import BATCH, NOW, OPENING, root_of

SIDE = ViewKey("side")


def pixels(number: int, height: int = 3, width: int = 5) -> bytes:
    return bytes((number * 7 + place) % 256 for place in range(height * width))


def offer(number: int, of: int | None = None) -> Offer:
    """The image of unit `number`, with the pixels of image `of` (its own by default)."""
    image = Image(5, 3, pixels(number if of is None else of))
    digest = hashlib.sha256(image.pixels).hexdigest()
    key = FrameKey("side", 9, number)
    return Offer(EvidenceRow(0, UnitId(1, 0, number), SIDE, key, digest, Kept.RETAINED, "", image.file_bytes), image)


FILE_BYTES = offer(1).row.bytes


@contextmanager
def running(keeper: Keeper) -> Iterator[None]:
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        yield
    finally:
        keeper.stop()
        thread.join()


def told(keeper: Keeper) -> list[EvidenceRow]:
    """Take what the keeper has to tell the recorder."""
    rows = []
    while not keeper.outcomes.empty():
        rows.append(keeper.outcomes.get())
    return rows


def images(state: Path) -> list[str]:
    return sorted(path.stem for path in (state / "evidence").rglob("*.pgm"))


class Book:
    """The recorder's part: the ledger of one batch in a state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / LEDGER
        self._seq = 0
        with closing(Ledger(self._path)) as ledger:
            ledger.open_batch(OPENING, NOW)

    def close_batch(self) -> None:
        with closing(Ledger(self._path)) as ledger:
            ledger.close_batch(BatchClosed(0, BATCH, "a.person", "test", "{}"), NOW)

    def store(self, *rows: EvidenceRow | ArchivedRow | UnitRow, origin: str = "vision", batch: str = BATCH) -> None:
        numbered = []
        for row in rows:
            self._seq += 1
            numbered.append(Received(5, msgspec.structs.replace(row, seq=self._seq), batch, origin))
        with closing(Ledger(self._path)) as ledger:
            assert ledger.store(numbered, {}, NOW) == []

    def judge(self, row: EvidenceRow, verdict: Verdict) -> None:
        """Record the unit that an image shows."""
        accepted = verdict is Verdict.ACCEPT
        self.store(unit_row(row, accepted=accepted), origin="line")

    def archive(self) -> None:
        """A site archive confirms everything that is recorded now."""
        with closing(Ledger(self._path)) as ledger:
            size = ledger.head.size
        self.store(ArchivedRow(0, "site", size, 1, root_of(self._path, size)), origin="uplink")


def unit_row(row: EvidenceRow, *, accepted: bool, defect: str = "crack") -> UnitRow:
    return UnitRow(
        seq=0,
        unit=row.unit,
        batch=BATCH,
        configuration=OPENING.configuration,
        outcome=Outcome.ACCEPTED if accepted else Outcome.REJECTED,
        verdict=Verdict.ACCEPT if accepted else Verdict.REJECT,
        reason=Reason.NONE if accepted else Reason.DEFECT,
        channel=Channel.NONE if accepted else Channel.CRITICAL,
        defect="" if accepted else defect,
        source="line",
        views=[JudgedView(row.view, row.key, 0, row.digest, {"bright": 0.1})],
        bundle=OPENING.bundle,
        plc_flags=9 if accepted else 6,
        encoder=1,
        stages=Stages(),
    )
