"""Leaf `linewarden model evaluate`: what a bundle sees in labelled images, and how sure that is."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engines.plan_digest import processor
from provisioning import evaluate_report, places, report_folder
from provisioning.evaluate_images import LabelledUnit, find_units
from provisioning.evaluate_results import Results, encoded, results
from provisioning.evaluate_run import Run, run
from provisioning.evaluate_subject import Subject, open_subject
from provisioning.evaluate_view import shown
from provisioning.whole_file import NotWritten
from signing.durable import write_durably
from signing.utc import utc_text

PRINTED = "-"


def add_leaf(leaves: "argparse._SubParsersAction[Any]") -> None:
    """Add `evaluate` below `linewarden model`."""
    parser = leaves.add_parser("evaluate", help="what does this bundle see in labelled images, and how sure is that?")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of a signed bundle")
    parser.add_argument(
        "images", type=Path, metavar="DIR", help="images: DIR/good/... and DIR/<defect>/..., or labels.csv"
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="DIR", help="whose thresholds apply (default: beside the bundle)"
    )
    parser.add_argument("--trust", type=Path, metavar="DIR", help="trust store (default: the demo's)")
    parser.add_argument("--production", action="store_true", help="refuse development keys, as a real device does")
    parser.add_argument("--json", metavar="FILE|-", help="write every figure and every unit as JSON")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with charts and the worst units")
    parser.set_defaults(run=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    _check_places(parsed)
    trust = parsed.trust or places.working() / "demo" / "trust"
    subject = open_subject(parsed.bundle, parsed.recipe, trust, production=parsed.production)
    ran = _run(subject, find_units(parsed.images, list(subject.views)))
    found = results(subject, ran, utc_text(datetime.now(UTC)), processor())
    if parsed.report:
        evaluate_report.write_report(parsed.report, ran, found)
    _write_json(parsed.json, found)
    console = Console(stderr=parsed.json == PRINTED, highlight=False, soft_wrap=True)
    console.print(shown(found))
    return 0


def _check_places(parsed: argparse.Namespace) -> None:
    """Refuse what could not be written before the work is done."""
    if parsed.report:
        report_folder.check_place(parsed.report)
    if parsed.json and parsed.json != PRINTED and not Path(parsed.json).absolute().parent.is_dir():
        raise NotWritten(f"{parsed.json}: its folder is missing; make it or name another file")


def _run(subject: Subject, units: list[LabelledUnit]) -> Run:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluating", total=len(units))
        return run(subject, units, lambda done, total: progress.update(task, completed=done, total=total))


def _write_json(named: str | None, found: Results) -> None:
    if named == PRINTED:
        print(encoded(found).decode(), end="")
    elif named:
        try:
            write_durably(Path(named), encoded(found))
        except OSError as error:
            raise NotWritten(f"{named}: not written: {error.strerror or error}; make room or name another") from error
