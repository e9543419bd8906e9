"""What a recorder promised in a log, and a judge of a ledger: everything verifies, every promise holds, it goes on.

A promise is what the recorder said: Stored for every row up to that number, Answer for an act that was done.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import msgspec
from power_trace import Event

from daemon import config, wire
from daemon.ledger_file import LedgerUnreadable
from daemon.messages import Act, AlarmRow, Answer, GapRow, Hello, PermitRow, PlcTotals, Stored, UnitRow
from daemon.recorder import tables
from daemon.recorder.ledger import Ledger
from daemon.recorder.opening import device_key, known_keys, open_trail
from daemon.recorder.rows import Received, digest
from daemon.recorder.schema import LedgerError, expected_definitions, new_in_memory
from daemon.recorder.tables import integrity
from daemon.recorder.verify import TrailBroken, verify_trail
from daemon.recorder.wall import WallClock
from daemon.records import AuditRow, EvidenceRow, Kept
from daemon.units import FrameKey, UnitId, ViewKey
from signing.chain import origin
from signing.errors import SigningError
from tests.contract.recorder_box import STATION

ODD_SESSION = 99
BROKEN = (LedgerError, TrailBroken, LedgerUnreadable, SigningError, sqlite3.Error, OSError, msgspec.MsgspecError)
ROWS = (UnitRow, PermitRow, GapRow, AlarmRow, PlcTotals, AuditRow, EvidenceRow)
OF_UNIT = "epoch = ? AND lane = ? AND number = ?"


@dataclass(frozen=True, slots=True)
class Promise:
    """From line `at` of the log on, `sql` has to find something."""

    at: int
    sql: str
    values: tuple[object, ...]
    text: str


def image_row(number: int) -> EvidenceRow:
    key = FrameKey("side", 9, number)
    return EvidenceRow(0, UnitId(1, 0, number), ViewKey("side"), key, f"{number:064x}", Kept.RETAINED, "", 5)


def spoken(number: int) -> AuditRow:
    return AuditRow(0, number, "acknowledge", "a.person", "operator", "seen", "", "all", True, "done")


def station_file(folder: Path) -> Path:
    """Return the station file of a state folder, written where there is none."""
    path = folder / "station.toml"
    if not path.exists():
        path.write_text(STATION.format(simulated="true"))
    return path


def promises(found: Sequence[Event]) -> list[Promise]:
    """Return what the recorder promised in a log, from what it heard and said on each socket."""
    heard: dict[str, list[object]] = {}
    made: list[Promise] = []
    who: dict[str, Hello] = {}
    stored: dict[str, int] = {}
    for event in found:
        if event.kind not in ("hear", "say") or not event.data or not event.path.startswith("socket"):
            continue
        if event.kind == "say" and event.path not in who:
            continue  # the chip's
        message = wire.decode(event.data)
        if event.kind == "hear":
            if isinstance(message, Hello):
                who[event.path] = message
            heard.setdefault(event.path, []).append(message)
        elif isinstance(message, Stored):
            rows = [row for row in heard[event.path] if isinstance(row, ROWS)]
            new = [row for row in rows if stored.get(event.path, 0) < row.seq <= message.seq]
            made += [_of_row(event.begin, row, who[event.path].session) for row in new]
            made.append(_of_mark(event.begin, who[event.path].session, message.seq))
            stored[event.path] = message.seq
        elif isinstance(message, Answer) and message.ok:
            made += _of_act(event.begin, [one for one in heard[event.path] if isinstance(one, Act)][-1])
    return made


def _of_row(at: int, row: object, session: int) -> Promise:
    own, text = digest(row), f"{type(row).__name__} {row.seq} of session {session}"
    if isinstance(row, UnitRow | PermitRow):
        table = "unit" if isinstance(row, UnitRow) else "permit"
        found = f"SELECT 1 FROM {table} WHERE {OF_UNIT} AND digest = ?"
        return Promise(at, found, (*msgspec.structs.astuple(row.unit), own), text)
    if isinstance(row, PlcTotals):
        found = "SELECT 1 FROM plc_totals WHERE epoch = ? AND lane = ? AND created >= ? AND passed >= ?"
        return Promise(at, found, (row.epoch, row.lane, row.created, row.passed), text)
    table = {AuditRow: "audit", EvidenceRow: "evidence", AlarmRow: "alarm", GapRow: "gap"}[type(row)]
    name = "row_digest" if isinstance(row, EvidenceRow) else "digest"
    return Promise(at, f"SELECT 1 FROM {table} WHERE session = ? AND {name} = ?", (session, own), text)


def _of_mark(at: int, session: int, seq: int) -> Promise:
    found = "SELECT 1 FROM session WHERE session = ? AND acknowledged >= ?"
    return Promise(at, found, (session, seq), f"the mark {seq} of session {session}")


def _of_act(at: int, done: Act) -> list[Promise]:
    batch = {"batch-open": "SELECT 1 FROM batch WHERE id = ?", "batch-close": ""}.get(done.kind)
    if batch is None:
        return []
    closed = "SELECT 1 FROM batch WHERE id = ? AND state = 'closed' AND report <> '' AND closed_entry > 0"
    told = "SELECT 1 FROM audit WHERE what = ? AND done = 1 AND instr(old || ' ' || new, ?)"
    text = f"{done.kind} {done.new}"
    return [
        Promise(at, batch or closed, (done.new,), text),
        Promise(at, told, (done.kind, done.new), f"the act {text} in the trail"),
    ]


def judge(folder: Path, promised: Sequence[Promise]) -> list[str]:
    """Open what is left as the recorder does, verify all of it, hold it against the promises, and go on with it."""
    try:
        station = config.load(station_file(folder))
        with closing(device_key(station, folder)) as key, closing(Ledger(folder / "ledger.sqlite")) as ledger:
            open_trail(ledger, folder, station, key)
            verify_trail(ledger.database, known_keys(folder), origin(station.name, station.identity))
            wrong = [f"lost: {p.text}" for p in promised if not ledger.database.execute(p.sql, p.values).fetchone()]
            rows = [Received(ODD_SESSION, spoken(1), "", "line"), Received(ODD_SESSION, image_row(900), "", "vision")]
            ledger.store(rows, {ODD_SESSION: 1}, WallClock().now())
            _verify(ledger, folder, origin(station.name, station.identity))
    except BROKEN as error:
        return [f"unverifiable: {type(error).__name__}: {error}"]
    return wrong


def _verify(ledger: Ledger, folder: Path, name: str) -> None:
    verify_trail(ledger.database, known_keys(folder), name)
    with _made_once():
        tables.verify_tables(ledger.database)
    integrity(ledger.database)


@contextmanager
def _made_once() -> Iterator[None]:
    """An empty ledger takes longer to make than everything else here to verify: make it once and copy it."""

    def copied() -> sqlite3.Connection:
        made = sqlite3.connect(":memory:", isolation_level=None)
        made.deserialize(_empty())
        return made

    with patch.object(tables, "new_in_memory", copied), patch.object(tables, "expected_definitions", _expected):
        yield


@cache
def _empty() -> bytes:
    with closing(new_in_memory()) as db:
        return db.serialize()


_expected = cache(expected_definitions)
