"""A ledger of schema 4 of any size, written directly: batches, units, views, permits, alarms, acts, images.

Entry bodies and the tree are left out: the questions that are asked of it never read them. The same seed makes the
same ledger. Of `units` every `viewed`-th has views, permit and image rows, so that 10^7 stay within a few gigabytes.
"""

import hashlib
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INTERFACES = Path(__file__).resolve().parents[2] / "docs" / "interfaces"
SCHEMAS = tuple(f"ledger-schema-v{version}.sql" for version in (1, 2, 3, 4))
BEGIN_NS = 1_795_000_000_000_000_000
PITCH_NS = 100_000_000
DEFECTS = ("crack", "particle", "fibre", "low_fill", "high_fill", "missing_cap", "crooked_cap", "missing_stopper")
ALARMS = ("FRAME_LOST", "STRAY_BODY", "CAMERA_UNSYNCED", "LATE_RUN")
BUNDLES = ("a" * 64, "b" * 64)
NAMES = ("vials 1.0.0", "vials 1.1.0")
PEOPLE = ("a.person", "b.person")
QA = "q.assurance"
CHUNK = 50_000
SLOW_TAIL_NS = 40_000_000
STAMP = ("ntp", b"d" * 32)


@dataclass(slots=True)
class Made:
    """What was written, counted while writing it: the truth that the questions are checked against."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    defects: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    entries: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """`batch_units` per batch; the last batch stays open if `open_last`. `archived_batches` are in the archive."""

    units: int
    batch_units: int
    viewed: int = 1
    seed: int = 1
    open_last: bool = False
    archived_batches: int = 0


def make(path: Path, plan: Plan) -> Made:
    """Write the ledger and return what is in it."""
    made = Made()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000", "locking_mode = EXCLUSIVE"):
            db.execute(f"PRAGMA {pragma}")
        for name in SCHEMAS:
            db.executescript((INTERFACES / name).read_text(encoding="utf-8"))
        chance = random.Random(plan.seed)
        _act(db, made, "", "trail-open", "recorder", BEGIN_NS)
        count = (plan.units + plan.batch_units - 1) // plan.batch_units
        for index in range(count):
            _batch(db, made, plan, index, chance)
            if plan.archived_batches and index + 1 == plan.archived_batches:
                _archive(db, made)
        db.execute("PRAGMA journal_mode = DELETE")
    return made


def batch_name(index: int) -> str:
    return f"LOT-{index:04d}"


def _batch(db: sqlite3.Connection, made: Made, plan: Plan, index: int, chance: random.Random) -> None:
    name, which = batch_name(index), index % 2
    first = index * plan.batch_units
    count = min(plan.batch_units, plan.units - first)
    at, person = BEGIN_NS + first * PITCH_NS, PEOPLE[which]
    opened = made.entries
    made.entries += 1
    made.outcomes[name] = Counter()
    db.execute(
        """INSERT INTO batch (id, state, station, bundle, recipe, bundle_name, recipe_name, register_map, release,
        configuration, actor, role, reason, opened_wall_ns, opened_clock, since_epoch, entry)
        VALUES (?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?, 'operator', 'order 7', ?, 'ntp', 0, ?)""",
        (name, "5" * 64, BUNDLES[which], "e" * 64, NAMES[which], "2R 1.0.0", "6" * 64, "0.1.0", "c" * 64, person)
        + (at, opened),
    )
    _act(db, made, name, "batch-open", person, at)
    _alarm(db, made, name, ("STATE", "EXECUTE", "EXECUTE"), at)
    rows = _units(made, plan, (name, which, first, count), chance)
    while chunk := [row for _, row in zip(range(CHUNK), rows, strict=False)]:
        _write(db, made, plan, chunk, name)
    _totals(db, made, name, index, count)
    if not (plan.open_last and first + count == plan.units):
        _close(db, made, name, at + count * PITCH_NS)


def _units(
    made: Made, plan: Plan, part: tuple[str, int, int, int], chance: random.Random
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield (position in the ledger, columns of table unit without the entry)."""
    name, which, first, count = part
    outcomes = made.outcomes[name]
    for index in range(count):
        position = first + index
        bad = chance.random() < 0.03
        defect = chance.choice(DEFECTS) if bad else ""
        judged = ("rejected", "reject", "defect", "critical") if bad else ("accepted", "accept", "none", "none")
        outcome, verdict, reason, channel = judged
        outcomes[outcome] += 1
        made.defects[defect] += 1
        start = (position + 1) * PITCH_NS
        edge = start + 10_000_000
        frame = edge + 1_500_000 + chance.randrange(1_000_000)
        verdict_at = frame + 4_000_000 + int(SLOW_TAIL_NS * chance.random() ** 20)
        permit = 0 if bad else verdict_at + 200_000
        closed = start + 60_000_000
        yield (
            position,
            (which + 2 * (position // plan.batch_units) + 1, 0, index + 1, name, "c" * 64, outcome, verdict, reason)
            + (channel, defect, "line", BUNDLES[which], 6 if bad else 9, 4000 * index, start, edge, frame)
            + (verdict_at - 300_000, 1_500_000, verdict_at, permit, closed, BEGIN_NS + closed + 2_000_000, *STAMP),
        )


def _write(db: sqlite3.Connection, made: Made, plan: Plan, chunk: list[tuple[int, tuple[Any, ...]]], name: str) -> None:
    units, views, permits, images = [], [], [], []
    db.execute("BEGIN")
    for position, row in chunk:
        if position % 200 == 0:
            code = ALARMS[position // 200 % len(ALARMS)]
            _alarm(db, made, name, (code, "of a test", "EXECUTE"), row[22] - 1_000_000, row[:3])
        if position % plan.viewed == 0:
            _look(made, row, views, permits, images)
        units.append((*row, made.entries))
        made.entries += 1
    db.executemany(f"INSERT INTO unit VALUES ({_marks(26)})", units)
    db.executemany(f"INSERT INTO unit_view VALUES ({_marks(13)})", views)
    db.executemany(f"INSERT INTO permit VALUES ({_marks(20)})", permits)
    db.executemany(f"INSERT INTO evidence VALUES ({_marks(17)})", images)
    db.execute("COMMIT")


def _look(made: Made, row: tuple[Any, ...], views: list[Any], permits: list[Any], images: list[Any]) -> None:
    unit, outcome, batch = row[:3], row[5], row[3]
    for position, camera in enumerate(("body", "crimp")):
        digest = hashlib.sha256(repr((unit, camera)).encode()).hexdigest()
        score = 0.9 if outcome != "accepted" else (unit[2] % 997) / 997 / 4
        scores = json.dumps({row[9] or "crack": score, "fibre": 0.001})
        views.append((*unit, position, camera, 0, 0, camera, 9, unit[2], 5 * unit[2], digest, scores))
        if outcome != "accepted":
            state, why = ("dropped", "disk full") if unit[2] % 50 == 0 else ("retained", "")
            made.entries += 1
            images.append(
                (made.entries - 1, *unit, camera, 0, 0, digest, state, why, 1_000_000, batch, 7, made.entries)
                + (row[22], *STAMP)
            )
    if row[20]:
        made.entries += 1
        permits.append((*unit, batch, row[4], "accept", row[11], "[]", *row[14:21], 0, row[22] - 40_000_000, *STAMP))
        permits[-1] += (made.entries - 1,)


def _act(db: sqlite3.Connection, made: Made, batch: str, what: str, who: str, at: int) -> None:
    values = (made.entries, "recorder", 7, made.entries, at - BEGIN_NS, what, who, "operator", "order 7", "", batch)
    db.execute(f"INSERT INTO audit VALUES ({_marks(18)})", (*values, "", 1, "", batch, at, *STAMP))
    made.entries += 1


def _alarm(
    db: sqlite3.Connection,
    made: Made,
    batch: str,
    said: tuple[str, str, str],
    at: int,
    unit: tuple[Any, ...] = (None, None, None),
) -> None:
    made.alarms[said[0]] += 1
    values = ("line", 7, made.entries, at - BEGIN_NS, *said, *unit, batch, at, *STAMP, made.entries)
    db.execute(f"INSERT INTO alarm VALUES ({_marks(15)})", values)
    made.entries += 1


def _totals(db: sqlite3.Connection, made: Made, name: str, index: int, count: int) -> None:
    outcomes, epoch = made.outcomes[name], index % 2 + 2 * index + 1
    values = (name, epoch, 0, 7, made.entries, count, outcomes["accepted"], outcomes["rejected"], 1, count, 0, 0, 0)
    db.execute(f"INSERT INTO plc_totals VALUES ({_marks(18)})", (*values, BEGIN_NS, "ntp", 0, 0, made.entries))
    made.entries += 1


def _close(db: sqlite3.Connection, made: Made, name: str, at: int) -> None:
    units = {"in": made.outcomes[name].total()} | dict(made.outcomes[name])
    db.execute(
        """UPDATE batch SET state = 'closed', closed_actor = ?, closed_reason = 'done', closed_wall_ns = ?,
        closed_clock = 'ntp', report = ?, closed_entry = ? WHERE id = ?""",
        (QA, at, json.dumps({"units": units}), made.entries, name),
    )
    made.entries += 1
    _act(db, made, name, "batch-close", QA, at)


def _archive(db: sqlite3.Connection, made: Made) -> None:
    values = (made.entries, "site", made.entries, 5, "00" * 32, BEGIN_NS, "ntp")
    db.execute(f"INSERT INTO archived VALUES ({_marks(7)})", values)
    made.entries += 1


def _marks(count: int) -> str:
    return ", ".join("?" * count)
