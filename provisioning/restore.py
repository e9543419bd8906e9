"""`linewarden restore`: a device's records from an archive, on a bare box. All or nothing, and proven twice.

First the verifier, a program of its own, says whether the archive is whole. Then a new ledger is built from the entries
alone, and its own trail and every row of its tables are compared with them.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon import ledger_file, restored
from daemon.evidence_file import image_file
from daemon.ledger_file import LEDGER, reading
from daemon.recorder.opening import known_keys
from daemon.recorder.rebuild import rebuild
from daemon.recorder.schema import LedgerError
from daemon.recorder.tables import integrity, verify_tables
from daemon.recorder.verify import TrailBroken, verify_trail
from daemon.records import Genesis, decode_body
from daemon.uplink.archive import (
    CHECKPOINTS,
    DESCRIPTION,
    DOCUMENTS,
    ENTRIES,
    FOLDERS,
    IMAGES,
    KEYS,
    VERIFIER,
    ArchiveError,
    Wanted,
    checkpoint_of,
    image_path,
    parse_line,
    segment_of,
)
from daemon.uplink.shipping import Step
from daemon.uplink.stores import Store
from provisioning.archives import ArchiveFailed
from provisioning.places import interfaces
from signing.chain import Checkpoint, parse_note
from signing.durable import sync_directory

COUNTED = {
    "batches": "SELECT count(*) FROM batch",
    "units": "SELECT count(*) FROM unit",
    "images": "SELECT count(DISTINCT digest) FROM evidence WHERE state <> 'dropped'",
    "acts": "SELECT count(*) FROM audit",
    "alarms": "SELECT count(*) FROM alarm",
}
_DIGEST = re.compile("[0-9a-f]{64}")
_PLAIN = re.compile(r"keys/[0-9a-f]{8}\.pem|documents/[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Person:
    """Who restores, in which role, and why."""

    name: str
    role: str
    why: str


NOBODY = Person("nobody", "operator", "no reason given")


@dataclass(slots=True)
class Restored:
    """What a restored state folder holds; `seconds` by phase.

    `older_rows` were recorded before there was a trail: their digests are on record, they are in no archive.
    """

    head: Checkpoint
    counts: dict[str, int]
    documents: int
    older_rows: int
    seconds: dict[str, float] = field(default_factory=dict)


def drill(store: Store, step: Step, keys: Sequence[Path] = ()) -> Restored:
    """Restore into a temporary folder and remove it. Only signatures of `keys` (PEM files) count, if there are any.

    Raises:
        ArchiveFailed: these records cannot be restored; the text names what is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="linewarden-drill-") as folder:
        return _restore(store, Path(folder), step, keys)


