"""Is every image that the record calls retained here, whole and unaltered? And does every image here have a row?"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon.evidence_file import ImageDamaged, image_file, image_files, read_image
from daemon.records import Kept
from daemon.vision.pending import Pending

_NEWEST = """SELECT digest, state FROM evidence AS e
WHERE entry = (SELECT max(entry) FROM evidence WHERE digest = e.digest) ORDER BY digest"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One image, named by its digest; `wrong` is "" where all is well."""

    digest: str
    wrong: str


def check(db: sqlite3.Connection, state: Path) -> Iterator[Finding]:
    """Yield a finding for each image that should be here or is; reads all of them.

    An image whose row vision has not been able to report yet is as it should be.
    """
    states: dict[str, str] = dict(db.execute(_NEWEST).fetchall())
    retained = {digest for digest, kept in states.items() if kept == Kept.RETAINED}
    told = states.keys() | {row.digest for row in Pending(state).load()}
    here = {path.stem for path in image_files(state)}
    for digest in sorted(retained | here):
        path = image_file(state, digest)
        yield Finding(digest, _wrong(path) or ("" if digest in told else f"{path}: nothing on record tells of it"))


def _wrong(path: Path) -> str:
    try:
        read_image(path)
    except ImageDamaged as error:
        return str(error)
    return ""
