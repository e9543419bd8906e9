"""The last part of enrolment: the first root, the version floor, the store, and the act on record.

The order is such that a power cut at any point leaves a device that is not enrolled and that the same command enrols.
"""

import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from daemon.config import Station
from daemon.messages import Act
from daemon.slots.book import Book
from daemon.slots.main import locked
from daemon.slots.updating import PLACE, floor_of
from daemon.store_requests import STORE, Response
from signing.est import ExchangeFailed
from signing.fetchers import Fetcher
from signing.floor import Floor, Versions
from signing.freshness import Place, enrol_place, open_repository
from signing.store import STATE, found_store
from signing.trust import Trust
from signing.update_errors import FetchFailed, told

ENROLLED = "enrolled"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where it is founded: the state folder of the device whose station file `station` is."""

    state: Path
    station: Station

    @property
    def store(self) -> Path:
        return self.state / STORE

    @property
    def place(self) -> Place:
        return Place(self.store / PLACE)

    @property
    def floor(self) -> Floor:
        return floor_of(self.station, self.state)


@dataclass(frozen=True, slots=True)
class First:
    """What a new device trusts first: the fleet's root, and the people of trust.json, each checked."""

    root: bytes
    version: int
    trust: bytes
    people: Trust


def root_version(root: bytes, where: str) -> int:
    """Return the version of a root that is signed by its own keys.

    Raises:
        UpdateRefused: it is no such root.
    """
    with told(where):
        found = Metadata[Root].from_bytes(root)
        found.verify_delegate(Root.type, found)
        return found.signed.version


def found(ground: Ground, first: First) -> None:
    """Found store and place. Called while the device is not enrolled: a root that an unfinished run left, and which is
    another one, goes, with all that was read by it.

    Raises:
        SigningError: the text says what to do.  OSError: the disk.
    """
    ground.store.mkdir(exist_ok=True)
    with locked(ground.store):
        found_store(ground.store, first.trust)
    root = ground.place.root
    if root.exists() and root.read_bytes() != first.root:
        shutil.rmtree(ground.place.folder)
    if not root.exists():
        enrol_place(ground.place, first.root)


def raise_floor(ground: Ground, newest: AbstractContextManager[Fetcher | None]) -> str:
    """Write the floor: the versions of the newest metadata, or at least that of the root. Return it, for people.

    Raises:
        UpdateRefused: what is there is expired, old or not signed by this fleet.
        FloorFailed, PlaceFailed: the device's own disk or TPM.
    """
    ground.floor.enrol(Versions(root_version(ground.place.root.read_bytes(), str(ground.place.root)), 1, 1))
    try:
        with newest as fetcher:
            if fetcher is not None:
                return open_repository(ground.place, fetcher, ground.floor, datetime.now(UTC)).versions.text()
    except (FetchFailed, ExchangeFailed) as error:
        return f"{ground.floor.read().text()}; no newer metadata was reached ({error})"
    return ground.floor.read().text()


def put_on_record(ground: Ground, act: Act, text: str) -> None:
    """Leave the row of the audit trail with the store; slots sends it to the recorder. Once for each device id.

    Raises:
        OSError: the disk.
    """
    with locked(ground.store):
        book = Book(ground.store)
        if not any((row.what, row.new) == (act.kind, act.new) for row in book.state.owed):
            book.commit(book.state, act, Response(True, text), act.new)


def give(folder: Path, like: Path) -> None:
    """Give what root has made in a folder, and the folder, to the user to whom `like` belongs.

    Raises:
        OSError: the disk.
    """
    if os.geteuid() == 0:
        owner, made = like.stat(), folder.resolve()
        for path in (made, *made.rglob("*")):
            os.lchown(path, owner.st_uid, owner.st_gid)


def is_founded(ground: Ground) -> bool:
    """Return whether there is a store."""
    return (ground.store / STATE).exists()
