"""The story of one unit, over a ledger that the real recorder wrote: every piece of it, placed where it belongs."""

import json
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from ledger_rows import BATCH, BUNDLE, NOW, OPENING, alarm, entries, gap, permit, root_of, totals, unit

from daemon.messages import AlarmRow
from daemon.recorder.ledger import Ledger
from daemon.recorder.rows import Received
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import ArchivedRow, AuditRow, BatchClosed, EvidenceRow, Kept
from daemon.units import FrameKey, Outcome, UnitId, ViewKey
from provisioning import cli, trace
from provisioning.trace import UnknownToLedger
from provisioning.trace_document import story_document

ROOT = Path(__file__).resolve().parents[2]
MONO_NS = 10_000_000_000
REJECTED = 3


def at(mono_ns):
    """The wall clock at a moment of CLOCK_MONOTONIC."""
    return WallTime(NOW.ns + mono_ns, ClockQuality.NTP)


def image(number, state, seq, camera="side", why=""):
    digest = f"{number:064x}"
    return EvidenceRow(seq, UnitId(1, 0, number), ViewKey(camera), FrameKey(camera, 9, number), digest, state, why, 99)


def act(seq, what, who, mono_ns, batch=BATCH):
    row = AuditRow(seq, mono_ns, what, who, "operator", "because", "old", "new", done=True, answer="")
    return Received(5, row, batch)


@pytest.fixture
def path(tmp_path):
    """Units 1 to 5 of an open batch, 3 rejected, 6 with a permit only; epoch 2 has a number 3 again."""
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.open_batch(OPENING, at(0))
        for number in range(1, 6):
            closed = number * 100_000_000 + 60_000_001
            outcome = Outcome.REJECTED if number == REJECTED else Outcome.ACCEPTED
            ledger.store(entries(permit(number, 10 * number)), {}, at(closed - 40_000_000))
            ledger.store(entries(unit(number, 10 * number + 1, outcome=outcome)), {}, at(closed + 3_000_000))
        ledger.store(entries(permit(6, 70), gap(8, 9, seq=71)), {}, at(700_000_000))
        ledger.store([act(72, "acknowledge", "b.person", 390_000_000)], {}, at(391_000_000))
        ring = AlarmRow(73, 340_000_000, "FRAME_LOST", "a frame was lost", "EXECUTE", UnitId(1, 0, REJECTED))
        ledger.store(entries(ring), {}, at(345_000_000))
        ledger.store([Received(6, image(REJECTED, Kept.RETAINED, 1), BATCH, "vision")], {}, at(500_000_000))
        ledger.store(
            [Received(6, image(REJECTED, Kept.DROPPED, 2, "crimp", "full"), BATCH, "vision")], {}, at(510_000_000)
        )
    return path


