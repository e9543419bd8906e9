"""What the ledger says about the verdicts that are to be played again: the units, and the documents pinned for them."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from daemon.config import configuration_digest
from daemon.units import Channel, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict, ViewKey
from provisioning.errors import CommandFailed
from provisioning.trace import named

_UNIT = """SELECT epoch, lane, number, batch, configuration, outcome, verdict, reason, channel, defect, source, bundle,
  plc_flags, encoder FROM unit WHERE"""
_VIEWS = """SELECT camera, region, shot, frame_camera, frame_session, frame_id, device_ts, pixel_digest, scores
FROM unit_view WHERE (epoch, lane, number) = (?, ?, ?) ORDER BY position"""
_PINS = """SELECT id, station, bundle, recipe, register_map, release, plan, configuration FROM batch WHERE id = ?
UNION ALL SELECT * FROM (SELECT b.id, b.station, s.bundle, s.recipe, b.register_map, b.release, s.plan, s.configuration
  FROM sublot AS s JOIN batch AS b ON b.id = s.batch WHERE b.id = ? ORDER BY s.number)"""

ONE = "(epoch, lane, number) = (?, ?, ?)"
SLICE = 256

_scores = msgspec.json.Decoder(dict[str, float])


class ReplayRefused(CommandFailed):
    """There is nothing to replay, or not with these documents; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Pins:
    """What a batch was opened with, or a sub-lot of it began with."""

    batch: str
    station: str
    bundle: str
    recipe: str
    register_map: str
    release: str
    plan: str
    configuration: str


@dataclass(frozen=True, slots=True)
class RecordedUnit:
    """One unit row and the views behind it, as they were recorded."""

    unit: UnitId
    batch: str
    configuration: str
    outcome: Outcome
    verdict: Verdict
    reason: Reason
    channel: Channel
    defect: str
    source: str
    bundle: str
    plc_flags: int
    encoder: int
    views: tuple[JudgedView, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for: a whole batch, or one unit of it. `lots`: what each configuration in it pins."""

    lots: tuple[Pins, ...]
    unit: UnitId | None
    units: int

    @property
    def pins(self) -> Pins:
        """What the batch was opened with."""
        return self.lots[0]


def scope_of(db: sqlite3.Connection, text: str) -> Scope:
    """Return the batch of that id ("" = the newest), or the unit of that number or epoch.lane.number (the newest).

    Raises:
        ReplayRefused: no such batch, or the unit belongs to none.
        UnknownToLedger: no such unit.
    """
    text = text or _newest(db)
    lots = _pins(db, text)
    if lots:
        count = db.execute("SELECT count(*) FROM unit WHERE batch = ?", (text,)).fetchone()[0]
        return Scope(lots, None, int(count))
    if not text[:1].isdecimal():
        raise ReplayRefused(f"no batch {text!r} on record; name a batch, or a unit by its number")
    unit = named(db, text)[0]
    row = next(_rows(db, ONE, msgspec.structs.astuple(unit)), None)
    lots = _pins(db, row.batch) if row else ()
    if not lots or row is None:
        raise ReplayRefused(f"unit {unit} belongs to no batch: which recipe judged it is not on record")
    own = tuple(pins for pins in lots if pins.configuration == row.configuration)
    return Scope(own[:1] or lots, unit, 1)


def units_of(db: sqlite3.Connection, scope: Scope) -> Iterator[RecordedUnit]:
    """Yield the units of a scope, in order of epoch, lane and number.

    Raises:
        ReplayRefused: a unit's row pins something else than its batch and its sub-lots.
    """
    pins = scope.pins
    for lot in scope.lots:
        text = (lot.station, lot.bundle, lot.recipe, lot.register_map, lot.release, lot.plan)
        if configuration_digest(*text) != lot.configuration:
            raise ReplayRefused(f"batch {pins.batch}: its documents are not those of its configuration: altered?")
    bundles = {lot.configuration: lot.bundle for lot in scope.lots}
    for row in _sliced(db, pins.batch) if scope.unit is None else _rows(db, ONE, msgspec.structs.astuple(scope.unit)):
        if row.configuration not in bundles or (row.views and row.bundle != bundles[row.configuration]):
            raise ReplayRefused(f"unit {row.unit}: judged by another configuration than batch {pins.batch} pins")
        yield row


def _sliced(db: sqlite3.Connection, batch: str) -> Iterator[RecordedUnit]:
    """Read a batch in slices, so that a replay of an hour does not hold up the recorder."""
    after: tuple[int, ...] = (-1, -1, -1)
    where = "batch = ? AND (epoch, lane, number) > (?, ?, ?) ORDER BY epoch, lane, number LIMIT ?"
    while found := list(_rows(db, where, (batch, *after, SLICE))):
        yield from found
        after = msgspec.structs.astuple(found[-1].unit)


def _rows(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Iterator[RecordedUnit]:
    for epoch, lane, number, *rest in db.execute(f"{_UNIT} {where}", values):
        batch, configuration, outcome, verdict, reason, channel, defect, source, bundle, flags, encoder = rest
        yield RecordedUnit(
            UnitId(epoch, lane, number),
            batch,
            configuration,
            Outcome(outcome),
            Verdict(verdict),
            Reason(reason),
            Channel(channel),
            defect,
            source,
            bundle,
            flags,
            encoder,
            tuple(_view(found) for found in db.execute(_VIEWS, (epoch, lane, number))),
        )


def _view(row: tuple[str, int, int, str, int, int, int, str, str]) -> JudgedView:
    camera, region, shot, frame_camera, session, frame_id, device_ts, digest, scores = row
    key = FrameKey(frame_camera, session, frame_id)
    return JudgedView(ViewKey(camera, region, shot), key, device_ts, digest, _scores.decode(scores))


def _newest(db: sqlite3.Connection) -> str:
    found = db.execute("SELECT id FROM batch ORDER BY rowid DESC LIMIT 1").fetchone()
    if not found:
        raise ReplayRefused("no batch is on record: nothing to replay")
    return str(found[0])


def _pins(db: sqlite3.Connection, batch: str) -> tuple[Pins, ...]:
    """Return what a batch and its sub-lots pin, each configuration once; nothing for an unknown batch."""
    found = [Pins(*row) for row in db.execute(_PINS, (batch, batch))]
    return tuple({lot.configuration: lot for lot in reversed(found)}.values())[::-1]
