"""What `linewarden model evaluate` shows on a terminal, and the words it shares with its report."""

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from provisioning.evaluate_results import ACCEPTED, UNDECIDED, Area, Results, Share

HEADS = ("class", "units", "found", "POD", "95 % bounds", "at least", "AUROC", "its bounds", "taken for")
ON_TERMINAL = 7
NO_RECIPE = "no recipe: no threshold was applied, so there is no POD and no false reject rate; name one with --recipe"


def shown(found: Results) -> RenderableType:
    """Return the table of classes and what must be said beside it."""
    table = Table(box=SIMPLE_HEAD, header_style="dim", pad_edge=False)
    lines = list(rows(found))
    told = [index for index in range(ON_TERMINAL) if any(row[index] for row in lines)]
    for index in told:
        table.add_column(HEADS[index], justify="right" if index else "left", no_wrap=True)
    for row in lines:
        table.add_row(*(Text(row[index]) for index in told))
    timing = [
        f"model {name}: p50 {model.p50_ms:.2f} ms, p99 {model.p99_ms:.2f} ms over {model.n} inferences on this machine "
        f"({model.backend} {model.version}, {model.device}, {found.processor})"
        for name, model in found.models.items()
    ]
    return Group(table, *(Text(line) for line in (*notes(found), *timing)), Text(summary(found), style="bold"))


def rows(found: Results) -> Iterator[tuple[str, ...]]:
    """Yield the cells under HEADS: every class of defect, all of them, the good units."""
    for result in found.classes:
        mark = "" if result.known or found.anomaly_alone else " *"
        figures = _cells(result.n, result.auroc, result.detected, result.at_least95)
        yield (f"{result.name}{mark}", *figures, _counts(result.named))
    if len(found.classes) > 1:
        yield ("all defects", *_cells(found.defective, found.auroc, found.detected, found.at_least95), "")
    if found.good:
        yield ("good", *_cells(found.good, None, found.false_reject, None), _counts(found.good_named))


def notes(found: Results) -> Iterator[str]:
    """Yield what a reader must know of the set and of the bundle, one line each."""
    if found.recipe is None:
        yield NO_RECIPE
    if not found.anomaly_alone and any(not result.known for result in found.classes):
        yield "* not a class of this bundle: such a defect can be found and not be named"
    for result in found.classes:
        if result.known and result.named.keys() - {result.name, ACCEPTED, UNDECIDED}:
            yield f"{result.name}: taken for {_counts(result.named)}"
    if found.not_shown:
        yield f"no unit shows: {', '.join(found.not_shown)}"
    if not found.good:
        yield "no good units: there is no AUROC and no false reject rate"
    if found.copies:
        yield f"{found.copies} image files are copies of others: bounds hold for units that are independent"
    if found.development_keys:
        yield "signed with development keys"


def summary(found: Results) -> str:
    """Return all of it in one line."""
    parts = [f"{found.bundle.name} {found.bundle.version}"]
    if found.detected and found.at_least95 is not None:
        told = f"{found.detected.count} of {found.detected.n} defective units found"
        parts.append(f"{told}, POD at least {at_least(found.at_least95)}")
    if found.false_reject:
        share = found.false_reject
        parts.append(f"{share.count} of {share.n} good units not accepted ({bounds(share)})")
    if found.auroc:
        area = found.auroc
        parts.append(f"AUROC {area.area:.3f} ({area.low95:.3f} to {area.high95:.3f})")
    return (
        "; ".join(parts) if len(parts) > 1 else f"{parts[0]}; {found.good + found.defective} units, nothing to compare"
    )


def at_least(share: float) -> str:
    """Return a lower bound in percent, rounded down."""
    return f"{math.floor(round(1000 * share, 6)) / 10:.1f} %"


def bounds(share: Share) -> str:
    """Return the two-sided bounds of a share in percent, rounded outwards."""
    low, high = math.floor(round(1000 * share.low95, 6)), math.ceil(round(1000 * share.high95, 6))
    return f"{low / 10:.1f}-{high / 10:.1f} %"


def _cells(n: int, area: Area | None, detected: Share | None, least: float | None) -> tuple[str, ...]:
    return (
        str(n),
        str(detected.count) if detected else "",
        f"{100 * detected.share:.1f} %" if detected else "",
        bounds(detected) if detected else "",
        at_least(least) if least is not None else "",
        f"{area.area:.3f}" if area else "",
        f"{area.low95:.3f} to {area.high95:.3f}" if area else "",
    )


def _counts(named: dict[str, int]) -> str:
    ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count}" for name, count in ordered)
