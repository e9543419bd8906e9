"""How long does a long trail take to verify? On the device, and with the one-file verifier over an export of it.

    PYTHONPATH=.:tests/unit python tests/bench/bench_trail.py [--entries 1000000] [--json FILE]

The entries are acts and units as the recorder writes them (one unit in four). Control in the same run: `sha256sum` over
the exported entries. Each verification is a process of its own, so that its memory is its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ledger_rows import BATCH, NOW, OPENING, permit
from trail_world import TrailWorld, audit

ROOT = Path(__file__).resolve().parents[2]
GROUP = 1000
VERIFIER = ROOT / "docs" / "interfaces" / "verify_records.py"
ON_DEVICE = """
import sys; from pathlib import Path
from daemon import ledger_file; from daemon.recorder.opening import known_keys
from daemon.recorder.verify import verify_trail; from signing.chain import parse_note
state = Path(sys.argv[1])
with ledger_file.reading(state / "ledger.sqlite") as db:
    origin = parse_note(ledger_file.checkpoints(db)[0].note).origin
    print(verify_trail(db, known_keys(state), origin).size)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=Path("build/bench-trail.json"), metavar="FILE")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        document = _measure(Path(folder), options.entries)
    document |= {"load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _show(document)
    return 0


def _measure(folder: Path, entries: int) -> dict[str, Any]:
    state, target = folder / "state", folder / "export"
    state.mkdir()
    written_s, size = _write(state, entries)
    command = [sys.executable, "-m", "provisioning.cli", "audit", "export", str(target), "--state", str(state)]
    exported = _timed(command)
    rows = {"export": exported, "on the device": _timed([sys.executable, "-c", ON_DEVICE, str(state)])}
    rows["verify_records.py"] = _timed([sys.executable, "-I", str(VERIFIER), str(target)])
    files = sorted(map(str, (target / "entries").iterdir()))
    rows["sha256sum (control)"] = _timed(["sha256sum", *files])
    return {"entries": size, "write_s": round(written_s, 1), "rows": rows}


def _write(state: Path, entries: int) -> tuple[float, int]:
    with closing(TrailWorld(state)) as world:
        world.ledger.database.execute("PRAGMA synchronous = OFF")
        world.ledger.open_batch(OPENING, NOW)
        begin = time.monotonic()
        for first in range(1, entries + 1, GROUP):
            numbers = range(first, min(first + GROUP, entries + 1))
            world.write(*(permit(n, seq=n) if n % 4 == 0 else audit(n) for n in numbers), batch=BATCH)
        world.sign()
        return time.monotonic() - begin, world.ledger.head.size


def _timed(command: Sequence[str]) -> dict[str, Any]:
    """Run a command alone; its CPU seconds, wall seconds and peak memory."""
    code = "import resource, subprocess, sys; s = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode;"
    code += " u = resource.getrusage(resource.RUSAGE_CHILDREN); print(s, u.ru_utime + u.ru_stime, u.ru_maxrss)"
    begin = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    status, cpu_s, peak_kb = done.stdout.split()
    if int(status):
        raise SystemExit(f"{command[:4]} ended with {status}")
    return {
        "cpu_s": round(float(cpu_s), 2),
        "wall_s": round(time.monotonic() - begin, 2),
        "peak_mb": int(peak_kb) >> 10,
    }


def _show(document: dict[str, Any]) -> None:
    print(f"{document['entries']} entries, load {document['load_before']} to {document['load_after']}")
    print(f"{'':<22}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}")
    for name, row in document["rows"].items():
        print(f"{name:<22}{row['cpu_s']:>8}{row['wall_s']:>8}{row['peak_mb']:>9}")


if __name__ == "__main__":
    sys.exit(main())
