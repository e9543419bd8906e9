"""`linewarden audit`: searched on one timeline, taken out as records that verify, and as HTML, PDF and JSON."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zlib
from base64 import a85decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_world import BEGIN_NS, CHINESE, DOCUMENTS, SECOND_NS, World, complaint, two_batches

from daemon.ledger_file import reading
from provisioning import audit_search, audit_text, cli
from provisioning.audit_pdf import marked, to_pdf
from provisioning.audit_search import Query
from provisioning.audit_text import AuditTrail, Happening, Title
from provisioning.export import ExportError, export
from provisioning.simstation import Layout, demo_documents, station_text

TITLE = Title("linewarden/box/00000001", "box", "B-1", 7, "ab" * 32, "a note\n", BEGIN_NS, "dev")


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device") / "state"
    two_batches(folder, 8).close()
    return folder


def quiet(*_):
    pass


def run(capsys, *arguments):
    code = cli.main(["audit", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def search(capsys, state, *arguments):
    code, out, _ = run(capsys, "search", "--state", state, "--json", *arguments)
    assert code == 0
    return json.loads(out)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 draft §12.9", "Annex 11 draft §12.10")
def test_export_writes_a_folder_that_verifies_and_leaves_the_ledger_as_it_was(capsys, state, tmp_path):
    before = contents(state)
    code, out, err = run(capsys, "export", tmp_path / "out", "--state", state, "--images")
    assert code == 0 and err.startswith(f"ledger {state}/ledger.sqlite\n")
    assert "2 images" in out and f"python {tmp_path}/out/verify_records.py {tmp_path}/out" in out
    assert complaint(tmp_path / "out") == ""
    assert {name: digest for name, digest in contents(state).items() if name in before} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 draft §12.10")
def test_a_batch_is_exported_from_its_opening_to_the_first_checkpoint_behind_its_closing(capsys, state, tmp_path):
    code, _, _ = run(capsys, "export", tmp_path / "out", "--state", state, "--batch", "B-2")
    assert code == 0
    with reading(state / "ledger.sqlite") as db:
        opened, closed = db.execute("SELECT entry, closed_entry FROM batch WHERE id = 'B-2'").fetchone()
    told = json.loads((tmp_path / "out" / "records.json").read_bytes())
    newest = max(int(path.stem) for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert told["first"] == opened and closed < newest <= closed + 2 and not told["images"]
    assert complaint(tmp_path / "out") == ""


def test_an_open_batch_is_exported_up_to_the_newest_checkpoint(tmp_path):
    world = World(tmp_path / "state")
    world.open("B-9")
    world.inspect(3)
    with pytest.raises(ExportError, match="no checkpoint covers these records yet"):
        export(world.sources(), tmp_path / "out", "B-9", images=False, step=quiet)
    size = world.checkpoint()
    world.inspect(2)
    exported = export(world.sources(), tmp_path / "out", "B-9", images=False, step=quiet)
    world.close()
    assert exported.part.end == size and exported.complete and exported.documents == len(DOCUMENTS)
    assert complaint(tmp_path / "out") == ""


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 draft §12.10")
def test_every_range_of_a_small_trail_verifies(tmp_path):
    world = World(tmp_path / "state")
    for number in range(12):
        world.open(f"B-{number}")
        world.inspect(number % 5, rejects=2)
        world.close_batch()
        world.checkpoint()
    for number in range(12):
        target = tmp_path / f"out{number}"
        export(world.sources(), target, f"B-{number}", images=True, step=quiet)
        assert complaint(target) == "", number
    world.close()


@pytest.mark.clause("21 CFR 11.10(b)")
def test_documents_that_are_not_all_there_are_not_promised(tmp_path):
    world = two_batches(tmp_path / "state", 4)
    some = dict(list(DOCUMENTS.items())[:2])
    exported = export(world.sources(some), tmp_path / "out", "", images=False, step=quiet)
    world.close()
    assert not exported.complete and exported.documents == 2
    assert not json.loads((tmp_path / "out" / "records.json").read_bytes())["documents"]
    assert complaint(tmp_path / "out") == ""


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(capsys, state, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    copy = Path(shutil.copytree(state, tmp_path / "copy"))
    next((copy / "evidence").rglob("*.pgm")).unlink()
    for arguments, says in (
        ((tmp_path / "full", "--state", state), "there is something already"),
        ((tmp_path / "full" / "x", "--state", state), "there is something already"),
        ((tmp_path / "out", "--state", state, "--batch", "B-7"), "no batch 'B-7' on record; the last ones: B-2, B-1"),
        (
            (tmp_path / "out", "--state", copy, "--images"),
            "neither here nor in the site archive; export without --images",
        ),
        ((tmp_path / "out", "--state", tmp_path), "no ledger under"),
        ((tmp_path / "nowhere" / "out", "--state", state), "name another folder"),
        ((tmp_path / "out.pdf", "--state", state, "--batch", "B-7"), "no batch 'B-7' on record"),
        ((tmp_path / "nowhere" / "out.json", "--state", state), "name another folder"),
    ):
        code, out, err = run(capsys, "export", *arguments)
        assert code == cli.FAILED and not out and says in err.splitlines()[-1], err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "full"]


def test_a_device_whose_public_key_is_gone_is_said_so(tmp_path):
    world = two_batches(tmp_path / "state", 4)
    shutil.rmtree(tmp_path / "state" / "keys")
    with pytest.raises(ExportError, match="no public key of this device"):
        export(world.sources(), tmp_path / "out", "", images=False, step=quiet)
    world.close()
    assert not (tmp_path / "out").exists()


def test_images_that_were_released_here_come_from_the_site_archive(capsys, state, tmp_path):
    run(capsys, "export", tmp_path / "archive", "--state", state, "--images")
    copy = Path(shutil.copytree(state, tmp_path / "device" / "state"))
    shutil.rmtree(copy / "evidence")
    text = station_text(1502, tmp_path, 600.0, Layout()).partition("[archive]")[0]
    archive = f'[archive]\nkind = "directory"\npath = "{tmp_path / "archive"}"\n'
    (copy.parent / "station.toml").write_text(text + archive, encoding="utf-8")
    for name, source in (("bundle", demo_documents().bundle), ("recipe", demo_documents().recipe)):
        (copy.parent / name).symlink_to(source)
    code, out, err = run(capsys, "export", tmp_path / "out", "--state", copy, "--images")
    assert code == 0 and "2 images" in out, err
    assert complaint(tmp_path / "out") == ""


@pytest.mark.clause("21 CFR 11.10(a)")
def test_an_altered_entry_is_exported_as_it_is_and_named_by_the_verifier(tmp_path):
    world = two_batches(tmp_path / "state", 4)
    world.ledger.database.execute("DROP TRIGGER entry_no_update")
    world.ledger.database.execute(
        "UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), 'ntp', 'nto') AS BLOB) WHERE seq = 6"
    )
    export(world.sources(), tmp_path / "out", "", images=True, step=quiet)
    world.close()
    assert complaint(tmp_path / "out").startswith("entry 6 (permit_row 1.0.2 B-1, recorded ")


@pytest.mark.clause("Annex 11 draft §12.4", "ALCOA+ available")
def test_search_shows_acts_and_alarms_on_one_timeline_newest_last(capsys, state):
    found = search(capsys, state, "--limit", "0")
    assert [item["entry"] for item in found] == sorted(item["entry"] for item in found)
    assert {item["kind"] for item in found} == {"act", "alarm"}
    assert search(capsys, state, "--limit", "3") == found[-3:]


@pytest.mark.clause("Annex 11 draft §12.4", "ALCOA+ available")
def test_search_by_who_what_batch_and_words(capsys, state):
    whole = search(capsys, state, "--limit", "0")
    for arguments, fits in (
        (("--who", "C.Per"), lambda item: item["who"] == "c.person"),
        (("--what", "frame_"), lambda item: item["kind"] == "alarm"),
        (("--batch", "B-2"), lambda item: item["batch"] == "B-2"),
        (("--text", "李雷"), lambda item: item["why"] == CHINESE),
        (("--text", "100%"), lambda item: False),
        (("--who", "c.person", "--batch", "B-1"), lambda item: item["who"] == "c.person" and item["batch"] == "B-1"),
    ):
        assert search(capsys, state, *arguments) == [item for item in whole if fits(item)], arguments


@pytest.mark.clause("Annex 11 draft §12.4", "ALCOA+ available")
def test_search_by_time(capsys, state):
    whole = search(capsys, state, "--limit", "0")
    third = whole[3]["at_ns"]
    since = search(capsys, state, "--since", audit_text.utc(third), "--limit", "0")
    assert since == whole[3:]
    until = search(capsys, state, "--until", audit_text.utc(third - SECOND_NS // 2), "--limit", "0")
    assert until == whole[:3]
    assert run(capsys, "search", "--state", state, "--since", "noon")[0] == cli.FAILED


def test_the_table_tells_the_clock_and_obeys_no_markup(capsys, tmp_path):
    world = World(tmp_path / "state")
    world.seq = 4
    world.act(why="[red]why[/red] \x1b[31m", answer="x", what="hold")
    world.close()
    _, out, _ = run(capsys, "search", "--state", tmp_path / "state")
    assert "2026-11-18T11:06:45.000Z unsynchronised" in out
    assert "[red]why[/red]" in out and "\x1b" not in out


words = st.text(max_size=20)
happenings = st.builds(
    Happening,
    entry=st.integers(0, 2**40),
    at_ns=st.integers(0, 2**62),
    clock=st.sampled_from(["ntp", "unsynchronised"]),
    kind=st.sampled_from(["act", "alarm"]),
    done=st.booleans(),
    **dict.fromkeys(("what", "who", "role", "old", "new", "why", "answer", "batch", "signature", "unit"), words),
)


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 draft §12.4", "Annex 11 draft §12.10")
@settings(deadline=None, max_examples=50)
@given(st.lists(happenings, max_size=6))
def test_json_reads_back_equal(items):
    trail = AuditTrail(TITLE, items)
    assert audit_text.from_json(audit_text.to_json(trail)) == trail


@settings(deadline=None, max_examples=20)
@given(st.lists(happenings, max_size=4))
def test_html_shows_text_and_never_markup(items):
    html = audit_text.to_html(AuditTrail(TITLE, items))
    assert html.count("<tr") == len(items) + 1
    assert html.count("<td") == len(items) * len(audit_text.COLUMNS)


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 draft §12.10", "ALCOA+ accurate")
def test_json_on_disk_reads_back_as_what_the_ledger_says(capsys, state, tmp_path):
    assert run(capsys, "export", tmp_path / "t.json", "--state", state, "--batch", "B-1")[0] == 0
    read = audit_text.from_json((tmp_path / "t.json").read_bytes())
    with reading(state / "ledger.sqlite") as db:
        assert read.happenings == audit_search.find(db, Query(batch="B-1"))
        size, note = db.execute("SELECT size, note FROM checkpoint ORDER BY size DESC").fetchone()
    assert (read.title.size, read.title.note) == (size, note)


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 §9", "ALCOA+ legible")
def test_html_names_people_reasons_refusals_and_how_to_verify(capsys, state, tmp_path):
    assert run(capsys, "export", tmp_path / "t.html", "--state", state)[0] == 0
    html = (tmp_path / "t.html").read_text(encoding="utf-8")
    for word in (
        CHINESE,
        "c.person",
        "REFUSED: not now: &lt;b&gt;hold&lt;/b&gt; &amp;",
        "IDLE → EXECUTE",
        "FRAME_LOST",
    ):
        assert word in html
    assert "verify_records.py" in html and "signed tree head" in html and "<b>" not in html


def pages(pdf):
    """Return the text operators of every page."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    texts = [zlib.decompress(a85decode(b"<~" + stream.strip(), adobe=True)) for stream in streams]
    return [text for text in texts if b" Tf " in text]


