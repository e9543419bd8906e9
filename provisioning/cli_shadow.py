"""Leaf `linewarden shadow report`: what the candidate in shadow would have done."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon import config
from provisioning import places
from provisioning.places import INSTALLED_STATE, INSTALLED_STATION, STATE, PlaceError
from provisioning.report_folder import check_place, write_folder
from provisioning.shadow_report import DOCUMENT, SHEET, contact_sheet, gathered, with_records
from provisioning.shadow_view import shown

DONE = 0


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    shadow = commands.add_parser("shadow", help="what the candidate in shadow would have done")
    report = shadow.add_subparsers(required=True, metavar="WHAT").add_parser(
        "report", help="paired counts of candidate and active pair, their test, and the disagreements"
    )
    report.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the device's or newest)")
    report.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: that of the station)")
    report.add_argument("--json", action="store_true", help="print it as JSON")
    report.add_argument(
        "--report", type=Path, metavar="DIR", help="write JSON and a sheet of pictures into a new folder"
    )
    report.set_defaults(run=_report)


def _report(parsed: argparse.Namespace) -> int:
    if parsed.report:
        check_place(parsed.report)
    state = _state_of(parsed.station) if parsed.station and not parsed.state else places.find_state(parsed.state)
    station = parsed.station or places.station_of(state)
    named = bool(config.load(station).vision.candidate_bundle) if station else None
    document = with_records(gathered(state, named), state)
    console = Console(highlight=False, soft_wrap=True)
    if parsed.json:
        print(json.dumps(document, indent=2))
    else:
        console.print(shown(document))
    if parsed.report:
        picture = contact_sheet(state)
        files = {DOCUMENT: json.dumps(document, indent=2).encode() + b"\n", **({SHEET: picture} if picture else {})}
        write_folder(parsed.report, files)
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"report          {parsed.report}", markup=False)
    return DONE


def _state_of(station: Path) -> Path:
    """Return the state folder of the device with this station file.

    Raises:
        PlaceError: it lies elsewhere.
    """
    beside = station.resolve().parent / STATE
    if beside.is_dir():
        return beside
    if station.resolve() == INSTALLED_STATION.resolve():
        return INSTALLED_STATE
    raise PlaceError(f"{beside}: no such folder; name the state folder of {station} with --state")
