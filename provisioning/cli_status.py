"""Leaves of `linewarden` that only look: status, config."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon import config
from provisioning import places, status


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    parser = commands.add_parser("status", help="show the running line")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--watch", action="store_true", help="keep it on the screen")
    shape.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device here)")
    parser.set_defaults(run=_status)
    document = commands.add_parser("config", help="read the station document").add_subparsers(required=True)
    dump = document.add_parser("dump", help="each setting, its value and where it came from")
    dump.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the running device's)")
    dump.add_argument("--json", action="store_true", help="print it as JSON")
    dump.set_defaults(run=_config_dump)


def _status(parsed: argparse.Namespace) -> int:
    runtime, console = places.find_runtime(parsed.runtime), Console()
    if parsed.watch:
        status.watch(runtime, console)
    elif parsed.json:
        status.show_json(runtime, console)
    else:
        status.show(runtime, console)
    return 0


def _config_dump(parsed: argparse.Namespace) -> int:
    rows = config.dump(places.find_station(parsed.station))
    if parsed.json:
        print(json.dumps([{"key": key, "value": value, "origin": origin} for key, value, origin in rows], indent=2))
        return 0
    widest = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        print(f"{key:<{widest}}  {value:<40}  {origin}")
    return 0
