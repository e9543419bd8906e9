"""The repository's side of uplink: what is new there, what of it this line may have, and its bytes into `incoming/`.

`incoming/` is a repository in the layout of a stick. It may be wrong, half or empty: `slots` judges it anew. So nothing
here is a decision, only an endeavour not to fetch what would be refused anyway.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Literal

from msgspec import structs

from daemon.store_requests import INCOMING, STORE
from signing.errors import DocumentInvalid
from signing.fetchers import TIMESTAMP, Bytes, Fetcher, MirrorFetcher
from signing.floor import Versions
from signing.freshness import Place, Repository, enrol_place, nothing_new, open_repository
from signing.index import Index, Kind
from signing.intake import held
from signing.permission import (
    LARGEST_BYTES,
    TRUST_PATH,
    Documents,
    Pair,
    parts,
    read_documents,
)
from signing.update_errors import PlaceFailed, UpdateRefused

FOLDER, BLOBS = "uplink/tuf", "blobs"
RESERVE_BYTES = 256 * 1024 * 1024
Progress = Callable[[int, int], None]


class Unfloored:
    """No floor: this mirror's memory counts for nothing, `slots` has the floor that does."""

    strength: Literal["tpm", "file"] = "file"

    def enrol(self, versions: Versions) -> None:
        """Nothing is kept."""

    def read(self) -> Versions:
        return Versions(1, 1, 1)

    def raise_to(self, versions: Versions) -> None:
        """Nothing is kept."""


class Watched(Fetcher):
    """Another fetcher, which shows with every piece that this process still works."""

    def __init__(self, inner: Fetcher, advance: Callable[[], None]) -> None:
        self.where = inner.where
        self._inner = inner
        self._advance = advance

    def open_from(self, path: str, start: int) -> tuple[int, Bytes]:
        self._advance()
        begins, chunks = self._inner.open_from(path, start)
        return begins, self._each(chunks)

    def _each(self, chunks: Bytes) -> Bytes:
        with closing(chunks):
            for chunk in chunks:
                self._advance()
                yield chunk


