"""The archive as a folder of records format 1 (docs/interfaces/records-v1.md): names, cuts, what entries ask for. Pure.

An archive only grows. Entry files end where a checkpoint stands, so that whatever was shipped before an interruption is
a beginning of what has to be shipped.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from daemon.records import Kept
from signing.chain import START, Frontier, leaf, link

FORMAT = 1
SEGMENT = 4096
DESCRIPTION, VERIFIER = "records.json", "verify_records.py"
ENTRIES, CHECKPOINTS, KEYS, IMAGES, DOCUMENTS = "entries", "checkpoints", "keys", "images", "documents"
FOLDERS = (ENTRIES, CHECKPOINTS, KEYS, IMAGES, DOCUMENTS)

_SEGMENT = re.compile(r"entries/(\d{12})-(\d{12})\.jsonl")
_CHECKPOINT = re.compile(r"checkpoints/(\d{12})\.note")
_PGM = re.compile(rb"P5\n\d{1,6} \d{1,6}\n255\n")
_EVIDENCE, _OPENED = b'"type":"evidence_row"', b'"type":"batch_opened"'
_SUBLOT = b'"type":"sublot_opened"'


class ArchiveError(Exception):
    """The trail or the archive is not what it should be; the text says where. A person has to look."""


class _Image(msgspec.Struct):
    digest: str
    state: Kept


class _Batch(msgspec.Struct):
    id: str
    station: str
    bundle: str
    recipe: str
    register_map: str


class _SubLot(msgspec.Struct):
    batch: str
    bundle: str
    recipe: str


class _SubLotEntry(msgspec.Struct):
    row: _SubLot


class _ImageEntry(msgspec.Struct):
    row: _Image


class _BatchEntry(msgspec.Struct):
    row: _Batch


_image_entry = msgspec.json.Decoder(_ImageEntry)
_batch_entry = msgspec.json.Decoder(_BatchEntry)
_sublot_entry = msgspec.json.Decoder(_SubLotEntry)


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """The entries from `first` to before `end`, which lie in one file."""

    first: int
    end: int

    @property
    def path(self) -> str:
        return f"{ENTRIES}/{self.first:012d}-{self.end:012d}.jsonl"


@dataclass(slots=True)
class Wanted:
    """What entries ask for beside themselves: the last state of each image, and the documents of each batch."""

    images: dict[str, Kept] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)

    def read(self, body: bytes) -> None:
        """Take note of one entry's body.

        Raises:
            ArchiveError: it names an image or a document in a form that this release does not know.
        """
        try:
            if _EVIDENCE in body:
                image = _image_entry.decode(body).row
                self.images[image.digest] = image.state
            elif _OPENED in body:
                batch = _batch_entry.decode(body).row
                named = (batch.station, batch.bundle, batch.recipe, batch.register_map)
                self.documents.update(dict.fromkeys(named, batch.id))
            elif _SUBLOT in body:
                lot = _sublot_entry.decode(body).row
                self.documents.update(dict.fromkeys((lot.bundle, lot.recipe), lot.batch))
        except msgspec.MsgspecError as error:
            raise ArchiveError(f"an entry cannot be read: {error}: {body[:80]!r}") from error

    @property
    def kept(self) -> list[str]:
        """Digests of the images that have to be there."""
        return sorted(digest for digest, state in self.images.items() if state is not Kept.DROPPED)


@dataclass(slots=True)
class Walk:
    """Goes through entries in order and compares them with their chain."""

    frontier: Frontier = field(default_factory=Frontier)
    chain: bytes = START

    def take(self, seq: int, body: bytes, chain: bytes) -> None:
        """Add one entry.

        Raises:
            ArchiveError: a number is missing or the entry is not the one that was chained.
        """
        if seq != self.frontier.size:
            raise ArchiveError(f"entry {self.frontier.size} is missing, {seq} follows")
        hashed = leaf(body)
        self.chain = link(self.chain, hashed)
        if self.chain != chain:
            raise ArchiveError(f"entry {seq} was altered: it does not fit its chain")
        self.frontier.append(hashed)


def segment_of(path: str) -> Segment | None:
    """Return which entries a path of the archive holds, None where it holds none."""
    found = _SEGMENT.fullmatch(path)
    return Segment(int(found[1]), int(found[2])) if found else None


def checkpoint_of(path: str) -> int | None:
    """Return the size of the checkpoint at a path of the archive, None where it is none."""
    found = _CHECKPOINT.fullmatch(path)
    return int(found[1]) if found else None


def checkpoint_path(size: int) -> str:
    return f"{CHECKPOINTS}/{size:012d}.note"


def image_path(digest: str) -> str:
    return f"{IMAGES}/{digest[:2]}/{digest}.pgm"


def line(body: bytes, chain: bytes) -> bytes:
    """Return an entry as it stands in a segment."""
    return b"%s %s\n" % (chain.hex().encode(), body)


def parse_line(written: bytes) -> tuple[bytes, bytes]:
    """Return (body, chain) of a line of a segment.

    Raises:
        ArchiveError: not such a line.
    """
    try:
        chain = bytes.fromhex(written[:64].decode("ascii"))
    except ValueError as error:
        raise ArchiveError(f"not a line of records: {written[:70]!r}") from error
    if written[64:65] != b" " or written[-1:] != b"\n":
        raise ArchiveError(f"not a line of records: {written[:70]!r}")
    return written[65:-1], chain


def description(origin: str) -> bytes:
    """Return records.json of an archive that begins with entry 0."""
    words = {"format": FORMAT, "origin": origin, "first": 0, "chain": START.hex(), "frontier": [], "images": True}
    return msgspec.json.encode(words) + b"\n"


def cut(begin: int, end: int, there: Iterable[Segment]) -> list[Segment]:
    """Return the segments that cover begin..end: those that are there already, then new ones.

    Raises:
        ArchiveError: what is there does not go on from `begin`, or goes further than `end`.
    """
    found, at = [], begin
    for segment in sorted(there):
        if segment.first != at or not at < segment.end <= end:
            raise ArchiveError(
                f"{segment.path} does not fit: the records here go from {at} to {end}; "
                "another device or an earlier copy of these records wrote it"
            )
        found.append(segment)
        at = segment.end
    found += [Segment(first, min(first + SEGMENT, end)) for first in range(at, end, SEGMENT)]
    return found


def pixels_digest(pgm: bytes) -> str | None:
    """Return the sha256 of the pixels of an image file, None where it is none."""
    head = _PGM.match(pgm)
    return hashlib.sha256(memoryview(pgm)[head.end() :]).hexdigest() if head else None
