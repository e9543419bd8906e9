"""What really happened, from the box's own log, against what the ledger says (docs/interfaces/report-v1.schema.json).

The log and the ledger share no number that the daemon could have made up: a frame is the camera's own frame id and
device time, a unit is the PLC's epoch, lane and number. Pure apart from the two readers.
"""

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from daemon.units import Outcome, Reason, Verdict

JUDGED = {Reason.NONE.value, Reason.DEFECT.value, Reason.DOUBTFUL.value, Reason.LIGHT.value}
RELEASED = {Outcome.ACCEPTED.value, Outcome.QUARANTINED.value, Outcome.ESCAPED.value}
PASSED = "pass"
TRUTH_VERSION = 1
NO_EPOCH = 0
SAME_EDGE_NS = 2_000_000

FrameId = tuple[str, int, int]
UnitKey = tuple[int, int, int]


class TruthError(Exception):
    """The box's log or the ledger cannot be read; the text names the file."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one frame showed: the vial before the lens (0 = none) and the sha256 of the picture's pixels."""

    vial: int
    digest: str


@dataclass(frozen=True, slots=True)
class Vial:
    """One glass body: its defects, where it physically ended, and whether it passed the gate without a permit.

    `taken`: a person took it out by hand, on the belt or behind the pass eye.
    """

    defects: tuple[str, ...]
    end: str
    escaped: bool = False
    entered_ns: int = 0
    taken: bool = False


@dataclass(frozen=True, slots=True)
class PermitSeen:
    """The PLC scan that first saw a unit's permit, and the unit's last view edge; CLOCK_MONOTONIC ns of the box."""

    last_edge_ns: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The box's log. A unit without a vial is a phantom of the eye; `pool` is the key of the pictures shown.

    `unnumbered`: the machine has no PLC and knows no unit numbers; `joined` finds each unit's vial by the infeed edge.
    """

    exposures: Mapping[FrameId, Exposure]
    vials: Mapping[int, Vial]
    units: Mapping[UnitKey, int]
    permits: Mapping[UnitKey, PermitSeen]
    pool: str = ""
    unnumbered: bool = False


@dataclass(frozen=True, slots=True)
class LedgerView:
    """One frame that a unit's verdict stands on."""

    frame: FrameId
    digest: str


@dataclass(frozen=True, slots=True)
class LedgerUnit:
    """One row of the ledger with its views; `created_ns` from its own row or its permit's, else 0."""

    key: UnitKey
    outcome: str
    verdict: str
    reason: str
    permit_ns: int
    views: tuple[LedgerView, ...]
    created_ns: int = 0
    permitted: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """The report's `truth`, with the units behind each number, named for whoever has to look into it.

    `passed_not_released`: vials past the gate that the ledger calls neither accepted, quarantined nor escaped.
    """

    missed_defects: tuple[UnitKey, ...]
    false_rejects: tuple[UnitKey, ...]
    misbound: tuple[UnitKey, ...]
    escaped: tuple[int, ...]
    passed_not_released: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """Return the counts, and up to ten names of each."""
        named = {
            "missed_defects": [_name(key) for key in self.missed_defects],
            "false_rejects": [_name(key) for key in self.false_rejects],
            "misbound": [_name(key) for key in self.misbound],
            "escaped": [f"vial {vial}" for vial in self.escaped],
            "passed_not_released": [f"vial {vial}" for vial in self.passed_not_released],
        }
        return {name: len(found) for name, found in named.items()} | {
            "named": {name: found[:10] for name, found in named.items() if found}
        }


def judge(truth: Truth, ledger: Iterable[LedgerUnit]) -> Judgement:
    """Compare the ledger of a batch with what really happened."""
    units = list(ledger)
    truth = joined(truth, units) if truth.unnumbered else truth
    released = {truth.units.get(unit.key, 0) for unit in units if unit.outcome in RELEASED}
    return Judgement(
        missed_defects=tuple(u.key for u in units if u.outcome == Outcome.ACCEPTED and _defects(truth, u)),
        false_rejects=tuple(u.key for u in units if _rejected_by_model(u) and _is_good(truth, u)),
        misbound=tuple(u.key for u in units if u.reason in JUDGED and not all(_fits(truth, u, v) for v in u.views)),
        escaped=tuple(n for n, vial in truth.vials.items() if vial.escaped),
        passed_not_released=tuple(
            n for n, vial in truth.vials.items() if vial.end == PASSED and not vial.taken and n not in released
        ),
    )


def joined(truth: Truth, ledger: Sequence[LedgerUnit]) -> Truth:
    """Return the truth with the device's unit numbers: a unit is the vial that tripped the infeed eye when it was made.

    A vial that passed has escaped unless the ledger holds a permit of its unit.
    """
    entered = sorted((vial.entered_ns, number) for number, vial in truth.vials.items())
    vials = {unit.key: _vial_at(entered, unit.created_ns) for unit in ledger if unit.created_ns}
    permitted = {vials[unit.key] for unit in ledger if unit.permitted and unit.key in vials}
    return replace(
        truth,
        units=vials,
        vials={
            number: replace(vial, escaped=vial.end == PASSED and number not in permitted)
            for number, vial in truth.vials.items()
        },
    )


