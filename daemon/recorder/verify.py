"""Does the trail say the truth about itself? Chain, tree, signed heads; and do the tables say what the entries say?

Used at every start of the recorder over the newest entries (a line does not run on a trail that does not verify), and
by `linewarden audit verify` over all of them. Reads only. The first thing that is wrong is raised, by name.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from daemon import ledger_file
from daemon.ledger_file import StoredCheckpoint
from daemon.records import AuditRow, decode_body
from signing import chain
from signing.chain import ChainError, Frontier

Keys = Mapping[bytes, ec.EllipticCurvePublicKey]
Progress = Callable[[int], None]
Base = tuple[int, bytes]  # the number of an entry, and what the NV index held when it was written
BEGINNING: Base = (-1, chain.START)
RESTORED = """SELECT e.seq, e.body FROM audit AS a JOIN entry AS e ON e.seq = a.entry
WHERE a.what = 'trail-restored' AND a.origin = 'recorder' AND a.done ORDER BY a.entry DESC LIMIT 1"""
RECENT, RECENT_HEADS = 100_000, 1_000
TOLD_EVERY = 4096


class TrailBroken(Exception):
    """The trail does not verify; the text names the first entry, checkpoint or row that is not as it was written."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found whole: entries from `first` to before `size`, signed up to `signed`."""

    first: int
    size: int
    root: bytes
    signed: int
    checkpoints: int


def silent(_: int) -> None:
    """No progress is shown."""


def verify_trail(
    db: sqlite3.Connection, keys: Keys, origin: str, *, recent: bool = False, progress: Progress = silent
) -> Verified:
    """Check chain, tree and checkpoints over all entries, or over the newest only. The ledger may be written meanwhile.

    Args:
        keys: public keys by id; a checkpoint counts only with a signature by one of them.
        origin: under which name this device signs.
        recent: begin at the newest checkpoint that has RECENT entries or RECENT_HEADS checkpoints behind it.

    Raises:
        TrailBroken: the first thing that is wrong.
    """
    signed, size = ledger_file.signed(db), ledger_file.size(db)
    if size == 0:
        raise TrailBroken("there is no entry 0: the beginning of the trail was cut off")
    if signed > size:
        raise TrailBroken(f"a checkpoint covers {signed} entries, {size} are there: the trail was cut off")
    first = _recent(db, size) if recent else 0
    walk, heads, checked = Walk(db, first), ledger_file.heads(db, first), 0
    head = next(heads, None)
    for entry in chain_entries(db, first):
        if entry:
            walk.step(entry.seq, entry.body, entry.chain)
        while head and head.size == walk.frontier.size:
            check_head(head, walk.frontier.root(), keys, origin)
            walk.signed = head.size
            head, checked = next(heads, None), checked + 1
        if not walk.frontier.size % TOLD_EVERY:
            progress(walk.frontier.size)
    if head and head.size <= walk.frontier.size:
        raise TrailBroken(f"checkpoint over {head.size} entries: there is no such place in the trail")
    walk.nodes_agree()
    return Verified(first, walk.frontier.size, walk.frontier.root(), max(signed, walk.signed), checked)


def chain_entries(db: sqlite3.Connection, first: int) -> Iterator[ledger_file.StoredEntry | None]:
    """Yield None for the place before the first entry, where a head may be, then the entries."""
    yield None
    yield from ledger_file.entries(db, first)


def _recent(db: sqlite3.Connection, size: int) -> int:
    """Return where the newest part begins: at a head, with RECENT entries or RECENT_HEADS heads behind it."""
    behind = db.execute("SELECT coalesce(max(size), 0) FROM checkpoint WHERE size <= ?", (size - RECENT,)).fetchone()
    newest = db.execute("SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1 OFFSET ?", (RECENT_HEADS,)).fetchone()
    return max(int(behind[0]), int(newest[0]) if newest else 0)


