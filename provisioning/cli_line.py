"""Leaves of `linewarden` with which a person deals with the line: why, alarms, clear, line."""

import argparse
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.catalogue import LANGUAGES, Catalogue, catalogue, language_of
from provisioning import lineacts, places, why
from provisioning.owners import ask_status

DONE, NOT_DONE = 0, 1
ACTS = ("start", "stop", "reset", "hold", "complete", "abort")
MODES = ("production", "maintenance", "manual")


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    parser = commands.add_parser("why", help="say what stopped the line, what stands before Execute, and what to do")
    _runtime(parser)
    _language(parser)
    parser.set_defaults(run=_why)
    _add_alarms(commands.add_parser("alarms", help="list alarms; acknowledge or shelve one"))
    _add_clear(commands.add_parser("clear", help="line clearance: say what became of the units in the machine"))
    _add_line(commands.add_parser("line", help="start, stop, reset, hold, complete or abort the line; change its mode"))


def _add_alarms(parser: argparse.ArgumentParser) -> None:
    _runtime(parser)
    _language(parser)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--ack", metavar="ALARM", help="acknowledge one alarm, or `all`")
    chosen.add_argument("--shelve", metavar="ALARM", help="put it out of sight for --minutes")
    chosen.add_argument("--out-of-service", metavar="ALARM", help="until it is restored")
    chosen.add_argument("--restore", metavar="ALARM", help="from the shelf, or back in service")
    parser.add_argument("--minutes", type=int, default=30, metavar="N", help="time on the shelf (default 30)")
    lineacts.add_reason(parser)
    parser.set_defaults(run=_alarms)


def _add_clear(parser: argparse.ArgumentParser) -> None:
    _runtime(parser)
    chosen = parser.add_mutually_exclusive_group()
    for name, what in (("removed", "all units were taken out by hand"), ("rejected", "they go to the reject channel")):
        chosen.add_argument(f"--{name}", dest="disposition", action="store_const", const=name, default="", help=what)
    lineacts.add_reason(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask again")
    parser.set_defaults(run=_clear)


def _add_line(parser: argparse.ArgumentParser) -> None:
    _runtime(parser)
    parser.add_argument("act", choices=(*ACTS, *MODES), help="a command of PackML, or the mode to change to")
    lineacts.add_reason(parser)
    parser.set_defaults(run=_line)


def _runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device here)")


def _language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the texts (default: from $LANG)")


def _texts(parsed: argparse.Namespace) -> Catalogue:
    return catalogue(parsed.lang or language_of(os.environ.get("LANG", "")))


def _why(parsed: argparse.Namespace) -> int:
    status = ask_status(places.find_runtime(parsed.runtime))
    Console().print(why.explanation(status, _texts(parsed)))
    return DONE if why.all_is_well(status) else NOT_DONE


def _alarms(parsed: argparse.Namespace) -> int:
    runtime, console = places.find_runtime(parsed.runtime), Console()
    asked = {
        "acknowledge": parsed.ack,
        "shelve": parsed.shelve and f"{parsed.shelve} {parsed.minutes}",
        "out-of-service": parsed.out_of_service,
        "restore": parsed.restore,
    }
    for kind, new in asked.items():
        if new:
            given = lineacts.why(parsed.reason, console)
            console.print(lineacts.act(runtime, kind, new, given), highlight=False)
            return DONE
    console.print(why.alarm_list(ask_status(runtime), _texts(parsed)))
    return DONE


def _clear(parsed: argparse.Namespace) -> int:
    runtime, console = places.find_runtime(parsed.runtime), Console()
    lineacts.clear(runtime, parsed.disposition, lineacts.why(parsed.reason, console), parsed.yes, console)
    return DONE


def _line(parsed: argparse.Namespace) -> int:
    kind, new = ("mode", parsed.act) if parsed.act in MODES else (parsed.act, "")
    runtime, console = places.find_runtime(parsed.runtime), Console()
    console.print(lineacts.act(runtime, kind, new, lineacts.why(parsed.reason, console)), highlight=False)
    return DONE
