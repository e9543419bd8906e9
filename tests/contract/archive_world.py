"""A device's state folder for the archive's tests: a ledger by the recorder's own writer, images, checkpoints."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from daemon import ledger_file
from daemon.evidence_file import Image, image_file
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.records import ArchivedRow, BatchOpened, EvidenceRow, Kept
from daemon.units import FrameKey, UnitId, ViewKey
from daemon.uplink.opening import verifier
from daemon.uplink.sources import Sources
from signing import chain
from tests.unit.ledger_rows import BATCH, NOW, SESSION, unit

ORIGIN = chain.origin("box", 1)
DOCUMENTS = {hashlib.sha256(data).hexdigest(): data for data in (b"station", b"bundle", b"recipe", b"map")}
KEY = derive_private_key(4711, SECP256R1())
DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def opened(seq=0):
    station, bundle, recipe, registers = DOCUMENTS
    return BatchOpened(
        seq, BATCH, station, bundle, recipe, "vials", "2R", registers, "dev", "c" * 64, "a.person", "operator", "test"
    )


class Device:
    """One device that records. `close` it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        (state / "keys").mkdir(parents=True, exist_ok=True)
        (state / "keys" / f"{chain.key_id(DER).hex()}.pem").write_bytes(PEM)
        self.ledger = Ledger(state / "ledger.sqlite")
        self._number = 0
        self._seq = 0

    @property
    def sources(self) -> Sources:
        return Sources(self.state, lambda: DOCUMENTS, verifier())

    def open_batch(self) -> None:
        self.ledger.open_batch(opened(), NOW)

    def inspect(self, units: int, images: int = 0) -> list[str]:
        """Record units and, of the first of them, an image each; return the images' digests."""
        rows, digests = [], []
        for index in range(units):
            self._number += 1
            rows.append(unit(self._number, seq=self._next()))
            if index < images:
                digests.append(self.keep(self._number))
                rows.append(self.evidence(digests[-1], Kept.RETAINED))
        self.record(*rows)
        return digests

    def keep(self, number: int) -> str:
        """Write an image whose pixels nobody else has."""
        pixels = hashlib.shake_128(b"%d" % number).digest(64)
        digest = hashlib.sha256(pixels).hexdigest()
        path = image_file(self.state, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Image(8, 8, pixels).encoded())
        return digest

    def evidence(self, digest: str, state: Kept) -> EvidenceRow:
        seq = self._next()
        key, why = FrameKey("side", 9, seq), "" if state is Kept.RETAINED else "test"
        return EvidenceRow(seq, UnitId(1, 0, self._number), ViewKey("side"), key, digest, state, why, 75)

    def archived(self, size: int) -> ArchivedRow:
        root = ledger_file.frontier(self.ledger.database, size).root().hex()
        return ArchivedRow(self._next(), "directory:/there", size, 0, root)

    def record(self, *rows) -> None:
        received = [Received(SESSION, row, BATCH, "line") for row in rows]
        assert not self.ledger.store(received, {}, NOW)

    def checkpoint(self) -> int:
        """Sign the head of the tree; return its size."""
        head = self.ledger.head
        text = chain.head_text(ORIGIN, head.size, head.root)
        made = KEY.sign(text.encode(), ECDSA(SHA256()))
        self.ledger.add_checkpoint(head.size, chain.note(text, [(ORIGIN, chain.key_id(DER), made)]))
        return head.size

    def count_from(self, number: int) -> None:
        """Go on behind the units that another life inspected."""
        self._number = self._seq = number * 10

    def close(self) -> None:
        self.ledger.close()

    def _next(self) -> int:
        self._seq += 1
        return self._seq
