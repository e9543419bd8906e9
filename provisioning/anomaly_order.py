"""`linewarden model fit-anomaly`: from a folder of good images to a folder with bundle, recipe and report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from engines.engine import Frame
from engines.errors import EngineError
from provisioning.anomaly_bundle import Label, Made, build, golden_indices
from provisioning.anomaly_features import preprocessing_of
from provisioning.anomaly_fit import STEPS, Fitted, fit_view
from provisioning.anomaly_images import Good, find_views, read_good
from provisioning.anomaly_report import Shown, facts, report_page
from provisioning.errors import CommandFailed
from provisioning.grey_images import ImagesRefused
from provisioning.unsigned import document, new_folder
from signing.durable import write_durably
from signing.manifest import Region

WORST = 4


class NotFitted(CommandFailed):
    """Nothing was written; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asked for. `regions` by view; `false_rejects` is the share of good units, over all views.

    `view` names the one view of a folder that holds images themselves.
    """

    good: Path
    out: Path
    label: Label
    regions: Mapping[str, Region]
    false_rejects: float
    view: str = ""


def run(order: Order, console: Console) -> dict[str, Any]:
    """Fit every view, write `order.out` whole or not at all, and return what was done, for `--json`.

    Raises:
        CommandFailed, SigningError: one line; there is no `order.out`.
    """
    views = find_views(order.good, order.view)
    for name in order.regions.keys() - views.keys():
        raise ImagesRefused(f"--roi {name}: there is no such view; there are {', '.join(sorted(views))}")
    try:
        with new_folder(order.out) as folder:
            return _write(order, _fit_all(order, views, console), folder)
    except EngineError as error:
        raise NotFitted(f"{error}; nothing was written") from error
    except OSError as error:
        place = error.filename or order.out
        raise NotFitted(f"{place}: {error.strerror or error}; make room or name another folder") from error


def _fit_all(
    order: Order, views: Mapping[str, tuple[Path, ...]], console: Console
) -> dict[str, tuple[Made, list[Shown]]]:
    share = 1.0 - (1.0 - order.false_rejects) ** (1.0 / len(views))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks = {name: progress.add_task(name, total=len(files) + STEPS) for name, files in views.items()}
        return {
            name: _fit_one(order, name, files, share, (progress, tasks[name], number))
            for number, (name, files) in enumerate(views.items())
        }


def _fit_one(
    order: Order, name: str, files: tuple[Path, ...], share: float, told: tuple[Progress, TaskID, int]
) -> tuple[Made, list[Shown]]:
    progress, task, number = told
    good, frames = read_good(files)
    region = order.regions.get(name) or Region(0, 0, good.width, good.height)
    if region.x + region.width > good.width or region.y + region.height > good.height:
        raise ImagesRefused(f"--roi {name}: reaches outside the images, which are {good.width} x {good.height}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([order.label.seed, number])))
    fitted = fit_view(frames, preprocessing_of(region), rng, share, lambda: progress.advance(task))
    made = Made(good, fitted, [frames[index] for index in golden_indices(fitted)])
    return made, _worst(good, frames, fitted)


def _worst(good: Good, frames: list[Frame], fitted: Fitted) -> list[Shown]:
    order = np.argsort(-fitted.logits, kind="stable")[:WORST]
    return [
        Shown(good.files[index].name, frames[index], fitted.maps[index], float(fitted.logits[index])) for index in order
    ]


def _write(order: Order, found: Mapping[str, tuple[Made, list[Shown]]], folder: Path) -> dict[str, Any]:
    views = {name: made for name, (made, _) in found.items()}
    report = facts(order.label, views, order.false_rejects)
    raw = document(report)
    digests = build(order.label, views, raw, folder)
    write_durably(folder / "report.json", raw)
    drawn = {name: (made.fitted, worst) for name, (made, worst) in found.items()}
    write_durably(folder / "report.html", report_page(report, drawn, digests))
    return {"out": str(order.out), **digests, "report": json.loads(raw)}
