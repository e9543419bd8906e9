"""`make campaign`: the line under every fault in virtual time, a million units, nothing past the gate unpermitted.

Cases are numbered; number N under seed S is the same case for ever. Progress is kept in build/, so an interrupted
campaign goes on where it was. Exit 1 on any violation, with the command that plays that one case again.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proof_agenda import MS
from proof_case import draw, play
from proof_faults import FAULTS
from proof_verdict import Line
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

CHUNK = 8
KEPT = 50
SAVE_S = 5.0
STATE = Path("build/campaign-state.json")


@dataclass(slots=True)
class Tally:
    """Everything that is known so far; what is written to build/ and read back."""

    seed: int
    next_case: int = 0
    units: int = 0
    vials: int = 0
    passed: int = 0
    cases: int = 0
    escapes: int = 0
    misbound: int = 0
    physical: int = 0
    misnamed: int = 0
    seconds: float = 0.0
    lines: dict[str, Line] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, case: int, result: dict[str, Any]) -> None:
        """Count one case."""
        self.cases += 1
        for name in ("units", "vials", "passed", "escapes", "misbound", "physical", "misnamed"):
            setattr(self, name, getattr(self, name) + result[name])
        self.wrong += [f"case {case}: {text}" for text in result["wrong"]]
        del self.wrong[KEPT:]
        for name, line in result["lines"].items():
            mine = self.lines.setdefault(name, Line())
            for key, value in line.items():
                old = getattr(mine, key)
                setattr(mine, key, max(old, value) if key == "safe_ns" else old + value)


def names_of(case: int, known: Collection[str] = FAULTS) -> tuple[str, ...]:
    """Return the faults of a case: each alone in its turn, three to a case; every third case is drawn freely."""
    names = list(known)
    turn = 3 * (case // 3 * 2 + case % 3)
    return () if case % 3 == 2 else tuple(names[(turn + i) % len(names)] for i in range(3))


def result_of(seed: int, case: int) -> dict[str, Any]:
    """Play one case of the campaign; a case that ends in an exception is a violation."""
    try:
        _world, out = play(draw(seed * 10_000_000 + case, names_of(case)))
    except Exception as error:  # a crash of any part is what the campaign looks for
        text = f"{type(error).__name__}: {error}"
        return {
            **dict.fromkeys(("units", "vials", "passed", "escapes", "misbound", "physical", "misnamed"), 0),
            "wrong": [text],
            "lines": {},
        }
    counts = {name: len(getattr(out, name)) for name in ("escapes", "misbound", "physical", "misnamed")}
    lines = {name: asdict(line) for name, line in out.lines.items()}
    plain = {"units": out.units, "vials": out.vials, "passed": out.passed, "wrong": out.wrong, "lines": lines}
    return {**plain, **counts}


def _chunk(job: tuple[int, int]) -> tuple[int, list[dict[str, Any]]]:
    seed, first = job
    return first, [result_of(seed, case) for case in range(first, first + CHUNK)]


def load(seed: int, fresh: bool, path: Path = STATE) -> Tally:
    """Return what an interrupted campaign of that seed had reached."""
    if fresh or not path.exists():
        return Tally(seed)
    document = json.loads(path.read_bytes())
    if document.get("seed") != seed or document.get("faults") != sorted(FAULTS):
        return Tally(seed)
    document.pop("faults")
    document["lines"] = {name: Line(**line) for name, line in document["lines"].items()}
    return Tally(**document)


def save(tally: Tally, path: Path = STATE) -> None:
    """Write the state whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({**asdict(tally), "faults": sorted(FAULTS)}), encoding="utf-8")
    os.replace(temporary, path)


def run(tally: Tally, units: int, workers: int, console: Console) -> None:
    """Play cases until so many units went by; results are counted in the order of their numbers."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("fork")
    with Progress(*columns, console=console) as progress, context.Pool(workers, _quiet) as pool:
        task = progress.add_task("units", total=units, completed=tally.units)
        begun, saved, before = time.monotonic(), time.monotonic(), tally.seconds
        jobs = ((tally.seed, first) for first in range(tally.next_case, 1 << 40, CHUNK))
        for first, results in pool.imap(_chunk, _throttled(jobs, tally, units)):
            for offset, result in enumerate(results):
                tally.add(first + offset, result)
            tally.next_case = first + CHUNK
            tally.seconds = before + time.monotonic() - begun
            progress.update(task, completed=tally.units, description=f"{len(tally.wrong)} violations, units")
            if time.monotonic() - saved > SAVE_S:
                saved = time.monotonic()
                save(tally)
            if tally.units >= units:
                break
        pool.terminate()
    save(tally)


def _throttled(jobs: Any, tally: Tally, units: int) -> Any:
    """Hand out no more than can be needed: a pool reads its jobs ahead without end."""
    for job in jobs:
        while tally.units < units and job[1] - tally.next_case > 16 * CHUNK:
            time.sleep(0.01)
        if tally.units >= units:
            return
        yield job


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def table(tally: Tally) -> Table:
    """Return the table that the issue asks for."""
    title = (
        f"{tally.units} units, {tally.cases} cases of seed {tally.seed}, {tally.seconds:.0f} s: "
        f"{tally.escapes} escapes, {tally.misbound} misbound, {tally.physical} uncounted bodies passed, all seen"
    )
    shown = Table(title=title, title_justify="left")
    for column in ("fault", "injected", "units affected", "detected", "escapes", "misbound", "time to safe, ms"):
        shown.add_column(column, justify="left" if column == "fault" else "right")
    for name in FAULTS:
        line = tally.lines.get(name, Line())
        detected = f"{line.detected} of {line.countable}" if FAULTS[name].expect else "-"
        safe = "-" if line.safe_ns < 0 else f"{line.safe_ns / MS:.1f}"
        cells = (line.injected, line.affected, detected, line.escapes, line.misbound, safe)
        shown.add_row(name, *map(str, cells))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted campaign")
    parser.add_argument("--case", type=int, metavar="N", help="play one case again and print what was wrong")
    parser.add_argument("--json", type=Path, default=Path("build/campaign.json"), metavar="FILE")
    options = parser.parse_args()
    console = Console(width=max(Console().width, 130))
    if options.case is not None:
        result = result_of(options.seed, options.case)
        console.print_json(data=result)
        return 1 if result["wrong"] else 0
    tally = load(options.seed, options.fresh)
    run(tally, options.units, options.workers, console)
    console.print(table(tally))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(asdict(tally), indent=1) + "\n", encoding="utf-8")
    for text in tally.wrong:
        number = text.removeprefix("case ").partition(":")[0]
        console.print(f"{text}\n  again: make campaign ARGS='--seed {tally.seed} --case {number}'", markup=False)
    missed = sorted(set(FAULTS) - set(tally.lines))
    if missed:
        console.print(f"never struck, too few units: {', '.join(missed)}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
