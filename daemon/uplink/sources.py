"""What is shipped and where it lies on this device: ledger, images, public keys, documents. Reads only."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from daemon.evidence_file import ImageDamaged, image_file, read_image
from daemon.ledger_file import LEDGER, LedgerUnreadable
from daemon.uplink.archive import (
    DESCRIPTION,
    DOCUMENTS,
    KEYS,
    VERIFIER,
    ArchiveError,
    description,
    image_path,
    pixels_digest,
)
from daemon.uplink.stores import Store
from signing.chain import Checkpoint


@dataclass(frozen=True, slots=True)
class File:
    """One file of the archive: its path there, its bytes and their sha256 (hex)."""

    path: str
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The records of one device. `documents` by sha256 (hex), read when they are shipped; `verifier` verify_records.py.

    `elsewhere`: an archive that has the images that were released here after it had confirmed them.
    """

    state: Path
    documents: Callable[[], Mapping[str, bytes]]
    verifier: bytes
    elsewhere: Store | None = None

    @property
    def ledger(self) -> Path:
        return self.state / LEDGER

    def image(self, digest: str) -> bytes | None:
        """Return an image's file, None where it is not here or damaged."""
        try:
            return read_image(image_file(self.state, digest)).encoded()
        except ImageDamaged:
            return image_in(self.elsewhere, digest) if self.elsewhere else None

    def small_files(self, origin: str, documents: Mapping[str, bytes]) -> Iterator[File]:
        """Yield what every archive of these records holds beside entries, checkpoints and images."""
        yield made(DESCRIPTION, description(origin))
        for name, data in self._keys():
            yield made(f"{KEYS}/{name}", data)
        for digest, data in sorted(documents.items()):
            yield made(f"{DOCUMENTS}/{digest}", data)
        yield made(VERIFIER, self.verifier)

    def check_signature(self, head: Checkpoint) -> None:
        """See that one of this device's keys signed a checkpoint.

        Raises:
            ArchiveError: none of them did.
        """
        known = dict(self._keys())
        for key, signature in head.signatures:
            pem = known.get(f"{key.hex()}.pem")
            if pem is not None and _holds(pem, signature, head.text.encode()):
                return
        where = self.state / KEYS
        raise ArchiveError(f"checkpoint over {head.size} entries: no key in {where} made its signature")

    def _keys(self) -> Iterator[tuple[str, bytes]]:
        try:
            for path in sorted((self.state / KEYS).glob("*.pem")):
                yield path.name, path.read_bytes()
        except OSError as error:
            raise LedgerUnreadable(f"{self.state / KEYS}: cannot be read: {error.strerror}") from error


def image_in(store: Store, digest: str) -> bytes | None:
    """Return an image's file from an archive, None where it is not there or damaged."""
    path = image_path(digest)
    if store.digest(path) is None:
        return None
    data = store.get(path)
    return data if pixels_digest(data) == digest else None


def made(path: str, data: bytes) -> File:
    """Return a file with its digest."""
    return File(path, data, hashlib.sha256(data).hexdigest())


def _holds(pem: bytes, signature: bytes, text: bytes) -> bool:
    try:
        key = load_pem_public_key(pem)
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, text, ECDSA(SHA256()))
            return True
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        pass
    return False
