"""A ledger with one row of every kind, several transactions and signed heads; and the judge that looks at it."""

import hashlib
from contextlib import closing
from pathlib import Path

from ledger_rows import BATCH, NOW, OPENING, SESSION, alarm, gap, permit, totals, unit

from daemon import ledger_file
from daemon.ledger_file import LEDGER, LedgerUnreadable
from daemon.recorder import tables, verify
from daemon.recorder.ledger import Ledger
from daemon.recorder.opening import KEYS, known_keys
from daemon.recorder.rows import Received
from daemon.recorder.verify import TrailBroken
from daemon.records import ArchivedRow, AuditRow, BatchClosed, EvidenceRow, Kept, SubLotOpened
from daemon.units import FrameKey, Outcome, UnitId, ViewKey
from signing import chain
from signing.device_key import PemKey, open_device_key
from signing.public_key import public_key_file

ORIGIN = chain.origin("box", 1)
SUBLOT = SubLotOpened(
    seq=0,
    batch=BATCH,
    number=2,
    bundle="d" * 64,
    recipe="f" * 64,
    bundle_name="vials 2",
    recipe_name="2R 2",
    plan="p" * 64,
    configuration="e" * 64,
    signer="Anna Berg",
    key="k" * 64,
    signed_utc="2026-11-23T00:45:00Z",
    why="the first one misses fibres",
    actor="a.person",
    role="operator",
    reason="QA said so",
)


def audit(seq, **other):
    fields = {
        "seq": seq,
        "at_ns": seq * 1000,
        "what": "start",
        "who": "a.person",
        "role": "operator",
        "why": "the shift begins",
        "old": "IDLE",
        "new": "STARTING",
        "done": True,
        "answer": "start: STARTING",
    }
    return AuditRow(**(fields | other))


def evidence(seq, number, state=Kept.RETAINED):
    key = FrameKey("side", 9, number)
    return EvidenceRow(seq, UnitId(1, 0, number), ViewKey("side"), key, f"{number:064x}", state, "", 1310735)


SWAP = audit(1, what="swap", why="QA said so", old="sub-lot 1", new="sub-lot 2", answer="sub-lot 2 begins")


class TrailWorld:
    """A state folder with a ledger that this class writes as the recorder does."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.path = folder / LEDGER
        self.key: PemKey = open_device_key("development", folder, None, "", production=False)
        name, pem = public_key_file(self.key.public_der)
        (folder / KEYS).mkdir(exist_ok=True)
        (folder / name).write_text(pem)
        self.ledger = Ledger(self.path)

    def close(self) -> None:
        self.ledger.close()

    def write(self, *rows, origin="line", batch=BATCH, session=SESSION) -> None:
        received = [Received(session, row, batch, origin) for row in rows]
        last = max((row.seq for row in rows), default=0)
        self.ledger.store(received, {session: last} if last else {}, NOW)

    def sign(self) -> None:
        head = self.ledger.head
        text = chain.head_text(ORIGIN, head.size, head.root)
        made = self.key.sign(text.encode())
        self.ledger.add_checkpoint(head.size, chain.note(text, [(ORIGIN, self.key.key_id, made)]))

    def archived(self, size: int, seq: int = 1) -> ArchivedRow:
        """What an uplink says when an archive has the first `size` entries."""
        root = ledger_file.frontier(self.ledger.database, size).root().hex()
        return ArchivedRow(seq, "site", size, 3, root)

    def play(self, units: int = 40, close: bool = True) -> None:
        """A batch from its opening to its closing, with one row of every kind."""
        self.write(audit(1, what="trail-open", who="recorder"), origin="recorder", batch="")
        self.sign()
        self.ledger.open_batch(OPENING, NOW)
        self.sign()
        for number in range(1, units + 1):
            good = number % 7 > 0
            self.write(permit(number, seq=4 * number), totals(number, number, seq=4 * number + 1))
            self.write(unit(number, seq=4 * number + 2, outcome=Outcome.ACCEPTED if good else Outcome.REJECTED))
            if not good:
                self.write(evidence(number, number), origin="vision", session=SESSION + 1)
            if number == units // 2:
                self.sign()
        self.write(alarm(4 * units + 3), gap(900, 950, seq=4 * units + 4), audit(4 * units + 5, done=False))
        self.write(unit(3, outcome=Outcome.REJECTED))
        self.ledger.begin_sublot(SUBLOT, NOW, Received(SESSION + 3, SWAP, BATCH, "recorder"))
        if not close:
            return
        self.ledger.close_batch(BatchClosed(0, BATCH, "a.person", "done", '{"closed": true}'), NOW)
        self.sign()
        self.write(self.archived(20), origin="uplink", session=SESSION + 2, batch="")
        self.sign()


def complaint(state: Path) -> str:
    """Return what is wrong with a state folder's ledger, "" for nothing."""
    try:
        with ledger_file.reading(state / LEDGER) as db:
            verify.verify_trail(db, known_keys(state), ORIGIN)
            tables.integrity(db)
            tables.verify_tables(db)
    except (TrailBroken, LedgerUnreadable) as error:
        return str(error)
    return ""


def contents(path: Path) -> str:
    """Return a digest over everything that the ledger says."""
    found = hashlib.sha256()
    with ledger_file.reading(path) as db:
        for name in ("application_id", "user_version", "encoding"):
            found.update(repr(db.execute(f"PRAGMA {name}").fetchone()).encode())
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
            for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3"):
                found.update(repr(row).encode())
    return found.hexdigest()


def checkpointed(world: TrailWorld) -> None:
    """Close the ledger with everything in the one file."""
    world.ledger.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(world):
        pass
