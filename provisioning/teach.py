"""`linewarden teach`: ten marked units run through, and the station file says where everything stands.

It only asks the running line what the PLC latched; nothing here moves an output.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from daemon import config
from daemon.messages import Latches
from provisioning import stationfile
from provisioning.owners import ask_latches
from provisioning.teaching import FEWEST, Change, Distance, TeachError, changes, measure, newest

__all__ = ["FEWEST", "Lesson", "finish", "run"]

POLL_S = 0.25
REFERENCES = {"pass": "pass eye", "chute": "chute eye"}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the command line asked for. `reference` is pass, chute or the name of a camera; `mm` None = ask."""

    units: int = 10
    reference: str = "pass"
    mm: float | None = None
    spread_mm: float = 5.0
    wait_s: float = 300.0
    write: bool = False


def run(runtime: Path, path: Path, lesson: Lesson, console: Console) -> int:
    """Teach one station and return the exit status.

    Raises:
        TeachError, ConfigError, OwnerError: one line; the station file is as it was.
    """
    station = config.load(path)
    latches = _collect(lambda: ask_latches(runtime), lesson, console)
    return finish(station, path, latches, lesson, console)


def _collect(ask: Callable[[], Latches], lesson: Lesson, console: Console) -> Latches:
    """Wait until the marked units left the line.

    Returns what the line knows of these units only; fewer when time is up.
    """
    before = ask().units
    after = before[-1].unit.number if before else 0
    console.print(f"send {lesson.units} marked units through lane 0, evenly, and leave the belt running")
    end, shown = time.monotonic() + lesson.wait_s, 0
    while True:
        latches = ask()
        units = newest(latches, after, lesson.units)
        if len(units) != shown:
            shown = len(units)
            console.print(f"{shown} of {lesson.units} units came by")
        if shown >= lesson.units or time.monotonic() > end:
            return Latches(units, latches.gate)
        time.sleep(POLL_S)


def finish(station: config.Station, path: Path, latches: Latches, lesson: Lesson, console: Console) -> int:
    """Compute, show old and new, and write where that was asked for.

    Raises:
        TeachError: nothing was written.
    """
    found = measure(station, latches.units, latches.gate, lesson.units)
    reference = REFERENCES.get(lesson.reference, lesson.reference)
    mm = lesson.mm if lesson.mm is not None else _asked(reference)
    rows = changes(station, found, reference, mm, lesson.spread_mm)
    console.print(_measured(found, rows[0].new))
    console.print(_old_and_new(rows))
    if "gate" not in found:
        console.print("the gate's place was not measured and stays: send accepted units one at a time to measure it")
    if not lesson.write:
        console.print("nothing was written: say --write to put this into the station file")
        return 0
    try:
        backup = stationfile.write(path, rows)
    except OSError as error:
        raise TeachError(f"{path}: cannot be written: {error.strerror}; the old file stands") from error
    console.print(f"written to {path}; the old file is {backup.name}", soft_wrap=True)
    console.print("restart the device with no batch open: a batch runs on one configuration only")
    return 0


def _asked(reference: str) -> float:
    if not sys.stdin.isatty():
        raise TeachError(f"say how far the {reference} is from the infeed eye: --reference-mm MM")
    text = input(f"distance from the infeed eye to the {reference} in mm: ").strip()
    try:
        mm = float(text)
    except ValueError:
        mm = 0.0
    if mm <= 0:
        raise TeachError(f"{text!r} is no distance in mm")
    return mm


def _measured(found: dict[str, Distance], scale: float) -> Table:
    table = Table(title="from the infeed eye", title_justify="left", box=SIMPLE_HEAD)
    for name in ("to", "counts", "spread", "mm", "spread mm", "units"):
        table.add_column(name, justify="left" if name == "to" else "right")
    for row in found.values():
        cells = (
            f"{row.mean:.1f}",
            str(row.spread),
            f"{row.mean / scale:.2f}",
            f"{row.spread / scale:.2f}",
            str(row.units),
        )
        table.add_row("gate opens" if row.name == "gate" else row.name, *cells)
    return table


def _old_and_new(rows: list[Change]) -> Table:
    table = Table(title="station file", title_justify="left", box=SIMPLE_HEAD)
    for name in ("value", "old", "new", "change"):
        table.add_column(name, justify="left" if name == "value" else "right")
    for row in rows:
        table.add_row(f"{row.table}.{row.key}", f"{row.old:g}", f"{row.new:g}", f"{row.new - row.old:+.4g}")
    return table
