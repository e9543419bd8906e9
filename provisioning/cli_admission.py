"""The leaf that `linewarden recipe admit` and `linewarden station check` are: does the recipe fit this machine?"""

import argparse
from pathlib import Path

from provisioning import admit, places

DONE, NOT_DONE = 0, 1


def add_to(parser: argparse.ArgumentParser) -> None:
    """Give the parser the arguments of an admission."""
    parser.add_argument("--station", type=Path, metavar="FILE", help="station file (default: the running device's)")
    parser.add_argument("--recipe", type=Path, metavar="DIR", help="recipe (default: the station's)")
    parser.add_argument("--trust", type=Path, metavar="DIR", help="trust store (default: the station's)")
    parser.add_argument("--worst-ms", type=float, metavar="MS", help="measured worst case (default: the station's)")
    parser.set_defaults(run=_admission)


def _admission(parsed: argparse.Namespace) -> int:
    checked = admit.check(places.find_station(parsed.station), parsed.recipe, parsed.trust, parsed.worst_ms)
    print(admit.text(checked))
    return DONE if checked.fits else NOT_DONE
