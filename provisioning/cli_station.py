"""Leaves of `linewarden station`: check, replace."""

import argparse
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from provisioning import cli_admission, replace
from provisioning.archives import Server, one_line, progress
from provisioning.cli_backup import source_of
from provisioning.cli_enroll import add_asking, add_papers, add_place, asked_for, confirm, device_of, perform
from provisioning.enroll import Device
from provisioning.lineacts import ROLE, add_reason, person, why
from provisioning.restore import Person

DONE = 0
_ID = re.compile("[0-9a-f]{64}")


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `station` to the tree."""
    station = commands.add_parser("station", help="check the station document; replace a device")
    leaves = station.add_subparsers(required=True)
    cli_admission.add_to(leaves.add_parser("check", help="check the station file and its recipe against each other"))
    parser = leaves.add_parser("replace", help="let this new box take the place of a broken one")
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="its records: folder or s3://… (default: the station file's archive)",
    )
    parser.add_argument("--old", type=_device_id, required=True, metavar="ID", help="id of the broken device")
    parser.add_argument("--request-revocation", type=Path, required=True, metavar="FILE", help="written for the fleet")
    parser.add_argument(
        "--key", type=Path, action="append", default=[], metavar="FILE", help="only signatures of this public key count"
    )
    add_papers(parser)
    add_place(parser)
    add_reason(parser)
    add_asking(parser)
    parser.set_defaults(run=_replace)


def _replace(parsed: argparse.Namespace) -> int:
    device, console = device_of(parsed), Console(stderr=parsed.json)
    before = replace.plan(device, parsed.old, parsed.request_revocation, parsed.source or "the archive")
    asked = asked_for(parsed, device, again=False)
    who = Person(person(), ROLE, why(parsed.reason, console))
    confirm([*before, *asked.lines], sure=parsed.yes, quiet=parsed.json)
    replace.ask_for_revocation(device, parsed.old, parsed.request_revocation, who)
    if not replace.has_records(device.state):
        _bring(parsed, device, who, console)
    perform(parsed, device, asked, who)
    return DONE


def _bring(parsed: argparse.Namespace, device: Device, who: Person, console: Console) -> None:
    with one_line():
        store = source_of(parsed.source, Server(), parsed.station)
        try:
            with progress(Console(stderr=True)) as step:
                found = replace.bring_records(device, store, step, parsed.key, who)
        finally:
            store.close()
    text = f"restored {found.head.size} entries of {found.head.origin} from {store.name}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _device_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device id: 64 digits of its certificate's serialNumber")
    return text
