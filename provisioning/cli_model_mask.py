"""Leaf `linewarden model mask`: is a reject due to what the model points at? The region is hidden and judged again."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from daemon.vision.judging import Limit
from daemon.vision.plan import Looker, looker
from engines.errors import EngineError
from engines.load import load
from provisioning import masking_report, places, report_folder
from provisioning.errors import CommandFailed
from provisioning.evaluate_results import named_of
from provisioning.evaluate_run import EvaluationStopped
from provisioning.evaluate_subject import Subject, View, open_subject
from provisioning.grey_images import read_frame
from provisioning.masking import masking_test
from provisioning.masking_report import Asked, MaskingResults, lines, rests, row
from signing.utc import utc_text

EVEN = 0.5
SEED = 1


class ViewUnknown(CommandFailed):
    """The view that was named is none of the bundle or recipe."""


def add_leaf(leaves: "argparse._SubParsersAction[Any]") -> None:
    """Add `mask` below `linewarden model`."""
    parser = leaves.add_parser("mask", help="does a reject rest on what the model points at? hide it and judge again")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of a signed bundle")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="raw frames of one view, grey PNG or PGM")
    parser.add_argument("--view", metavar="NAME", help="their view (may be left out where there is one)")
    parser.add_argument("--recipe", type=Path, metavar="DIR", help="whose limits apply (default: beside the bundle)")
    parser.add_argument("--trust", type=Path, metavar="DIR", help="trust store (default: the demo's)")
    parser.add_argument("--production", action="store_true", help="refuse development keys, as a real device does")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"places of the controls (default: {SEED})")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write a page with every reject, shown and hidden")
    parser.set_defaults(run=_mask)


def _mask(parsed: argparse.Namespace) -> int:
    if parsed.report:
        report_folder.check_place(parsed.report)
    trust = parsed.trust or places.working() / "demo" / "trust"
    subject = open_subject(parsed.bundle, parsed.recipe, trust, production=parsed.production)
    view = _view(subject, parsed.view)
    asked = _asked(subject, view, parsed.images, parsed.seed)
    results = _results(subject, view, asked, parsed.seed)
    if parsed.report:
        report_folder.write_folder(parsed.report, masking_report.report(results, asked))
    if parsed.json:
        print(masking_report.encoded(results).decode(), end="")
        return 0
    for line in lines(results):
        print(line)
    return 0


def _view(subject: Subject, named: str | None) -> View:
    views = subject.views
    if named is None and len(views) == 1:
        return next(iter(views.values()))
    if named not in views:
        told = f"there is no view '{named}'" if named else "of which view are the images?"
        raise ViewUnknown(f"{told}: name one with --view: {', '.join(views)}")
    return views[named]


def _limits(subject: Subject, view: View) -> Mapping[str, Limit]:
    if subject.applied:
        return subject.applied.rules.limits[view.key]
    return dict.fromkeys(subject.bundle.manifest.models[view.model].classes, Limit(EVEN, EVEN))


def _asked(subject: Subject, view: View, images: Sequence[Path], seed: int) -> list[Asked]:
    limits = _limits(subject, view)
    try:
        look = looker(load(subject.bundle, view.model), subject.bundle.manifest.models[view.model])
    except EngineError as error:
        raise EvaluationStopped(str(error)) from error
    try:
        console = Console(stderr=True)
        shown = track(images, "masking", console=console, transient=True, disable=not console.is_terminal)
        return list(_each(look, shown, limits, np.random.default_rng(seed)))
    finally:
        look.engine.close()


def _each(
    look: Looker, images: Iterable[Path], limits: Mapping[str, Limit], random: np.random.Generator
) -> Iterator[Asked]:
    for image in images:
        frame, _ = read_frame(image)
        try:
            yield Asked(str(image), frame, masking_test(look, frame, limits, random))
        except EngineError as error:
            raise EvaluationStopped(f"{image}: {error}") from error


def _results(subject: Subject, view: View, asked: Sequence[Asked], seed: int) -> MaskingResults:
    bundle, recipe = named_of(subject)
    return MaskingResults(
        format=1,
        made_utc=utc_text(datetime.now(UTC)),
        bundle=bundle,
        recipe=recipe,
        view=view.name,
        seed=seed,
        rests=rests(asked),
        rejects=[row(one.name, one.found) for one in asked if one.found],
        accepted=[one.name for one in asked if one.found is None],
    )
