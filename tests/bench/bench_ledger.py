"""Row -> Stored of the real recorder process, beside a raw write and fsync on the same disk in the same run.

    PYTHONPATH=. python tests/bench/bench_ledger.py [--dir FOLDER] [--rounds N] [--seconds S]

Every round measures the control and each load once, one after the other; the medians over the rounds are printed.
Loads: rows a second (600 units a minute are 20, 3,000 are 100: a permit row and a unit row each), "64 waiting": as fast
as the recorder acknowledges with 64 rows under way, which is where line holds the infeed; and 10,000 entries a second
(acts, and unit rows) with as many under way as it takes, which no line does: how far group commit reaches.
"""

import argparse
import os
import select
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from daemon.messages import Stored
from daemon.recorder.batch import Rules
from daemon.recorder.ledger import Ledger
from daemon.recorder.report import quantile
from daemon.records import AuditRow
from daemon.wire import encode
from tests.contract.recorder_box import Line, RecorderProcess, open_batch, permit, unit

ROOT = Path(__file__).resolve().parents[2]
OFFERED = (20, 100, 1000)
WINDOW = 64
FLOOD, FLOOD_WINDOW = 10_000, 3_000
ACT = AuditRow(
    0, 1, "acknowledge", "a.person", "operator", "seen at the panel", "FRAME_LOST active", "FRAME_LOST seen", True, ""
)
Result = tuple[int, float, float, float, float]


class Offer:
    """Sends rows to a recorder and notes when each was stored."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.number = 0
        self._under_way: deque[tuple[int, int]] = deque()
        self._spans: list[int] = []
        self._acts = False

    def at_rate(self, rate: int, seconds: float, window: int = WINDOW, acts: bool = False) -> Result:
        self._spans, self._acts = [], acts
        begin, sent = time.monotonic_ns(), 0
        while (past := time.monotonic_ns() - begin) < seconds * 1e9:
            if sent < past * rate / 1e9 and len(self._under_way) < window and self._writable():
                self._send()
                sent += 1
                if not sent % WINDOW:
                    self._hear()
            else:
                self._hear()
                time.sleep(0.0001)
        self._settle()
        return _result(self._spans, time.monotonic_ns() - begin)

    def pressed(self, seconds: float) -> Result:
        self._spans, self._acts = [], False
        begin = time.monotonic_ns()
        while time.monotonic_ns() - begin < seconds * 1e9:
            while len(self._under_way) < WINDOW:
                self._send()
            self._take(self.line.next())
        self._settle()
        return _result(self._spans, time.monotonic_ns() - begin)

    def _writable(self) -> bool:
        return bool(select.select([], [self.line.peer], [], 0)[1])

    def _send(self) -> None:
        if self._acts:
            self.line.send(ACT)
            self._under_way.append((self.line.seq, time.monotonic_ns()))
            return
        self.number += 1
        make = permit if self.number % 2 else unit
        self.line.send(make((self.number + 1) // 2, self.line.arm))
        self._under_way.append((self.line.seq, time.monotonic_ns()))

    def _hear(self) -> None:
        while message := self.line.peer.receive():
            self._take(message)

    def _take(self, message: Stored) -> None:
        now = time.monotonic_ns()
        self.line.note(message)
        while self._under_way and self._under_way[0][0] <= message.seq:
            self._spans.append(now - self._under_way.popleft()[1])

    def _settle(self) -> None:
        while self._under_way:
            self._take(self.line.next())


def control(folder: Path, size: int, seconds: float) -> Result:
    """Append one row's bytes and fsync, again and again."""
    fd = os.open(folder / "control", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    spans, begin = [], time.monotonic_ns()
    while (start := time.monotonic_ns()) - begin < seconds * 1e9:
        os.write(fd, b"x" * size)
        os.fsync(fd)
        spans.append(time.monotonic_ns() - start)
    os.close(fd)
    return _result(spans, time.monotonic_ns() - begin)


def report_time(box: RecorderProcess) -> tuple[int, float]:
    """Return (units on record, ms to collect the facts of the report) over the ledger that the run left."""
    with closing(Ledger(box.ledger)) as ledger:
        record = ledger.current_batch()
        if record is None:
            return 0, 0.0
        start = time.monotonic_ns()
        facts = ledger.facts(record, 0, Rules(automatic=True, permitted_flag=1))
        return sum(facts.outcomes.values()), (time.monotonic_ns() - start) / 1e6


def measure(folder: Path, rounds: int, seconds: float) -> None:
    box = RecorderProcess(folder)
    box.start()
    with closing(open_batch(box)), closing(Line(box.socket)) as line:
        size = len(encode(unit(1, line.arm)))
        offer = Offer(line)
        loads: dict[str, Callable[[], Result]] = {f"raw write+fsync, {size} B": lambda: control(folder, size, seconds)}
        for rate in OFFERED:
            loads[f"{rate} rows/s"] = lambda rate=rate: offer.at_rate(rate, seconds)
        loads[f"{WINDOW} waiting"] = lambda: offer.pressed(seconds)
        loads[f"{FLOOD} acts/s"] = lambda: offer.at_rate(FLOOD, seconds, FLOOD_WINDOW, acts=True)
        loads[f"{FLOOD} unit rows/s"] = lambda: offer.at_rate(FLOOD, seconds, FLOOD_WINDOW)
        results: dict[str, list[Result]] = {name: [] for name in loads}
        for _ in range(rounds):
            for name, load in loads.items():
                results[name].append(load())
    box.stop()
    _print(results, rounds, report_time(box))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, default=ROOT, help="folder on the disk to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=options.dir) as folder:
        measure(Path(folder), options.rounds, options.seconds)
    return 0


def _result(spans: list[int], past_ns: int) -> Result:
    ordered = sorted(spans)
    at = [quantile(ordered, share) / 1e6 for share in (0.5, 0.99, 1.0)]
    return (len(ordered), len(ordered) * 1e9 / past_ns, at[0], at[1], at[2])


def _print(results: dict[str, list[Result]], rounds: int, facts: tuple[int, float]) -> None:
    print(
        f"row -> Stored, ms; medians of {rounds} rounds; load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    )
    print(f"{'load':<26}{'n':>8}{'rows/s':>9}{'p50':>8}{'p99':>8}{'max':>8}")
    for name, found in results.items():
        rate, p50, p99, worst = (median(column) for column in list(zip(*found, strict=True))[1:])
        print(f"{name:<26}{sum(row[0] for row in found):>8}{rate:>9.0f}{p50:>8.2f}{p99:>8.2f}{worst:>8.2f}")
    print(f"facts of the report over {facts[0]} units: {facts[1]:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
