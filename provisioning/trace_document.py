"""Answers of `linewarden trace` for other programs: JSON and CSV. Units are written one by one, never all in memory."""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

from daemon.recorder.report import utc_text
from provisioning.recall import Scope, UnitLine
from provisioning.shares import Share
from provisioning.timeline import Moment
from provisioning.trace import Story

TRACE_VERSION = 1
COLUMNS = (
    *("unit", "batch", "outcome", "passed", "verdict", "reason", "defect", "channel"),
    *("recorded_utc", "clock", "entry"),
)


def story_document(story: Story) -> dict[str, Any]:
    """Return the story of one unit; the rows stand in it with the names of the ledger's columns."""
    found = asdict(story)
    found["unit"] = str(story.unit)
    found["passed"] = story.passed
    found["timeline"] = [_moment(moment) for moment in story.timeline]
    return {"trace_version": TRACE_VERSION, "kind": "unit"} | found


def scope_document(scope: Scope) -> dict[str, Any]:
    """Return everything of a scope except its units."""
    total, passed = scope.total(), sum(share.passed for share in scope.shares)
    return {
        "trace_version": TRACE_VERSION,
        "kind": scope.kind,
        "value": scope.value,
        "matched": scope.matched,
        "notes": scope.notes,
        "counted": scope.counted,
        "units_by_outcome": dict(total) if scope.counted else None,
        "units_passed": passed if scope.counted else None,
        "units_not_passed": total.total() - passed if scope.counted else None,
        "batches": [_share(share, counted=scope.counted) for share in scope.shares],
        "timeline": [_moment(moment) for moment in scope.timeline],
    }


def write_scope(scope: Scope, file: TextIO) -> None:
    """Write a scope with all its units as one JSON document."""
    head = json.dumps(scope_document(scope), indent=2, ensure_ascii=False)
    file.write(head.removesuffix("\n}") + ',\n  "units": [')
    for index, line in enumerate(scope.list_units()):
        file.write(",\n    " if index else "\n    ")
        file.write(json.dumps(unit_document(line), ensure_ascii=False))
    file.write("\n  ]\n}\n")


def write_csv(scope: Scope, file: TextIO) -> int:
    """Write all units of a scope, a head line before them; return how many."""
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    count = 0
    for line in scope.list_units():
        writer.writerow(_row(line))
        count += 1
    return count


def unit_document(line: UnitLine) -> dict[str, Any]:
    """Return one unit of a scope."""
    return {name: getattr(line, name) for name in COLUMNS if hasattr(line, name)} | {
        "recorded_utc": utc_text(line.recorded_wall_ns)
    }


def _row(line: UnitLine) -> dict[str, Any]:
    return unit_document(line) | {"passed": "yes" if line.passed else "no"}


def _share(share: Share, *, counted: bool) -> dict[str, Any]:
    batch = asdict(share.batch)
    return {
        **batch,
        "opened_utc": utc_text(share.batch.opened_wall_ns),
        "closed_utc": utc_text(share.batch.closed_wall_ns),
        "units_by_outcome": share.counts if counted else None,
        "units_passed": share.passed if counted else None,
        "units_not_passed": share.units - share.passed if counted else None,
        "counted_from": share.counted if counted else None,
        "alarms": share.alarms,
    }


def _moment(moment: Moment) -> dict[str, Any]:
    return {"utc": utc_text(moment.wall_ns)} | asdict(moment)


def every_line(scope: Scope, limit: int) -> Iterator[UnitLine]:
    """Yield at most `limit` units of a scope."""
    for index, line in enumerate(scope.list_units()):
        if index >= limit:
            return
        yield line
