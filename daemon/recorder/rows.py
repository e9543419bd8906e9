"""Messages as rows of the ledger: digests, column values, and when a second row agrees with a stored one."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.messages import AlarmRow, GapRow, PermitRow, PlcTotals, UnitRow
from daemon.recorder.batch import RELEASED
from daemon.records import ArchivedRow, AuditRow, BatchOpened, EvidenceRow, Row, SubLotOpened
from daemon.units import JudgedView, Outcome, Stages, UnitId, Verdict

Values = tuple[Any, ...]

STAGES = tuple(field.name for field in msgspec.structs.fields(Stages))
FROM_PLC = "plc"
SMALLEST, LARGEST = -(2**63), 2**63 - 1

_canonical = msgspec.msgpack.Encoder(order="deterministic")
_json = msgspec.json.Encoder(order="deterministic")
_views = msgspec.json.Decoder(list[JudgedView])


@dataclass(frozen=True, slots=True)
class Received:
    """One received row: from which process and life (or the recorder's own), while which batch was open."""

    session: int
    row: Row
    batch: str
    origin: str = "line"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that contradicts the ledger and was kept in `conflict`."""

    received: Received
    why: str


def digest(row: Row) -> bytes:
    """Return the sha256 of the row without its sequence number."""
    return hashlib.sha256(_canonical.encode(msgspec.structs.replace(row, seq=0))).digest()


def as_json(row: Row) -> str:
    """Return the row as JSON text."""
    return _json.encode(row).decode()


def unit_values(row: UnitRow) -> Values:
    """Columns epoch … closed_ns of table unit."""
    fixed = (*msgspec.structs.astuple(row.unit), row.batch, row.configuration, row.outcome.value, row.verdict.value)
    return (
        *(*fixed, row.reason.value, row.channel.value, row.defect, row.source, row.bundle, row.plc_flags, row.encoder),
        *msgspec.structs.astuple(row.stages),
    )


def view_values(unit: UnitId, position: int, view: JudgedView) -> Values:
    """Columns of table unit_view."""
    return (
        *(*msgspec.structs.astuple(unit), position, *msgspec.structs.astuple(view.view)),
        *msgspec.structs.astuple(view.key),
        *(view.device_ts, view.digest, _json.encode(view.scores).decode()),
    )


def permit_values(row: PermitRow) -> Values:
    """Columns epoch … closed_ns of table permit."""
    fixed = (*msgspec.structs.astuple(row.unit), row.batch, row.configuration, row.verdict.value, row.bundle)
    return (*fixed, _json.encode(row.views).decode(), *msgspec.structs.astuple(row.stages))


def permit_row(values: Values) -> PermitRow:
    """Return the message of which `values` are the columns epoch … closed_ns; its seq is 0."""
    epoch, lane, number, batch, configuration, verdict, bundle, views, *stages = values
    unit, judged = UnitId(epoch, lane, number), _views.decode(views)
    return PermitRow(0, unit, batch, configuration, Verdict(verdict), judged, bundle, Stages(*stages))


def alarm_values(received: Received, row: AlarmRow) -> Values:
    """Columns origin … batch of table alarm."""
    unit = msgspec.structs.astuple(row.unit) if row.unit else (None, None, None)
    return (received.origin, received.session, row.seq, row.at_ns, row.code, row.text, row.state, *unit, received.batch)


def gap_values(received: Received, row: GapRow) -> Values:
    """Columns session … batch of table gap."""
    return (received.session, row.seq, row.epoch, row.lane, row.first, row.last, row.cause, received.batch)


def totals_values(received: Received, row: PlcTotals) -> Values:
    """Columns batch … diverted_before of table plc_totals.

    What the epoch counted before the batch is its count less the batch's own numbers; the smallest found is kept,
    because a unit may be counted a moment before its number is read.
    """
    known = row.last - row.first + 1 if row.first else 0
    before = (row.created - known, row.passed, row.diverted) if row.created > known else (0, 0, 0)
    counts = (row.created, row.passed, row.diverted, row.first, row.last)
    return (received.batch, row.epoch, row.lane, received.session, row.seq, *counts, *before)


def audit_values(received: Received, row: AuditRow) -> Values:
    """Columns origin … batch of table audit."""
    act = (row.what, row.who, row.role, row.why, row.old, row.new, row.signature, int(row.done), row.answer)
    return (received.origin, received.session, row.seq, row.at_ns, *act, received.batch)


def evidence_values(received: Received, row: EvidenceRow) -> Values:
    """Columns epoch … seq of table evidence."""
    view = (row.view.camera, row.view.region, row.view.shot)
    image = (row.digest, row.state.value, row.why, row.bytes, received.batch)
    return (*msgspec.structs.astuple(row.unit), *view, *image, received.session, row.seq)


def archived_values(row: ArchivedRow) -> Values:
    """Columns target … root of table archived."""
    return (row.target, row.size, row.images, row.root)


def opened_values(row: BatchOpened) -> Values:
    """Columns id … since_epoch and plan of table batch, in the order of the struct."""
    return msgspec.structs.astuple(row)[1:]


def sublot_values(row: SubLotOpened) -> Values:
    """Columns batch … reason of table sublot, in the order of the struct."""
    return msgspec.structs.astuple(row)[1:]


def fits(view: JudgedView) -> bool:
    """True when every integer of a view can be a column."""
    numbers = (view.view.region, view.view.shot, view.key.session, view.key.frame_id, view.device_ts)
    return all(SMALLEST <= number <= LARGEST for number in numbers)


def storable(unit: UnitId) -> bool:
    """True when every number of a unit's name can be a column."""
    return all(SMALLEST <= number <= LARGEST for number in msgspec.structs.astuple(unit))


def finite(views: Sequence[JudgedView]) -> bool:
    """True when every score can be written down as a number."""
    return all(math.isfinite(score) for view in views for score in view.scores.values())


def agrees(row: Row, stored_outcome: str) -> bool:
    """True when a row read from the PLC's ring says of a unit already on record that it went the same way.

    A restarted line reads units from the ring whose rows were stored before it died (DESIGN section 3).
    """
    if not isinstance(row, UnitRow) or row.source != FROM_PLC:
        return False
    return (row.outcome in RELEASED) == (Outcome(stored_outcome) in RELEASED)