def item(number, **other):
    fields = {
        "entry": number, "at_ns": BEGIN_NS, "clock": "ntp", "kind": "act", "what": "hold", "who": "a.person",
        "role": "operator", "old": "IDLE", "new": "HELD", "why": "why", "done": True, "answer": "held", "batch": "B",
    }  # fmt: skip
    return Happening(**(fields | other))


@pytest.mark.clause("21 CFR 11.10(b)", "Annex 11 §8.1")
def test_pdf_numbers_its_pages_and_is_the_same_each_time():
    trail = AuditTrail(TITLE, [item(number, why="because " * (number % 9)) for number in range(300)])
    made = to_pdf(trail)
    found = pages(made)
    assert len(found) > 4
    for number, page in enumerate(found, 1):
        assert f"(page {number} of {len(found)})".encode() in page
        assert b"when" in page
    assert to_pdf(trail) == made


@pytest.mark.clause("Annex 11 §8.1", "ALCOA+ legible")
def test_pdf_takes_any_text_however_long():
    long = item(1, why="操作员要求停机检查" * 600, answer="x" * 9000, who="한국어 😀 Žluťoučký \x00\x1b <b>&")
    made = to_pdf(AuditTrail(TITLE, [item(0), long, item(2, why=CHINESE, done=False, kind="alarm")]))
    assert made.startswith(b"%PDF") and len(pages(made)) > 2
    assert b"STSong-Light" in made


def test_pdf_of_nothing_is_a_page():
    assert len(pages(to_pdf(AuditTrail(TITLE, [])))) == 1


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=60))
def test_text_for_paper_has_no_markup_but_ours(text):
    shown = re.sub(r'<font name="STSong-Light">|</font>', "", marked(text))
    assert "<" not in shown and (shown.encode("cp1252", "ignore").decode("cp1252") == shown or "font" in marked(text))


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(b)")
def test_the_exported_verifier_runs_alone(capsys, state, tmp_path):
    run(capsys, "export", tmp_path / "out", "--state", state, "--images")
    command = [sys.executable, "-I", tmp_path / "out" / "verify_records.py", tmp_path / "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("OK: ")