def restore(store: Store, state: Path, step: Step, keys: Sequence[Path] = (), person: Person = NOBODY) -> Restored:
    """Restore into a state folder that is not there yet, or empty but for links; it appears whole or not at all.

    The recorder that starts over it puts `person` and his reason on record, and begins the TPM's anchor anew.

    Raises:
        ArchiveFailed: as `drill`, or the folder is in use.
    """
    if state.exists() and (not state.is_dir() or any(not path.is_symlink() for path in state.iterdir())):
        raise ArchiveFailed(f"{state}: is not empty: records are restored into an empty folder only")
    if not state.parent.is_dir():
        raise ArchiveFailed(f"{state.parent}: is not a folder: make it first")
    staging = Path(tempfile.mkdtemp(prefix=f".{state.name}.", dir=state.parent))
    try:
        found = _restore(store, staging, step, keys)
        said = (person.name, person.role, person.why)
        restored.write(staging / "state", restored.Restored(*said, found.head.size, store.name))
        _give_to_owner(staging / "state", state)
        _move_links(state, staging / "state")
        os.sync()
        os.rename(staging / "state", state)
        sync_directory(state.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _restore(store: Store, staging: Path, step: Step, keys: Sequence[Path]) -> Restored:
    seconds: dict[str, float] = {}
    records, state = staging / "records", staging / "state"
    with _timed(seconds, "fetched"):
        fetch(store, records, step)
    with _timed(seconds, "verified"):
        verify(records, interfaces() / VERIFIER, keys)
    with _timed(seconds, "rebuilt"):
        notes = [path.read_text(encoding="utf-8") for path in sorted((records / CHECKPOINTS).iterdir())]
        state.mkdir(mode=0o750)
        step("rebuilding", 0, 1)
        try:
            rebuild(state / LEDGER, _records(records), notes)
        except LedgerError as error:
            raise ArchiveFailed(f"{store.name}: {error}") from error
        _place(records, state)
    with _timed(seconds, "compared"):
        found = _compare(state, parse_note(notes[-1]), step)
    found.seconds = seconds
    return found


def _give_to_owner(made: Path, state: Path) -> None:
    """Give everything to whom the empty state folder belongs, if there is one and root restores."""
    if state.exists() and os.geteuid() == 0:
        owner = state.stat()
        for path in (made, *made.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


def _move_links(state: Path, made: Path) -> None:
    """Keep the links to the folders of process slots; systemd-tmpfiles makes again what a power cut loses here."""
    for path in [*state.iterdir()] if state.exists() else []:
        os.symlink(os.readlink(path), made / path.name)
        path.unlink()


def fetch(store: Store, folder: Path, step: Step) -> None:
    """Copy what the newest checkpoint of an archive covers into a new folder. What is being shipped is left out.

    Raises:
        ArchiveFailed: there are no records.
    """
    for part in FOLDERS:
        (folder / part).mkdir(parents=True)
    sizes = {path: size for path in store.listing(CHECKPOINTS) if (size := checkpoint_of(path)) is not None}
    if not sizes or store.digest(DESCRIPTION) is None:
        raise ArchiveFailed(f"{store.name}: holds no records with a checkpoint")
    wanted = [DESCRIPTION, *sizes]
    wanted += [path for part in (KEYS, DOCUMENTS) for path in store.listing(part) if _PLAIN.fullmatch(path)]
    wanted += [path for path in store.listing(ENTRIES) if (cut := segment_of(path)) and cut.end <= max(sizes.values())]
    _copy(store, folder, wanted, "entries", step)
    _copy(store, folder, _images(folder, store), "images", step)


def verify(folder: Path, verifier: Path, keys: Sequence[Path]) -> None:
    """Let the verifier judge a folder, in a process of its own that sees nothing of Linewarden.

    Raises:
        ArchiveFailed: with what it found.
    """
    command = [sys.executable, "-I", str(verifier), str(folder)]
    command += [word for key in keys for word in ("--key", str(key.absolute()))]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise ArchiveFailed(f"the records do not verify: {words[-1]}")


def _copy(store: Store, folder: Path, paths: list[str], what: str, step: Step) -> None:
    for done, path in enumerate(paths, 1):
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(store.get(path))
        step(f"fetching {what}", done, len(paths))


def _images(folder: Path, store: Store) -> list[str]:
    """Return the images that the entries ask for and the archive has; the verifier names those that are missing."""
    wanted = Wanted()
    for body, _ in _records(folder):
        wanted.read(body)
    there = set(store.listing(IMAGES))
    return [path for digest in wanted.kept if _DIGEST.fullmatch(digest) and (path := image_path(digest)) in there]


def _records(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    number = 0
    for path in sorted((folder / ENTRIES).iterdir()):
        with path.open("rb") as file:
            for line in file:
                try:
                    yield parse_line(line)
                except ArchiveError as error:
                    raise ArchiveFailed(f"entry {number} of the archive was altered: {error}") from error
                number += 1


def _place(records: Path, state: Path) -> None:
    for path in (records / IMAGES).glob("*/*.pgm"):
        target = image_file(state, path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, target)
    for part in (KEYS, DOCUMENTS):
        os.rename(records / part, state / part)


def _compare(state: Path, head: Checkpoint, step: Step) -> Restored:
    """See that the new ledger says what the archive's newest checkpoint signed, in its trail and in every table."""
    try:
        with reading(state / LEDGER) as db:
            integrity(db)
            verified = verify_trail(db, known_keys(state), head.origin)
            if (verified.size, verified.root) != (head.size, head.root):
                raise ArchiveFailed(
                    f"the restored ledger has another tree head than the archive over {head.size} entries"
                )
            older = _older_rows(db)
            if not older:
                verify_tables(db, progress=lambda done: step("comparing", done, head.size))
            counts = {name: int(db.execute(sql).fetchone()[0]) for name, sql in COUNTED.items()}
    except TrailBroken as error:
        raise ArchiveFailed(f"the restored ledger does not verify: {error}") from error
    return Restored(head, counts, len(list((state / DOCUMENTS).iterdir())), older)


def _older_rows(db: sqlite3.Connection) -> int:
    (genesis,) = ledger_file.entries(db, 0, 1)
    row = decode_body(genesis.body).row
    return sum(table.rows for table in row.tables.values()) if isinstance(row, Genesis) else 0


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - begin
