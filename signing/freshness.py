"""Is this what the fleet's people signed, and the newest of it? TUF's client workflow, made durable.

python-tuf's ngclient decides; this file changes these things about it.
  Time.   Expiry is judged by trusted time (signing/trusted_time.py), the signed time of the newest timestamp included.
          Expiry gates installing: nothing here is called to load or run what is installed.
  Disk.   Nothing is written until root, timestamp, snapshot and targets are all verified. Then, each step durable:
            1. snapshot and targets   2. the mirror   3. the floor   4. roots   5. timestamp.json
          timestamp.json is the commit: a refresh that finds nothing new has found a floor that was raised, and touches
          neither disk nor TPM. Power cut after 1 or 2: old timestamp, old floor, the refresh is repeated. After 3 or 4:
          the old timestamp is below the floor, so an old repository is refused at once, and the new one is taken as
          before: its versions are not below the floor. No cut lets old metadata in, none shuts new metadata out.
  Text.   What signatures cover is made once for each file, and faster (`_verified`).
  Floor.  Read before anything new is written and before every installation, raised before anything new is used.

Delegated roles are read when a path below them is asked for; the versions they must have are in the snapshot.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Signature
from tuf.api.exceptions import DownloadLengthMismatchError, RepositoryError
from tuf.api.metadata import Metadata, Root, T, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from signing.durable import write_durably
from signing.fetchers import TIMESTAMP, Fetcher, make_folder
from signing.floor import Floor, Part, Versions, checked
from signing.index import MAX_INDEX_BYTES, Index, Kind, read_index
from signing.intake import held, take_blob
from signing.trusted_time import trusted_now
from signing.update_errors import PlaceFailed, told
from signing.utc import read_utc

SIGNED_AT = "x-linewarden-signed-at"
LIMITS: Final = UpdaterConfig(
    root_max_length=256_000, timestamp_max_length=16_384, snapshot_max_length=2_000_000, targets_max_length=5_000_000
)
_TOP = ("snapshot.json", "targets.json")
Progress = Callable[[int, int], None]
"""Told (bytes held, bytes in all) after each piece."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the device's own: `root.json` as given at enrolment, and `metadata/`, which python-tuf owns."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root.json"

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"


def enrol_place(place: Place, root: bytes) -> None:
    """Make `root` the first root this device trusts. Called once, at enrolment, with what two people brought.

    Raises:
        UpdateRefused: not a root, or not signed by its own keys.
        PlaceFailed: not written.
    """
    with told("root.json for enrolment"):
        first = Metadata[Root].from_bytes(root)
        if first.signed.type != Root.type:
            raise RepositoryError(f"a {first.signed.type} where a root belongs")
        first.verify_delegate(Root.type, first)
    try:
        make_folder(place.metadata)
        write_durably(place.root, root)
    except OSError as error:
        raise PlaceFailed(f"{place.root}: not written ({error.strerror}); make room or mend the disk") from error


def open_repository(place: Place, fetcher: Fetcher, floor: Floor, now: datetime) -> "Repository":
    """Refresh the metadata and return what may be read with it.

    Args:
        now: max(clock, last record), UTC; the newest signed time is added here.

    Raises:
        UpdateRefused: an attack, a mistake of the publisher or expired; the text names TUF's exception.
        RollbackRefused: below the floor.
        FetchFailed: the repository or stick cannot be read.
        PlaceFailed, FloorFailed: the device's own disk or TPM.
    """
    _enrolled(place)
    try:
        with told(fetcher.where):
            make_folder(place.metadata)
            updater = DurableUpdater(place, fetcher, floor, now)
            updater.refresh()
            updater.settle()
    except BaseException:
        fetcher.forget()
        raise
    return Repository(updater, fetcher)


def _enrolled(place: Place) -> None:
    if not place.root.is_file():
        raise PlaceFailed(f"{place.root}: there is no first root; enrol the device")


def nothing_new(place: Place, fetcher: Fetcher, now: datetime) -> bool:
    """Return whether the repository's timestamp is the trusted one and fresh. One GET, no write. Called at each poll.

    Raises:
        FetchFailed, UpdateRefused: as `open_repository`.
    """
    with told(fetcher.where):
        remote = fetcher.download_bytes(TIMESTAMP, LIMITS.timestamp_max_length)
        fetcher.forget()
        try:
            local = (place.metadata / "timestamp.json").read_bytes()
        except FileNotFoundError:
            return False
        return remote == local and not Metadata[Timestamp].from_bytes(local).signed.is_expired(now)


