"""Which body of Store an [archive] asks for, and where the verifier lies that goes with the records."""

import sys
from pathlib import Path

from daemon.config import ConfigError, resolve
from daemon.config_archive import Archive, DirectoryArchive
from daemon.uplink.archive import VERIFIER
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.stores import Store


def open_archive(archive: Archive | None, station: Path, state: Path | None, *, writes: bool = True) -> Store:
    """Open the place that [archive] names. boto3 is imported only where it is needed: it takes half a second.

    Args:
        station: the station file, which relative paths refer to.
        state: where the records lie, to warn of an archive on the same disk.

    Raises:
        ConfigError: there is none, or it cannot be opened as configured.  StoreError: it is out of reach.
    """
    if archive is None:
        raise ConfigError("no archive: there is no [archive] in the station file")
    if isinstance(archive, DirectoryArchive):
        return DirectoryStore(resolve(station, archive.path), writes=writes, beside=state)
    from daemon.uplink.s3 import S3Store  # noqa: PLC0415

    return S3Store(archive, resolve(station, archive.authority) if archive.authority else None)


def verifier() -> bytes:
    """Return the verifier that is shipped with the records.

    Raises:
        ConfigError: this release lacks it.
    """
    here = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / VERIFIER
    path = here if here.exists() else Path(sys.prefix) / "share" / "linewarden" / "interfaces" / VERIFIER
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; install the release again") from error
