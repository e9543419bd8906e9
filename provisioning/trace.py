"""The story of one unit, from the ledger alone: what was seen, decided and done, by whom, and what rang around it.

Everything is read; nothing is judged again. Stage times are CLOCK_MONOTONIC; on the common timeline they stand where
the moment of recording puts them, which is late by at most the time of a group commit.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from daemon.ledger_file import confirmed
from daemon.records import Kept
from daemon.units import Outcome, UnitId
from provisioning import ledger_search
from provisioning.errors import CommandFailed
from provisioning.ledger_search import Window
from provisioning.timeline import SECOND_NS, Moment, in_order, rows_of, surroundings

AROUND_NS = 30 * SECOND_NS
NO_KEEPING = "not kept"
NOT_RECORDED = "not recorded"
PASSED = frozenset({Outcome.ACCEPTED, Outcome.QUARANTINED, Outcome.ESCAPED})
STAGES = (
    ("created_to_trigger", "created_ns", "last_edge_ns"),
    ("trigger_to_frame", "last_edge_ns", "frame_ns"),
    ("frame_to_inferred", "frame_ns", "inferred_ns"),
    ("frame_to_verdict", "frame_ns", "judged_ns"),
    ("verdict_to_permit", "judged_ns", "permit_ns"),
    ("trigger_to_permit", "last_edge_ns", "permit_ns"),
    ("permit_to_closed", "permit_ns", "closed_ns"),
)
STATIONS = (
    ("created_ns", "the PLC created it"),
    ("last_edge_ns", "last camera trigger"),
    ("frame_ns", "last frame here"),
    ("judged_ns", "verdict"),
    ("permit_ns", "permit written"),
    ("closed_ns", "past the gate, closed"),
)

_scores = msgspec.json.Decoder(dict[str, float])
_permitted = msgspec.json.Decoder(list[dict[str, Any]])


class UnknownToLedger(CommandFailed):
    """The ledger holds nothing of what was asked for; the text says what it does hold."""


@dataclass(frozen=True, slots=True)
class Look:
    """One view of a unit: the frame that was judged and what became of its image."""

    view: str
    frame: str
    device_ts: int
    digest: str
    scores: dict[str, float]
    image: str
    image_why: str
    image_entry: int


@dataclass(frozen=True, slots=True)
class Story:
    """One unit. `row`, `permit`, `batch`: columns of the ledger, None where there is no row. `archived` None: unknown,
    for the row is older than the trail."""

    unit: UnitId
    row: dict[str, Any] | None
    permit: dict[str, Any] | None
    gap: str
    batch: dict[str, Any] | None
    looks: list[Look]
    stages_ms: dict[str, float]
    archived: bool | None
    refused: list[str]
    others: list[str]
    timeline: list[Moment] = field(default_factory=list)

    @property
    def passed(self) -> bool | None:
        """Whether it went past the gate; None while that is not on record."""
        return self.row["outcome"] in PASSED if self.row else None


def candidates(db: sqlite3.Connection, number: int) -> list[UnitId]:
    """Return the units of that number, newest on record first; those that have a permit and no row yet count too."""
    found = []
    for epoch, lane in ledger_search.lanes(db):
        unit = UnitId(epoch, lane, number)
        rows = [_rowid(db, table, unit) for table in ("unit", "permit")]
        if any(rows):
            found.append((max(rows), unit))
    return [unit for _, unit in sorted(found, reverse=True)]


def named(db: sqlite3.Connection, text: str) -> list[UnitId]:
    """Return the units that `17` or `1.0.17` can mean, the newest first.

    Raises:
        UnknownToLedger: not a unit's name, or none of that name.
    """
    parts = text.split(".")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and len(part) <= 18 for part in parts):
        raise UnknownToLedger(f"{text!r} is not a unit: give its number, or epoch.lane.number as in 2.0.17")
    if len(parts) == 3:
        return [UnitId(*map(int, parts))]
    if found := candidates(db, int(text)):
        return found
    raise UnknownToLedger(f"no unit {text} is on record; {_known(db)}")


def story(db: sqlite3.Connection, unit: UnitId, others: Sequence[UnitId] = ()) -> Story:
    """Return everything on record about one unit.

    Raises:
        UnknownToLedger: no row, permit or gap names it.
    """
    row, permit = (_one(db, f"SELECT * FROM {table} WHERE {_ID}", unit) for table in ("unit", "permit"))
    gap = _gap(db, unit)
    source = row or permit
    if source is None and not gap:
        raise UnknownToLedger(f"no unit {unit} is on record; {_known(db)}")
    batch = _batch(db, source["batch"], source["configuration"], (permit or source)["entry"]) if source else None
    found = Story(
        unit=unit,
        row=row,
        permit=permit,
        gap=gap,
        batch=batch,
        looks=_looks(db, unit, permit, recorded=bool(source and source["entry"])),
        stages_ms=stages_ms(row or permit or {}),
        archived=_archived(db, row),
        refused=_refused(db, unit),
        others=[str(other) for other in others],
    )
    found.timeline.extend(_timeline(db, found))
    return found


def stages_ms(row: dict[str, Any]) -> dict[str, float]:
    """Return the length of each stage that happened, in ms."""
    return {
        name: round((row[end] - row[begin]) / 1e6, 3) for name, begin, end in STAGES if row.get(begin) and row.get(end)
    }


_LOT = "number AS sublot, bundle, recipe, bundle_name, recipe_name, plan, configuration, signer, signed_utc, why"
_ID = "epoch = ? AND lane = ? AND number = ?"


def _rowid(db: sqlite3.Connection, table: str, unit: UnitId) -> int:
    found = db.execute(f"SELECT rowid FROM {table} WHERE {_ID}", (unit.epoch, unit.lane, unit.number)).fetchone()
    return int(found[0]) if found else 0


def _one(db: sqlite3.Connection, sql: str, unit: UnitId) -> dict[str, Any] | None:
    rows = rows_of(db, sql, (unit.epoch, unit.lane, unit.number))
    return rows[0] if rows else None


def _known(db: sqlite3.Connection) -> str:
    newest = db.execute("SELECT epoch, lane, number FROM unit ORDER BY rowid DESC LIMIT 1").fetchone()
    return f"the newest is {UnitId(*newest)}" if newest else "no unit is on record yet"


def _gap(db: sqlite3.Connection, unit: UnitId) -> str:
    sql = "SELECT first, last, cause FROM gap WHERE epoch = ? AND lane = ? AND ? BETWEEN first AND last"
    row = db.execute(sql, (unit.epoch, unit.lane, unit.number)).fetchone()
    return f"in the gap {row[0]}-{row[1]}: {row[2]}" if row else ""


def _batch(db: sqlite3.Connection, name: str, configuration: str, entry: int) -> dict[str, Any] | None:
    """Return the batch with the documents of the sub-lot that a configuration names; `sublot` 0: the batch has none.

    A pair that came back has one configuration in several sub-lots: then it is the newest that began before `entry`.
    """
    rows = rows_of(db, "SELECT * FROM batch WHERE id = ?", (name,))
    if not rows:
        return None
    own = {"sublot": 1 if rows_of(db, "SELECT 1 FROM sublot WHERE batch = ?", (name,)) else 0}
    sql = f"SELECT {_LOT} FROM sublot WHERE batch = ? AND configuration = ? AND entry < ? ORDER BY number DESC LIMIT 1"
    for swap in rows_of(db, sql, (name, configuration, entry)):
        own = swap
    return {key: value for key, value in rows[0].items() if key != "report"} | own


def _looks(db: sqlite3.Connection, unit: UnitId, permit: dict[str, Any] | None, *, recorded: bool) -> list[Look]:
    """Return the views; `recorded`: what became of images is on record, as it is since schema 3."""
    rows = rows_of(db, f"SELECT * FROM unit_view WHERE {_ID} ORDER BY position", (unit.epoch, unit.lane, unit.number))
    found = rows or (_promised(permit["views"]) if permit else [])
    kept = _kept(db, unit)
    looks = [_look(row, kept.get((row["camera"], row["region"], row["shot"]))) for row in found]
    return looks if recorded else [replace(look, image=NOT_RECORDED) for look in looks]


def _promised(views: str) -> list[dict[str, Any]]:
    """Return the views of a permit as rows of unit_view."""
    rows = []
    for judged in _permitted.decode(views):
        camera, region, shot = judged["view"]
        frame_camera, session, frame_id = judged["key"]
        rows.append(
            {"camera": camera, "region": region, "shot": shot, "frame_camera": frame_camera, "frame_session": session}
            | {"frame_id": frame_id, "device_ts": judged["device_ts"], "pixel_digest": judged["digest"]}
            | {"scores": msgspec.json.encode(judged["scores"]).decode()}
        )
    return rows


def _kept(db: sqlite3.Connection, unit: UnitId) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Return the newest word on the image of each view."""
    rows = rows_of(db, f"SELECT * FROM evidence WHERE {_ID} ORDER BY entry", (unit.epoch, unit.lane, unit.number))
    return {(row["camera"], row["region"], row["shot"]): row for row in rows}