class DurableUpdater(Updater):
    """python-tuf's client with writes that are gathered, ordered and durable. Uses its private hooks: tuf is pinned."""

    def __init__(self, place: Place, fetcher: Fetcher, floor: Floor, now: datetime) -> None:
        self._pending: dict[str, bytes] = {}
        self._bootstrapped = False
        self._settled = False
        self._floor = floor
        self._mirror = fetcher
        self._now = now
        self._first = place.root.read_bytes()
        super().__init__(str(place.metadata), "metadata/", None, "targets/", fetcher, LIMITS, bootstrap=self._first)
        self._bootstrapped = True
        self._trusted_set.reference_time = now
        self._trusted_set._load_data = _verified

    @property
    def versions(self) -> Versions:
        trusted = self._trusted_set
        return Versions(trusted.root.version, trusted.timestamp.version, trusted.snapshot.version)

    @property
    def signed_at(self) -> datetime | None:
        return _signed_at(self._trusted_set.timestamp)

    def settle(self) -> None:
        """Check the floor and make the refresh durable, in the order the top of this file gives. Nothing new: nothing.

        Raises:
            RollbackRefused, FloorFailed, OSError: nothing that counts was written.
        """
        if self._pending:
            self.check_floor()
            for name in _TOP:
                self._write(name)
            self._mirror.keep()
            self._floor.raise_to(self.versions)
            for name in [name for name in self._pending if name != "timestamp.json"]:
                self._write(name)
            self._write("timestamp.json")
        self._settled = True

    def check_floor(self) -> None:
        floor = self._floor.read()
        checked(floor, self.versions, [part for part in ("timestamp", "snapshot") if self._renewed(part, floor.root)])

    def _renewed(self, part: Part, root: int) -> bool:
        """Return whether none of the keys of `part` at that version of root is one of its keys now."""
        now = self._trusted_set.root
        if root >= now.version:
            return False
        then = Metadata[Root].from_bytes(self._root_bytes(root)).signed
        return then.version == root and not set(then.roles[part].keyids) & set(now.roles[part].keyids)

    def _root_bytes(self, version: int) -> bytes:
        """Return a root that was verified on the way from the first one; the first itself where none lies there."""
        name = f"root_history/{version}.root.json"
        file = Path(self._dir, name)
        return self._pending.get(name) or (file.read_bytes() if file.exists() else self._first)

    def _write(self, name: str) -> None:
        data = self._pending.pop(name, None)
        if data is not None:
            file = Path(self._dir, name)
            make_folder(file.parent)
            write_durably(file, data)

    def _persist_file(self, filename: str, data: bytes) -> None:
        name = os.path.relpath(filename, self._dir)
        if not self._settled:
            self._pending[name] = data
            return
        self._mirror.keep()
        write_durably(Path(filename), data)

    def _persist_root(self, version: int, data: bytes) -> None:
        if self._bootstrapped:
            self._pending[f"root_history/{version}.root.json"] = data

    def _update_root_symlink(self) -> None:
        """No link: the first root is the place's root.json, and the history is walked from there."""

    def _load_timestamp(self) -> None:
        super()._load_timestamp()
        self._trusted_set.reference_time = trusted_now(self._now, self.signed_at, None).now

    def _download_metadata(self, rolename: str, length: int, version: int | None = None) -> bytes:
        """A signed length is no reason to fill the memory: thieves of online keys sign lengths too."""
        limit = getattr(LIMITS, f"{rolename}_max_length", LIMITS.targets_max_length)
        if length > limit:
            raise DownloadLengthMismatchError(f"{rolename}.json is announced with {length} bytes, {limit} are allowed")
        return super()._download_metadata(rolename, length, version)


