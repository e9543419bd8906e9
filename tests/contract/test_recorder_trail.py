"""The recorder process and its trail: signed, anchored, verified before the line may run, true about its own ends."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from random import Random

import msgspec
import pytest

from daemon import ledger_file, restored
from daemon.recorder import tables, verify
from daemon.recorder.opening import known_keys
from daemon.recorder.rebuild import rebuild
from daemon.restored import Restored
from daemon.units import UnitId
from signing.chain import origin
from signing.device_key import open_device_key
from tests.contract.recorder_box import Line, RecorderProcess, act, open_batch, permit, talking, unit, until
from tests.contract.software_tpm import needs_tpm, software_tpm, software_tpm_at_sockets

ORIGIN = origin("box", 1)


@pytest.fixture
def box(tmp_path):
    process = RecorderProcess(tmp_path)
    yield process
    process.stop()


def audit(box, *columns):
    return box.look(f"SELECT {', '.join(columns)} FROM audit ORDER BY entry")


def heads(box):
    return box.look("SELECT size, anchored FROM checkpoint ORDER BY size")


def inspect(box, first, last):
    """A line comes, has units stored and goes."""
    with closing(Line(box.socket)) as line:
        for number in range(first, last + 1):
            line.send(permit(number, line.arm))
            line.send(unit(number, line.arm))
        line.settle()


def opened_for(box, times):
    """Wait until the trail was opened for the so many-th time."""
    until(lambda: [what for (what,) in audit(box, "what")].count("trail-open") == times, "the recorder is not back")


def over_tpm(folder, tcti):
    """A recorder in a new folder whose key is in a TPM."""
    folder.mkdir()
    box = RecorderProcess(folder)
    box.station.write_text(box.station.read_text().replace('"development"', f'"tpm"\ntpm = "{tcti}"'))
    return box


def is_whole(folder):
    with ledger_file.reading(folder / "ledger.sqlite") as db:
        found = verify.verify_trail(db, known_keys(folder), ORIGIN)
        tables.integrity(db)
        tables.verify_tables(db)
    return found


@pytest.mark.clause("Annex 11 draft §12.3", "21 CFR 11.10(e)", "Annex 11 §13", "ALCOA+ complete")
@pytest.mark.clause("IEC 62443-4-2 CR 2.8")
def test_the_trail_tells_how_it_ended_before(box):
    box.start()
    open_batch(box).peer.close()
    box.stop()
    box.start()
    opened_for(box, 2)
    box.kill()
    box.start()
    opened_for(box, 3)
    opened = [old for what, old in audit(box, "what", "old") if what == "trail-open"]
    assert opened == ["no trail before", "closed", "not closed: the recorder was killed"]


@pytest.mark.clause("IEC 62443-4-2 CR 3.9", "21 CFR 11.70")
def test_a_recorder_that_stops_leaves_every_entry_signed(box, tmp_path):
    box.start()
    with closing(open_batch(box)):
        inspect(box, 1, 12)
        with talking(box.socket, "cli") as cli:
            assert not cli.ask(act("batch-open", "B-2")).ok
    assert box.stop() == (0, "")
    found = is_whole(tmp_path)
    assert found.signed == found.size
    assert ("batch-open", 0) in audit(box, "what", "done"), "a refused act is on record"


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.4", "IEC 62443-4-2 CR 7.4")
@pytest.mark.parametrize("victim", ["first", "last"])
def test_a_recorder_does_not_start_on_a_trail_that_was_altered(box, tmp_path, victim):
    box.start()
    with closing(open_batch(box)):
        inspect(box, 1, 5)
    box.stop()
    (size,) = box.look("SELECT count(*) FROM entry")[0]
    number = 0 if victim == "first" else size - 1
    with closing(sqlite3.connect(box.ledger)) as db:
        (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry_no_update'").fetchone()
        db.execute("DROP TRIGGER entry_no_update")
        db.execute("UPDATE entry SET body = CAST(body || ' ' AS BLOB) WHERE seq = ?", (number,))
        db.execute(sql)
        db.commit()
    box.start()
    status, text = box.refused()
    assert status == 78
    assert f"entry {number} was altered" in text and "Traceback" not in text and text.count("\n") == 1


def test_a_damaged_file_is_one_line(box):
    box.start()
    with closing(open_batch(box)):
        inspect(box, 1, 5)
    box.stop()
    with box.ledger.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(20000))
    box.start()
    status, text = box.refused()
    assert (status, text.count("\n")) == (78, 1) and "Traceback" not in text


@pytest.mark.clause("Annex 11 draft §12.3")
def test_a_recorder_whose_key_cannot_be_used_does_not_start(box):
    station = box.station.read_text()
    box.station.write_text(station.replace('key = "development"', 'key = "credential"'))
    box.start()
    status, text = box.refused()
    assert status == 78 and "there is no credential 'audit-key'" in text and text.count("\n") == 1


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(e)", "IEC 62443-4-2 CR 3.9")
@needs_tpm
def test_heads_are_anchored_in_the_tpm_and_a_ledger_that_was_put_back_is_refused(tmp_path):
    """21 CFR 11.10(a), (e): an older copy of the whole state folder verifies in itself; the TPM remembers."""
    with software_tpm(tmp_path / "tpm") as tpm:
        folder = tmp_path / "box"
        box = over_tpm(folder, tpm.tcti)
        box.start()
        with closing(open_batch(box)):
            inspect(box, 1, 5)
        box.stop()
        older = shutil.copytree(folder, tmp_path / "older", ignore=shutil.ignore_patterns("*.sock"))
        with (
            closing(open_device_key("tpm", folder, None, tpm.tcti, production=False)) as key,
            ledger_file.reading(box.ledger) as db,
        ):
            assert verify.unmarked_anchor(ledger_file.checkpoints(db), key.anchored()) == 0
            assert [anchored for _, anchored in heads(box)].count(1) >= 2
        box.start()
        inspect(box, 6, 8)
        box.kill()
        box.start()
        inspect(box, 9, 10)
        assert box.stop()[0] == 0
        is_whole(folder)
        shutil.copy(older / "ledger.sqlite", box.ledger)
        is_whole(folder)
        box.start()
        status, text = box.refused()
        assert status == 78 and "the TPM holds other tree heads" in text and text.count("\n") == 1


@pytest.mark.clause("IEC 62443-4-2 CR 7.4")
@needs_tpm
def test_killed_at_any_moment_of_signing_the_recorder_starts_again_over_its_tpm(tmp_path, seed):
    """Each start signs and anchors a head within 100 ms: the kill comes before, in the middle of it, or after.

    At sockets, which drop the command of a client that dies as the kernel's device does; a pty would keep half of it.
    """
    random = Random(seed)
    with software_tpm_at_sockets(tmp_path / "tpm") as tpm:
        folder = tmp_path / "box"
        box = over_tpm(folder, tpm.tcti)
        for _ in range(8):
            box.start()
            with talking(box.socket, "cli"):
                time.sleep(random.uniform(0.0, 0.16))
            box.kill()
        before = len(box.look("SELECT 1 FROM audit WHERE what = 'trail-open'"))
        box.start()
        opened_for(box, before + 1)
        assert box.stop() == (0, "")
        assert is_whole(folder).signed


@needs_tpm
@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(e)")
def test_restored_records_begin_the_anchor_anew_only_with_a_name_and_a_reason(tmp_path):
    with software_tpm_at_sockets(tmp_path / "tpm") as tpm:
        folder = tmp_path / "box"
        box = over_tpm(folder, tpm.tcti)
        box.start()
        with closing(open_batch(box)):
            inspect(box, 1, 5)
        box.stop()
        with ledger_file.reading(box.ledger) as db:
            records = [(entry.body, entry.chain) for entry in ledger_file.entries(db)]
            notes = [head.note for head in ledger_file.checkpoints(db)]
        box.ledger.unlink()
        box.start()
        assert "the TPM holds other tree heads" in box.refused()[1], "a lost ledger is not replaced in silence"
        box.ledger.unlink()
        rebuild(box.ledger, records, notes)
        box.start()
        assert "the TPM holds other tree heads" in box.refused()[1]
        restored.write(folder, Restored("q.person", "qa", "the disk died", len(records), "directory:/archive"))
        for life in range(2):
            box.start()
            inspect(box, 6 + life, 6 + life)
            assert box.stop() == (0, "")
        assert not (folder / restored.FILE).exists()
        said = box.look("SELECT entry, who, role, why, new FROM audit WHERE what = 'trail-restored'")
        assert said == [
            (len(records), "q.person", "qa", "the disk died", f"{len(records)} entries from directory:/archive")
        ]
        is_whole(folder)
        box.ledger.unlink()
        restored.write(folder, Restored("q.person", "qa", "the archive burnt too", restored.NEW, ""))
        box.start()
        with talking(box.socket, "cli"):
            opened_for(box, 1)
        assert box.stop() == (0, "")
        assert is_whole(folder).size >= 4


@pytest.mark.clause("21 CFR 11.10(e)")
def test_nobody_else_can_write_an_event_of_the_trail(box, tmp_path):
    """An act of that name is refused and on record as refused; it does not count as the recorder's own word."""
    box.start()
    with talking(box.socket, "cli") as cli:
        for kind in ("trail-restored", "trail-open", "trail-close", "clock-step"):
            assert not cli.ask(act(kind, "00")).ok
    box.stop()
    box.start()
    opened_for(box, 3)
    assert box.stop() == (0, "")
    opened = box.look("SELECT old FROM audit WHERE what = 'trail-open' AND done ORDER BY entry")
    assert opened == [("no trail before",), ("closed",)]
    is_whole(tmp_path)


def test_a_number_that_cannot_be_stored_is_refused_once_and_not_for_ever(box, tmp_path):
    box.start()
    with closing(open_batch(box)), closing(Line(box.socket)) as line:
        for number in (2**63, 2**63 + 1):
            name = UnitId(1, 0, number)
            line.send(msgspec.structs.replace(permit(number - 2**63 + 1, line.arm), unit=name))
            line.send(msgspec.structs.replace(unit(number - 2**63 + 1, line.arm), unit=name))
        line.settle()
        time.sleep(0.3)
        (entries,) = box.look("SELECT count(*) FROM entry")[0]
        time.sleep(0.3)
        assert box.look("SELECT count(*) FROM entry") == [(entries,)]
    assert box.stop() == (0, "")
    assert box.look("SELECT count(*) FROM conflict") == [(4,)]
    is_whole(tmp_path)
