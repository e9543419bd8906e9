"""Every question of `linewarden trace` over ledgers of a million and of ten million units: time to the whole answer.

    PYTHONPATH=. python tests/bench/bench_trace.py [--units N ...] [--dir FOLDER] [--json FILE]

A ledger is made once (10^7: 4 GB, two minutes) and used again. Units, alarms and acts are all there; views, permits and
images of every 50th unit; entry bodies, which no question reads, are not. Each question is asked cold (the kernel was
told to forget the file) and warm, each time over a new connection; the answer includes the first 20 units.
"""

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from provisioning import recall, trace
from provisioning.ledger_search import Window
from tests.unit.trace_ledger import BEGIN_NS, BUNDLES, DEFECTS, PEOPLE, PITCH_NS, Plan, batch_name, make

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1_000_000, 10_000_000)
BATCH_UNITS, VIEWED, SHOWN, WARM_ROUNDS = 50_000, 50, 20, 5
LIMIT_MS = 1000.0
Question = Callable[[sqlite3.Connection], Any]


def questions(units: int) -> dict[str, Question]:
    middle = BEGIN_NS + units // 2 * PITCH_NS
    return {
        "unit 17": lambda db: trace.story(db, trace.named(db, "17")[0]),
        "unit in the middle": lambda db: trace.story(db, trace.UnitId(units // BATCH_UNITS // 2 * 2 + 1, 0, 1)),
        "lot": lambda db: _scope(recall.of_lot(db, batch_name(0))),
        "bundle (half of all units)": lambda db: _scope(recall.of_document(db, "bundle", BUNDLES[1][:12])),
        "recipe (all units)": lambda db: _scope(recall.of_document(db, "recipe", "2R")),
        "defect": lambda db: _scope(recall.of_defect(db, DEFECTS[0])),
        "signer": lambda db: _scope(recall.of_signer(db, PEOPLE[0])),
        "time, 1 minute": lambda db: _scope(recall.of_window(db, Window(middle, middle + 60 * 10**9), "")),
        "time, a third of all": lambda db: _scope(recall.of_window(db, _third(units), "")),
        "alarm code": lambda db: _scope(recall.of_alarm(db, "FRAME_LOST")),
        "alarm by entry": lambda db: _scope(recall.of_alarm(db, str(_alarm(db)))),
    }


def ask(path: Path, question: Question, *, cold: bool) -> float:
    """Return ms from opening the file to the answer."""
    if cold:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        question(db)
    return (time.perf_counter() - start) * 1e3


def measure(folder: Path, units: int) -> list[dict[str, Any]]:
    path = folder / f"{units}.sqlite"
    if not path.exists():
        start, unfinished = time.monotonic(), path.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        make(unfinished, Plan(units, BATCH_UNITS, viewed=VIEWED, archived_batches=units // BATCH_UNITS, open_last=True))
        unfinished.rename(path)
        print(f"made {path}: {path.stat().st_size / 1e9:.1f} GB in {time.monotonic() - start:.0f} s", file=sys.stderr)
    rows = []
    for name, question in questions(units).items():
        cold = ask(path, question, cold=True)
        warm = [ask(path, question, cold=False) for _ in range(WARM_ROUNDS)]
        rows.append({"units": units, "question": name, "cold_ms": round(cold, 1), "warm_ms": round(median(warm), 1)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench-trace")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-trace.json")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    rows = [row for units in options.units for row in measure(options.dir, units)]
    worst = max(row["cold_ms"] for row in rows)
    load = f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, SQLite {sqlite3.sqlite_version}"
    print(f"{'question':<28}{'units':>12}{'cold ms':>10}{'warm ms':>10}     {load}")
    for row in rows:
        print(f"{row['question']:<28}{row['units']:>12,}{row['cold_ms']:>10.1f}{row['warm_ms']:>10.1f}")
    print(f"slowest, cold: {worst:.0f} ms; asked for: {LIMIT_MS:.0f} ms")
    options.json.write_text(json.dumps({"load": load, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0 if worst <= LIMIT_MS else 1


def _scope(scope: recall.Scope) -> None:
    scope.total()
    list(islice(scope.list_units(), SHOWN))


def _third(units: int) -> Window:
    return Window(BEGIN_NS + units // 3 * PITCH_NS, BEGIN_NS + units * 2 // 3 * PITCH_NS)


def _alarm(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT entry FROM alarm WHERE number IS NOT NULL ORDER BY rowid DESC LIMIT 1").fetchone()
    return int(row[0])


if __name__ == "__main__":
    sys.exit(main())
