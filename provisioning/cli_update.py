"""Leaves of `linewarden update`: what the fleet has for this line, from the mirror of uplink or from a stick."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.store_requests import What
from provisioning import lineacts
from provisioning.requests import ask, find_slots, poll


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `update` to the tree."""
    leaves = commands.add_parser("update", help="take bundles and recipes from the fleet").add_subparsers(required=True)
    check = leaves.add_parser("check", help="read the newest metadata; revocations hold at once, nothing is installed")
    _leaf(check, What.CHECK)
    _leaf(leaves.add_parser("apply", help="install and activate what this line's allow-list says"), What.APPLY)
    stick = leaves.add_parser("from-usb", help="the same from a stick or folder, without any network")
    stick.add_argument("directory", type=Path, metavar="DIR", help="where the stick is mounted")
    stick.add_argument("--check", dest="what", action="store_const", const=What.CHECK, help="only say what it would do")
    _leaf(stick, What.APPLY)


def _leaf(parser: argparse.ArgumentParser, what: What) -> None:
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the device here)")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    lineacts.add_reason(parser)
    parser.set_defaults(run=_update, what=what)


def _update(parsed: argparse.Namespace) -> int:
    slots = find_slots(parsed.station)
    folder = getattr(parsed, "directory", None)
    reason = lineacts.why(parsed.reason, Console())
    polled = "" if folder else poll(slots)
    answer = ask(slots, parsed.what, reason, str(folder.absolute()) if folder else "")
    if parsed.json:
        print(json.dumps({"answer": answer, "uplink": polled}))
    else:
        print("\n".join(([f"uplink: {polled}"] if polled else []) + [answer]))
    return 0