def _look(row: dict[str, Any], kept: dict[str, Any] | None) -> Look:
    view = row["camera"] + (f"[{row['region']}]" if row["region"] else "") + (f"#{row['shot']}" if row["shot"] else "")
    return Look(
        view=view,
        frame=f"{row['frame_camera']}/{row['frame_session']:08x}/{row['frame_id']}",
        device_ts=row["device_ts"],
        digest=row["pixel_digest"],
        scores=_scores.decode(row["scores"]),
        image=kept["state"] if kept else NO_KEEPING,
        image_why=kept["why"] if kept else "",
        image_entry=kept["entry"] if kept else 0,
    )


def _archived(db: sqlite3.Connection, row: dict[str, Any] | None) -> bool | None:
    """Whether a site archive has the row and every image of it that was kept; the rows of an older schema: unknown."""
    if row is None or not row["entry"]:
        return None
    sql = f"SELECT coalesce(max(entry), 0) FROM evidence WHERE {_ID} AND state = '{Kept.RETAINED.value}'"
    (image,) = db.execute(sql, (row["epoch"], row["lane"], row["number"])).fetchone()
    return max(int(row["entry"]), int(image)) < confirmed(db)


def _refused(db: sqlite3.Connection, unit: UnitId) -> list[str]:
    """Return why rows that name this unit were refused; the table is empty on a sound device."""
    sql = """SELECT kind, why FROM conflict WHERE json_extract(message, '$.unit[0]') = ?
    AND json_extract(message, '$.unit[1]') = ? AND json_extract(message, '$.unit[2]') = ?"""
    return [f"{kind}: {why}" for kind, why in db.execute(sql, (unit.epoch, unit.lane, unit.number))]


