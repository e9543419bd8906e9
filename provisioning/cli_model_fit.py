"""The arguments of `linewarden model fit-anomaly`."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from signing.manifest import Region

if TYPE_CHECKING:
    from provisioning.anomaly_order import Order

NOBODY = "the people who sign this recipe"
LEAST_SHARE, MOST_SHARE = 1e-6, 0.2
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_ROI = re.compile(r"([a-z][a-z0-9_]{0,39})=(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})")


def add_leaf(leaves: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaf to the tree of `linewarden model`."""
    leaf = leaves.add_parser("fit-anomaly", help="make an anomaly model from good images alone, without a GPU")
    leaf.add_argument("--good", type=Path, required=True, metavar="DIR", help="raw frames: DIR/VIEW/*.png or *.pgm")
    leaf.add_argument("--out", type=Path, metavar="DIR", help="a new folder for the result (default: NAME)")
    leaf.add_argument("--name", type=_name, default="anomaly", help="of bundle and recipe (default anomaly)")
    leaf.add_argument("--view", default="", metavar="NAME", help="the view, if DIR holds images itself (default body)")
    leaf.add_argument(
        "--roi", type=_roi, action="append", default=[], metavar="VIEW=X,Y,W,H", help="region (default: whole frame)"
    )
    leaf.add_argument(
        "--false-reject",
        type=_share,
        default=0.005,
        metavar="SHARE",
        help="of good units that the proposed limits may reject (default 0.005)",
    )
    leaf.add_argument("--seed", type=_seed, default=1, metavar="N", help="of everything random (default 1)")
    leaf.add_argument("--product", default="not named yet", help="for the recipe: what is inspected")
    leaf.add_argument("--container", default="not named yet", help="for the recipe: what it is filled into")
    leaf.add_argument(
        "--owner", default=NOBODY, metavar="PERSON", help=f"who answers for the limits (default: {NOBODY})"
    )
    leaf.add_argument("--json", action="store_true", help="print what was done as JSON")
    leaf.set_defaults(run=_fit)


def _fit(parsed: argparse.Namespace) -> int:
    from provisioning.anomaly_order import run  # noqa: PLC0415 - brings engines and onnx along

    done = run(_order(parsed), Console(file=sys.stderr))
    if parsed.json:
        print(json.dumps(done, indent=2))
        return 0
    for name, view in done["report"]["views"].items():
        told = f"{view['good_rejected']} of {view['images']} good images would be rejected"
        print(f"{name}: {told}, at most {100 * view['good_rejected_high95']:.2f} % with 95 % confidence")
    print(done["report"]["detection"])
    print(f"{done['out']}: bundle {done['bundle'][:12]} and recipe {done['recipe'][:12]}, unsigned; see report.html")
    return 0


def _order(parsed: argparse.Namespace) -> "Order":
    from provisioning.anomaly_bundle import Label  # noqa: PLC0415 - see above
    from provisioning.anomaly_order import Order  # noqa: PLC0415

    label = Label(parsed.name, parsed.product, parsed.container, parsed.owner, parsed.seed)
    out = parsed.out or Path(parsed.name)
    return Order(parsed.good, out, label, dict(parsed.roi), parsed.false_reject, parsed.view)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: small letters, digits, '.', '_' and '-', at most 41")
    return text


def _roi(text: str) -> tuple[str, Region]:
    found = _ROI.fullmatch(text)
    if not found or not int(found[4]) or not int(found[5]):
        raise argparse.ArgumentTypeError(f"{text!r} is not VIEW=X,Y,WIDTH,HEIGHT in pixels")
    return found[1], Region(*(int(number) for number in found.groups()[1:]))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from {LEAST_SHARE:g} to {MOST_SHARE:g}")
    return share


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)
