"""Leaves `linewarden replay`, which judges kept images again, and `linewarden evidence`: check and explain them."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daemon import config
from daemon.ledger_file import LEDGER, reading
from daemon.store_requests import STORE
from daemon.vision.plan import Folders, Plan, folders_of
from provisioning import evidence_check, pictures, places
from provisioning.places import PlaceError
from provisioning.replay import Likeness, Replayer, load_pinned, summary
from provisioning.replay_rows import Pins, scope_of, units_of
from signing.index import Kind
from signing.store import place_of

IDENTICAL, DIFFERENT = 0, 1
SHOWN = 20
QUIET = (Likeness.NOT_KEPT, Likeness.NOT_JUDGED)


def add(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the leaves to the tree."""
    parser = commands.add_parser("replay", help="judge the kept images of a unit or batch again, bit for bit")
    what = "a unit's number or epoch.lane.number, or a batch id (default: the newest batch)"
    parser.add_argument("what", nargs="?", default="", metavar="UNIT|BATCH", help=what)
    parser.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: the device's, or newest run)")
    parser.add_argument(
        "--station", type=Path, metavar="FILE", help="station file of the batch (default: the device's)"
    )
    for name in ("bundle", "recipe", "trust"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"{name} of the batch (default: the station's)")
    parser.add_argument(
        "--tolerance", type=_tolerance, default=0.0, metavar="X", help="allowed difference of a score, another plan's"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.set_defaults(run=_replay)
    evidence = commands.add_parser("evidence", help="check the kept images").add_subparsers(required=True)
    verify = evidence.add_parser("verify", help="every image against its digest, every row against the store")
    verify.add_argument("--state", type=Path, metavar="DIR", help="state folder (default: the device's, or newest run)")
    verify.set_defaults(run=_verify)
    explain = evidence.add_parser("explain", help="pictures that show why a unit was rejected: heat map or boxes")
    explain.add_argument("unit", metavar="UNIT", help="number (the newest of it) or epoch.lane.number")
    explain.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write them (default: here)")
    explain.add_argument(
        "--state", type=Path, metavar="DIR", help="state folder (default: the device's, or newest run)"
    )
    explain.set_defaults(run=_explain)


def _tolerance(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.0 <= float(text) < 1.0:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a difference of scores from 0 to below 1")


def _replay(parsed: argparse.Namespace) -> int:
    state = places.find_state(parsed.state)
    with reading(state / LEDGER) as db:
        scope = scope_of(db, parsed.what)
        with contextlib.ExitStack() as opened:
            plans: dict[str, Plan] = {}
            for lot in scope.lots:
                plans[lot.configuration] = opened.enter_context(contextlib.closing(_plan(parsed, state, lot)))
            plan = plans[scope.pins.configuration]
            tolerance = parsed.tolerance if plan.loaded.plan != scope.pins.plan else 0.0
            replayer = Replayer(state, plans, tolerance)
            with _progress() as progress:
                task = progress.add_task("replaying", total=scope.units)
                for _ in replayer.all(units_of(db, scope)):
                    progress.advance(task)
            document = summary(replayer.tally, scope.pins, plan, tolerance, len(scope.lots))
    if parsed.json:
        print(json.dumps(document, indent=2))
    else:
        _show(document, Console(highlight=False, soft_wrap=True))
    return IDENTICAL if replayer.tally.good else DIFFERENT


def _verify(parsed: argparse.Namespace) -> int:
    state = places.find_state(parsed.state)
    with reading(state / LEDGER) as db, _progress() as progress:
        found = list(progress.track(evidence_check.check(db, state), description="checking"))
    wrong = [one.wrong for one in found if one.wrong]
    print(f"{len(found)} images, {len(wrong)} of them wrong")
    for text in wrong[:SHOWN]:
        print(f"  {text}")
    return DIFFERENT if wrong else IDENTICAL


def _explain(parsed: argparse.Namespace) -> int:
    try:
        for path in pictures.explain(places.find_state(parsed.state), parsed.unit, parsed.out):
            print(path)
    except OSError as error:
        raise PlaceError(f"{parsed.out}: {error.strerror}; name another folder with --out") from error
    return IDENTICAL


def _plan(parsed: argparse.Namespace, state: Path, pins: Pins) -> Plan:
    """Load what a sub-lot was judged with: what is named, else what the store has, else the station's own pair."""
    path = parsed.station or places.station_of(state)
    if path is None:
        raise PlaceError(f"no station file beside {state}: name that of batch {pins.batch} with --station")
    station = config.load(path)
    named = folders_of(path, station)
    bundle = parsed.bundle or _stored(state, Kind.BUNDLE, pins.bundle) or named.bundle
    recipe = parsed.recipe or _stored(state, Kind.RECIPE, pins.recipe) or named.recipe
    return load_pinned(path, station, Folders(bundle, recipe, parsed.trust or named.trust), pins)


def _stored(state: Path, kind: Kind, digest: str) -> Path | None:
    """Return where the device's store has a document, None if it has not."""
    path = place_of(state / STORE, kind, digest)
    return path if path.is_dir() else None


def _progress() -> Progress:
    """A bar on stderr where that is a terminal, gone when it is done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(document: dict[str, Any], console: Console) -> None:
    counts, release = document["counts"], document["release"]
    replayed = sum(counts[name.value] for name in (Likeness.IDENTICAL, Likeness.WITHIN, Likeness.DIFFERS))
    console.print(f"batch {document['batch']}: {document['units']} units, {replayed} replayed", markup=False)
    for name in Likeness:
        if counts[name.value] or name is Likeness.IDENTICAL:
            console.print(f"  {name.value:<20} {counts[name.value]:>7}", markup=False)
    console.print(f"{document['inferences']} inferences over {document['frames']} frames", markup=False)
    engines = sorted({f"{e['backend']} {e['version']} on {e['device']}" for e in document["engines"].values()})
    same = "the same release" if release["then"] == release["now"] else f"release {release['then']} then"
    console.print(f"engine {', '.join(engines)}; release {release['now']}, {same}", markup=False)
    plans = document["plan"]
    known = f"another plan than then ({plans['then'][:16] or 'not on record'})"
    same = "the same plan as then: identical bytes are demanded" if plans["then"] == plans["now"] else known
    console.print(f"plan {plans['now'][:16]}, {same}", markup=False)
    if document["tolerance"]:
        text = f"scores may differ by {document['tolerance']:g}, largest difference {document['largest_difference']:g}"
        console.print(text, markup=False)
    told = [one for one in document["named"] if document["units"] == 1 or one["likeness"] not in QUIET]
    for one in told[:SHOWN]:
        console.print(f"  {one['unit']}: {one['likeness']}: {one['text']}", markup=False)