class Mirror:
    """One repository as this line sees it. Owned by the duty to update.

    Raises (all): UpdateError, with what to do about it.
    """

    def __init__(self, state: Path, line: str, first_root: Path) -> None:
        """`first_root`: the root that enrolment brought."""
        self._place = Place(state / FOLDER)
        self._incoming, self._store = state / INCOMING, state / STORE
        self._first_root = first_root
        self._line = line
        self._repository: Repository | None = None
        self._snapshot = 0
        self._indexes: dict[str, Index] = {}
        self._covered: set[str] = set()
        self.documents: Documents | None = None

    @property
    def repository(self) -> Repository | None:
        """The newest that was verified in this life."""
        return self._repository

    def poll(self, fetcher: Fetcher, now: datetime, advance: Callable[[], None], *, whole: bool) -> None:
        """Ask for news: one small file where there are none.

        Args:
            advance: called at least as often as a piece arrives.
            whole: look at everything although nothing seems new.
        """
        watched = Watched(fetcher, advance)
        self._prepare()
        if self._repository is not None and not whole and nothing_new(self._place, watched, now):
            return
        self._repository = repository = open_repository(
            self._place, MirrorFetcher(watched, self._incoming), Unfloored(), now
        )
        if whole or self.documents is None or self._snapshot != repository.versions.snapshot:
            self._indexes.clear()
            self._covered.clear()
            self.documents = self._read(repository)
            self._snapshot = repository.versions.snapshot

    def cover(self, installed: Mapping[str, Kind]) -> None:
        """Mirror what says whether the installed is still published, for `slots` to see: removal is revocation."""
        if self._repository is not None:
            for digest in installed.keys() - self._covered:
                self._repository.index(installed[digest], digest)
                self._covered.add(digest)

    def missing(self, pairs: Collection[Pair], installed: Collection[str]) -> list[Index]:
        """Return the indexes of what is not installed, less the files that the store has; the indexes are mirrored."""
        if self._repository is None:
            return []
        found = []
        for kind, digest in parts(pairs):
            if digest not in installed:
                index = self._indexes.get(digest) or self._repository.index(kind, digest)
                if index is None:
                    raise UpdateRefused(f"{kind} {digest[:12]} is permitted and not published; publish it")
                self._indexes[digest] = index
                found.append(self._less(index))
        return found

    def _less(self, index: Index) -> Index:
        blobs = self._store / BLOBS
        files = {name: blob for name, blob in index.files.items() if not held(blobs, blob.sha256, blob.size)}
        return structs.replace(index, files=files)

    def has(self, indexes: Collection[Index]) -> bool:
        """Return whether all bytes are here."""
        blobs = self._incoming / BLOBS
        return all(held(blobs, sha256, size) for index in indexes for sha256, size in index.blobs().items())

    def drop_damaged(self, advance: Callable[[], None]) -> None:
        """Remove what is not what its name says, so that it is fetched anew: the disk erred, or somebody was here."""
        folder = self._incoming / BLOBS
        try:
            for path in [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []:
                advance()
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                        path.unlink()
        except OSError as error:
            raise PlaceFailed(f"{folder}: cannot be read ({error.strerror}); mend the disk") from error

    def fetch(self, indexes: Collection[Index], progress: Progress) -> None:
        """Bring the bytes of what is missing; `progress` is told (held, all) and may end it: the next call goes on."""
        if self._repository is None:
            return
        into = self._incoming / BLOBS
        sizes = {sha256: size for index in indexes for sha256, size in index.blobs().items()}
        wanted = sum(size for sha256, size in sizes.items() if not held(into, sha256, size))
        _check_room(self._incoming, wanted)
        total, done = sum(sum(index.blobs().values()) for index in indexes), 0
        for index in indexes:
            self._repository.fetch(index, into, _behind(progress, done, total))
            done += sum(index.blobs().values())

    def prune(self, indexes: Collection[Index]) -> None:
        """Remove bytes that no index needs: what the store has, or nobody wants any more."""
        wanted = {sha256 for index in indexes for sha256 in index.blobs()}
        folder = self._incoming / BLOBS
        try:
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.name.removeprefix(".").removesuffix(".part") not in wanted:
                    path.unlink()
        except OSError as error:
            raise PlaceFailed(f"{folder}: cannot be tidied ({error.strerror}); mend the disk") from error

    def _prepare(self) -> None:
        """Begin anew where the mirror was emptied or the device enrolled again: what is remembered is not fetched."""
        try:
            root = self._first_root.read_bytes()
            known = self._place.root.read_bytes() if self._place.root.is_file() else b""
            if known == root and (self._incoming / TIMESTAMP).is_file():
                return
            self._repository = self.documents = None
            if self._place.metadata.is_dir():
                shutil.rmtree(self._place.metadata)
        except OSError as error:
            raise PlaceFailed(f"{error.filename}: {error.strerror}; enrol the device, or mend the disk") from error
        if known != root:
            enrol_place(self._place, root)

    def _read(self, repository: Repository) -> Documents:
        """Read what decides, and mirror what `slots` will ask for besides."""
        repository.document(TRUST_PATH, LARGEST_BYTES)
        try:
            return read_documents(repository.document, self._line)
        except DocumentInvalid as error:
            raise UpdateRefused(str(error)) from error


def _behind(progress: Progress, done: int, total: int) -> Progress:
    return lambda got, _all: progress(done + got, total)


def _check_room(folder: Path, size: int) -> None:
    """Leave room for the records of the line, which come first."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size and free - size < RESERVE_BYTES:
        text = f"{size / 1e6:.0f} MB are needed beside {RESERVE_BYTES / 1e6:.0f} MB for records"
        raise PlaceFailed(f"{folder}: {text}, {free / 1e6:.0f} MB are free; make room")
