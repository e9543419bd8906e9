"""The documents a batch is judged with, as bytes by their digest: what has to survive beside the records.

They are named as an opening of a batch pins them: station file, bundle.json, recipe.json and register map by the sha256
of their bytes; with them come the files that bundle.json lists and the signatures of both.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from daemon import config
from daemon.config import ConfigError
from daemon.ledger_file import LEDGER, LedgerUnreadable, reading
from daemon.store_requests import STORE
from drivers.registers import map_path
from signing.errors import SigningError
from signing.manifest import BUNDLE_DOCUMENT, RECIPE_DOCUMENT, SIGNATURES, read_bundle_manifest


def documents_of(station: Path, state: Path | None = None) -> dict[str, bytes]:
    """Return the documents of the device with this station file, by the sha256 (hex) of their bytes.

    With its state folder also those that a swap inside a batch brought, as far as they are still in the store.

    Signatures are not checked here: what judged was checked when it was loaded, and its digest is on record.

    Raises:
        ConfigError: one of them cannot be read; the text names it.
    """
    try:
        found = [path.read_bytes() for path in _files(station)]
        for bundle, recipe in _swapped(state) if state else ():
            found += [path.read_bytes() for path in _pair(bundle, recipe)]
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}; install it again") from error
    except SigningError as error:
        raise ConfigError(f"{station}: its bundle: {error}") from error
    return {hashlib.sha256(data).hexdigest(): data for data in found}


def _files(station: Path) -> Iterator[Path]:
    vision = config.load(station).vision
    bundle, recipe = config.resolve(station, vision.bundle), config.resolve(station, vision.recipe)
    yield from (station, map_path())
    yield from _pair(bundle, recipe)


def _swapped(state: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folders of the pairs that took over inside a batch; none where the ledger cannot be read, for then
    nobody ships an entry that names them.
    """
    try:
        with reading(state / LEDGER) as db:
            found = db.execute("SELECT DISTINCT bundle, recipe FROM sublot").fetchall()
    except LedgerUnreadable:
        return
    for bundle, recipe in found:
        folders = state / STORE / "bundles" / bundle, state / STORE / "recipes" / recipe
        if all(folder.is_dir() for folder in folders):
            yield folders


def _pair(bundle: Path, recipe: Path) -> Iterator[Path]:
    yield from (recipe / RECIPE_DOCUMENT, bundle / BUNDLE_DOCUMENT)
    manifest = read_bundle_manifest((bundle / BUNDLE_DOCUMENT).read_bytes(), str(bundle / BUNDLE_DOCUMENT))
    yield from (bundle / name for name in manifest.files)
    for folder in (bundle, recipe):
        yield from sorted(path for path in (folder / SIGNATURES).iterdir() if path.is_file())
