"""The process that is cut off in power_stores: the evidence store's keeper, or the shipping of an archive.

Every line on stdout is something that others may rely on from then on.
"""

import hashlib
import sys
import threading
from pathlib import Path

import msgspec

from daemon.evidence_file import Image, image_file
from daemon.ledger_file import LEDGER
from daemon.recorder.ledger import Ledger
from daemon.records import EvidenceRow, Kept
from daemon.units import FrameKey, UnitId
from daemon.uplink import memory
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.memory import remembered
from daemon.uplink.shipping import ship
from daemon.vision.keep import Keeper, Offer
from signing.durable import sync_directory, write_durably
from tests.contract.archive_world import Device
from tests.unit.evidence_world import SIDE

SIZE = 40
BEFORE, AFTER = 4, 14
HELD_BACK = 2


def picture(number: int) -> Offer:
    """The image of unit `number`, a few sectors long."""
    image = Image(SIZE, SIZE, hashlib.shake_128(b"%d" % number).digest(SIZE * SIZE))
    digest = hashlib.sha256(image.pixels).hexdigest()
    key = FrameKey("side", 9, number)
    return Offer(EvidenceRow(0, UnitId(1, 0, number), SIDE, key, digest, Kept.RETAINED, "", image.file_bytes), image)


QUOTA = 5 * picture(0).row.bytes


class Again(Device):
    """A device that was there before, and records more."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ledger = Ledger(state / LEDGER)
        self._number = self._seq = self.ledger.head.size

    def keep(self, number: int) -> str:
        """As thread keep does: durable before its row."""
        made = picture(number)
        path = image_file(self.state, made.row.digest)
        path.parent.mkdir(exist_ok=True)
        sync_directory(path.parent.parent)
        write_durably(path, made.image.encoded())
        return made.row.digest


def say(**what: object) -> None:
    """Tell whoever reads; in the judge's own process nobody does."""
    if __name__ != "__main__":
        return
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def keep(state: Path) -> None:
    """Keep image after image, releasing archived ones for room; the recorder acknowledges all but the last two."""
    keeper = Keeper(state, QUOTA)
    thread = threading.Thread(target=keeper.run)
    thread.start()
    reported = 0
    for number in range(BEFORE + 1, AFTER + 1):
        keeper.offer(picture(number))
        while True:
            row = keeper.outcomes.get(timeout=20)
            reported += 1
            say(reported=row)
            if number <= AFTER - HELD_BACK:
                say(stored=reported)
                keeper.acknowledged = reported
            if row.unit.number == number:
                break
    keeper.stop()
    thread.join()


def archive(root: Path) -> None:
    """Ship, record more, ship that."""
    for _ in range(2):
        one_pass(root)
        device = Again(root / "state")
        device.inspect(3, images=2)
        device.checkpoint()
        device.close()
    one_pass(root)


def one_pass(root: Path) -> int:
    """Ship what is new as uplink's archivist does; return how many entries are confirmed."""
    state = root / "state"
    device = Again(state)
    sources = device.sources
    device.close()
    store = DirectoryStore(root / "archive", beside=state)
    known = memory.load(state, store.name)
    shipped = ship(sources, store, known.mark, lambda *_: None)
    if shipped is not None:
        known = remembered(store.name, shipped.mark, told=False)
        memory.save(state, known)
        say(archived=known.size, written=shipped.written)
        memory.save(state, remembered(store.name, shipped.mark, told=True))
    store.close()
    return known.size


if __name__ == "__main__":
    {"keep": keep, "archive": archive}[sys.argv[1]](Path(sys.argv[2]))
