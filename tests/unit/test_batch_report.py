"""The batch report: it agrees with the rows, with the PLC and with the recorder's own report, or says loudly that it
does not; on paper as in JSON."""

import hashlib
import json
import math
import random
import re
import sqlite3
import zlib
from base64 import a85decode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import BATCH, NOW, OPENING, alarm, entries, permit, root_of, stages, totals, unit

from daemon.messages import AlarmRow
from daemon.recorder.batch import BatchState, Rules
from daemon.recorder.ledger import Ledger
from daemon.recorder.report import build_report, document
from daemon.recorder.rows import Received
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.records import ArchivedRow, AuditRow, BatchClosed, EvidenceRow, Kept
from daemon.units import FrameKey, Outcome, Reason, UnitId, ViewKey
from drivers.registers import load_map
from provisioning import batch_report, batch_rows, cli
from provisioning.batch_pdf import pdf
from provisioning.batch_report import stage_summary
from signing.chain import head_text, note

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "batch-report-v1.schema.json"
UNITS, BAD = 120, (5, 50, 51)
PERMITTED = load_map().flags["permitted"]
GATE = {True: PERMITTED | 8, False: 6}


def at(mono_ns):
    return WallTime(NOW.ns + mono_ns, ClockQuality.NTP)


@pytest.fixture
def path(tmp_path):
    """A batch of 120 units, three of them rejected, still open."""
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.open_batch(OPENING, at(0))
        rows = []
        for number in range(1, UNITS + 1):
            bad = number in BAD
            rows += [] if bad else [permit(number, 10 * number)]
            outcome = Outcome.REJECTED if bad else Outcome.ACCEPTED
            rows.append(unit(number, 10 * number + 1, outcome=outcome, plc_flags=GATE[not bad]))
        for begin in range(0, len(rows), 20):
            ledger.store(entries(*rows[begin : begin + 20]), {}, at(1_000_000_000 * (begin // 20 + 1)))
        ledger.store(entries(totals(UNITS, UNITS - len(BAD), seq=9_000)), {}, at(20_000_000_000))
        ring = AlarmRow(9_001, 5, "STATE", "EXECUTE", "EXECUTE", None)
        ledger.store(entries(alarm(9_002), ring), {}, at(20_000_000_001))
        done = AuditRow(1, 5, "stop", "b.person", "operator", "shift ends", "EXECUTE", "STOPPING", done=True, answer="")
        ledger.store([Received(5, done, BATCH)], {}, at(21_000_000_000))
        for seq, state in ((1, Kept.RETAINED), (2, Kept.DROPPED)):
            key = UnitId(1, 0, 5), ViewKey("side" if seq == 1 else "crimp"), FrameKey("side", 9, 5)
            row = EvidenceRow(seq, *key, f"{5:064x}", state, "" if seq == 1 else "disk full", 1000)
            ledger.store([Received(6, row, BATCH, "vision")], {}, at(22_000_000_000))
        ledger.add_checkpoint(*checkpoint(2))
    return path


def checkpoint(size):
    text = head_text("linewarden/line-3/00000001", size, bytes(32))
    return size, note(text, [("linewarden/line-3/00000001", b"KEYI", b"not checked here")])


def close(path):
    """Close the batch as the recorder's desk does."""
    with closing(Ledger(path)) as ledger:
        batch = ledger.current_batch()
        facts = ledger.facts(batch, 0, Rules(automatic=True, permitted_flag=PERMITTED))
        now = at(30_000_000_000)
        closed = replace(batch, state=BatchState.CLOSED, closed_wall_ns=now.ns, closed_clock=now.quality.value)
        ledger.close_batch(
            BatchClosed(0, BATCH, "q.a", "done", document(build_report(replace(facts, batch=closed)))), now
        )
        ledger.add_checkpoint(*checkpoint(ledger.head.size))


def build(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = batch_report.build(db, batch_report.newest(db), path.parent)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(found)
    return found


def pages(raw):
    """Return the text that the pages of a PDF of reportlab show, in the order of drawing."""
    text = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", raw, re.DOTALL):
        content = zlib.decompress(a85decode(stream.strip().removesuffix(b"~>"), adobe=False))
        text.append(" ".join(re.findall(r"\((.*?)(?<!\\)\) Tj", content.decode("latin-1"))))
    return [page.replace("\\(", "(").replace("\\)", ")") for page in text]


@pytest.mark.clause("21 CFR 211.188", "21 CFR 211.68(b)", "ALCOA+ accurate")
def test_a_closed_batch_agrees_with_itself_the_plc_and_the_closing_report(path):
    close(path)
    report = build(path)
    assert report["batch"]["state"] == "closed"
    assert (report["units"]["in"], report["units"]["accepted"], report["units"]["rejected"]) == (UNITS, 117, 3)
    assert report["reconciliation"]["agrees"]
    assert [side["equal"] for side in report["reconciliation"]["sides"]] == [True, True, True]
    assert report["cross_check"] == {"compared_with_closing_report": True, "differences": []}
    assert report["rejects"] == {"by_reason": {"defect": 3}, "by_defect": {"crack": 3}, "by_channel": {"critical": 3}}
    assert report["batch"]["closed_by"] == "q.a"
    assert report["batch"]["duration_s"] == 30.0


@pytest.mark.clause("21 CFR 211.192")
def test_an_open_batch_says_so_and_what_keeps_it_open(path):
    with closing(Ledger(path)) as ledger:
        ledger.store(entries(permit(UNITS + 1, 9_100)), {}, at(23_000_000_000))
    report = build(path)
    assert (report["batch"]["state"], report["batch"]["closed_utc"]) == ("open", None)
    assert report["cross_check"] == {"compared_with_closing_report": False, "differences": []}
    assert any("1 permits have no unit row" in line for line in report["reconciliation"]["open_because"])
    assert not report["reconciliation"]["agrees"]


@pytest.mark.clause("Annex 11 §8.2", "21 CFR 211.192")
@pytest.mark.parametrize(
    ("late", "says"),
    [
        (unit(200, 9_200, reason=Reason.NONE), "units.accepted: 117 when the batch was closed, 118 by the rows now"),
        (alarm(9_201, "later"), "alarm_count: 2 when the batch was closed, 3 by the rows now"),
        (totals(UNITS, UNITS - 2, seq=9_202), "plc.passed: 117 when the batch was closed, 118 by the rows now"),
    ],
)
def test_what_differs_from_the_closing_is_named_in_json_and_in_red(path, late, says):
    close(path)
    with closing(Ledger(path)) as ledger:
        ledger.store(entries(late), {}, at(31_000_000_000))
    report = build(path)
    assert says in report["cross_check"]["differences"]
    shown = pages(pdf(report, "0" * 64))
    assert "THE RECORD DIFFERS FROM ITSELF" in shown[0]
    assert cli.main(["batch", "report", "--pdf", str(path.with_suffix(".pdf")), "--state", str(path.parent)]) == 1


@pytest.mark.clause("21 CFR 211.188", "Annex 11 §12.4")
def test_acts_alarms_images_archive_and_signatures(path):
    close(path)
    report = build(path)
    assert [(act["what"], act["who"], act["old"], act["new"]) for act in report["acts"]] == [
        ("stop", "b.person", "EXECUTE", "STOPPING")
    ]
    assert [(row["code"], row["count"], row["reaction"]) for row in report["alarms"]["by_code"]] == [
        ("FRAME_LOST", 1, "alarm")
    ]
    assert [row["text"] for row in report["line_states"]] == ["EXECUTE"]
    assert (report["images"]["retained"], report["images"]["dropped"], report["images"]["retained_bytes"]) == (
        1,
        1,
        1000,
    )
    assert report["images"]["dropped_units"] == [{"unit": "1.0.5", "why": "disk full"}]
    assert report["signatures"]["covered"]
    assert [head["entries"] for head in report["signatures"]["checkpoints"]] == [2, report["ledger_entries"]]
    assert report["signatures"]["checkpoints"][1]["keys"] == [b"KEYI".hex()]
    assert report["archive"]["archived"] == "no"


def test_archived_is_said_only_when_closing_and_images_are_in_the_archive(path):
    close(path)
    size = build(path)["ledger_entries"]
    late = EvidenceRow(3, UnitId(1, 0, 50), ViewKey("side"), FrameKey("side", 9, 50), "a" * 64, Kept.RETAINED, "", 5)
    with closing(Ledger(path)) as ledger:
        ledger.store([Received(6, late, BATCH, "vision")], {}, at(31_000_000_000))
        for covered, expected in ((size - 1, "no"), (size, "no"), (size + 1, "yes")):
            row = ArchivedRow(covered, "site", covered, 1, root_of(path, covered))
            ledger.store([Received(8, row, "", "uplink")], {}, at(32_000_000_000))
            assert build(path)["archive"]["archived"] == expected


@pytest.mark.clause("Annex 11 §8.2", "21 CFR 211.192")
def test_refused_rows_are_in_the_report_and_keep_it_from_agreeing(path):
    with closing(Ledger(path)) as ledger:
        ledger.store(entries(unit(1, 9_300, outcome=Outcome.REJECTED)), {}, at(23_000_000_000))
    report = build(path)
    assert [row["why"] for row in report["refused_rows"]] == [
        "unit 1.0.1 is on record as accepted and came again as rejected"
    ]
    assert any("contradict" in line for line in report["reconciliation"]["open_because"])


def test_stage_times_come_from_the_rows(path):
    report = build(path)
    one = stages(1)
    for stage, (begin, end) in batch_rows.STAGES.items():
        took = (getattr(one, end) - getattr(one, begin)) / 1e6
        found = report["latency_ms"][stage]
        assert (found["p50"], found["max"], found["p99_9"]) == (took, took, None)
    assert report["latency_ms"]["trigger_to_permit"]["n"] == UNITS


@given(st.lists(st.integers(0, 10**12), max_size=300), st.integers(1, 40))
def test_a_percentile_is_the_nearest_rank_and_stands_only_where_n_carries_it(values, times):
    values = values * times
    found = stage_summary(values)
    ordered = sorted(values)
    for name, share in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}.items():
        least = 1 if share == 0.5 else round(1 / (1 - share))
        if len(values) < least:
            assert found[name] is None
        else:
            assert found[name] == round(ordered[math.ceil(round(share * len(values), 6)) - 1] / 1e6, 3)
    assert found["max"] == (round(ordered[-1] / 1e6, 3) if values else None)


@given(st.floats(0, 1))
def test_every_score_lies_in_its_bin(score):
    edges = batch_rows.edges()
    index = batch_rows.bin_of(score)
    assert edges[index] <= score * (1 + 1e-9)
    assert score <= edges[index + 1] * (1 + 1e-9)
    assert edges == sorted(edges)


def test_plots_count_every_unit_once(path):
    plots = build(path)["plots"]
    assert sum(row["accepted"] for row in plots["over_time"]["buckets"]) == 117
    assert sum(plots["deciding_score"]["accepted"]) == 117
    assert sum(plots["deciding_score"]["not_accepted"]) == 3
    assert plots["latency_tail_ms"]["trigger_to_frame"][-1][1] == 1 / UNITS


@pytest.mark.clause("Annex 11 §8.1", "21 CFR 211.188", "21 CFR 11.10(b)")
def test_the_paper_has_every_section_numbered_pages_and_lines_to_sign(path):
    close(path)
    shown = pages(pdf(build(path), "d" * 64))
    text = " ".join(shown)
    for expected in (
        *("Batch report B-1", "Reconciled", "Reconciliation with the PLC", "Not accepted", "Latency, ms"),
        *("Alarms and automatic reactions", "Acts and events of the trail", "Images", "Archived: no", "shift ends"),
        *("Signed checkpoints over the batch", "Refused rows", "Signatures", "Quality assurance", "disk full"),
        *(f"page 1 of {len(shown)}", f"page {len(shown)} of {len(shown)}", "d" * 64, "c" * 64, "all times UTC"),
    ):
        assert expected in text, expected


@pytest.mark.clause("Annex 11 §8.1", "ALCOA+ legible")
def test_names_of_any_script_and_markup_do_not_break_the_paper(path):
    report = build(path)
    report["batch"] |= {"opened_by": "王小明 <b>&", "opened_because": "Żółć 100 % \u202e (ok)"}
    raw = pdf(report, "0" * 64)
    assert b"STSong-Light" in raw
    shown = pages(raw)[0]
    assert "< b > &" in shown
    assert "U+017B" in shown


def test_many_alarms_and_differences_stay_readable(path):
    chance = random.Random(1)
    with closing(Ledger(path)) as ledger:
        ledger.store(
            entries(*(alarm(10_000 + n, f"text {chance.random()}") for n in range(400))), {}, at(23_000_000_000)
        )
    report = build(path)
    assert (report["alarms"]["count"], len(report["alarms"]["listed"]), report["alarms"]["not_listed"]) == (
        401,
        200,
        201,
    )
    report["cross_check"]["differences"] = [f"number {index}" for index in range(50)]
    shown = pages(pdf(report, "0" * 64))
    assert "and 44 differences more" in shown[0]
    assert len(shown) < 8


def test_the_command_writes_both_beside_each_other_and_the_paper_names_the_json(path, tmp_path, monkeypatch, capsys):
    close(path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", "report", "--state", str(path.parent)]) == 0
    out = capsys.readouterr().out
    raw = (tmp_path / "B-1-report.json").read_bytes()
    assert json.loads(raw)["batch"]["id"] == BATCH
    assert hashlib.sha256(raw).hexdigest() in " ".join(pages((tmp_path / "B-1-report.pdf").read_bytes()))
    for expected in ("written B-1-report.json", "written B-1-report.pdf", "Reconciled", "117 accepted", "crack"):
        assert expected in out
    assert sorted(found.name for found in tmp_path.iterdir()) == ["B-1-report.json", "B-1-report.pdf", "state"]


def test_only_what_is_named_is_written(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", "report", "B-", "--json", "here.json", "--state", str(path.parent)]) == 0
    assert sorted(found.name for found in tmp_path.iterdir()) == ["here.json", "state"]
    assert "OPEN, as of" in capsys.readouterr().out


def test_batch_list(path, capsys):
    close(path)
    with closing(Ledger(path)) as ledger:
        ledger.open_batch(replace_id("B-2"), at(40_000_000_000))
    assert cli.main(["batch", "list", "--json", "--state", str(path.parent)]) == 0
    newest, older = json.loads(capsys.readouterr().out)
    assert (newest["id"], newest["state"], newest["units"], newest["archived"]) == ("B-2", "open", 0, "no")
    assert (older["id"], older["accepted"], older["not_accepted"]) == (BATCH, 117, 3)
    assert cli.main(["batch", "list", "--state", str(path.parent)]) == 0
    assert re.search(r"B-1 +closed .* 120 +117 +3 +no", capsys.readouterr().out)


def replace_id(name):
    fields = {key: getattr(OPENING, key) for key in OPENING.__struct_fields__}
    return type(OPENING)(**(fields | {"id": name}))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("report", "nope"), "no batch 'nope' is on record; there are B-1"),
        (("report", "--pdf", "/nowhere/x.pdf"), "not written"),
    ],
)
def test_what_cannot_be_done_is_one_line(path, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["batch", *arguments, "--state", str(path.parent)]) == cli.FAILED
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["state"]


def test_without_any_batch_there_is_one_line(tmp_path, capsys):
    with closing(Ledger(tmp_path / "ledger.sqlite")):
        pass
    assert cli.main(["batch", "report", "--state", str(tmp_path)]) == cli.FAILED
    assert capsys.readouterr().err == "linewarden: no batch is on record yet: open one\n"
