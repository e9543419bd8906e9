"""What a candidate in shadow came to: the paired counts of each line, their test, and the disagreements to look at."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import msgspec

from daemon.ledger_file import LEDGER
from daemon.shadow_file import (
    Counts,
    Disagreement,
    Round,
    ShadowUnreadable,
    candidates,
    frame_file,
    read_counts,
    read_disagreements,
    read_standing,
)
from daemon.units import Verdict
from provisioning.asking import asking
from provisioning.errors import CommandFailed
from provisioning.pictures import SHOWN, Preview, drawn, frame_of, sheet, spread, tile
from provisioning.shadow_statistics import ALPHA, paired

NOT_TRUTH = (
    "The active pair is not the truth: where the two disagree either may be wrong, and where they agree both may be. "
    "A person looks at the disagreements before anybody believes the candidate."
)
SHEET, DOCUMENT = "disagreements.png", "shadow.json"
ROW = "SELECT batch, recorded_wall_ns, clock FROM unit WHERE (epoch, lane, number) = (?, ?, ?)"


class ShadowReportFailed(CommandFailed):
    """What lies in the state folder cannot be read."""


def gathered(state: Path, named: bool | None) -> dict[str, Any]:
    """Return the report on all candidates of a state folder.

    Args:
        named: whether the station file names a candidate now, None where there is none to ask.

    Raises:
        ShadowReportFailed: a file is damaged.
    """
    try:
        standing = read_standing(state)
        found = [(folder, read_counts(folder), read_disagreements(folder)) for folder in candidates(state)]
    except ShadowUnreadable as error:
        raise ShadowReportFailed(str(error)) from error
    status = {"phase": standing.phase.value, "text": standing.text, "at": _utc(standing.at_ns)} if standing else None
    rounds = [
        _round(counts, one, [row for row in rows if (row.bundle, row.recipe) == (one.bundle, one.recipe)], folder)
        for folder, counts, rows in found
        for one in counts.rounds
    ]
    return {"named": named, "status": status, "alpha": ALPHA, "note": NOT_TRUTH, "rounds": rounds}


def with_records(document: Mapping[str, Any], state: Path) -> dict[str, Any]:
    """Return the report with batch, time and quality of the clock of each disagreement, as far as the ledger has them.

    Raises:
        LedgerUnreadable: it cannot be read.
    """
    if not (state / LEDGER).exists():
        return dict(document)
    with asking(state) as db:

        def known(unit: Mapping[str, Any]) -> dict[str, Any]:
            row = db.execute(ROW, tuple(int(part) for part in unit["unit"].split("."))).fetchone()
            return {**unit, **({"batch": row[0], "recorded": _utc(row[1]), "clock": row[2]} if row else {})}

        rounds = [
            {**one, "disagreements": [known(unit) for unit in one["disagreements"]]} for one in document["rounds"]
        ]
    return {**document, "rounds": rounds}


def contact_sheet(state: Path) -> bytes | None:
    """Return the newest disagreements whose frames are kept on one page as PNG, None where there are none."""
    tiles = []
    for preview in spread(list(_previews(state)))[:SHOWN]:
        frame = frame_of(preview)
        if frame is not None:
            tiles.append(tile(drawn(preview, frame), preview))
    return cv2.imencode(".png", sheet(tiles))[1].tobytes() if tiles else None


def _previews(state: Path) -> Iterator[Preview]:
    for folder in candidates(state):
        for row in reversed(read_disagreements(folder)):
            for sight in row.sights if row.kept else ():
                path = frame_file(folder, sight.digest)
                if path.exists():
                    yield Preview(str(row.unit), sight.view.camera, _who(row), "", path)


def _who(row: Disagreement) -> str:
    """Say in a few letters who rejects and for what."""
    who, said = ("active", row.active) if row.candidate.verdict is Verdict.ACCEPT else ("cand.", row.candidate)
    return f"{who}: {said.defect or said.reason}"


def _round(counts: Counts, one: Round, rows: Sequence[Disagreement], folder: Path) -> dict[str, Any]:
    both, neither = one.count(active=True, candidate=True), one.count(active=False, candidate=False)
    fewer, more = one.count(active=False, candidate=True), one.count(active=True, candidate=False)
    units = both + neither + fewer + more
    offered = units + one.incomplete + one.dropped
    test = paired(fewer, more)
    return {
        "station": counts.station,
        "candidate": {"name": counts.bundle_name, "bundle": counts.bundle, "recipe": counts.recipe,
                      "recipe_name": counts.recipe_name},
        "active": {"bundle": one.bundle, "recipe": one.recipe},
        "since": _utc(one.since_ns),
        "until": _utc(one.until_ns),
        "units": units,
        "both_accept": both,
        "both_reject": neither,
        "only_active_rejects": fewer,
        "only_candidate_rejects": more,
        "candidate_undecided": one.undecided,
        "verdicts": one.pairs,
        "agreement": (both + neither) / units if units else None,
        "not_compared": one.incomplete,
        "dropped": one.dropped,
        "dropped_share": one.dropped / offered if offered else None,
        "e_value": test.e_value,
        "mcnemar_p": test.mcnemar_p,
        "decision": test.decision.value,
        "more_pairs_needed": test.needed,
        "folder": str(folder),
        "disagreements": [_listed(row) for row in rows],
    }  # fmt: skip


def _listed(row: Disagreement) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(row)
    return {**told, "unit": str(row.unit), "at": _utc(row.at_ns)}


def _utc(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
