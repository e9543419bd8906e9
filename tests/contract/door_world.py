"""The doors behind the papers: an authority with its people and two devices, and a desk with an open batch."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from daemon import revocations
from daemon.config import load
from daemon.ledger_file import LEDGER
from daemon.messages import Act
from daemon.recorder.desk import Desk, Pins
from daemon.recorder.gather import Gather
from daemon.recorder.ledger import Ledger
from daemon.recorder.papers import Papers
from daemon.recorder.wall import WallClock
from daemon.revocations import Revoked
from signing.identity import Identity, open_identity
from signing.keyring import STORE_DOCUMENT
from signing.store import REVOKED, found_store
from tests.contract.attack import Attempt
from tests.contract.enrolment_world import STATION, Site, request_of
from tests.contract.recorder_box import LOADED, act
from tests.contract.recorder_box import STATION as STATION_FILE
from tests.contract.swap_orders import OTHER
from tests.unit import store_world
from tests.vectors import bundle_1


class Door:
    """An authority, and an enrolled device and another. The authority is asked over HTTPS."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.site = Site(folder / "site")
        with self.site.open():
            pass  # the books are there from now on
        self.device, self.other = (self._identity(name) for name in ("device", "other"))

    def _identity(self, name: str) -> Identity:
        (self.folder / name).mkdir()
        return open_identity("development", self.folder / name, "", production=False, make=True)

    def copy(self, folder: Path) -> "Door":
        """Return another one: an authority is founded faster than it is moved."""
        return Door(folder)

    def state(self) -> dict[str, bytes]:
        """Return what the books say was issued and revoked."""
        books = self.folder / "site" / "authority" / "books.sqlite"
        if not books.exists():
            return {}
        with closing(sqlite3.connect(books)) as database:
            tables = ("issued", "spent", "revoked")
            return {one: repr(database.execute(f"SELECT * FROM {one}").fetchall()).encode() for one in tables}

    def enrols(self, identity: Identity, token: bytes, station: str = STATION) -> Attempt:
        """Return the attempt of a device that asks with a token."""
        request = request_of(identity, station)

        def attempt() -> object:
            with self.site.serving() as authority:
                return authority.enrol(request, token)

        return attempt


class Counter:
    """A recorder's desk with an open batch B-1, both pairs warm, and the trust and the revocations of the device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def made(cls, folder: Path) -> "Counter":
        made = cls(folder)
        bundle_1.make_trust(folder / "trust", bundle_1.KEYS)
        (folder / "station.toml").write_text(STATION_FILE.format(simulated="true"))
        made.does(act("batch-open", "B-1"))
        return made

    def copy(self, folder: Path) -> "Counter":
        shutil.copytree(self.folder, folder)
        return Counter(folder)

    def state(self) -> dict[str, bytes]:
        with closing(Ledger(self.folder / LEDGER)) as ledger:
            return {"batch": repr(ledger.current_batch()).encode()}

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        path, clock = self.folder / "station.toml", WallClock()
        with closing(Ledger(self.folder / LEDGER)) as ledger:
            papers, gather = Papers(path, load(path), self.folder), Gather(ledger, clock, 1, 0)
            desk = Desk(papers.station, papers, Pins("s" * 64, "m" * 64, "dev", 1), ledger, gather, clock)
            desk.loaded, desk.staged, desk.line_present = LOADED, [OTHER], True
            yield desk

    def does(self, asked: Act) -> str:
        """Do an act on the batch.

        Raises:
            Refused: which the desk answers in one line.
        """
        doers = {"batch-open": Desk._open, "batch-close": Desk._close, "swap": Desk._swap}
        with self._desk() as desk:
            return doers[asked.kind](desk, asked)

    def closes(self) -> None:
        """End the open batch."""
        store_world.close_batch(self.folder)

    def revoke(self, *entries: tuple[str, str]) -> None:
        store = self.folder / "store"
        found_store(store, (self.folder / "trust" / STORE_DOCUMENT).read_bytes())
        listed = tuple(Revoked(what, name, "misses fibres", "QA", "2026-11-23T00:00:00Z") for what, name in entries)
        (store / REVOKED).write_bytes(revocations.encode(listed))
