"""The view of the fleet: every line has a row, and a row says how much it is worth."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from fleet import fleet_status
from fleet.errors import NotDone
from fleet.fleet_status import Refused, Reported, Standing
from signing.device_status import DeviceStatus, Failed, Qualification, Running, as_document, read_device_status
from signing.errors import DocumentInvalid, SignatureInvalid
from signing.permission import Activation, AllowList
from signing.utc import utc_text

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LISTED = AllowList(1, "line-1", (), ())


def _reported(line: str, age_s: float = 60, device_id: str = "", **changed: object) -> Reported:
    said = {"format": 1, "device": f"box-{line}", "line": line, "utc": utc_text(NOW - timedelta(seconds=age_s))}
    status = DeviceStatus(**{**said, "number": 7, **changed})  # type: ignore[arg-type]
    return Reported(device_id or f"id-{line}", status)


def _rows(*reported: Reported, lines: tuple[AllowList, ...] = (LISTED,)) -> dict[str, fleet_status.Row]:
    found = fleet_status.rows(reported, [], {one.line: one for one in lines}, frozenset({"id-gone"}), NOW)
    return {row.line: row for row in found}


def test_a_line_without_status_is_shown_as_silent_and_an_old_status_as_stale() -> None:
    rows = _rows(_reported("line-2", age_s=3601), _reported("line-3", age_s=3599))
    assert {line: row.standing for line, row in rows.items()} == {
        "line-1": Standing.SILENT,
        "line-2": Standing.STALE,
        "line-3": Standing.FRESH,
    }


def test_a_revoked_device_is_not_believed() -> None:
    row = _rows(_reported("line-1", device_id="id-gone"))["line-1"]
    assert (row.standing, row.note) == (Standing.REFUSED, "this device is revoked")


def test_the_note_says_what_differs_from_what_was_ordered() -> None:
    activation = Activation("a" * 64, "b" * 64, "CC-17", "Anna Berg", utc_text(NOW), "validated")
    listed = AllowList(1, "line-1", ("a" * 64,), ("b" * 64,), activation)
    assert _rows(_reported("line-1"), lines=(listed,))["line-1"].note == "to activate: aaaaaaaa by CC-17"
    runs = _reported("line-1", bundle=Running("a" * 64), recipe=Running("b" * 64))
    assert _rows(runs, lines=(listed,))["line-1"].note == ""
    failed = _reported("line-1", failed=(Failed("a" * 64, "b" * 64, "no room"),), pinned=True, development=True)
    assert _rows(failed)["line-1"].note == "failed: no room, pinned, development key"
    assert _rows(_reported("line-9"))["line-9"].note == "line without allow-list"
    assert _rows(_reported("line-1", age_s=-120))["line-1"].note == "its clock is ahead"


def _verify(raw: bytes, where: str) -> Reported:
    if not raw.startswith(b"signed "):
        raise SignatureInvalid(f"{where}: not signed by a device of this fleet")
    status = read_device_status(json.loads(raw[7:]), where)
    return Reported(status.device, status)


def test_of_two_statuses_of_a_device_the_one_with_the_higher_number_counts(tmp_path: Path) -> None:
    for name, number in (("a.json", 8), ("b.json", 9), ("c.json", 7)):
        status = as_document(_reported("line-1", number=number).status)
        (tmp_path / name).write_bytes(b"signed " + json.dumps(status).encode())
    (tmp_path / "bad.json").write_bytes(b"{}")
    (tmp_path / "odd.json").write_bytes(b'signed {"document": "device-status", "format": 2}')
    (tmp_path / "notes.txt").write_bytes(b"left out")
    reported, refused = fleet_status.read_folder(tmp_path, _verify)
    assert [one.status.number for one in reported] == [9]
    assert [one.file for one in refused] == ["bad.json", "odd.json"]
    rows = fleet_status.rows(reported, refused, {}, frozenset(), NOW)
    assert [row.standing for row in rows] == [Standing.FRESH, Standing.REFUSED, Standing.REFUSED]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotDone, match="name the folder"):
        fleet_status.read_folder(tmp_path / "nowhere", _verify)


def test_a_status_is_read_strictly() -> None:
    whole = as_document(_reported("line-1").status)
    assert read_device_status(whole, "x.json") == _reported("line-1").status
    for changed in ({"order": 1}, {"number": -1}, {"plan": "abc"}, {"document": "allowlist"}):
        with pytest.raises(DocumentInvalid, match=r"^x\.json: "):
            read_device_status({**whole, **changed}, "x.json")


def test_forty_lines_fit_a_wide_terminal() -> None:
    qualified = Qualification("valid", "2027-02-01T00:00:00Z")
    reported = [
        _reported(
            f"line-{number:02}",
            bundle=Running("a" * 64, "vial-2r", "5.0.0"),
            recipe=Running("b" * 64, "vial-2r", "12.0.0"),
            plan="c" * 64,
            mode="AUTOMATIC",
            qualification=qualified,
            spool_s=7300.0,
        )
        for number in range(40)
    ]
    lines = {f"line-{number:02}": LISTED for number in range(40)}
    found = fleet_status.rows(reported, [Refused("x.json", "not signed")], lines, frozenset(), NOW)
    out = io.StringIO()
    Console(file=out, width=160).print(fleet_status.table(found))
    text = out.getvalue()
    (first,) = [line for line in text.splitlines() if "line-00" in line]
    for word in ("vial-2r 5.0.0 aaaaaaaa", "12.0.0 bbbbbbbb", "cccccccc", "automatic", "valid to 2027-02-01", "2 h"):
        assert word in first
    assert "40 lines: 40 fresh, 1 refused" in text
    assert "refused, not signed" in text
    assert len(fleet_status.documents(found)) == 41
    assert json.loads(json.dumps(fleet_status.documents(found)))[0]["status"]["plan"] == "c" * 64
