"""One pass over the units of a batch: stage times, what happened by the minute, which scores decided."""

import math
import sqlite3
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from daemon.units import Outcome
from provisioning import ledger_search

SECOND_NS = 1_000_000_000
BUCKETS_S = (1, 5, 10, 60, 300, 600, 3600)
MOST_BUCKETS = 120
BINS, ODDS = 48, 12.0
STAGES = {
    "trigger_to_frame": ("last_edge_ns", "frame_ns"),
    "frame_to_verdict": ("frame_ns", "judged_ns"),
    "verdict_to_permit": ("judged_ns", "permit_ns"),
    "trigger_to_permit": ("last_edge_ns", "permit_ns"),
    "permit_to_closed": ("permit_ns", "closed_ns"),
}
STAMPS = ("last_edge_ns", "frame_ns", "judged_ns", "permit_ns", "closed_ns")
UNITS = f"SELECT outcome, channel, recorded_wall_ns, {', '.join(STAMPS)} FROM unit WHERE batch = ?"
SCORES = """SELECT u.rowid, u.outcome, u.defect, v.scores FROM unit AS u JOIN unit_view AS v USING (epoch, lane, number)
WHERE u.batch = ? AND u.epoch = ? AND u.lane = ? ORDER BY u.rowid"""

_scores = msgspec.json.Decoder(dict[str, float])


@dataclass(slots=True)
class Rows:
    """Units of a batch. `spans_ns` by stage; `seconds`: UTC second -> outcomes; `outcomes`, `channels`: counts."""

    outcomes: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    seconds: dict[int, Counter[str]] = field(default_factory=dict)
    spans_ns: dict[str, list[int]] = field(default_factory=lambda: {stage: [] for stage in STAGES})


@dataclass(slots=True)
class Histogram:
    """Units by the score that decided, in BINS equal bins of its log-odds (see `edges`)."""

    accepted: list[int] = field(default_factory=lambda: [0] * BINS)
    not_accepted: list[int] = field(default_factory=lambda: [0] * BINS)


def read_rows(db: sqlite3.Connection, batch: str) -> Rows:
    """Return the counts and stage times of a batch, from every row of it (about 3 µs a unit)."""
    rows = Rows()
    ends = [(rows.spans_ns[name], STAMPS.index(a), STAMPS.index(b)) for name, (a, b) in STAGES.items()]
    for outcome, channel, wall_ns, *stamps in db.execute(UNITS, (batch,)):
        rows.outcomes[outcome] += 1
        if outcome != Outcome.ACCEPTED:
            rows.channels[channel] += 1
        rows.seconds.setdefault(wall_ns // SECOND_NS, Counter())[outcome] += 1
        for spans, begin, end in ends:
            if stamps[begin] and stamps[end]:
                spans.append(stamps[end] - stamps[begin])
    return rows


def over_time(rows: Rows) -> tuple[int, dict[int, Counter[str]]]:
    """Return (length of a bucket in s, UTC second at which a bucket begins -> outcomes in it), the empty ones too."""
    if not rows.seconds:
        return BUCKETS_S[0], {}
    first, last = min(rows.seconds), max(rows.seconds)
    length = next((each for each in BUCKETS_S if (last - first) // each < MOST_BUCKETS), BUCKETS_S[-1])
    buckets: dict[int, Counter[str]] = {at: Counter() for at in range(first // length * length, last + 1, length)}
    for second, outcomes in rows.seconds.items():
        buckets[second // length * length].update(outcomes)
    return length, buckets


def read_scores(db: sqlite3.Connection, batch: str) -> Histogram:
    """Return what decided: of a unit with a defect the highest score of that class, of any other its highest."""
    found: dict[int, tuple[str, float]] = {}
    for place in ledger_search.places(db, batch):
        for row, outcome, defect, text in db.execute(SCORES, (place.batch, place.epoch, place.lane)):
            scores = _scores.decode(text)
            score = scores.get(defect, 0.0) if defect else max(scores.values(), default=0.0)
            found[row] = outcome, max(score, found.get(row, ("", 0.0))[1])
    histogram = Histogram()
    for outcome, score in found.values():
        bins = histogram.accepted if outcome == Outcome.ACCEPTED else histogram.not_accepted
        bins[bin_of(score)] += 1
    return histogram


def edges() -> list[float]:
    """Return the scores between which the bins of a histogram lie, BINS + 1 of them."""
    inner = [1 / (1 + math.exp(ODDS - 2 * ODDS * index / BINS)) for index in range(1, BINS)]
    return [0.0, *inner, 1.0]


def bin_of(score: float) -> int:
    """Return the bin of a histogram in which a score lies."""
    if not 0.0 < score < 1.0:
        return 0 if score <= 0.0 else BINS - 1
    place = (math.log(score / (1 - score)) + ODDS) / (2 * ODDS)
    return min(BINS - 1, max(0, int(place * BINS)))
