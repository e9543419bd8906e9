"""The command `linewarden`: the tree of its arguments and nothing else. Each leaf is a function of another module.

Exit status: 0 done (also when whoever reads the output stops early), 1 it did not work out (one line on stderr says
why), 2 wrong arguments, 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from daemon import config
from daemon.config import ConfigError
from daemon.ledger_file import LedgerUnreadable
from daemon.recorder.verify import TrailBroken
from drivers.sim.faults import FaultError, FaultName
from provisioning import (
    cli_audit,
    cli_backup,
    cli_batch,
    cli_bundle,
    cli_enroll,
    cli_line,
    cli_plc,
    cli_replay,
    cli_teach,
    cli_trace,
    cli_update,
    faultplan,
    places,
    simrun,
    simswap,
    status,
)
from provisioning.archives import ArchiveFailed
from provisioning.boxlink import BoxError
from provisioning.bundles import BundleRefused
from provisioning.enroll import EnrolFailed
from provisioning.export import ExportError
from provisioning.lineacts import ActRefused
from provisioning.owners import OwnerError
from provisioning.places import PlaceError
from provisioning.qualify_sat import SatError
from provisioning.replay_rows import ReplayRefused
from provisioning.requests import RequestFailed
from provisioning.sim import Options, SimError
from provisioning.simstation import MOST_LANES, STATIONS, WIRINGS, Layout
from provisioning.teaching import TeachError
from provisioning.trace import UnknownToLedger
from provisioning.unitfile import UnitFileError
from provisioning.whole_file import NotWritten
from signing.errors import SigningError
from signing.index import Kind

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
MOST_UNITS = 1_000_000
SLOWEST, FASTEST = 1.0, 6000.0
FAILURES = (
    ActRefused,
    ArchiveFailed,
    SimError,
    BoxError,
    BundleRefused,
    ConfigError,
    EnrolFailed,
    ExportError,
    LedgerUnreadable,
    NotWritten,
    OwnerError,
    PlaceError,
    ReplayRefused,
    RequestFailed,
    SatError,
    SigningError,
    TeachError,
    TrailBroken,
    UnitFileError,
    UnknownToLedger,
)


class Parser(argparse.ArgumentParser):
    """A wrong argument is one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Entry point of the console script."""
    parsed = tree().parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except FaultError as error:
        print(f"linewarden: {error}", file=sys.stderr)
        return WRONG_ARGUMENTS
    except FAILURES as error:
        print(f"linewarden: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("linewarden: stopped", file=sys.stderr)
        return INTERRUPTED


def tree() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(prog="linewarden", description="Linewarden, the inspection device beside the line.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_sim(commands.add_parser("sim", help="run the line in a box and the daemons, from first vial to batch report"))
    _add_status(commands.add_parser("status", help="show the running line"))
    cli_line.add(commands)
    cli_backup.add(commands)
    _add_config(commands.add_parser("config", help="read the station document").add_subparsers(required=True))
    cli_plc.add_map(commands.add_parser("map", help="print or export the register map for the PLC"))
    qualify = commands.add_parser("qualify", help="prove the line before it is used").add_subparsers(required=True)
    cli_plc.add_sat(qualify.add_parser("sat", help="play broken and foreign devices on the PLC, see what passes"))
    cli_audit.add(commands)
    cli_batch.add(commands)
    cli_enroll.add(commands)
    cli_trace.add(commands)
    cli_replay.add(commands)
    cli_teach.add(commands.add_parser("teach", help="measure the line with marked units, into the station file"))
    bundle = commands.add_parser("bundle", help="what judges: install, activate, pin, compare")
    cli_bundle.add(bundle.add_subparsers(required=True), Kind.BUNDLE)
    cli_update.add(commands)
    return parser


def _add_sim(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(sorted(FaultName))
    parser.add_argument("--units", type=_units, default=300, metavar="N", help="vials to inspect (default 300)")
    parser.add_argument("--rate", type=_rate, default=600.0, metavar="R", help="vials per minute (default 600)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of everything random (default 1)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the report there as well")
    parser.add_argument("--headless", action="store_true", help="plain progress lines instead of the live view")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME@UNIT", help=f"play a fault at that vial; names: {names}"
    )
    parser.add_argument(
        "--swap-bundle", metavar="DIR@UNIT", help="signed swap inside the batch to this bundle and its recipe"
    )
    parser.add_argument("--wiring", choices=tuple(WIRINGS), default="modbus-client", help="how the device is wired")
    parser.add_argument("--lanes", type=int, choices=range(1, MOST_LANES + 1), default=1, help="parallel lanes")
    parser.add_argument("--station", choices=STATIONS, default="belt", help="belt, or rotary machine with pockets")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="use and keep this empty folder for the run")
    for name, what in (("bundle", "bundle"), ("recipe", "recipe"), ("trust", "trust store")):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"another {what} than the demo's")
    parser.set_defaults(run=_sim)


def _add_status(parser: argparse.ArgumentParser) -> None:
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--watch", action="store_true", help="keep it on the screen")
    shape.add_argument("--json", action="store_true", help="print it as JSON")
    _runtime(parser)
    parser.set_defaults(run=_status)


def _add_config(commands: "argparse._SubParsersAction[Parser]") -> None:
    dump = commands.add_parser("dump", help="each setting, its value and where it came from")
    dump.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the running device's)")
    dump.add_argument("--json", action="store_true", help="print it as JSON")
    dump.set_defaults(run=_config_dump)


def _runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device that runs here)"
    )


def _units(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of vials from 1 to {MOST_UNITS}")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not SLOWEST <= rate <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate from {SLOWEST:g} to {FASTEST:g} vials per minute")
    return rate


def _sim(parsed: argparse.Namespace) -> int:
    faults = faultplan.plan(parsed.fault, parsed.units)
    layout = Layout(parsed.wiring, parsed.lanes, parsed.station)
    swap = simswap.planned(parsed.swap_bundle, parsed.units) if parsed.swap_bundle else None
    options = Options(
        parsed.units, parsed.rate, parsed.seed, faults, parsed.report, parsed.headless, parsed.keep, layout, swap
    )
    return simrun.run(options, parsed.bundle, parsed.recipe, parsed.trust)


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


if __name__ == "__main__":
    sys.exit(main())
