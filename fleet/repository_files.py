"""The files of a repository as its publishers hold them: `public/` (what devices read) and `staging/` (drafts).

`public/` is static: any web server, object store or stick serves it. Its `metadata/timestamp.json` is written last, so
a device sees the old state or the whole new one, and so does a publisher whose power was cut. A draft is one role's
next version with the signatures collected so far; the folder can be carried from person to person.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from fleet.errors import NotDone
from fleet.repository_plan import told
from signing.durable import sync_directory
from signing.fetchers import CHUNK_BYTES, make_folder, write_under
from signing.index import Blob

_COMPACT = JSONSerializer(compact=True)


def text_of(metadata: "Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]") -> bytes:
    """Return the bytes of a metadata file."""
    return metadata.to_bytes(_COMPACT)


@dataclass(frozen=True, slots=True)
class Files:
    """Reads and writes of one repository's folder."""

    folder: Path

    @property
    def public(self) -> Path:
        return self.folder / "public"

    @property
    def staging(self) -> Path:
        return self.folder / "staging"

    def timestamp(self) -> Metadata[Timestamp] | None:
        """Return the published timestamp, None before the first publication."""
        file = self.public / "metadata" / "timestamp.json"
        with told(file):
            return Metadata[Timestamp].from_bytes(file.read_bytes()) if file.exists() else None

    def snapshot(self) -> Metadata[Snapshot] | None:
        timestamp = self.timestamp()
        if timestamp is None:
            return None
        file = self.public / "metadata" / f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
        with told(file):
            return _read_snapshot(file.read_bytes())

    def root(self) -> Metadata[Root] | None:
        """Return the newest published root."""
        files = {int(file.name.split(".")[0]): file for file in (self.public / "metadata").glob("*.root.json")}
        if self.timestamp() is None or not files:
            return None
        with told(files[max(files)]):
            return Metadata[Root].from_bytes(files[max(files)].read_bytes())

    def role(self, role: str) -> Metadata[Targets] | None:
        """Return a published targets role, None where it never was published."""
        snapshot = self.snapshot()
        meta = snapshot.signed.meta.get(f"{role}.json") if snapshot else None
        if meta is None:
            return None
        file = self.public / "metadata" / f"{meta.version}.{role}.json"
        with told(file):
            return Metadata[Targets].from_bytes(file.read_bytes())

    def next_version(self, role: str) -> int:
        """Return the version a draft of this role has."""
        if role == "root":
            root = self.root()
            return root.signed.version + 1 if root else 1
        snapshot = self.snapshot()
        meta = snapshot.signed.meta.get(f"{role}.json") if snapshot else None
        return meta.version + 1 if meta else 1

    def draft_names(self) -> list[str]:
        """Return the roles that are staged. A draft that is published (a cut before it was removed) is none."""
        published = {**self._published(), "root.json": self.next_version("root") - 1}
        drafts = (file.name.partition(".") for file in self.staging.glob("*.*.json"))
        return sorted(
            role.removesuffix(".json") for number, _, role in drafts if number == str(published.get(role, 0) + 1)
        )

    def root_draft(self) -> Metadata[Root] | None:
        return cast("Metadata[Root] | None", self._draft("root"))

    def draft(self, role: str) -> Metadata[Targets] | None:
        """Return the draft of a role, None where none is staged."""
        return cast("Metadata[Targets] | None", self._draft(role))

    def write_draft(self, role: str, metadata: "Metadata[Root] | Metadata[Targets]") -> None:
        """Stage the next version of a role; the version in `metadata` is set."""
        metadata.signed.version = self.next_version(role)
        with told(self.staging):
            write_under(self.staging, f"{metadata.signed.version}.{role}.json", text_of(metadata))

    def write_target(self, path: str, data: bytes) -> None:
        """Write a document's bytes; not reachable before the role that names it is published."""
        with told(self.staging):
            write_under(self.public, path, data)

    def write_metadata(self, name: str, data: bytes) -> None:
        with told(self.public):
            write_under(self.public, f"metadata/{name}", data)

    def clear(self) -> None:
        """Remove all drafts."""
        with told(self.staging):
            for file in self.staging.glob("*.json"):
                file.unlink()
            if self.staging.is_dir():
                sync_directory(self.staging)

    def add_blob(self, file: Path) -> Blob:
        """Copy a file's bytes to `public/blobs/<sha256>`.

        Raises:
            NotDone: a link, or no regular file.
        """
        if file.is_symlink() or not file.is_file():
            raise NotDone(f"{file}: only regular files are published; replace the link or remove it")
        blobs = self.public / "blobs"
        with told(file):
            make_folder(blobs)
            return _copied(file, blobs)

    def _published(self) -> dict[str, int]:
        """Return version by file name of what the snapshot lists."""
        snapshot = self.snapshot()
        return {name: meta.version for name, meta in snapshot.signed.meta.items()} if snapshot else {}

    def _draft(self, role: str) -> "Metadata[Root] | Metadata[Targets] | None":
        file = self.staging / f"{self.next_version(role)}.{role}.json"
        with told(file):
            return Metadata.from_bytes(file.read_bytes()) if file.exists() else None


@lru_cache(maxsize=2)
def _read_snapshot(raw: bytes) -> Metadata[Snapshot]:
    """With a thousand hash bins this is asked a thousand times. Nobody changes what it returns."""
    return Metadata[Snapshot].from_bytes(raw)


def _copied(file: Path, blobs: Path) -> Blob:
    """Copy under a temporary name while hashing; the digest gives the name."""
    temporary = blobs / f".{os.getpid()}.part"
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as source, temporary.open("wb") as copy:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                size += copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        os.replace(temporary, blobs / digest.hexdigest())
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(blobs)
    return Blob(digest.hexdigest(), size)
