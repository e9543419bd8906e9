"""What is checked before the recorder writes a line: the key, the newest entries, what the TPM remembers of the heads.

A line does not run on a trail that does not verify.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from daemon import notify, restored
from daemon.config import Station
from daemon.ledger_file import DAMAGED, StoredCheckpoint
from daemon.recorder import events, verify
from daemon.recorder.ledger import RECORDER, Ledger
from daemon.recorder.rows import Received
from daemon.recorder.schema import LedgerBusy, passing
from daemon.recorder.verify import TrailBroken
from daemon.recorder.wall import WallClock
from daemon.restored import NEW, NoteDamaged, Restored
from signing.chain import key_id, origin
from signing.device_key import DeviceKey, open_device_key
from signing.durable import write_durably
from signing.public_key import public_key_file

KEYS = "keys"
NAMED = re.compile("[0-9a-f]{8}")


def device_key(station: Station, state: Path) -> DeviceKey:
    """Open the key that the station file names and keep its public half in the state folder.

    Raises:
        KeyRefused: no such key, or one that proves nothing in production.  OSError: the folder cannot be written.
    """
    settings = station.recorder
    folder = Path(named) if (named := os.environ.get("CREDENTIALS_DIRECTORY")) else None
    key = open_device_key(settings.key, state, folder, settings.tpm, production=station.production)
    name, pem = public_key_file(key.public_der)
    path = state / name
    if not path.exists() or path.read_bytes() != pem.encode():
        path.parent.mkdir(mode=0o750, exist_ok=True)
        write_durably(path, pem.encode())
    return key


def known_keys(state: Path) -> dict[bytes, ec.EllipticCurvePublicKey]:
    """Return the public keys that signed this device's trail, by id.

    Raises:
        TrailBroken: a file that is named like a key is none. Others are none of ours.
    """
    found: dict[bytes, ec.EllipticCurvePublicKey] = {}
    for path in sorted(path for path in (state / KEYS).glob("*.pem") if NAMED.fullmatch(path.stem)):
        with _translated(path):
            key = load_pem_public_key(path.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey) or path.stem != key_id(_der(key)).hex():
            raise TrailBroken(f"{path}: not the key of that name: bring the file back from the archive")
        found[key_id(_der(key))] = key
    return found


def open_trail(ledger: Ledger, state: Path, station: Station, key: DeviceKey) -> None:
    """Verify what is there, and put on record that it was restored, if it was.

    Raises:
        TrailBroken: the first thing that is wrong.  LedgerUnwritable: the restore cannot be put on record.
    """
    name = origin(station.name, station.identity)
    try:
        verify.verify_trail(ledger.database, known_keys(state), name, recent=True, progress=lambda _: notify.starting())
    except DAMAGED as error:
        if passing(error):
            raise LedgerBusy(f"the ledger cannot be read now ({error}): make room on the disk or check it") from error
        raise TrailBroken(f"the file is damaged: {error}") from error
    held = key.anchored()
    _take_note(ledger, state, held)
    if held is None:
        return
    unmarked = verify.unmarked_anchor(_anchorable(ledger.database), held, verify.anchor_base(ledger.database))
    if unmarked is None:
        raise TrailBroken(
            "the TPM holds other tree heads than the ledger: entries were cut off, or it is another TPM; bring the "
            "records back with `linewarden restore`"
        )
    if unmarked:
        ledger.anchored(unmarked)


def _anchorable(db: sqlite3.Connection) -> list[StoredCheckpoint]:
    """Return the heads that the TPM has, and those after them that it may have."""
    found = db.execute("SELECT coalesce(max(size), 0) FROM checkpoint WHERE anchored").fetchone()
    sql = "SELECT size, note, anchored FROM checkpoint WHERE anchored OR size > ? ORDER BY size"
    return [StoredCheckpoint(size, note, bool(anchored)) for size, note, anchored in db.execute(sql, found)]


def _take_note(ledger: Ledger, state: Path, held: bytes | None) -> None:
    """Make the note of a restore an entry, the first after what was restored, then take it away."""
    try:
        note = restored.read(state)
    except NoteDamaged as error:
        raise TrailBroken(str(error)) from error
    if note is None:
        return
    size, expected = ledger.head.size, max(note.size, 1)
    if size == expected:
        row = events.restored(note.who, note.role, note.why, held.hex() if held else "", _what(note))
        ledger.store([Received(0, row, "", RECORDER)], {}, WallClock().now())
    elif size < expected:
        raise TrailBroken(f"{note.size} entries were restored, {size} are here: restore again, into an empty folder")
    restored.remove(state)


def _what(note: Restored) -> str:
    return "a new trail" if note.size == NEW else f"{note.size} entries from {note.source}"


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise TrailBroken(f"{path}: not a public key ({error}): bring it back from the archive") from error


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
