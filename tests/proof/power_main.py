"""`make powercuts`: cut the power before every system call that writes, and leave the disk in any state it could be in.

First real processes are killed before a call, judged, started again and judged; then crash states are built from the
writes of whole lives and opened with the real code. Exit 0 if nothing acknowledged was lost and everything verifies.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from power_cuts import ALL, DISK, HERE, SHORT, Recorded, Tally, record, sample, try_cut, try_states
from power_trace import unavailable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PARTS = 16
SHOWN = 40
Job = tuple[str, int, object]

_recorded: dict[int, Recorded] = {}


def shares(cuts: int, lengths: list[int]) -> list[int]:
    """Divide `cuts` by how many calls each life has; 0 means all of them."""
    return [min(length, -(-cuts * length // sum(lengths))) if cuts else 0 for length in lengths]


def jobs(cuts: int, states: int, seed: int) -> Iterator[Job]:
    """Yield every cut and every stretch of crash states."""
    lengths = [len(_recorded[life].targets) for life in SHORT]
    for life, share in zip(SHORT, shares(cuts, lengths), strict=True):
        for target in sample(_recorded[life].targets, share, Random(f"{seed}:{life}:cuts")):
            yield "cut", life, target
    for life in DISK:
        for part in range(PARTS):
            yield "states", life, (seed, states // len(DISK), (part, PARTS))


def play(job: Job) -> tuple[str, int, Tally]:
    """Do one job; an exception of any part is a violation."""
    what, life, how = job
    tally = Tally()
    try:
        if what == "cut":
            call, promised, wrong = try_cut(life, how)
            tally.add(call or "at the end", promised, wrong)
        else:
            tally = try_states(_recorded[life], *how)
    except Exception as error:  # whatever ends a part here would end it on a device
        tally.add("exception", 0, [f"{ALL[life].name}, {what} {how}: {type(error).__name__}: {error}"])
    return what, life, tally


Tallies = dict[tuple[str, int], Tally]


def run(cuts: int, states: int, seed: int, workers: int, console: Console) -> Tallies:
    """Record every life, then cut in worker processes."""
    _recorded.update((life, record(life)) for life in HERE)
    todo = list(jobs(cuts, states, seed))
    found: Tallies = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    pool = multiprocessing.get_context("fork").Pool(workers, _quiet)
    with Progress(*columns, console=console) as progress, pool:
        task = progress.add_task("power cuts", total=len(todo))
        for what, life, tally in pool.imap_unordered(play, todo):
            found.setdefault((what, life), Tally()).merge(tally)
            progress.advance(task)
    return found


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def table(found: Tallies, title: str) -> Table:
    """Return what was cut where and what came of it."""
    shown = Table(title=title, title_justify="left")
    for column in ("life", "cut", "cuts", "promises checked", "lost", "unverifiable or stuck", "where"):
        shown.add_column(column, justify="right" if column in ("cuts", "promises checked", "lost") else "left")
    for (what, life), tally in sorted(found.items()):
        lost = lost_of(tally)
        where = ", ".join(f"{name} {count}" for name, count in tally.kinds.most_common())
        named = "process killed" if what == "cut" else "disk state"
        cells = (named, tally.done, tally.promises, lost, len(tally.wrong) - lost, where)
        shown.add_row(ALL[life].name, *map(str, cells))
    return shown


def lost_of(tally: Tally) -> int:
    return sum("lost: " in text for text in tally.wrong)


def document(found: Tallies, seed: int, seconds: float) -> dict[str, object]:
    """Return everything for build/powercuts.json."""
    lives = [{"life": ALL[life].name, "kind": what, **_plain(tally)} for (what, life), tally in sorted(found.items())]
    wrong = [text for tally in found.values() for text in tally.wrong]
    return {"seed": seed, "seconds": round(seconds, 1), "violations": len(wrong), "lives": lives}


def _plain(tally: Tally) -> dict[str, object]:
    return {"cuts": tally.done, "promises": tally.promises, "where": dict(tally.kinds), "wrong": tally.wrong}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=0, help="processes to kill; 0: before every single call")
    parser.add_argument("--states", type=int, default=48_000, help="states of the disk to draw; equal ones count once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path("build/powercuts.json"), metavar="FILE")
    options = parser.parse_args()
    if why := unavailable():
        print(f"powercuts: {why}", file=sys.stderr)
        return 2
    console, begun = Console(width=max(Console().width, 150)), time.monotonic()
    found = run(options.cuts, options.states, options.seed, options.workers, console)
    seconds = time.monotonic() - begun
    return report(found, options, seconds, console.print)


def report(found: Tallies, options: argparse.Namespace, seconds: float, show: Callable[..., None]) -> int:
    """Show and write what was found; return the exit status."""
    wrong = [text for tally in found.values() for text in tally.wrong]
    done = sum(tally.done for tally in found.values())
    show(table(found, f"{done} cuts of seed {options.seed}, {seconds:.0f} s: {len(wrong)} violations"))
    for text in wrong[:SHOWN]:
        show(text, markup=False)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document(found, options.seed, seconds), indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
