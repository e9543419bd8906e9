"""The batch report for QA (docs/interfaces/batch-report-v1.schema.json): everything on record about one batch.

Every number is taken from the rows as they stand now and compared with the report that the recorder wrote when it
closed the batch: what differs is named, so that a record that changed after its closing is seen.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from daemon import config, ledger_file
from daemon.recorder import reading
from daemon.recorder.batch import BatchFacts, BatchRecord, BatchState, Rules, units_in, why_open
from daemon.recorder.report import build_report, quantile, utc_text
from daemon.store_requests import STORE
from daemon.units import Outcome
from drivers.registers import load_map
from provisioning import batch_trail
from provisioning.batch_rows import SECOND_NS, Rows, edges, over_time, read_rows, read_scores
from provisioning.recorded_recipe import RecordedRecipe
from provisioning.shares import batch_named, batches
from provisioning.timeline import rows_of
from provisioning.trace import PASSED, UnknownToLedger
from signing.index import Kind
from signing.manifest import RECIPE_DOCUMENT
from signing.store import place_of

VERSION = 1
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}
LEAST = {"p50": 1, "p90": 10, "p99": 100, "p99_9": 1_000, "p99_99": 10_000}
TAIL_POINTS = 60
COMPARED = (
    "units",
    "sublots",
    "plc",
    "reasons",
    "defects",
    "late",
    "rate_per_min",
    "latency_ms",
    "alarm_count",
    "gaps",
)
ONLY_THE_BOX = ("trigger_to_permit", "bare_inference")


def newest(db: sqlite3.Connection) -> str:
    """Return the id of the batch opened last.

    Raises:
        UnknownToLedger: there is none.
    """
    found = batches(db)
    if not found:
        raise UnknownToLedger("no batch is on record yet: open one")
    return found[0].id


def build(db: sqlite3.Connection, name: str, state: Path) -> dict[str, Any]:
    """Return the report of a batch (its id or an unambiguous beginning), open or closed. Reads every row of it.

    Raises:
        UnknownToLedger: no such batch.
    """
    batch = rows_of(db, "SELECT * FROM batch WHERE id = ?", (batch_named(db, name).id,))[0]
    record = reading.batch(db, batch["id"])
    if record is None:
        raise UnknownToLedger(f"batch {batch['id']!r} is not on record any more: check the disk")
    facts, rows, recipe = _facts(db, record), read_rows(db, record.id), _recipe(batch, state)
    return {
        "batch_report_version": VERSION,
        "made_utc": _now(),
        "made_by_release": config.release(),
        "ledger_entries": ledger_file.size(db),
        "batch": _batch(batch),
        "documents": _documents(batch, recipe),
        "sublots": build_report(facts)["sublots"],
        "units": {"in": units_in(facts)} | {outcome.value: rows.outcomes[outcome] for outcome in Outcome},
        "reconciliation": _reconciliation(facts, rows),
        "rejects": _rejects(facts, rows),
        "rate_per_min": build_report(facts)["rate_per_min"],
        "latency_ms": {stage: stage_summary(spans) for stage, spans in rows.spans_ns.items()},
        "alarms": batch_trail.alarms(db, record.id),
        "line_states": batch_trail.states(db, record.id),
        "acts": batch_trail.acts(db, batch),
        "images": batch_trail.images(db, batch),
        "archive": batch_trail.archive(db, batch),
        "signatures": batch_trail.signatures(db, batch),
        "refused_rows": batch_trail.refused(db, record.id),
        "gaps": build_report(facts)["gaps"],
        "cross_check": cross_check(batch["report"], build_report(facts), rows),
        "plots": _plots(db, record.id, rows, recipe),
    }


def stage_summary(spans_ns: Sequence[int]) -> dict[str, Any]:
    """Return {n, p50 … p99_99, max} in ms, nearest rank; None where n is too small for that percentile to mean more
    than the maximum does."""
    ordered, count = sorted(spans_ns), len(spans_ns)
    found = {
        name: round(quantile(ordered, share) / 1e6, 3) if count >= LEAST[name] else None
        for name, share in SHARES.items()
    }
    return {"n": count} | found | {"max": round(ordered[-1] / 1e6, 3) if count else None}


def cross_check(stored: str, now: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Compare what the recorder reported at closing with what the rows say now.

    `now`: the recorder's own report, made again; `rows`: the counts made here. A batch that is open, or has no report
    on record, has only the second to be compared with.
    """
    differences = [
        f"units.{outcome.value}: {rows.outcomes[outcome]} rows were counted and {now['units'][outcome.value]} reported"
        for outcome in Outcome
        if rows.outcomes[outcome] != now["units"][outcome.value]
    ]
    if not stored:
        return {"compared_with_closing_report": False, "differences": differences}
    try:
        then: dict[str, Any] = msgspec.json.decode(stored, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        return {"compared_with_closing_report": False, "differences": [*differences, f"closing report: {error}"]}
    for name in COMPARED:
        differences += _differences(name, then.get(name, [] if name == "sublots" else None), now[name])
    return {"compared_with_closing_report": True, "differences": differences}


def _differences(name: str, then: Any, now: Any) -> Iterable[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now} - set(ONLY_THE_BOX)):
            yield from _differences(f"{name}.{key}", then.get(key, 0), now.get(key, 0))
    elif then != now:
        yield f"{name}: {then} when the batch was closed, {now} by the rows now"


