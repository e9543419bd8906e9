"""One pass: prove the records here, put what the archive lacks, read everything back, say how far it is confirmed.

Interrupted anywhere, the next pass goes on: every file is put whole, under a name that says what it holds.
Nothing here is ever deleted, on either side.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from daemon import ledger_file
from daemon.ledger_file import StoredCheckpoint, reading
from daemon.uplink.archive import (
    DOCUMENTS,
    ENTRIES,
    VERIFIER,
    ArchiveError,
    Segment,
    Walk,
    Wanted,
    checkpoint_path,
    cut,
    image_path,
    line,
    segment_of,
)
from daemon.uplink.sources import File, Sources, image_in, made
from daemon.uplink.stores import Store
from signing.chain import START, ChainError, Checkpoint, Frontier, parse_note

Step = Callable[[str, int, int], None]
QUIET = (b'"type":"archived_row"', b'"what":"archived"')


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an archive is confirmed: the first `size` entries, their chain and tree, and `images` of them."""

    size: int = 0
    chain: bytes = START
    roots: tuple[tuple[int, bytes], ...] = ()
    images: int = 0

    @property
    def root(self) -> bytes:
        return Frontier(self.size, list(self.roots)).root()


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass has to ship, after all of it verified. `segments` with their sha256, `documents` with a batch."""

    head: Checkpoint
    notes: tuple[StoredCheckpoint, ...]
    segments: tuple[tuple[Segment, str], ...]
    images: tuple[str, ...]
    documents: dict[str, str]
    after: Mark

    @property
    def files(self) -> int:
        """How many files it has at least."""
        return len(self.images) + len(self.segments) + len(self.notes)


@dataclass(slots=True)
class Shipped:
    """What a pass did and read back: `written` by path with sha256; `lacking` documents that a batch names."""

    mark: Mark
    origin: str
    written: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def ship(
    sources: Sources,
    store: Store,
    mark: Mark,
    step: Step = silent,
    *,
    always: bool = False,
    known: frozenset[str] = frozenset(),
) -> Shipped | None:
    """Bring an archive up to the newest checkpoint and read it back. None: nothing to ship since `mark`.

    Args:
        mark: what is confirmed already; Mark() lets the archive itself say how far it is.
        step: told of progress after each piece of work; what it raises ends the pass.
        always: ship also where nothing but the archive's own confirmations came since.
        known: paths that were read back earlier in this process's life and need not be looked at again.

    Raises:
        ArchiveError: the records here do not verify or are not whole, or the archive holds other ones.
        StoreConflict, StoreError: of the store.  LedgerUnreadable: the ledger cannot be read.
    """
    with reading(sources.ledger) as db:
        _check_archive(db, store, mark)
        notes = _checkpoints(db, mark)
        if not notes or not (always or _news(db, mark, notes[-1].size)):
            return None
        plan = plan_pass(db, sources, store, mark, step)
        shipped = Shipped(plan.after, plan.head.origin)
        for piece in _pieces(db, sources, store, plan, shipped):
            if piece.path not in known:
                store.put(piece.path, piece.data, piece.sha256)
                shipped.written[piece.path] = piece.sha256
            step("shipping", len(shipped.written), max(plan.files, len(shipped.written)))
    _read_back(store, shipped, step)
    if shipped.missing:
        text = f"{len(shipped.missing)} images on record are neither here nor in {store.name}"
        raise ArchiveError(f"{text}, the first is {shipped.missing[0]}; everything else was shipped")
    return shipped


def plan_pass(db: sqlite3.Connection, sources: Sources, store: Store, mark: Mark, step: Step) -> Plan:
    """Walk through everything from `mark` to the newest checkpoint and compare it with chain, tree and signatures.

    Raises:
        ArchiveError: it does not verify, or does not go on where the archive ends.
    """
    if ledger_file.size(db) < mark.size or ledger_file.chain_before(db, mark.size) != mark.chain:
        raise ArchiveError(f"the ledger no longer holds the {mark.size} entries that the archive has confirmed")
    notes = _checkpoints(db, mark)
    heads = {note.size: _parsed(note) for note in notes}
    segments = cut(mark.size, notes[-1].size, _there(store, mark.size))
    walk, wanted, digests = Walk(Frontier(mark.size, list(mark.roots)), mark.chain), Wanted(), []
    for segment in segments:
        found = hashlib.sha256()
        for entry in ledger_file.entries(db, segment.first, segment.end):
            walk.take(entry.seq, entry.body, entry.chain)
            wanted.read(entry.body)
            found.update(line(entry.body, entry.chain))
            if head := heads.get(walk.frontier.size):
                _check_head(head, walk.frontier, sources)
        if walk.frontier.size != segment.end:
            raise ArchiveError(f"entry {walk.frontier.size} is missing")
        digests.append(found.hexdigest())
        step("verifying", segment.end, notes[-1].size)
    fresh = tuple(digest for digest in wanted.kept if not _kept_before(db, digest, mark.size))
    after = Mark(walk.frontier.size, walk.chain, tuple(walk.frontier.roots), mark.images + len(fresh))
    chosen = tuple(note for note in notes if note.anchored or note is notes[-1])
    pairs = tuple(zip(segments, digests, strict=True))
    return Plan(heads[notes[-1].size], chosen, pairs, fresh, wanted.documents, after)


def _check_archive(db: sqlite3.Connection, store: Store, mark: Mark) -> None:
    """See that the archive is still the one that confirmed `mark`: not an empty mount point, not another bucket."""
    found = [note for note in ledger_file.checkpoints(db, mark.size) if note.size == mark.size]
    expected = made(checkpoint_path(mark.size), found[0].note.encode()) if found else None
    if mark.size and (expected is None or store.digest(expected.path) != expected.sha256):
        raise ArchiveError(
            f"{store.name} does not hold the checkpoint over {mark.size} entries that it confirmed: is it mounted? "
            "If it was replaced on purpose, remove uplink/archive.json in the state folder and it is filled again"
        )


def _checkpoints(db: sqlite3.Connection, mark: Mark) -> list[StoredCheckpoint]:
    return [note for note in ledger_file.checkpoints(db, mark.size) if note.size > mark.size]


def _news(db: sqlite3.Connection, mark: Mark, end: int) -> bool:
    """True if anything came since but what the archive itself made to be recorded: else the two would never rest."""
    return any(is_news(entry.body) for entry in ledger_file.entries(db, mark.size, end))


def is_news(body: bytes) -> bool:
    """Return whether an entry is other than what the archive itself made to be recorded."""
    return not any(word in body for word in QUIET)


def _parsed(note: StoredCheckpoint) -> Checkpoint:
    try:
        head = parse_note(note.note)
    except ChainError as error:
        raise ArchiveError(f"checkpoint over {note.size} entries: {error}") from error
    if head.size != note.size:
        raise ArchiveError(f"checkpoint over {note.size} entries: says {head.size}")
    return head


def _check_head(head: Checkpoint, frontier: Frontier, sources: Sources) -> None:
    if head.root != frontier.root():
        raise ArchiveError(f"checkpoint over {head.size} entries: the tree over them has another root")
    sources.check_signature(head)


def _there(store: Store, begin: int) -> list[Segment]:
    found = [segment_of(path) for path in store.listing(ENTRIES, f"{ENTRIES}/{begin:012d}")]
    return [segment for segment in found if segment is not None]


def _kept_before(db: sqlite3.Connection, digest: str, end: int) -> bool:
    sql = "SELECT 1 FROM evidence WHERE digest = ? AND entry < ? AND state <> 'dropped' LIMIT 1"
    return db.execute(sql, (digest, end)).fetchone() is not None


def _pieces(db: sqlite3.Connection, sources: Sources, store: Store, plan: Plan, shipped: Shipped) -> Iterator[File]:
    """Yield what is to be put, checkpoints last: a checkpoint in the archive says that all before it is there."""
    documents = sources.documents()
    for small in sources.small_files(plan.head.origin, documents):
        if small.path != VERIFIER or store.digest(VERIFIER) is None:
            yield small
    for digest, batch in sorted(plan.documents.items()):
        if digest not in documents and store.digest(f"{DOCUMENTS}/{digest}") is None:
            shipped.lacking.append(f"document {digest} of batch {batch} is not here")
    for digest in plan.images:
        data = sources.image(digest) or image_in(store, digest)
        if data is not None:
            yield made(image_path(digest), data)
        else:
            shipped.missing.append(digest)
    for segment, sha256 in plan.segments:
        entries = ledger_file.entries(db, segment.first, segment.end)
        data = b"".join(line(entry.body, entry.chain) for entry in entries)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArchiveError(f"entries {segment.first} to {segment.end} were altered while they were shipped")
        yield File(segment.path, data, sha256)
    for note in plan.notes:
        yield made(checkpoint_path(note.size), note.note.encode())


def _read_back(store: Store, shipped: Shipped, step: Step) -> None:
    total = len(shipped.written)
    for done, (path, sha256) in enumerate(shipped.written.items(), 1):
        step("reading back", done, total)
        found = store.digest(path)
        if found != sha256:
            what = "is gone" if found is None else "holds other bytes than were written"
            raise ArchiveError(f"{store.name}/{path} {what}: nothing is confirmed")
