"""A device's state folder with a founded store, small signed bundles and recipes, and a recorder made of a list."""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from daemon import ledger_file
from daemon.config import load
from daemon.ledger_file import LEDGER
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.records import ArchivedRow, BatchClosed, BatchOpened
from daemon.slots import main
from daemon.slots.acts import Acts
from daemon.slots.book import Book
from daemon.slots.shop import Shop
from daemon.store_requests import (
    ANSWERS,
    REPORTS,
    REQUESTS,
    STORE,
    Request,
    Response,
    VisionReport,
    What,
    drop,
    new_id,
    report,
)
from engines.golden import check_golden
from signing.store import found_store
from tests.contract.recorder_box import STATION
from tests.unit.ledger_rows import NOW
from tests.vectors.bundle_1 import KEYS, make_bundle, make_recipe, make_trust


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a folder where no fsync waits for a disk, if there is such a place."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as made:
        yield Path(made)


class Paper:
    """The recorder as slots sees it: `there` or not, and what it stored, by (session, seq)."""

    def __init__(self) -> None:
        self.there = True
        self.rows = {}

    def stores(self, session, rows) -> bool:
        if self.there:
            self.rows |= {(session, row.seq): row for row in rows}
        return self.there

    @property
    def told(self) -> list[tuple[str, bool]]:
        return [(row.what, row.done) for row in self.rows.values()]


class Device:
    """A state folder. `source(name)` is the folder of a bundle or recipe that was made; digests by name."""

    def __init__(self, folder: Path, production: bool = False, more: str = "") -> None:
        self.folder = folder
        self.state = folder / "state"
        for name in (REQUESTS, ANSWERS, REPORTS):
            (self.state / name).mkdir(parents=True)
        make_trust(folder / "trust", KEYS, development=not production)
        found_store(self.store, (folder / "trust" / "trust.json").read_bytes())
        self.station = folder / "station.toml"
        text = STATION.format(simulated=str(not production).lower())
        if production:
            text = text.replace("production = false", "production = true").replace('key = "development"', 'key = "tpm"')
        self.station.write_text(text + more)
        self.recorder = Paper()
        self.digests: dict[str, str] = {}

    def copied(self, folder: Path) -> "Device":
        """Return the same device elsewhere, with a recorder of its own."""
        shutil.copytree(self.folder, folder, symlinks=True)
        device = copy.copy(self)
        device.folder, device.state, device.station = folder, folder / "state", folder / "station.toml"
        device.recorder, device.digests = Paper(), dict(self.digests)
        return device

    @property
    def store(self) -> Path:
        return self.state / STORE

    def source(self, name: str) -> Path:
        return self.folder / name

    def make(self, number: int) -> None:
        """Make bundle-N and recipe-N."""
        bundle = make_bundle(self.source(f"bundle-{number}"), version=f"{number}.0.0")
        self.digests[f"bundle-{number}"] = bundle
        self.digests[f"recipe-{number}"] = make_recipe(self.source(f"recipe-{number}"), bundle, version=f"{number}.0.0")

    def shop(self) -> Shop:
        return Shop(load(self.station), self.state, Book(self.store), self.recorder, check_golden)

    def acts(self) -> Acts:
        return Acts(self.shop())

    def ask(self, what: What, subject: str = "", reason: str = "test") -> Response:
        """Drop a request, let slots run, return the answer."""
        request = Request(new_id(), what, "a.person", "operator", reason, subject)
        drop(self.state, request)
        self.run()
        return msgspec.json.decode((self.state / ANSWERS / f"{request.id}.json").read_bytes(), type=Response)

    def run(self) -> None:
        with main.locked(self.store):
            main.serve(load(self.station), self.state, self.recorder)

    def install(self, number: int) -> None:
        """Make and install bundle-N and recipe-N."""
        self.make(number)
        for kind in ("bundle", "recipe"):
            answer = self.ask(What.INSTALL, str(self.source(f"{kind}-{number}")))
            assert answer.ok, answer.text

    def batch(self, number: int, name: str = "B-1") -> None:
        """Open a batch that runs on bundle-N and recipe-N."""
        bundle, recipe = self.digests[f"bundle-{number}"], self.digests[f"recipe-{number}"]
        with closing(Ledger(self.state / LEDGER)) as ledger:
            words = ("vials", "2R", "m" * 64, "dev", "c" * 64, "a.person", "operator", "test")
            ledger.open_batch(BatchOpened(0, name, "s" * 64, bundle, recipe, *words), NOW)

    def batch_ends(self, name: str = "B-1") -> None:
        close_batch(self.state, name)

    def archive_confirms(self, size: int) -> None:
        with closing(Ledger(self.state / LEDGER)) as ledger:
            root = ledger_file.frontier(ledger.database, size).root().hex()
            row = ArchivedRow(1, "directory:/there", size, 0, root)
            assert not ledger.store([Received(7, row, "", "uplink")], {}, NOW)

    def vision_says(self, generation: int, ok: bool, text: str = "") -> None:
        report(self.state, VisionReport(generation, ok, text))
        self.run()

    def activate(self, number: int) -> Response:
        return self.ask(What.ACTIVATE, self.digests[f"bundle-{number}"])

    @property
    def active(self) -> str:
        """The digest of the bundle that `active` leads to."""
        return (self.store / "active" / "bundle").resolve().name


def close_batch(state: Path, name: str = "B-1") -> None:
    """Put the end of a batch into the ledger of a state folder."""
    with closing(Ledger(state / LEDGER)) as ledger:
        ledger.close_batch(BatchClosed(0, name, "a.person", "test", "{}"), NOW)