def check_head(head: StoredCheckpoint, root: bytes, keys: Keys, origin: str) -> None:
    """Check one checkpoint against the tree's root at its size.

    Raises:
        TrailBroken: another form, size, origin or root, or no signature of a known key.
    """
    named = f"checkpoint over {head.size} entries"
    try:
        said = chain.parse_note(head.note)
    except ChainError as error:
        raise TrailBroken(f"{named}: {error}") from error
    if said.origin != origin:
        todo = "give it its name and identity back, or begin a new trail (docs/operations/records.md)"
        raise TrailBroken(f"{named} is of {said.origin}, this station is {origin}: {todo}")
    if said.size != head.size:
        raise TrailBroken(f"{named} says {said.size}: it was altered")
    if not any(_holds(keys.get(key), signature, said.text) for key, signature in said.signatures):
        raise TrailBroken(f"{named}: no signature of a key of this device holds")
    if said.root != root:
        raise TrailBroken(f"{named}: its root is not that of the entries: one of them was altered and chained again")


def anchor_base(db: sqlite3.Connection) -> Base:
    """Return where the anchor begins: at the beginning of the trail, or at its newest restore.

    Raises:
        TrailBroken: the table's row is not what the entry says.
    """
    found = db.execute(RESTORED).fetchone()
    if not found:
        return BEGINNING
    number, body = found
    try:
        record = decode_body(body)
        row = record.row
        if isinstance(row, AuditRow) and (row.what, record.origin, row.done) == ("trail-restored", "recorder", True):
            return int(number), bytes.fromhex(row.old) or chain.START
    except (msgspec.MsgspecError, ValueError) as error:
        raise TrailBroken(f"entry {number} cannot be read ({error}): {excerpt(body)}") from error
    raise TrailBroken(f"table audit does not say what entry {number} says: {excerpt(body)}")


def anchored_value(heads: Iterable[StoredCheckpoint], base: Base = BEGINNING) -> bytes:
    """Return what the NV index holds after the anchored checkpoints behind `base`, in order of size."""
    first, value = base
    for head in heads:
        if head.anchored and head.size > first:
            value = chain.fold(value, chain.note_digest(head.note))
    return value


def unmarked_anchor(heads: Sequence[StoredCheckpoint], value: bytes, base: Base = BEGINNING) -> int | None:
    """Return the size of the checkpoint that was extended and not yet marked when the power went, 0 for none.

    None: the NV index does not hold what the ledger says, so heads are missing or were put in by somebody else.
    """
    known = anchored_value(heads, base)
    if known == value:
        return 0
    last = max((head.size for head in heads if head.anchored), default=base[0])
    for head in heads:
        if head.size > last and chain.fold(known, chain.note_digest(head.note)) == value:
            return head.size
    return None


class Walk:
    """Follows chain and tree through the entries."""

    def __init__(self, db: sqlite3.Connection, first: int) -> None:
        self._db = db
        self._first = first
        self._complete: dict[tuple[int, int], bytes] = {}
        self.signed = 0
        self.frontier: Frontier = ledger_file.frontier(db, first)
        self._chain = ledger_file.chain_before(db, first)

    def step(self, seq: int, body: bytes, stored: bytes) -> None:
        if seq != self.frontier.size:
            raise TrailBroken(f"entry {self.frontier.size} is missing")
        hashed = chain.leaf(body)
        self._chain = chain.link(self._chain, hashed)
        if self._chain != stored:
            raise TrailBroken(f"entry {seq} was altered: its text is not what was chained: {excerpt(body)}")
        for level, position, root in self.frontier.append(hashed):
            self._complete[level, position] = root

    def nodes_agree(self) -> None:
        """The stored subtrees are what the entries make of them, each once, none besides."""
        count = 0
        sql = (
            "SELECT level, position, hash FROM node WHERE (position + 1) << level > ? AND (position + 1) << level <= ?"
        )
        for level, position, stored in self._db.execute(sql, (self._first, self.frontier.size)):
            if self._complete.get((level, position)) != stored:
                raise TrailBroken(f"tree node {level}/{position}: not the hash of the entries under it")
            count += 1
        if count != len(self._complete):
            raise TrailBroken(
                f"{len(self._complete) - count} tree nodes are missing: restore the ledger from the archive"
            )


def excerpt(body: bytes) -> str:
    """Return the beginning of a body for people, whatever it holds."""
    return body[:160].decode("utf-8", "replace").replace("\\n", " ") + (" ..." if len(body) > 160 else "")


def _holds(key: ec.EllipticCurvePublicKey | None, signature: bytes, text: str) -> bool:
    if key is None:
        return False
    try:
        key.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
