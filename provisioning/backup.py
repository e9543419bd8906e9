"""`linewarden backup`: the records into a folder or a bucket, by the same code that fills the site archive."""

import base64
import time
from pathlib import Path

from rich.console import Console

from daemon import ledger_file
from daemon.documents import documents_of
from daemon.uplink.archive import DOCUMENTS
from daemon.uplink.opening import open_archive, verifier
from daemon.uplink.shipping import Mark, Shipped, ship
from daemon.uplink.sources import Sources
from daemon.uplink.stores import Store, StoreError
from provisioning.archives import ArchiveFailed, Server, archive_of, backups, one_line, open_place, progress
from signing.chain import ChainError, parse_note

UNSIGNED = "the records have no checkpoint yet: the recorder signs one at start, stop, batch open and close"


def run(named: str | None, server: Server, state: Path, station: Path | None, console: Console) -> str:
    """Ship everything up to the newest checkpoint and read it back; return one line about what lies there now.

    Raises:
        ArchiveFailed, ConfigError: nothing is claimed to be saved.
    """
    with one_line():
        target = named or _default(state)
        store = open_place(target, server, station, writes=True, beside=state)
        try:
            shipped = _ship(store, state, station, console)
            return _summary(shipped, store, state)
        finally:
            store.close()


def _ship(store: Store, state: Path, station: Path | None, console: Console) -> Shipped:
    elsewhere = _site_archive(station, store)
    try:
        documents = (lambda: documents_of(station, state)) if station else dict
        sources = Sources(state, documents, verifier(), elsewhere)
        with progress(console) as step:
            shipped = ship(sources, store, Mark(), step, always=True)
    finally:
        if elsewhere is not None:
            elsewhere.close()
    if shipped is None:
        raise ArchiveFailed(f"{sources.ledger}: {UNSIGNED}")
    return shipped


def _site_archive(station: Path | None, store: Store) -> Store | None:
    """Return the site archive for reading: what was released here lies there. One that is away is done without."""
    archive = archive_of(station)
    if archive is None or station is None:
        return None
    try:
        found = open_archive(archive, station, None, writes=False)
    except StoreError:
        return None
    if found.name != store.name:
        return found
    found.close()
    return None


def _default(state: Path) -> str:
    """Return a folder by device and day, so that a second backup of the day goes on in it."""
    with ledger_file.reading(state / ledger_file.LEDGER) as db:
        notes = ledger_file.checkpoints(db)
    try:
        device = parse_note(notes[-1].note).origin.removeprefix("linewarden/").replace("/", "-")
    except (IndexError, ChainError) as error:
        raise ArchiveFailed(f"{state}: {UNSIGNED}") from error
    backups().mkdir(parents=True, exist_ok=True)
    return str(backups() / f"{device}-{time.strftime('%Y-%m-%d', time.gmtime())}")


def _summary(shipped: Shipped, store: Store, state: Path) -> str:
    with ledger_file.reading(state / ledger_file.LEDGER) as db:
        newer = ledger_file.size(db) - shipped.mark.size
    root = base64.b64encode(shipped.mark.root).decode()
    documents = sum(1 for _ in store.listing(DOCUMENTS))
    counts = f"{shipped.mark.size} entries, {shipped.mark.images} images, {documents} documents"
    lines = [f"{counts}, tree head {root}, verified by reading back: {store.name}"]
    lines += [f"{newer} newer entries have no signed checkpoint yet and are not in it"] if newer else []
    return "\n".join([*lines, *(f"missing: {text}" for text in shipped.lacking)])
