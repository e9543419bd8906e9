"""The leaves of `linewarden` about the customer's PLC: `map` and `qualify sat`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.acceptance import Case
from daemon.config import WordOrder
from provisioning import places, qualify_sat, regmap
from provisioning.places import PlaceError
from provisioning.qualify_sat import SatError

FAILED = 1
PLAIN_WIDTH = 160


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    _add_map(commands.add_parser("map", help="print or export the register map for the PLC"))
    qualify = commands.add_parser("qualify", help="prove the line before it is used").add_subparsers(required=True)
    _add_sat(qualify.add_parser("sat", help="play broken and foreign devices on the PLC, see what passes"))


def _add_map(parser: argparse.ArgumentParser) -> None:
    formats = [kind.value for kind in regmap.Format]
    orders = [order.value for order in WordOrder]
    parser.add_argument("--format", choices=formats, default="table", help="table, or a file for that tool")
    parser.add_argument("--word-order", choices=orders, default="high-first", help="register order of u32 values")
    parser.add_argument("--all", action="store_true", help="every register of the repeated blocks and rings")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there instead of the screen")
    parser.set_defaults(run=_map)


def _add_sat(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(Case)
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: this device's)")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help=f"play only these; names: {names}")
    parser.add_argument("--yes", action="store_true", help="do not ask before belt and gate move")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the report there")
    parser.add_argument("--runtime", type=Path, metavar="DIR", help="where this device's line would run")
    parser.set_defaults(run=_sat)


def _map(parsed: argparse.Namespace) -> int:
    kind, order = regmap.Format(parsed.format), WordOrder(parsed.word_order)
    if parsed.output is None:
        _show(kind, order, every=parsed.all)
        return 0
    try:
        with parsed.output.open("w", encoding="utf-8") as file:
            if kind is regmap.Format.TABLE:
                regmap.show(Console(file=file, width=PLAIN_WIDTH), order, every=parsed.all)
            else:
                file.write(regmap.export(kind, order, every=parsed.all))
    except OSError as error:
        raise PlaceError(f"{parsed.output} cannot be written: {error.strerror}") from error
    return 0


def _show(kind: regmap.Format, order: WordOrder, *, every: bool) -> None:
    if kind is regmap.Format.TABLE:
        regmap.show(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH), order, every=every)
    else:
        print(regmap.export(kind, order, every=every), end="")


def _sat(parsed: argparse.Namespace) -> int:
    station, console = places.find_station(parsed.station), Console()
    wrong = [name for name in parsed.case if name not in set(Case)]
    if wrong:
        raise SatError(f"there is no case {wrong[0]!r}; cases are {', '.join(Case)}")
    if not parsed.yes:
        qualify_sat.confirm(station, console)
    cases = [case for case in Case if case in parsed.case or not parsed.case]
    return 0 if qualify_sat.run(station, cases, parsed.report, _runtime(parsed.runtime, station), console) else FAILED


def _runtime(named: Path | None, station: Path) -> Path | None:
    """Where a line with this station file runs; None when there is none."""
    try:
        runtime = places.find_runtime(named)
    except PlaceError:
        return None
    other = runtime / "station.toml"
    return None if other.exists() and not other.samefile(station) else runtime