def _vial_at(entered: Sequence[tuple[int, int]], at_ns: int) -> int:
    """Return the vial that entered at that time, 0 for none."""
    index = bisect_left(entered, (at_ns - SAME_EDGE_NS, 0))
    close = index < len(entered) and entered[index][0] - at_ns <= SAME_EDGE_NS
    return entered[index][1] if close else 0


def _defects(truth: Truth, unit: LedgerUnit) -> tuple[str, ...]:
    vial = truth.vials.get(truth.units.get(unit.key, 0))
    return vial.defects if vial else ("no vial",)


def _is_good(truth: Truth, unit: LedgerUnit) -> bool:
    return not _defects(truth, unit)


def _rejected_by_model(unit: LedgerUnit) -> bool:
    return unit.verdict != Verdict.ACCEPT and unit.reason in (Reason.DEFECT, Reason.DOUBTFUL)


def _fits(truth: Truth, unit: LedgerUnit, view: LedgerView) -> bool:
    """True when the frame is one the camera made, of this unit's vial, and its pixels are what stood there."""
    exposure = truth.exposures.get(view.frame)
    vial = truth.units.get(unit.key, 0)
    return exposure is not None and vial != 0 and exposure.vial == vial and exposure.digest == view.digest


def _name(key: UnitKey) -> str:
    return ".".join(map(str, key))


def read_ledger(path: Path, batch: str) -> list[LedgerUnit]:
    """Return the units of a batch.

    Raises:
        TruthError: not a ledger.
    """
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            views = _views(database)
            rows = database.execute(
                "SELECT u.epoch, u.lane, u.number, outcome, u.verdict, reason, u.permit_ns,"
                " coalesce(nullif(u.created_ns, 0), p.created_ns, 0), p.number IS NOT NULL"
                " FROM unit AS u LEFT JOIN permit AS p USING (epoch, lane, number) WHERE u.batch = ?"
                " ORDER BY u.epoch, u.lane, u.number",
                (batch,),
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise TruthError(f"{path}: not a readable ledger: {error}") from error
    return [_unit(row, views) for row in rows]


def _unit(row: tuple[Any, ...], views: Mapping[UnitKey, list[LedgerView]]) -> LedgerUnit:
    epoch, lane, number, outcome, verdict, reason, permit_ns, created_ns, permitted = row
    key = (epoch, lane, number)
    seen = tuple(views.get(key, ()))
    return LedgerUnit(key, outcome, verdict, reason, permit_ns, seen, created_ns, bool(permitted))


def _views(database: sqlite3.Connection) -> dict[UnitKey, list[LedgerView]]:
    found: dict[UnitKey, list[LedgerView]] = {}
    query = "SELECT epoch, lane, number, frame_camera, frame_id, device_ts, pixel_digest FROM unit_view"
    for epoch, lane, number, camera, frame_id, device_ts, digest in database.execute(query):
        found.setdefault((epoch, lane, number), []).append(LedgerView((camera, frame_id, device_ts), digest))
    return found


def read_truth(path: Path) -> Truth:
    """Return the box's log (docs/interfaces/truth.md).

    Raises:
        TruthError: unreadable, another version, or a key is missing.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["truth_version"] != TRUTH_VERSION:
            raise TruthError(f"{path}: truth version {document['truth_version']}, {TRUTH_VERSION} is read here")
        return Truth(
            exposures=_exposures(document),
            vials={v["vial"]: _vial(v) for v in document["vials"]},
            units={_key(u): u["vial"] for u in document["units"]},
            permits={
                _key(u): PermitSeen(u["last_edge_ns"], u["permit_ns"]) for u in document["units"] if u["permit_ns"]
            },
            pool=document["run"]["pool"],
            unnumbered=any(u["unit"][0] == NO_EPOCH for u in document["units"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TruthError(f"{path}: not the box's log: {error!r}") from error


def _key(unit: Mapping[str, Any]) -> UnitKey:
    epoch, lane, number = unit["unit"]
    return epoch, lane, number


def _vial(entry: Mapping[str, Any]) -> Vial:
    return Vial(tuple(entry["defects"]), entry["end"], entry["escaped"], entry["entered_ns"], entry.get("taken", False))


def _exposures(document: Mapping[str, Any]) -> dict[FrameId, Exposure]:
    pictures: Mapping[str, Sequence[str]] = document["pictures"]
    return {
        (e["camera"], e["frame_id"], e["device_ts"]): Exposure(e["vial"], pictures[e["camera"]][e["picture"]])
        for e in document["exposures"]
    }
