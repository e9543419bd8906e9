"""When the evidence store and the ledger's disk will be full, judged by what came in the last day."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.evidence_file import image_files
from daemon.ledger_file import LEDGER, reading, size
from daemon.records import decode_body

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
_ADDED = """SELECT coalesce(sum(bytes), 0) FROM
(SELECT DISTINCT digest, bytes FROM evidence WHERE entry >= ? AND state = 'retained')"""


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes that came in the last hour and in the last day; `recorded_ns`: how long the record reaches back."""

    hour_bytes: int
    day_bytes: int
    recorded_ns: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """One place that can fill up. `days_left` None = nothing comes in."""

    name: str
    used_bytes: int
    limit_bytes: int
    hour_bytes: int
    day_bytes: int
    days_left: float | None

    def text(self) -> str:
        """Return one line for a person."""
        share = 100 * self.used_bytes / self.limit_bytes if self.limit_bytes else 100.0
        used = f"{self.name}: {_mb(self.used_bytes)} of {_mb(self.limit_bytes)} ({share:.0f} %)"
        came = f"{_mb(self.hour_bytes)} in the last hour, {_mb(self.day_bytes)} in the last day"
        left = "nothing comes in" if self.days_left is None else f"full in {self.days_left:.1f} days at this rate"
        return f"{used}; {came}; {left}"

    def document(self) -> dict[str, Any]:
        return asdict(self)


def forecast(name: str, used_bytes: int, limit_bytes: int, growth: Growth) -> Forecast:
    """Return when `limit_bytes` are reached if it goes on as in the last day.

    A record younger than a day stands for one; of less than an hour, what came is taken as what comes in an hour.
    """
    stretch_ns = max(HOUR_NS, min(DAY_NS, growth.recorded_ns))
    daily = growth.day_bytes * DAY_NS / stretch_ns
    days = max(0, limit_bytes - used_bytes) / daily if daily > 0 else None
    return Forecast(name, used_bytes, limit_bytes, growth.hour_bytes, growth.day_bytes, days)


def first_since(count: int, at_ns: Callable[[int], int], since_ns: int) -> int:
    """Return the first of `count` entries that is not older than `since_ns`; log2(count) looks."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if at_ns(middle) < since_ns:
            low = middle + 1
        else:
            high = middle
    return low


def storage(state: Path, quota_bytes: int, now_ns: int) -> list[Forecast]:
    """Return the forecasts of a state folder at UTC `now_ns`. Reads file sizes and a few rows.

    Raises:
        LedgerUnreadable: there is no ledger to tell the rate from.
    """
    with reading(state / LEDGER) as db:
        images, entries = _growths(db, now_ns)
        written = size(db)
    kept = sum(path.lstat().st_size for path in image_files(state))
    ledger = sum(path.stat().st_size for path in state.glob(f"{LEDGER}*"))
    disk = os.statvfs(state)
    total = disk.f_blocks * disk.f_frsize
    both = Growth(
        images.hour_bytes + entries.hour_bytes * ledger // max(1, written),
        images.day_bytes + entries.day_bytes * ledger // max(1, written),
        images.recorded_ns,
    )
    return [
        forecast("evidence store", kept, quota_bytes, images),
        forecast("disk of the ledger", total - disk.f_bavail * disk.f_frsize, total, both),
    ]


def _growths(db: sqlite3.Connection, now_ns: int) -> tuple[Growth, Growth]:
    """Return the growth of images in bytes and of the ledger in entries."""
    count = size(db)

    def at_ns(entry: int) -> int:
        return decode_body(db.execute("SELECT body FROM entry WHERE seq = ?", (entry,)).fetchone()[0]).at

    hour, day = (first_since(count, at_ns, now_ns - span) for span in (HOUR_NS, DAY_NS))
    reach = max(0, now_ns - at_ns(0)) if count else 0
    images = [int(db.execute(_ADDED, (first,)).fetchone()[0]) for first in (hour, day)]
    return Growth(images[0], images[1], reach), Growth(count - hour, count - day, reach)


def _mb(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 10 << 30 else f"{count / 2**20:.1f} MB"
