"""Folders and buckets with records, as `backup` and `restore` name them: a path, or s3://BUCKET/PREFIX."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from daemon import config
from daemon.config_archive import Archive, S3Archive, unfit
from daemon.ledger_file import LedgerUnreadable
from daemon.uplink.archive import DESCRIPTION, ArchiveError
from daemon.uplink.directory import DirectoryStore
from daemon.uplink.opening import open_archive
from daemon.uplink.shipping import Step
from daemon.uplink.stores import Store, StoreConflict, StoreError
from provisioning.errors import CommandFailed
from provisioning.places import CHECKOUT, in_checkout

SCHEME = "s3://"
INSTALLED_BACKUPS = Path("/var/backups/linewarden")


class ArchiveFailed(CommandFailed):
    """Records could not be saved or restored; the text says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """How an S3 server is reached, where the command line says so; "" = as the station file's [archive] does."""

    endpoint: str = ""
    region: str = ""
    authority: str = ""


def backups() -> Path:
    """Return the folder in which backups lie that were made without naming a target."""
    return CHECKOUT / "var" / "backups" if in_checkout() else INSTALLED_BACKUPS


def archive_of(station: Path | None) -> Archive | None:
    """Return [archive] of a station file.

    Raises:
        ConfigError: the file cannot be used.
    """
    return config.load(station).archive if station else None


def open_place(named: str, server: Server, station: Path | None, *, writes: bool, beside: Path | None = None) -> Store:
    """Open a folder or a bucket with records. A folder that is written to is made, its parent must be there.

    Raises:
        ArchiveFailed, ConfigError, StoreError: it cannot be opened; the text says why.
    """
    if named.startswith(SCHEME):
        return open_archive(_bucket(named, server, archive_of(station)), station or Path.cwd() / "station.toml", None)
    folder = Path(named)
    if writes:
        _make(folder)
    return DirectoryStore(folder.absolute(), writes=writes, beside=beside)


@contextmanager
def progress(console: Console) -> Iterator[Step]:
    """Show how far each kind of work is."""
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        tasks = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done, total=total)

        yield step


@contextmanager
def one_line() -> Iterator[None]:
    """Translate everything that an archive can raise."""
    try:
        yield
    except (ArchiveError, StoreError, StoreConflict, LedgerUnreadable) as error:
        raise ArchiveFailed(str(error)) from error
    except OSError as error:
        raise ArchiveFailed(f"{error.filename or 'disk'}: {error.strerror}: make room or name another place") from error


def _bucket(named: str, server: Server, archive: Archive | None) -> S3Archive:
    bucket, _, prefix = named.removeprefix(SCHEME).partition("/")
    known = archive if isinstance(archive, S3Archive) else None
    endpoint = server.endpoint or (known.endpoint if known else "")
    if not endpoint:
        raise ArchiveFailed(f"{named}: say where its server is: --endpoint https://HOST")
    words = {
        "endpoint": endpoint,
        "bucket": bucket,
        "prefix": prefix.strip("/"),
        "region": server.region or (known.region if known else "us-east-1"),
        "retain_days": known.retain_days if known else 0,
        "authority": str(Path(server.authority).absolute()) if server.authority else (known.authority if known else ""),
    }
    try:
        made = msgspec.convert(words, S3Archive)
    except msgspec.ValidationError as error:
        raise ArchiveFailed(f"{named}: {error}") from error
    for text in unfit(made):
        raise ArchiveFailed(f"{named}: {text}")
    return made


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir()
    elif any(folder.iterdir()) and not (folder / DESCRIPTION).exists():
        raise ArchiveFailed(f"{folder}: is not empty and holds no records: name a new folder")