@pytest.fixture
def db(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        yield opened


def write(path, *rows, mono_ns=MONO_NS):
    with closing(Ledger(path)) as ledger:
        ledger.store(list(rows), {}, at(mono_ns))


@pytest.mark.clause("ALCOA+ available", "21 CFR 211.188", "Annex 11 draft §12.4")
def test_a_rejected_unit_with_its_frames_images_reason_and_people(db):
    found = trace.story(db, UnitId(1, 0, REJECTED))
    assert found.passed is False
    assert (found.row["reason"], found.row["defect"], found.row["channel"]) == ("defect", "crack", "critical")
    assert [(look.view, look.frame, look.image, look.image_why) for look in found.looks] == [
        ("side", "side/00000009/3", "retained", ""),
        ("crimp", "crimp/00000009/3", "dropped", "full"),
    ]
    assert found.looks[0].scores == {"good": 0.9, "crack": 0.1}
    assert (found.batch["actor"], found.batch["bundle"], found.batch["recipe_name"]) == ("a.person", BUNDLE, "2R")
    assert found.archived is False


def test_stage_times_are_those_of_the_row(db):
    stages = trace.story(db, UnitId(1, 0, 2)).stages_ms
    assert stages == {
        "created_to_trigger": 10.0,
        "trigger_to_frame": 2.0,
        "frame_to_inferred": 2.0,
        "frame_to_verdict": 3.0,
        "verdict_to_permit": 1.0,
        "trigger_to_permit": 6.0,
        "permit_to_closed": 44.0,
    }


@pytest.mark.clause("ALCOA+ consistent")
def test_the_timeline_is_in_order_and_places_stages_and_alarms_by_the_same_clock(db):
    moments = trace.story(db, UnitId(1, 0, REJECTED)).timeline
    assert moments == sorted(moments, key=lambda moment: moment.wall_ns)
    placed = {moment.text: moment.wall_ns - NOW.ns for moment in moments}
    created = 300_000_001
    assert placed["the PLC created it"] == pytest.approx(created, abs=3_000_001)
    assert placed["last frame here"] - placed["the PLC created it"] == 12_000_000
    ring = placed["FRAME_LOST a frame was lost [1.0.3]"]
    assert placed["the PLC created it"] < ring < placed["past the gate, closed"]
    assert any(text.startswith("acknowledge old -> new by b.person (operator): because") for text in placed)
    assert placed[f"batch {BATCH} opened by a.person (operator): test"] == 0


def test_a_number_alone_means_the_newest_and_the_others_are_named(path, db):
    write(path, *entries(unit(REJECTED, 80, epoch=2)))
    assert trace.named(db, "3") == [UnitId(2, 0, 3), UnitId(1, 0, 3)]
    assert trace.named(db, "1.0.3") == [UnitId(1, 0, 3)]


def test_a_permit_without_a_row_and_a_unit_in_a_gap_are_told_as_such(db):
    promised = trace.story(db, trace.named(db, "6")[0])
    assert (promised.row, promised.passed, promised.permit["verdict"]) == (None, None, "accept")
    assert [look.frame for look in promised.looks] == ["side/00000009/6", "crimp/00000009/6"]
    lost = trace.story(db, UnitId(1, 0, 8))
    assert (lost.row, lost.gap) == (None, "in the gap 8-9: ring overrun")


@pytest.mark.parametrize("text", ["999", "1.0.999", "vial", "1.2", "", "-3", "1" * 30])
def test_what_is_not_on_record_is_one_sentence(db, text):
    with pytest.raises(UnknownToLedger, match=r"^[^\n]+$"):
        trace.story(db, trace.named(db, text)[0])


@pytest.mark.clause("Annex 11 draft §17")
def test_archived_needs_the_row_and_its_kept_images_in_the_archive(path, db):
    (entry,) = db.execute("SELECT entry FROM unit WHERE number = ?", (REJECTED,)).fetchone()
    (kept,) = db.execute("SELECT max(entry) FROM evidence WHERE state = 'retained'").fetchone()
    assert entry < kept
    for size, expected in ((entry, False), (entry + 1, False), (kept, False), (kept + 1, True)):
        write(path, Received(8, ArchivedRow(size, "site", size, 1, root_of(path, size)), BATCH, "uplink"))
        assert trace.story(db, UnitId(1, 0, REJECTED)).archived is expected
        assert trace.story(db, UnitId(1, 0, 1)).archived is True


def test_a_released_image_is_told_by_its_newest_row(path, db):
    write(path, Received(6, image(REJECTED, Kept.RELEASED, 9), BATCH, "vision"))
    assert trace.story(db, UnitId(1, 0, REJECTED)).looks[0].image == "released"


@pytest.mark.clause("Annex 11 §8.2")
def test_a_refused_row_is_shown_with_the_unit_it_names(path, db):
    write(path, *entries(unit(1, 90, outcome=Outcome.REJECTED)))
    assert trace.story(db, UnitId(1, 0, 1)).refused == [
        "UnitRow: unit 1.0.1 is on record as accepted and came again as rejected"
    ]
    assert trace.story(db, UnitId(1, 0, 2)).refused == []


def test_alarms_of_another_life_far_away_are_not_moved_onto_the_unit(path, db):
    write(path, *entries(alarm(200)), mono_ns=20_000_000_000)
    placed = [
        m for m in trace.story(db, UnitId(1, 0, 5)).timeline if m.text.startswith("FRAME_LOST a frame was lost [1.0.3]")
    ]
    assert placed[-1].wall_ns == NOW.ns + 20_000_000_000


def test_the_closing_of_the_batch_is_on_the_timeline(path, db):
    with closing(Ledger(path)) as ledger:
        ledger.store(entries(totals(5, 4, seq=99)), {}, at(MONO_NS))
        ledger.close_batch(BatchClosed(0, BATCH, "q.a", "done", "{}"), at(MONO_NS + 1))
    last = trace.story(db, UnitId(1, 0, 1)).timeline[-1]
    assert (last.kind, last.text) == ("batch", f"batch {BATCH} closed by q.a: done")


def test_the_document_is_json_and_says_the_same(db):
    document = json.loads(json.dumps(story_document(trace.story(db, UnitId(1, 0, REJECTED)))))
    assert (document["unit"], document["passed"], document["row"]["outcome"]) == ("1.0.3", False, "rejected")
    assert document["timeline"][0]["utc"].startswith("2026-11-18T11:06:40.")


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_picture_holds_the_answer_at_every_width(path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(["trace", "unit", "3", "--state", str(path.parent)]) == 0
    out = capsys.readouterr().out
    for expected in ("DID NOT PASS", "unit 1.0.3", "crack", BATCH, "retained", "FRAME_LOST"):
        assert expected in out


def test_json_on_the_command_line(path, capsys):
    assert cli.main(["trace", "unit", "1.0.2", "--json", "--state", str(path.parent)]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_an_unknown_unit_is_one_line_and_status_1(path, capsys):
    assert cli.main(["trace", "unit", "4711", "--state", str(path.parent)]) == cli.FAILED
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["linewarden: no unit 4711 is on record; the newest is 1.0.5"]


@pytest.mark.parametrize("command", [("trace", "unit", "1"), ("batch", "report", "--json", "/dev/null")])
@pytest.mark.parametrize(
    "damage", ["UPDATE unit_view SET scores = 'nonsense'", 'UPDATE unit_view SET scores = \'{"crack": "high"}\'']
)
def test_a_value_that_no_release_writes_is_one_line(path, capsys, command, damage):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER unit_view_no_update")
        db.execute(damage)
    assert cli.main([*command, "--state", str(path.parent)]) == cli.FAILED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "holds a value that no release writes" in lines[0]


def test_a_reader_who_stops_early_is_no_error(path):
    arguments = ["trace", "lot", BATCH, "--json", "--state", str(path.parent)]
    command = f"{sys.executable} -m provisioning.cli {shlex.join(arguments)} | true"
    shell = ["bash", "-o", "pipefail", "-c", command]
    ran = subprocess.run(shell, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
