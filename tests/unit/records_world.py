"""A device's records for the tests of what leaves the box: a real ledger with two batches, images, people and alarms.

`World` writes the state folder as the recorder does; `verifier` is verify_records.py, loaded as a module.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ledger_rows import SESSION, permit, unit

from daemon.evidence_file import Image, image_file
from daemon.messages import AlarmRow
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import AuditRow, BatchClosed, BatchOpened, EvidenceRow, Kept
from daemon.units import FrameKey, Outcome, UnitId, ViewKey
from daemon.uplink.opening import verifier as verifier_bytes
from daemon.uplink.sources import Sources
from signing import chain

ORIGIN = chain.origin("box", 1)
KEY, OTHER_KEY = derive_private_key(4711, SECP256R1()), derive_private_key(815, SECP256R1())
DOCUMENTS = {hashlib.sha256(data).hexdigest(): data for data in (b"station", b"bundle", b"recipe", b"map")}
BEGIN_NS = 1_795_000_000_000_000_000
SECOND_NS = 1_000_000_000
SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "verify_records.py"
CHINESE = "操作员：李雷 — 换班"


def der(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_name(key):
    return f"{chain.key_id(der(key)).hex()}.pem"


def load_verifier():
    """Return verify_records.py as a module."""
    spec = importlib.util.spec_from_file_location("verify_records", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


verifier = load_verifier()


def complaint(folder, keys=(), witnesses=()):
    """Return what the verifier says of a folder, "" where it holds."""
    try:
        verifier.Records(folder).verify([Path(key) for key in keys], [Path(note) for note in witnesses])
    except verifier.Altered as error:
        return str(error)
    return ""


def opened(batch, product="2R"):
    station, bundle, recipe, registers = DOCUMENTS
    return BatchOpened(
        0, batch, station, bundle, recipe, "vials", product, registers, "dev", "c" * 64, "a.person", "operator", "go"
    )


def note(size, root, key=KEY):
    """Return a checkpoint signed by `key`."""
    text = chain.head_text(ORIGIN, size, root)
    return chain.note(text, [(ORIGIN, chain.key_id(der(key)), key.sign(text.encode(), ECDSA(SHA256())))])


class World:
    """One device that records; every row is a second later than the one before. `close` it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        (state / "keys").mkdir(parents=True)
        (state / "keys" / key_name(KEY)).write_bytes(pem(KEY))
        self.ledger = Ledger(state / "ledger.sqlite")
        self.batch, self.seq, self.number = "", 0, 0

    @property
    def now(self) -> WallTime:
        quality = ClockQuality.UNSYNCHRONISED if self.seq % 5 == 0 else ClockQuality.NTP
        return WallTime(BEGIN_NS + self.seq * SECOND_NS, quality)

    def sources(self, documents=DOCUMENTS) -> Sources:
        return Sources(self.state, lambda: documents, verifier_bytes())

    def record(self, row, origin="line") -> None:
        assert not self.ledger.store([Received(SESSION, row, self.batch, origin)], {}, self.now)

    def next(self) -> int:
        self.seq += 1
        return self.seq

    def act(self, what="start", who="a.person", why="the shift begins", **other) -> None:
        fields = {"role": "operator", "old": "IDLE", "new": "EXECUTE", "done": True, "answer": "started"} | other
        self.record(AuditRow(seq=self.next(), at_ns=self.seq, what=what, who=who, why=why, **fields))

    def alarm(self, code="FRAME_LOST", text="a frame was lost") -> None:
        self.record(AlarmRow(self.next(), self.seq, code, text, "execute", UnitId(1, 0, max(1, self.number))))

    def inspect(self, count, rejects=7) -> None:
        for _ in range(count):
            self.number += 1
            bad = not self.number % rejects
            self.record(permit(self.number, seq=self.next()))
            outcome = Outcome.REJECTED if bad else Outcome.ACCEPTED
            self.record(unit(self.number, seq=self.next(), outcome=outcome, batch=self.batch))
            if bad:
                self.keep(self.number)

    def keep(self, number, state=Kept.RETAINED) -> str:
        """Write an image whose pixels nobody else has, and its row."""
        pixels = hashlib.shake_128(b"%d" % number).digest(12 * 9)
        digest = hashlib.sha256(pixels).hexdigest()
        path = image_file(self.state, digest)
        if state is not Kept.DROPPED:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Image(12, 9, pixels).encoded())
        key, why = FrameKey("side", 9, number), "" if state is Kept.RETAINED else "the queue was full"
        seq = self.next()
        row = EvidenceRow(seq, UnitId(1, 0, number), ViewKey("side"), key, digest, state, why, 120)
        self.record(row, origin="vision")
        return digest

    def open(self, batch) -> None:
        self.batch = batch
        self.next()
        self.ledger.open_batch(opened(batch), self.now)

    def close_batch(self) -> None:
        self.next()
        self.ledger.close_batch(BatchClosed(0, self.batch, "b.person", "done", '{"closed": true}'), self.now)
        self.batch = ""

    def checkpoint(self) -> int:
        """Sign the head of the tree; return its size."""
        head = self.ledger.head
        self.ledger.add_checkpoint(head.size, note(head.size, head.root))
        return head.size

    def close(self) -> None:
        self.ledger.close()


def two_batches(state: Path, units: int = 40) -> World:
    """Return a device that has two batches behind it, with people, alarms, images and a checkpoint now and then."""
    world = World(state)
    world.act("trail-open", who="recorder", role="device", why="start", old="", new="dev")
    world.checkpoint()
    for batch in ("B-1", "B-2"):
        world.open(batch)
        world.checkpoint()
        world.act(why=CHINESE if batch == "B-1" else "the shift goes on")
        for _ in range(2):
            world.inspect(units // 2)
            world.alarm()
            world.checkpoint()
        world.keep(world.number + 500, Kept.DROPPED)
        world.act("hold", who="c.person", done=False, answer='not now: <b>hold</b> & "wait"')
        world.close_batch()
        world.act("acknowledge", old="", new="FRAME_LOST")
        world.checkpoint()
    return world