def _timeline(db: sqlite3.Connection, found: Story) -> list[Moment]:
    moments = _of_batch(found.batch) if found.batch else []
    offset = _offset_ns(found)
    if offset is None:
        return in_order(moments)
    source = found.row or found.permit or {}
    stations = [(source[key] + offset, text) for key, text in STATIONS if source.get(key)]
    recorded = source["recorded_wall_ns"]
    moments += [Moment(at, "unit", _said(text, found), source["entry"]) for at, text in stations]
    moments.append(Moment(recorded, "unit", f"row recorded: {source.get('outcome', 'permit only')}", source["entry"]))
    moments += [_image(row) for row in _images(db, found.unit)]
    begin = min([at for at, _ in stations] or [recorded])
    return in_order([*moments, *surroundings(db, Window(begin - AROUND_NS, recorded + AROUND_NS), offset)])


def _said(text: str, found: Story) -> str:
    row = found.row
    if text == "verdict" and row:
        more = "" if row["reason"] == "none" else f", {row['reason']}" + (f" {row['defect']}" if row["defect"] else "")
        return f"verdict: {row['verdict']}{more}"
    return text


def _offset_ns(found: Story) -> int | None:
    """Return wall clock minus CLOCK_MONOTONIC: the least of what the rows say, for they are written afterwards."""
    pairs = [(found.row, "closed_ns"), (found.row, "judged_ns"), (found.permit, "permit_ns")]
    offsets: list[int] = [row["recorded_wall_ns"] - row[key] for row, key in pairs if row and row[key]]
    if offsets:
        return min(offsets)
    return 0 if found.row or found.permit else None


def _of_batch(batch: dict[str, Any]) -> list[Moment]:
    text = f"batch {batch['id']} opened by {batch['actor']} ({batch['role']}): {batch['reason']}"
    found = [Moment(batch["opened_wall_ns"], "batch", text, batch["entry"])]
    if batch["state"] == "closed":
        text = f"batch {batch['id']} closed by {batch['closed_actor']}: {batch['closed_reason']}"
        found.append(Moment(batch["closed_wall_ns"], "batch", text, batch["closed_entry"]))
    return found


def _images(db: sqlite3.Connection, unit: UnitId) -> list[dict[str, Any]]:
    return rows_of(db, f"SELECT * FROM evidence WHERE {_ID} ORDER BY entry", (unit.epoch, unit.lane, unit.number))


def _image(row: dict[str, Any]) -> Moment:
    why = f": {row['why']}" if row["why"] else ""
    return Moment(row["recorded_wall_ns"], "image", f"image {row['camera']} {row['state']}{why}", row["entry"])