def _facts(db: sqlite3.Connection, record: BatchRecord) -> BatchFacts:
    """Collect what the closing rule looks at. A line that gave permits was in AUTOMATIC."""
    automatic = db.execute("SELECT 1 FROM permit WHERE batch = ? LIMIT 1", (record.id,)).fetchone() is not None
    return reading.facts(db, record, 0, Rules(automatic, load_map().flags["permitted"]))


def _batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    closed = batch["state"] == BatchState.CLOSED
    end = batch["closed_wall_ns"]
    return {
        "id": batch["id"],
        "state": batch["state"],
        "opened_utc": utc_text(batch["opened_wall_ns"]),
        "opened_clock": batch["opened_clock"],
        "opened_by": batch["actor"],
        "opened_role": batch["role"],
        "opened_because": batch["reason"],
        "closed_utc": utc_text(end),
        "closed_clock": batch["closed_clock"] or None,
        "closed_by": batch["closed_actor"] or None,
        "closed_because": batch["closed_reason"] or None,
        "duration_s": round((end - batch["opened_wall_ns"]) / 1e9, 3) if closed else None,
        "opened_entry": batch["entry"],
        "closed_entry": batch["closed_entry"],
    }


def _documents(batch: Mapping[str, Any], recipe: RecordedRecipe | None) -> dict[str, Any]:
    return {
        "product": recipe.product if recipe else None,
        "recipe_name": batch["recipe_name"],
        "recipe_sha256": batch["recipe"],
        "bundle_name": batch["bundle_name"],
        "bundle_sha256": batch["bundle"],
        "configuration_sha256": batch["configuration"],
        "station_sha256": batch["station"],
        "register_map_sha256": batch["register_map"],
        "release": batch["release"],
    }


def _reconciliation(facts: BatchFacts, rows: Rows) -> dict[str, Any]:
    """The two sides beside each other, and what the closing rule says about them.

    Of an epoch that ended the PLC's side is what `line` last read of it; units that were then in the machine are
    missing from its counts, and the closing rule finds them by their numbers.
    """
    plc = [lane.totals for lane in facts.lanes if lane.totals]
    passed, counted = sum(rows.outcomes[outcome] for outcome in PASSED), rows.outcomes.total()
    by_hand = rows.outcomes[Outcome.REMOVED]
    sides = (
        ("units", counted, sum(totals.created for totals in plc)),
        ("passed the gate", passed, sum(totals.passed for totals in plc)),
        ("diverted", counted - passed - by_hand, sum(totals.diverted for totals in plc)),
    )
    why = list(why_open(facts))
    return {
        "agrees": not why,
        "open_because": why,
        "sides": [{"what": what, "ledger": own, "plc": other, "equal": own == other} for what, own, other in sides],
        "removed_by_hand": by_hand,
        "lanes": build_report(facts)["plc"]["epochs"],
    }


def _rejects(facts: BatchFacts, rows: Rows) -> dict[str, dict[str, int]]:
    return {"by_reason": dict(facts.reasons), "by_defect": dict(facts.defects), "by_channel": dict(rows.channels)}


def _recipe(batch: Mapping[str, Any], state: Path) -> RecordedRecipe | None:
    """Return the recipe of the batch where it lies beside the state and has the pinned digest, else None."""
    stored = place_of(state / STORE, Kind.RECIPE, batch["recipe"]) / RECIPE_DOCUMENT
    for path in (state / "documents" / batch["recipe"], stored, state.parent / "recipe" / RECIPE_DOCUMENT):
        try:
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() == batch["recipe"]:
                return msgspec.json.decode(raw, type=RecordedRecipe)
        except (OSError, msgspec.MsgspecError):
            continue
    return None


def _plots(db: sqlite3.Connection, name: str, rows: Rows, recipe: RecordedRecipe | None) -> dict[str, Any]:
    scores = read_scores(db, name)
    limits = [limit for view in recipe.views for limit in view.limits.values()] if recipe else []
    bucket_s, buckets = over_time(rows)
    return {
        "over_time": {
            "bucket_s": bucket_s,
            "buckets": [
                {"utc": utc_text(second * SECOND_NS)} | {outcome.value: found[outcome] for outcome in Outcome}
                for second, found in buckets.items()
            ],
        },
        "latency_tail_ms": {stage: _tail(sorted(spans)) for stage, spans in rows.spans_ns.items()},
        "deciding_score": {
            "edges": edges(),
            "accepted": scores.accepted,
            "not_accepted": scores.not_accepted,
            "lowest_accept_below": min((limit.accept_below for limit in limits), default=None),
            "lowest_reject_from": min((limit.reject_from for limit in limits), default=None),
        },
    }


def _tail(ordered: Sequence[int]) -> list[list[float]]:
    """Return [ms, share of units that took longer] at places evenly spaced in the logarithm of the share."""
    count = len(ordered)
    ranks = sorted({round(count ** (1 - step / (TAIL_POINTS - 1))) for step in range(TAIL_POINTS)}) if count else []
    return [[round(ordered[count - rank] / 1e6, 3), rank / count] for rank in reversed(ranks)]


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.{datetime.now(UTC).microsecond // 1000:03d}Z"
