"""The uplink as a process beside a real recorder: confirms, waits, comes back, and says what a person has to do."""

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from recorder_box import until
from uplink_box import UplinkProcess, alarm, recording, signed_size, station_text

from daemon.uplink.memory import load

ARCHIVE = '\n[archive]\nkind = "directory"\npath = "archive"\nevery_s = 0.2\n'


@pytest.fixture
def uplink(tmp_path: Path) -> Iterator[UplinkProcess]:
    process = UplinkProcess(tmp_path)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


@pytest.mark.clause("Annex 11 draft §17", "IEC 62443-4-2 CR 2.8")
def test_what_the_archive_confirmed_is_on_record_once(tmp_path: Path, uplink: UplinkProcess) -> None:
    (tmp_path / "archive").mkdir()
    with recording(tmp_path, ARCHIVE) as box:
        uplink.start()
        size = signed_size(tmp_path)
        until(lambda: box.look("SELECT count(*) FROM archived") == [(1,)], f"nothing is on record: {uplink.said}")
        name = f"directory:{tmp_path / 'archive'}"
        assert box.look("SELECT target, size, images FROM archived") == [(name, size, 0)]
        uplink.awaits(f"{size} entries and 0 images archived in {name}; warning: {tmp_path / 'archive'} is on the disk")
        assert uplink.stop() == 0
        assert load(tmp_path, name).told
        uplink.start()
        uplink.awaits(f"{size} entries", times=2)
        assert box.look("SELECT count(*) FROM archived") == [(1,)]


def test_records_wait_for_an_archive_that_is_away_and_for_a_recorder_that_is_down(
    tmp_path: Path, uplink: UplinkProcess
) -> None:
    with recording(tmp_path, ARCHIVE) as box:
        alarm(box, 1)
        uplink.start()
        uplink.awaits("the archive is out of reach, nothing is lost, trying again")
        assert "is it mounted" in uplink.said
        box.stop()
        size = signed_size(tmp_path)
        (tmp_path / "archive").mkdir()
        uplink.awaits(f"{size} entries and 0 images archived")
        uplink.awaits("not on record yet: the recorder does not answer")
        box.start()
        until(lambda: box.look("SELECT size FROM archived")[:1] == [(size,)], f"nothing is on record: {uplink.said}")
        assert uplink.stop() == 0


@pytest.mark.clause("IEC 62443-4-2 CR 7.4")
def test_killed_and_started_again_it_goes_on(tmp_path: Path, uplink: UplinkProcess) -> None:
    (tmp_path / "archive").mkdir()
    with recording(tmp_path, ARCHIVE) as box:
        for life in range(1, 4):
            uplink.start()
            alarm(box, life)
            uplink.stop(signal.SIGKILL)
        uplink.start()
        box.stop()
        box.start()
        size = signed_size(tmp_path)
        until(lambda: box.look(f"SELECT max(size) >= {size} FROM archived") == [(1,)], "nothing is on record")
        assert "ALARM" not in uplink.said
        assert uplink.stop() == 0


@pytest.mark.clause("21 CFR 11.10(c)", "Annex 11 §13")
def test_an_archive_with_other_records_raises_an_alarm_and_is_not_touched(
    tmp_path: Path, uplink: UplinkProcess
) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "records.json").write_text("of somebody else")
    with recording(tmp_path, ARCHIVE) as box:
        uplink.start()
        uplink.awaits("ALARM, not archived: ")
        assert "records.json: holds other bytes" in uplink.said
        assert box.look("SELECT count(*) FROM archived") == [(0,)]
        assert uplink.stop() == 0
    assert (folder / "records.json").read_text() == "of somebody else"
    assert not any((folder / "entries").iterdir())


def test_without_an_archive_it_says_so_and_stays(tmp_path: Path, uplink: UplinkProcess) -> None:
    (tmp_path / "station.toml").write_text(station_text(""))
    uplink.start()
    uplink.awaits("no archive: there is no [archive] in the station file")
    assert uplink.stop() == 0


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        ('kind = "s3"\nendpoint = "http://10.0.0.7"\nbucket = "records"', "$.archive.endpoint: write https://"),
        ('kind = "s3"\nendpoint = "https://10.0.0.7"\nbucket = "records"', "no credential archive-access-key"),
        ('kind = "directory"\npath = "archive"\nkey = "secret"', "unknown field `key`"),
    ],
)
def test_a_configuration_that_cannot_work_is_for_a_person(
    tmp_path: Path, uplink: UplinkProcess, archive: str, says: str
) -> None:
    (tmp_path / "station.toml").write_text(station_text(f"\n[archive]\n{archive}\n"))
    uplink.start()
    assert uplink.ended() == 78
    assert says in uplink.said
    assert len(uplink.said.splitlines()) == 1


def test_no_ledger_yet_is_no_reason_to_end(tmp_path: Path, uplink: UplinkProcess) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "station.toml").write_text(station_text(ARCHIVE))
    uplink.start()
    uplink.awaits("the records cannot be read, trying again: ")
    assert "there is no ledger here" in uplink.said
    assert uplink.stop() == 0
    with closing((tmp_path / "uplink.log").open()) as log:
        assert len(log.readlines()) == 1
