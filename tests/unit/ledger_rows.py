"""Rows for the recorder's unit tests: a small line's worth of permits, units and totals, and Hypothesis strategies."""

import sqlite3
from contextlib import closing

from daemon import ledger_file
from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.recorder.rows import Received
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import BatchOpened
from daemon.units import Channel, FrameKey, JudgedView, Outcome, Reason, Stages, UnitId, Verdict, ViewKey

SESSION = 77
BATCH = "B-1"
CONFIGURATION = "c" * 64
BUNDLE = "b" * 64
NOW = WallTime(1_795_000_000_123_456_789, ClockQuality.UNSYNCHRONISED)

OPENING = BatchOpened(
    seq=0,
    id=BATCH,
    station="s" * 64,
    bundle=BUNDLE,
    recipe="r" * 64,
    bundle_name="vials",
    recipe_name="2R",
    register_map="m" * 64,
    release="dev",
    configuration=CONFIGURATION,
    actor="a.person",
    role="operator",
    reason="test",
)


def views(number, cameras=("side", "crimp")):
    return [
        JudgedView(
            ViewKey(name), FrameKey(name, 9, number), 1_000 * number, f"{number:064x}", {"good": 0.9, "crack": 0.1}
        )
        for name in cameras
    ]


def stages(number):
    start = number * 100_000_000 + 1
    return Stages(
        created_ns=start,
        last_edge_ns=start + 10_000_000,
        frame_ns=start + 12_000_000,
        inferred_ns=start + 14_000_000,
        inference_ns=1_500_000,
        judged_ns=start + 15_000_000,
        permit_ns=start + 16_000_000,
        closed_ns=start + 60_000_000,
    )


def permit(number, seq=0, epoch=1, verdict=Verdict.ACCEPT):
    unit = UnitId(epoch, 0, number)
    return PermitRow(seq, unit, BATCH, CONFIGURATION, verdict, views(number), BUNDLE, stages(number))


def unit(number, seq=0, epoch=1, outcome=Outcome.ACCEPTED, **other):
    accepted = outcome is Outcome.ACCEPTED
    fields = {
        "seq": seq,
        "unit": UnitId(epoch, 0, number),
        "batch": BATCH,
        "configuration": CONFIGURATION,
        "outcome": outcome,
        "verdict": Verdict.ACCEPT if accepted else Verdict.REJECT,
        "reason": Reason.NONE if accepted else Reason.DEFECT,
        "channel": Channel.NONE if accepted else Channel.CRITICAL,
        "defect": "" if accepted else "crack",
        "source": "line",
        "views": views(number),
        "bundle": BUNDLE,
        "plc_flags": 9 if accepted else 6,
        "encoder": 4000 * number,
        "stages": stages(number),
    }
    return UnitRow(**(fields | other))


def totals(created, passed, seq=0, epoch=1, first=1):
    last = first + created - 1 if created else 0
    return PlcTotals(seq, epoch, 0, created, passed, created - passed, first if created else 0, last)


def alarm(seq, text="a frame was lost"):
    return AlarmRow(seq, 5, "FRAME_LOST", text, "execute", UnitId(1, 0, 3))


def gap(first, last, seq=0, cause="ring overrun"):
    return GapRow(seq, 1, 0, first, last, cause)


def entries(*rows, session=SESSION, batch=BATCH):
    return [Received(session, row, batch) for row in rows]


def look(path, sql, *values):
    """Read the file as an inspector would, beside the recorder."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def root_of(path, size):
    """The root (hex) of the tree over the first entries of a ledger, as an archive that has them says it."""
    with ledger_file.reading(path) as db:
        return ledger_file.frontier(db, size).root().hex()
