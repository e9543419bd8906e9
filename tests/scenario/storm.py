"""`make storm`: one long batch in real processes, every fault of the table at random moments, several times over.

Seeded: which fault strikes at which vial and how many milliseconds after it. Between two faults lie as many vials as
the slowest recovery needs at this rate, sometimes fewer. Exit 0 only if nothing escaped, no verdict came from another
vial's pixels, and the batch closed or stays open for units of which nobody can know where they went: a reject that a
blind chute eye did not see, a unit that never had a body (an eye that bounced late), a body that was before an eye
while the PLC had no power, a row that the power took. Bodies of units that the PLC forgot are counted, not named: a row
may name a neighbour (docs/proof.md).
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from drivers.sim.faults import FaultName

FIRST = 30
CLOSEST, WIDEST = 20, 70
MOST_DELAY_MS = 400
UNSETTLING = (
    FaultName.CHUTE_BLIND,
    FaultName.DOUBLE_TRIGGER,
    FaultName.PLC_LINK_DOWN,
    FaultName.PLC_RESTART,
    FaultName.POWER_OFF,
    FaultName.RESTART_SAME_NUMBERS,
)
MOST_UNKNOWN = 2
UNKNOWN = ("are quarantined", "are escaped", "are accounted for")
FEW = 20
NEVER = ("escaped", "misbound")


def orders(units: int, seed: int) -> list[str]:
    """Return NAME@UNIT+MS words: all faults in random order, again and again until the batch is full."""
    chance = random.Random(f"{seed} storm")
    found: list[str] = []
    at, round_ = FIRST, []
    while at < units - WIDEST:
        round_ = round_ or chance.sample(list(FaultName), len(FaultName))
        found.append(f"{round_.pop()}@{at}+{chance.randrange(MOST_DELAY_MS)}")
        at += chance.randint(CLOSEST, WIDEST)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=2500)
    parser.add_argument("--rate", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--wiring", default="modbus-client")
    parser.add_argument("--json", type=Path, default=Path("build/storm.json"), metavar="FILE")
    options = parser.parse_args()
    console = Console(width=max(Console().width, 120))
    played = orders(options.units, options.seed)
    missing = set(FaultName) - {word.partition("@")[0] for word in played}
    console.print(f"seed {options.seed}: {len(played)} faults over {options.units} vials", highlight=False)
    if missing:
        console.print(f"too few vials for {', '.join(sorted(missing))}: raise --units", highlight=False)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "provisioning.cli", "sim", "--headless", "--wiring", options.wiring]
        command += ["--units", str(options.units), "--rate", str(options.rate), "--report", str(path)]
        command += [word for order in played for word in ("--fault", order)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        report: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": options.seed, "orders": played, "status": done.returncode, "report": report}
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(played, report, console)
    wrong = problems(played, options.units, done.returncode, report)
    console.print("\n".join(wrong) or "nothing escaped, nothing was misbound, nothing unexplained", markup=False)
    if wrong:
        console.print(done.stdout[-3000:] + done.stderr[-3000:], markup=False, highlight=False)
    return 1 if wrong else 0


def problems(played: list[str], units: int, status: int, report: dict[str, Any]) -> list[str]:
    """Return what must not be, one line each."""
    if not report or status not in (0, 1):
        return [f"exit status {status}, {'with' if report else 'no'} report"]
    counts, why = report["units"], report["not_closed_because"]
    found = [f"{name}: {report['truth'][name]}" for name in NEVER if report["truth"][name]]
    if counts["in"] < units - FEW:
        found.append(f"only {counts['in']} of {units} units came in")
    unknown, unsettling = counts["quarantined"] + counts["escaped"], sum(_unsettles(word) for word in played)
    unknown += report["truth"]["passed_not_released"]
    if unknown > MOST_UNKNOWN * unsettling:
        found.append(f"{unknown} units are unknown after {unsettling} faults that explain {MOST_UNKNOWN} each")
    if counts["in"] != sum(count for name, count in counts.items() if name != "in"):
        found.append("units without a row")
    if not report["closed"] and not unknown:
        found.append("the batch is open and every unit is known")
    return found + [line for line in why if not any(text in line for text in UNKNOWN)]


def _unsettles(word: str) -> bool:
    return word.partition("@")[0] in UNSETTLING


def show(played: list[str], report: dict[str, Any], console: Console) -> None:
    table = Table("fault", "times", title="storm")
    for name, times in sorted(Counter(word.partition("@")[0] for word in played).items()):
        table.add_row(name, str(times))
    console.print(table)
    if report:
        figures = {"closed": report["closed"], "units": report["units"], "truth": report["truth"]}
        console.print(json.dumps(figures | {"restarts": report["restarts"]}, indent=1), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
