"""The arguments of `linewarden teach`."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from provisioning import places, teach
from provisioning.teach import Lesson

MOST_UNITS = 40


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree."""
    parser = commands.add_parser("teach", help="measure the line with marked units, into the station file")
    lesson = Lesson()
    parser.add_argument("--vials", type=_vials, default=lesson.units, metavar="N", help="marked units (default 10)")
    parser.add_argument(
        "--reference-mm", type=_mm, metavar="MM", help="a distance measured by hand (asked if left out)"
    )
    parser.add_argument(
        "--reference",
        default=lesson.reference,
        metavar="WHERE",
        help="what stands that far behind the infeed eye: pass, chute (eyes) or a camera's name (default pass)",
    )
    parser.add_argument(
        "--max-spread-mm", type=_mm, default=lesson.spread_mm, metavar="MM", help="refuse beyond that (default 5)"
    )
    parser.add_argument(
        "--wait", type=_mm, default=lesson.wait_s, metavar="S", help="for the units, in s (default 300)"
    )
    parser.add_argument("--write", action="store_true", help="put it into the station file; the old one is kept")
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the running device's)")
    parser.add_argument(
        "--runtime", type=Path, metavar="DIR", help="runtime folder (default: the device that runs here)"
    )
    parser.set_defaults(run=_teach)


def _teach(parsed: argparse.Namespace) -> int:
    lesson = Lesson(
        units=parsed.vials,
        reference=parsed.reference,
        mm=parsed.reference_mm,
        spread_mm=parsed.max_spread_mm,
        wait_s=parsed.wait,
        write=parsed.write,
    )
    return teach.run(places.find_runtime(parsed.runtime), places.find_station(parsed.station), lesson, Console())


def _vials(text: str) -> int:
    if not text.isdecimal() or not teach.FEWEST <= int(text) <= MOST_UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of units from {teach.FEWEST} to {MOST_UNITS}")
    return int(text)


def _mm(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 100_000.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
