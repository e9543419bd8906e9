"""What `linewarden batch` shows on a terminal: the list of batches, and the first page of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from provisioning.batch_sections import Grid, headline, latency, reconciliation, rejects, sublots

TONES = {"good": "bold white on dark_green", "bad": "bold white on red", "open": "bold black on yellow"}
YES_NO = {"yes": "green", "no": "yellow", "unknown": "dim"}
QUIET_AT_ZERO = ("undecided", "sampled", "removed", "quarantined", "escaped")
COLUMNS = ("batch", "state", "opened", "closed", "units", "accepted", "not accepted", "archived")


def summary(report: Mapping[str, Any]) -> RenderableType:
    """Return the first page of a report: whether it is in order, the counts, the reasons, the latency."""
    lines = [Text(f" {text} ", style=TONES[tone]) for text, tone in headline(report)]
    counts = Text("   ").join(
        Text.assemble((f"{count} ", "bold"), name)
        for name, count in report["units"].items()
        if count or name not in QUIET_AT_ZERO
    )
    grids = [grid for make in (sublots, reconciliation, rejects, latency) for grid in make(report) if grid.rows]
    alarms, images = report["alarms"], report["images"]
    by_code = ", ".join(f"{row['count']} {row['code']}" for row in alarms["by_code"][:6])
    kept = f"{images['retained']} kept, {images['released']} released, {images['dropped']} dropped"
    kept = kept if images["recorded"] else "not on record"
    foot = Text.assemble(
        ("alarms   ", "dim"), by_code or "none", ("\nimages   ", "dim"), kept,
        ("\narchived ", "dim"), (report["archive"]["archived"], YES_NO[report["archive"]["archived"]]),
    )  # fmt: skip
    body = Group(*lines, Text(), counts, Text(), *map(_table, grids), foot)
    title = Text(f" batch {report['batch']['id']} ", style="bold")
    return Panel(body, title=title, title_align="left", box=ROUNDED)


def batch_list(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the batches, one a line."""
    table = Table(box=SIMPLE_HEAD, header_style="dim")
    for name in COLUMNS:
        table.add_column(name, no_wrap=True, justify="right" if name in COLUMNS[4:7] else "left")
    for row in rows:
        state = Text(row["state"], style="" if row["state"] == "closed" else "bold yellow")
        times = [(row[f"{name}_utc"] or "")[:19].replace("T", " ") for name in ("opened", "closed")]
        counts = [str(row[name]) for name in ("units", "accepted", "not_accepted")]
        table.add_row(row["id"], state, *times, *counts, Text(row["archived"], style=YES_NO[row["archived"]]))
    return table


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_style="dim", title_justify="left", header_style="dim", box=SIMPLE_HEAD)
    table.pad_edge = False
    for name, right in grid.columns:
        table.add_column(name, justify="right" if right else "left")
    for row in grid.rows:
        table.add_row(*(Text(cell, style="red" if cell == "differs" else "") for cell in row))
    return table