def _verified(
    role: type[T], data: bytes, delegator: Root | Targets | None = None, role_name: str | None = None
) -> tuple[T, bytes, dict[str, Signature]]:
    """python-tuf's loader to the letter, but that it makes the canonical text once, not twice, and by `canonical`.

    Raises:
        RepositoryError: another kind of metadata, not parseable, or not enough signatures.
    """
    metadata = Metadata[T].from_bytes(data)
    if metadata.signed.type != role.type:
        raise RepositoryError(f"Expected '{role.type}', got '{metadata.signed.type}'")
    text = canonical(metadata)
    if delegator is not None:
        delegator.verify_delegate(role_name or role.type, text, metadata.signatures)
    return metadata.signed, text, metadata.signatures


def canonical(metadata: Metadata[T]) -> bytes:
    """Return `metadata.signed_bytes`; made in C where no string needs an escape, for there sorted JSON is canonical.

    A snapshot of a thousand hash bins would be most of a warm refresh otherwise.
    """
    text = json.dumps(metadata.signed.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return metadata.signed_bytes if "\\" in text else text.encode()


class Repository:
    """What two people signed and is the newest this device knows of; from `open_repository` alone."""

    def __init__(self, updater: DurableUpdater, fetcher: Fetcher) -> None:
        self._updater = updater
        self._fetcher = fetcher

    @property
    def versions(self) -> Versions:
        return self._updater.versions

    @property
    def signed_at(self) -> datetime | None:
        """When the newest timestamp was signed, UTC, by the publisher's clock; None if it does not say."""
        return self._updater.signed_at

    def check_floor(self) -> None:
        """Read the floor although nothing was new. Called before acting on what a disk may have been made to forget.

        Raises:
            RollbackRefused, FloorFailed.
        """
        self._updater.check_floor()

    def document(self, path: str, limit: int) -> bytes | None:
        """Return a small signed document (`trust.json`, `allowlists/revoked.json`), None where none is published.

        Args:
            limit: most bytes it may have.

        Raises:
            UpdateRefused, FetchFailed, PlaceFailed: as `open_repository`.
        """
        with self._reading():
            info = self._updater.get_targetinfo(path)
            if info is None:
                return None
            if info.length > limit:
                raise DownloadLengthMismatchError(f"{path} has {info.length} bytes, {limit} are allowed")
            data = self._fetcher.download_bytes(_location(info), info.length)
            info.verify_length_and_hashes(data)
            self._fetcher.keep()
            return data

    def index(self, kind: Kind, digest: str) -> Index | None:
        """Return the index of a bundle or recipe, None where it is not (or no longer) published.

        Raises:
            UpdateRefused, FetchFailed, PlaceFailed: as `open_repository`.
        """
        raw = self.document(kind.target(digest), MAX_INDEX_BYTES)
        if raw is None:
            return None
        with told(f"{self._fetcher.where}: {kind.target(digest)}"):
            return read_index(raw, kind, digest)

    def fetch(self, index: Index, into: Path, progress: Progress) -> None:
        """Bring the blobs of `index` that are missing in the folder `into`, named by sha256, each whole and durable.

        What was cut off is resumed at the next call. Room is asked for first, and is all given back on a full disk.

        Raises:
            RollbackRefused, FloorFailed: the floor is always read here.
            UpdateRefused: bytes that are not the signed ones; they are removed.
            FetchFailed: cut off; what came is kept.
            PlaceFailed: no room.
        """
        self._updater.check_floor()
        blobs = index.blobs()
        missing = {sha256: size for sha256, size in blobs.items() if not held(into, sha256, size)}
        total, done = sum(blobs.values()), sum(blobs.values()) - sum(missing.values())
        with told(self._fetcher.where):
            make_folder(into)
            _room(into, sum(missing.values()))
            for sha256, size in missing.items():
                take_blob(self._fetcher, sha256, size, into, _counted(progress, done, total))
                done += size

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with told(self._fetcher.where):
                yield
        except BaseException:
            self._fetcher.forget()
            raise


def _location(info: TargetFile) -> str:
    sha256 = info.hashes.get("sha256")
    if sha256 is None:
        raise RepositoryError(f"{info.path} is listed without a sha256")
    folder, slash, name = info.path.rpartition("/")
    return f"targets/{folder}{slash}{sha256}.{name}"


def _signed_at(timestamp: Timestamp) -> datetime | None:
    text = timestamp.unrecognized_fields.get(SIGNED_AT)
    if text is None:
        return None
    return read_utc(str(text))


def _counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda got: progress(before + got, total)


def _room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise PlaceFailed(f"{folder}: {size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB free; make room")
