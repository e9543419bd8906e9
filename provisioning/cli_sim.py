"""Leaf of `linewarden` that needs no machine: sim."""

import argparse
from pathlib import Path
from typing import Any

from drivers.sim.faults import FaultName
from provisioning import faultplan, simrun, simswap
from provisioning.places import pair_at
from provisioning.sim import Options
from provisioning.simstation import MOST_LANES, STATIONS, WIRINGS, Layout

MOST_UNITS = 1_000_000
SLOWEST, FASTEST = 1.0, 6000.0


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    parser = commands.add_parser("sim", help="run the line in a box and the daemons, from first vial to batch report")
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
    parser.add_argument("--shadow", type=Path, metavar="DIR", help="this bundle and its recipe look on as a candidate")
    parser.add_argument("--wiring", choices=tuple(WIRINGS), default="modbus-client", help="how the device is wired")
    parser.add_argument("--lanes", type=int, choices=range(1, MOST_LANES + 1), default=1, help="parallel lanes")
    parser.add_argument("--station", choices=STATIONS, default="belt", help="belt, or rotary machine with pockets")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="use and keep this empty folder for the run")
    for name, what in (("bundle", "bundle"), ("recipe", "recipe"), ("trust", "trust store")):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"another {what} than the demo's")
    parser.set_defaults(run=_sim)


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
    shadow = pair_at(parsed.shadow) if parsed.shadow else None
    options = Options(
        parsed.units,
        parsed.rate,
        parsed.seed,
        faults,
        parsed.report,
        parsed.headless,
        parsed.keep,
        layout,
        swap,
        shadow,
    )
    return simrun.run(options, parsed.bundle, parsed.recipe, parsed.trust)
