"""The report of a batch: the document of docs/interfaces/report-v1.schema.json, from the facts of the ledger. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from daemon.recorder.batch import (
    MAX_NAMED,
    AlarmFact,
    BatchFacts,
    BatchRecord,
    BatchState,
    LaneFacts,
    Pace,
    SubLot,
    SubLotShare,
    units_in,
    why_open,
)
from daemon.units import Outcome, Reason

REPORT_VERSION = 1
MAX_LINES = 40
MAX_PLACES = 16
MAX_TEXT = 240
MAX_DOCUMENT = 60_000


def build_report(facts: BatchFacts) -> dict[str, Any]:
    """Return the batch report, version 1. `truth` and the box's latencies are filled in by who has the box.

    Called by the recorder for Ask("report") and once when the batch closes.
    """
    closed = facts.batch.state is BatchState.CLOSED
    return {
        "report_version": REPORT_VERSION,
        "batch": _batch(facts.batch),
        "configuration_digest": facts.batch.configuration,
        "bundle": facts.batch.bundle,
        "recipe": facts.batch.recipe,
        "units": {"in": units_in(facts)} | {outcome.value: facts.outcomes.get(outcome, 0) for outcome in Outcome},
        "plc": _plc(facts.lanes),
        "truth": None,
        "reasons": dict(facts.reasons),
        "defects": dict(facts.defects),
        "late": facts.reasons.get(Reason.LATE, 0),
        "rate_per_min": _rate(facts.paces),
        "latency_ms": {
            "trigger_to_frame": summary_ms(facts.trigger_to_frame_ns),
            "frame_to_verdict": summary_ms(facts.frame_to_verdict_ns),
            "trigger_to_permit": summary_ms(()),
            "bare_inference": summary_ms(()),
        },
        "faults": [],
        "alarms": [_alarm(alarm) for alarm in facts.alarms],
        "alarm_count": facts.alarm_count,
        "gaps": [f"{gap.epoch}.{gap.lane}.{gap.run}: {_cut(gap.cause)}" for gap in facts.gaps[:MAX_LINES]],
        "sublots": _sublots(facts),
        "closed": closed,
        "not_closed_because": [] if closed else [_cut(line) for line in why_open(facts)[:MAX_LINES]],
    }


def document(report: dict[str, Any]) -> str:
    """Return the report as JSON text of at most MAX_DOCUMENT bytes; long lists lose their oldest entries first."""
    for kept in (MAX_LINES, MAX_NAMED, 0):
        text = msgspec.json.encode(report)
        if len(text) <= MAX_DOCUMENT:
            break
        report = report | {name: _newest(report[name], kept) for name in ("alarms", "gaps", "not_closed_because")}
    return text.decode()


def utc_text(wall_ns: int) -> str | None:
    """Return RFC 3339 UTC with milliseconds, None for 0."""
    if not wall_ns:
        return None
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def quantile(ordered: Sequence[int], share: float) -> int:
    """Return the nearest-rank quantile of ascending values; `share` in 0..1, at least one value."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary_ms(values_ns: Sequence[int]) -> dict[str, float | int | None]:
    """Return {n, p50, p99, p999, max} in ms (nearest rank, 3 decimals), all None where n is 0."""
    if not values_ns:
        return {"n": 0, "p50": None, "p99": None, "p999": None, "max": None}
    ordered = sorted(values_ns)
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {"n": len(ordered)} | {name: _ms(quantile(ordered, share)) for name, share in shares.items()}


def _rate(paces: Sequence[Pace]) -> float:
    gaps, span_ns = sum(pace.units - 1 for pace in paces), sum(pace.span_ns for pace in paces)
    return round(gaps * 60e9 / span_ns, 1) if span_ns > 0 else 0.0


def _ms(value_ns: int) -> float:
    return round(value_ns / 1e6, 3)


def _newest(items: list[Any], count: int) -> list[Any]:
    return items[len(items) - min(count, len(items)) :]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _batch(batch: BatchRecord) -> dict[str, Any]:
    return {
        "id": batch.id,
        "opened": utc_text(batch.opened_wall_ns),
        "closed": utc_text(batch.closed_wall_ns),
        "actor": batch.actor,
        "reason": _cut(batch.reason),
        "clock_quality": batch.opened_clock,
        "closed_clock_quality": batch.closed_clock or None,
        "bundle_name": batch.bundle_name,
        "recipe_name": batch.recipe_name,
    }


def _sublots(facts: BatchFacts) -> list[dict[str, Any]]:
    """Return the sub-lots of a batch in which a swap was made: who signed it, which units, and what became of them."""
    lots = {lot.number: lot for lot in facts.batch.sublots}
    return [_sublot(lots[share.number], share) for share in facts.shares]


def _sublot(lot: SubLot, share: SubLotShare) -> dict[str, Any]:
    return {
        "number": share.number,
        "bundle": lot.bundle,
        "recipe": lot.recipe,
        "bundle_name": lot.bundle_name,
        "recipe_name": lot.recipe_name,
        "configuration_digest": lot.configuration,
        "begun": utc_text(lot.begun_wall_ns),
        "signed_by": lot.signer or None,
        "key": lot.key or None,
        "signed_utc": lot.signed_utc or None,
        "why": _cut(lot.why) or None,
        "units": {"in": sum(share.outcomes.values())}
        | {outcome.value: share.outcomes.get(outcome, 0) for outcome in Outcome},
        "places": [
            {"epoch": epoch, "lane": lane, "first": run.first, "last": run.last}
            for (epoch, lane), run in sorted(share.places.items())[-MAX_PLACES:]
        ],
    }


def _plc(lanes: Sequence[LaneFacts]) -> dict[str, Any]:
    known = [(lane, lane.totals) for lane in lanes if lane.totals]
    return {
        "created": sum(totals.created for _, totals in known),
        "passed": sum(totals.passed for _, totals in known),
        "diverted": sum(totals.diverted for _, totals in known),
        "epochs": [
            {
                "epoch": lane.epoch,
                "lane": lane.lane,
                "created": totals.created,
                "passed": totals.passed,
                "diverted": totals.diverted,
                "first": totals.first,
                "last": totals.last,
            }
            for lane, totals in known[-MAX_LINES:]
        ],
    }


def _alarm(alarm: AlarmFact) -> dict[str, Any]:
    return {
        "at_ns": alarm.at_ns,
        "code": alarm.code,
        "text": _cut(alarm.text),
        "state": alarm.state,
        "unit": alarm.unit or None,
    }
