"""`linewarden audit export DIR`: records out of the ledger into a folder that verify_records.py checks. Reads only.

The whole trail up to its newest checkpoint, or one batch from its opening to the first checkpoint behind its closing.
The folder appears whole or not at all. What lies in the ledger is copied as it is: an altered entry is not refused
here, the verifier names it.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon import ledger_file
from daemon.ledger_file import StoredCheckpoint, reading
from daemon.uplink.archive import (
    DESCRIPTION,
    ENTRIES,
    FOLDERS,
    FORMAT,
    IMAGES,
    KEYS,
    ArchiveError,
    Segment,
    Wanted,
    checkpoint_path,
    cut,
    image_path,
    line,
)
from daemon.uplink.sources import Sources
from provisioning.errors import CommandFailed
from signing.chain import ChainError, parse_note
from signing.durable import sync_directory

Step = Callable[[str, int, int], None]


class ExportError(CommandFailed):
    """The records were not exported; the text says why and what to do. The target is as it was."""


@dataclass(frozen=True, slots=True)
class Part:
    """The entries from `first` to before `end`, and the checkpoints over more than `first` of them."""

    first: int
    end: int
    notes: tuple[StoredCheckpoint, ...]

    @property
    def origin(self) -> str:
        """Raises ExportError where the newest checkpoint is none."""
        try:
            return parse_note(self.notes[-1].note).origin
        except ChainError as error:
            raise ExportError(f"checkpoint over {self.end} entries: {error}; run `linewarden audit verify`") from error


@dataclass(frozen=True, slots=True)
class Exported:
    """What lies in the folder. `complete`: every document that a batch in it pins is there."""

    part: Part
    images: int
    documents: int
    complete: bool


def export(sources: Sources, target: Path, batch: str, images: bool, step: Step) -> Exported:
    """Write the records, or those of one batch, into the new folder `target`.

    Raises:
        ExportError, LedgerUnreadable, ConfigError: nothing was left behind.
    """
    with reading(sources.ledger) as db, _new_folder(target) as folder:
        part = part_of(db, batch)
        wanted = _write_entries(db, part, folder, step)
        for note in part.notes:
            _put(folder / checkpoint_path(note.size), note.note.encode())
        documents = sources.documents()
        _write_small_files(sources, documents, part, folder)
        complete = set(wanted.documents) <= set(documents)
        kept = wanted.kept if images else []
        _write_images(sources, kept, folder, step)
        _put(folder / DESCRIPTION, _description(db, part, images, complete))
        _settle(folder, step)
    return Exported(part, len(kept), len(documents), complete)


def part_of(db: sqlite3.Connection, batch: str) -> Part:
    """Return which entries an export holds: all that a checkpoint covers, or those of a batch ("" = all).

    Raises:
        ExportError: there is no such batch, or no checkpoint over it yet.
    """
    first, last = _batch_entries(db, batch) if batch else (0, None)
    notes = ledger_file.checkpoints(db, first + 1)
    if last is not None:
        covering = [note.size for note in notes if note.size > last]
        notes = [note for note in notes if note.size <= covering[0]] if covering else []
    if not notes:
        raise ExportError("no checkpoint covers these records yet: the recorder signs one every minute; try again then")
    return Part(first, notes[-1].size, tuple(notes))


def _batch_entries(db: sqlite3.Connection, batch: str) -> tuple[int, int | None]:
    row = db.execute("SELECT state, entry, closed_entry FROM batch WHERE id = ?", (batch,)).fetchone()
    if row is None:
        known = ", ".join(name for (name,) in db.execute("SELECT id FROM batch ORDER BY opened_wall_ns DESC LIMIT 5"))
        raise ExportError(f"no batch {batch!r} on record; the last ones: {known or 'none'}")
    state, entry, closed_entry = row
    if not entry:
        raise ExportError(f"batch {batch}: it was opened before the trail began; export the whole trail")
    return entry, closed_entry if state == "closed" else None


def _description(db: sqlite3.Connection, part: Part, images: bool, documents: bool) -> bytes:
    frontier = ledger_file.frontier(db, part.first)
    words = {
        "format": FORMAT,
        "origin": part.origin,
        "first": part.first,
        "chain": ledger_file.chain_before(db, part.first).hex(),
        "frontier": [[level, top.hex()] for level, top in frontier.roots],
        "images": images,
        "documents": documents,
    }
    return msgspec.json.encode(words) + b"\n"


def _write_entries(db: sqlite3.Connection, part: Part, folder: Path, step: Step) -> Wanted:
    wanted = Wanted()
    for segment in cut(part.first, part.end, ()):
        _put(folder / segment.path, b"".join(_lines(db, segment, wanted)))
        step(ENTRIES, segment.end - part.first, part.end - part.first)
    return wanted


def _lines(db: sqlite3.Connection, segment: Segment, wanted: Wanted) -> Iterator[bytes]:
    for entry in ledger_file.entries(db, segment.first, segment.end):
        try:
            wanted.read(entry.body)
        except ArchiveError as error:
            raise ExportError(f"entry {entry.seq}: {error}; run `linewarden audit verify`") from error
        yield line(entry.body, entry.chain)


def _write_small_files(sources: Sources, documents: Mapping[str, bytes], part: Part, folder: Path) -> None:
    for file in sources.small_files(part.origin, documents):
        if file.path != DESCRIPTION:
            _put(folder / file.path, file.data)
    if not any((folder / KEYS).iterdir()):
        raise ExportError(f"{sources.state / KEYS}: no public key of this device; start its recorder once")


def _write_images(sources: Sources, digests: list[str], folder: Path, step: Step) -> None:
    for number, digest in enumerate(digests, 1):
        data = sources.image(digest)
        if data is None:
            raise ExportError(
                f"image {digest}: damaged, or neither here nor in the site archive; export without --images"
            )
        _put(folder / image_path(digest), data)
        step(IMAGES, number, len(digests))


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that takes its place when the block ends well."""
    target = target.absolute()
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ExportError(f"{target}: there is something already: name a new folder")
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir()
        try:
            for name in FOLDERS:
                (folder / name).mkdir()
            yield folder
            os.rename(folder, target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sync_directory(target.parent)
    except OSError as error:
        raise ExportError(f"{error.filename or target}: {error.strerror}: make room or name another folder") from error


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _settle(folder: Path, step: Step) -> None:
    """Bring everything to the disk before the folder gets its name."""
    for where, folders, files in os.walk(folder):
        for name in files:
            with (Path(where) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(where))
        step("to disk", len(files), len(files) + len(folders))
