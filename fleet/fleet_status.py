"""Lines x what runs on them, from the signed statuses that devices put into a folder. Reads only.

A status is believed for what its device's key signed and for nothing else: a line whose status is missing, old or badly
signed is shown as just that, never left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from fleet.errors import NotDone
from signing.device_status import DeviceStatus, Running
from signing.errors import SigningError
from signing.permission import AllowList
from signing.utc import read_utc

LARGEST_BYTES = 256 * 1024
STALE_S = 3600.0
SHORT = 8
DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60


class Standing(StrEnum):
    """How much a line's row is worth."""

    FRESH = "fresh"
    STALE = "stale"
    SILENT = "silent"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reported:
    """A status whose signature holds: `device_id` is the id of the key that signed it."""

    device_id: str
    status: DeviceStatus


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is no status of a device of this fleet."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """One device of a line, or a line of which nothing is known, or a file that is refused."""

    line: str
    device: str
    standing: Standing
    age_s: float | None
    status: DeviceStatus | None
    note: str


def read_folder(folder: Path, verify: Callable[[bytes, str], Reported]) -> tuple[list[Reported], list[Refused]]:
    """Return the newest status of each device key in a folder, and the files that are refused.

    Args:
        verify: raises SigningError for a file that is no status of a device of this fleet.

    Raises:
        NotDone: the folder cannot be read.
    """
    newest: dict[str, Reported] = {}
    refused = []
    for path in _files(folder):
        try:
            found = verify(_bytes(path), path.name)
        except (SigningError, OSError) as error:
            refused.append(Refused(path.name, str(error)))
            continue
        known = newest.get(found.device_id)
        if known is None or known.status.number < found.status.number:
            newest[found.device_id] = found
    return list(newest.values()), refused


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except OSError as error:
        raise NotDone(f"{folder}: {error.strerror}; name the folder into which devices put their status") from error


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES)


def rows(
    reported: Sequence[Reported],
    refused: Sequence[Refused],
    lines: Mapping[str, AllowList],
    revoked: frozenset[str],
    now: datetime,
    stale_s: float = STALE_S,
) -> list[Row]:
    """Return what is known of every line: those that report and those of which the fleet has an allow-list.

    Args:
        lines: line -> its published allow-list.
        revoked: ids of revoked devices.
        now: the time of this computer, UTC.
        stale_s: age from which a status is old news, s.
    """
    found = [_row(one, lines, revoked, now, stale_s) for one in reported]
    seen = {row.line for row in found}
    found += [Row(line, "", Standing.SILENT, None, None, "no status") for line in lines if line not in seen]
    found.sort(key=lambda row: (row.line, row.device))
    return found + [Row("", one.file, Standing.REFUSED, None, None, one.why) for one in refused]


def _row(one: Reported, lines: Mapping[str, AllowList], revoked: frozenset[str], now: datetime, stale_s: float) -> Row:
    status = one.status
    age = (now - read_utc(status.utc)).total_seconds()
    if one.device_id in revoked:
        return Row(status.line, status.device, Standing.REFUSED, age, status, "this device is revoked")
    standing = Standing.STALE if age > stale_s else Standing.FRESH
    return Row(status.line, status.device, standing, age, status, _note(status, lines.get(status.line), age))


def _note(status: DeviceStatus, listed: AllowList | None, age: float) -> str:
    said = []
    if age < -MINUTE_S:
        said.append("its clock is ahead")
    if listed is None:
        said.append("line without allow-list")
    elif listed.activate and listed.activate.pair != status.pair:
        said.append(f"to activate: {listed.activate.bundle[:SHORT]} by {listed.activate.change_control}")
    said += [f"failed: {failed.why}" for failed in status.failed[:1]]
    said += ["pinned"] * status.pinned + ["development key"] * status.development
    if status.alarms:
        said.append(f"{status.alarms} alarms")
    return ", ".join(said)


STYLE = {Standing.FRESH: "", Standing.STALE: "yellow", Standing.SILENT: "yellow", Standing.REFUSED: "red"}
HEADS = ("line", "device", "bundle", "recipe", "plan", "mode", "qualified", "spool", "seen", "")


def table(found: Sequence[Row]) -> Table:
    """Return the rows as a table for people."""
    drawn = Table(title=_summary(found), title_justify="left")
    for head in HEADS:
        drawn.add_column(head, no_wrap=head != "", justify="right" if head in ("spool", "seen") else "left")
    for row in found:
        drawn.add_row(*_cells(row), style=STYLE[row.standing])
    return drawn


def _cells(row: Row) -> list[Text]:
    note = row.note if row.standing is Standing.FRESH else ", ".join(filter(None, (str(row.standing), row.note)))
    if row.status is None:
        return [Text(text) for text in (row.line, row.device, *[""] * 7, note)]
    status = row.status
    qualified = status.qualification
    until = f" to {qualified.until[:10]}" if qualified.state == "valid" and qualified.until else ""
    return [
        Text(text)
        for text in (
            row.line,
            row.device,
            _running(status.bundle),
            _running(status.recipe),
            status.plan[:SHORT],
            status.mode.lower(),
            qualified.state + until,
            _span(status.spool_s),
            _span(row.age_s),
            note,
        )
    ]


def _running(one: Running | None) -> str:
    return f"{one.name} {one.version} {one.digest[:SHORT]}".strip() if one else "none"


def _span(seconds: float | None) -> str:
    """Return a time as people say it: "4 min", "3 h", "2 d"; "" if it is unknown."""
    if seconds is None:
        return ""
    for unit, length in (("d", DAY_S), ("h", HOUR_S), ("min", MINUTE_S)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def _summary(found: Sequence[Row]) -> str:
    lines = {row.line for row in found if row.line}
    counts = [(standing, sum(row.standing is standing for row in found)) for standing in Standing]
    return f"{len(lines)} lines: " + ", ".join(f"{count} {standing}" for standing, count in counts if count)


def documents(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for machines."""
    return [
        {
            "line": row.line,
            "device": row.device,
            "standing": str(row.standing),
            "age_s": row.age_s,
            "note": row.note,
            "status": msgspec.to_builtins(row.status) if row.status else None,
        }
        for row in found
    ]
