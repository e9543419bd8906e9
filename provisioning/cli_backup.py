"""Leaves of `linewarden` that save the records outside of the device and bring them back: backup, restore."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from daemon.uplink.opening import open_archive
from daemon.uplink.stores import Store
from provisioning import backup, places, restore
from provisioning.archives import ArchiveFailed, Server, archive_of, backups, one_line, open_place, progress
from provisioning.lineacts import ROLE, add_reason, person, why
from provisioning.places import PlaceError
from provisioning.restore import Person, Restored

DONE = 0


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    _add_backup(commands.add_parser("backup", help="save all records, images and documents, read back"))
    _add_restore(commands.add_parser("restore", help="bring records back on a bare box, or prove that it works"))


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="TARGET", help="folder or s3://BUCKET/PREFIX (default: by day)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: the device's here)")
    _place(parser)
    parser.set_defaults(run=_backup)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="folder or s3://… (default: site archive or newest backup)",
    )
    parser.add_argument(
        "--key", type=Path, action="append", default=[], metavar="FILE", help="only signatures of this public key count"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--drill", action="store_true", help="restore into a temporary folder, compare, remove it")
    how.add_argument("--to", type=Path, metavar="STATE", help="restore into this state folder, which must be empty")
    add_reason(parser)
    _place(parser)
    parser.set_defaults(run=_restore)


def _place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the device's here)")
    parser.add_argument("--endpoint", default="", metavar="URL", help="of an S3 server (default: the station file's)")
    parser.add_argument("--region", default="", metavar="NAME", help="of an S3 server")
    parser.add_argument("--authority", default="", metavar="FILE", help="certificates that sign an S3 server's")


def _server(parsed: argparse.Namespace) -> Server:
    return Server(parsed.endpoint, parsed.region, parsed.authority)


def _backup(parsed: argparse.Namespace) -> int:
    state = places.find_state(parsed.state)
    station = parsed.station.resolve() if parsed.station else places.station_of(state)
    print(backup.run(parsed.target, _server(parsed), state, station, Console(stderr=True)))
    return DONE


def _restore(parsed: argparse.Namespace) -> int:
    console = Console()
    who = None if parsed.drill else Person(person(), ROLE, why(parsed.reason, console))
    with one_line():
        store = source_of(parsed.source, _server(parsed), parsed.station)
        try:
            with progress(Console(stderr=True)) as step:
                if who is None:
                    found = restore.drill(store, step, parsed.key)
                else:
                    found = restore.restore(store, parsed.to, step, parsed.key, who)
        finally:
            store.close()
    console.print(f"restored from {store.name}", highlight=False, soft_wrap=True)
    console.print(_table(found))
    seconds = ", ".join(f"{phase} in {took:.1f} s" for phase, took in found.seconds.items())
    done = "drill passed" if parsed.drill else f"restored to {parsed.to}"
    console.print(
        f"{done}: {found.head.size} entries of {found.head.origin}, {seconds}", highlight=False, soft_wrap=True
    )
    return DONE


def source_of(named: str | None, server: Server, station_file: Path | None) -> Store:
    """Open what is restored from: what is named, the station file's archive, or the newest backup here.

    Raises:
        ArchiveFailed, StoreError, ConfigError, PlaceError: there is none, or it cannot be opened.
    """
    station = _station(station_file)
    if named:
        return open_place(named, server, station, writes=False)
    archive = archive_of(station)
    if archive is not None and station is not None:
        return open_archive(archive, station, None, writes=False)
    made = sorted(backups().iterdir(), key=lambda path: path.stat().st_mtime) if backups().is_dir() else []
    if not made:
        raise ArchiveFailed(f"no archive in the station file and no backup in {backups()}: name a SOURCE")
    return open_place(str(made[-1]), server, station, writes=False)


def _station(named: Path | None) -> Path | None:
    """Return the station file, None on a bare box, where there is none yet."""
    try:
        return places.find_station(named)
    except PlaceError:
        if named:
            raise
        return None


def _table(found: Restored) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("restored", justify="right")
    for what, count in {**found.counts, "documents": found.documents}.items():
        table.add_row(what, str(count))
    if found.older_rows:
        table.add_row("rows before the trail", f"0 of {found.older_rows}: keep the old ledger file")
    return table
