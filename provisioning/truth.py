"""What really happened, from the box's own log, against what the ledger says (docs/interfaces/report-v1.schema.json).

The log and the ledger share no number that the daemon could have made up: a frame is the camera's own frame id and
device time, a unit is the PLC's epoch, lane and number. Pure apart from the two readers.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.units import Outcome, Reason, Verdict

JUDGED = {Reason.NONE.value, Reason.DEFECT.value, Reason.DOUBTFUL.value}
RELEASED = {Outcome.ACCEPTED.value, Outcome.QUARANTINED.value, Outcome.ESCAPED.value}
PASSED = "pass"
TRUTH_VERSION = 1

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
    """One glass body: its defects, where it physically ended, and whether it passed the gate without a permit."""

    defects: tuple[str, ...]
    end: str
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class PermitSeen:
    """The PLC scan that first saw a unit's permit, and the unit's last view edge; CLOCK_MONOTONIC ns of the box."""

    last_edge_ns: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The box's log. A unit without a vial is a phantom of the eye; `pool` is the key of the pictures shown."""

    exposures: Mapping[FrameId, Exposure]
    vials: Mapping[int, Vial]
    units: Mapping[UnitKey, int]
    permits: Mapping[UnitKey, PermitSeen]
    pool: str = ""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """One frame that a unit's verdict stands on."""

    frame: FrameId
    digest: str


@dataclass(frozen=True, slots=True)
class LedgerUnit:
    """One row of the ledger with its views."""

    key: UnitKey
    outcome: str
    verdict: str
    reason: str
    permit_ns: int
    views: tuple[LedgerView, ...]


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
    released = {truth.units.get(unit.key, 0) for unit in units if unit.outcome in RELEASED}
    return Judgement(
        missed_defects=tuple(u.key for u in units if u.outcome == Outcome.ACCEPTED and _defects(truth, u)),
        false_rejects=tuple(u.key for u in units if _rejected_by_model(u) and _is_good(truth, u)),
        misbound=tuple(u.key for u in units if u.reason in JUDGED and not all(_fits(truth, u, v) for v in u.views)),
        escaped=tuple(n for n, vial in truth.vials.items() if vial.escaped),
        passed_not_released=tuple(n for n, vial in truth.vials.items() if vial.end == PASSED and n not in released),
    )


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
                "SELECT epoch, lane, number, outcome, verdict, reason, permit_ns FROM unit WHERE batch = ?"
                " ORDER BY epoch, lane, number",
                (batch,),
            ).fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise TruthError(f"{path}: not a readable ledger: {error}") from error
    return [_unit(row, views) for row in rows]


def _unit(row: tuple[Any, ...], views: Mapping[UnitKey, list[LedgerView]]) -> LedgerUnit:
    epoch, lane, number, outcome, verdict, reason, permit_ns = row
    key = (epoch, lane, number)
    return LedgerUnit(key, outcome, verdict, reason, permit_ns, tuple(views.get(key, ())))


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
            vials={v["vial"]: Vial(tuple(v["defects"]), v["end"], v["escaped"]) for v in document["vials"]},
            units={_key(u): u["vial"] for u in document["units"]},
            permits={
                _key(u): PermitSeen(u["last_edge_ns"], u["permit_ns"]) for u in document["units"] if u["permit_ns"]
            },
            pool=document["run"]["pool"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TruthError(f"{path}: not the box's log: {error!r}") from error


def _key(unit: Mapping[str, Any]) -> UnitKey:
    epoch, lane, number = unit["unit"]
    return epoch, lane, number


def _exposures(document: Mapping[str, Any]) -> dict[FrameId, Exposure]:
    pictures: Mapping[str, Sequence[str]] = document["pictures"]
    return {
        (e["camera"], e["frame_id"], e["device_ts"]): Exposure(e["vial"], pictures[e["camera"]][e["picture"]])
        for e in document["exposures"]
    }
