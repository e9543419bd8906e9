"""The audit trail of a real ledger: whole as it was written, and whatever is altered is named."""

import shutil
import sqlite3
from contextlib import closing
from random import Random

import msgspec
import pytest
from trail_world import ORIGIN, TrailWorld, audit, checkpointed, complaint, contents, evidence

from daemon import ledger_file
from daemon.recorder.ledger import Ledger, LedgerUnwritable
from daemon.recorder.opening import known_keys
from daemon.recorder.rebuild import rebuild
from daemon.recorder.schema import LedgerError
from daemon.recorder.verify import TrailBroken, anchored_value, unmarked_anchor, verify_trail
from daemon.records import decode_body
from signing import chain

FLIPS = 150


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The state folder of a played batch; nobody writes into it."""
    folder = tmp_path_factory.mktemp("whole")
    world = TrailWorld(folder)
    world.play()
    checkpointed(world)
    return folder


@pytest.fixture
def state(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "state")


def alter(state, *statements):
    """Alter the ledger as somebody would who may write the file and knows SQL: the triggers are no hindrance."""
    with closing(sqlite3.connect(state / "ledger.sqlite", isolation_level=None)) as db:
        made = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in made:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            changed = db.execute(statement).rowcount
            assert changed, statement
        for _, sql in made:
            db.execute(sql)


def test_a_whole_trail_verifies(whole):
    assert complaint(whole) == ""
    with ledger_file.reading(whole / "ledger.sqlite") as db:
        found = verify_trail(db, known_keys(whole), ORIGIN)
        kinds = {type(decode_body(entry.body).row).__name__ for entry in ledger_file.entries(db)}
    assert (found.first, found.signed, found.checkpoints) == (0, found.size, 5)
    assert len(kinds) == 13, "one row of every kind"


def test_a_reader_builds_the_frontier_that_the_writer_has(whole):
    with ledger_file.reading(whole / "ledger.sqlite") as db:
        size, frontier = ledger_file.size(db), chain.Frontier()
        for entry in ledger_file.entries(db):
            assert ledger_file.frontier(db, entry.seq) == frontier
            frontier.append(chain.leaf(entry.body))
        assert ledger_file.frontier(db, size) == frontier


@pytest.mark.clause("21 CFR 11.10(a)", "ALCOA+ accurate", "IEC 62443-4-2 CR 3.4", "Annex 11 §7.1")
def test_any_flipped_byte_of_the_ledger_is_named_or_says_nothing(whole, state, seed):
    """A flip either alters what the ledger says, and is named; or hits bytes that say nothing (free space)."""
    path, random = state / "ledger.sqlite", Random(seed)
    image, before = (whole / "ledger.sqlite").read_bytes(), contents(whole / "ledger.sqlite")
    named = 0
    for _ in range(FLIPS):
        at, bit = random.randrange(len(image)), 1 << random.randrange(8)
        path.write_bytes(image[:at] + bytes([image[at] ^ bit]) + image[at + 1 :])
        if complaint(state):
            named += 1
        else:
            assert contents(path) == before, f"byte {at} ^ {bit}"
    assert named > FLIPS // 3


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(e)", "IEC 62443-4-2 CR 3.9")
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE unit SET outcome = 'accepted' WHERE number = 7", "table unit does not say what entry"),
        ("UPDATE unit_view SET scores = '{}' WHERE number = 3 AND position = 1", "table unit_view"),
        ("UPDATE permit SET views = '[]' WHERE number = 9", "table permit"),
        ("UPDATE audit SET why = 'another reason' WHERE what = 'start'", "table audit"),
        ("UPDATE batch SET closed_actor = 'somebody else'", "table batch"),
        ("UPDATE plc_totals SET passed = passed + 1", "table plc_totals"),
        ("UPDATE evidence SET digest = 'x' WHERE number = 7", "table evidence"),
        ("UPDATE archived SET size = 5000", "table archived"),
        ("UPDATE conflict SET why = ''", "table conflict"),
        ("UPDATE session SET acknowledged = acknowledged + 1 WHERE session = 77", "session 77"),
        ("UPDATE session SET acknowledged = acknowledged + 1, digest = '' WHERE session = 77", "session 77"),
        ("DELETE FROM unit_view WHERE number = 4", "table unit_view"),
        ("DELETE FROM alarm", "table alarm"),
        ("INSERT INTO gap SELECT 1, 1, 1, 0, 1, 2, 'x', 'B-1', 1, 'ntp', x'00', 0", "table gap has"),
        ("UPDATE entry SET body = CAST(body || ' ' AS BLOB) WHERE seq = 1", "entry 1 was altered"),
        ("DELETE FROM entry WHERE seq = 20", "entry 20 is missing"),
        ("DELETE FROM entry WHERE seq > 40", "the trail was cut off"),
        ("DELETE FROM node", "tree node"),
        (
            "UPDATE checkpoint SET note = replace(note, char(10) || '2' || char(10), char(10) || '3' || char(10))",
            "check",
        ),
    ],
)
def test_an_altered_row_is_named(state, statement, named):
    if "node" in statement:
        shutil.rmtree(state)
        state.mkdir()
        world = TrailWorld(state)
        world.play(100)
        checkpointed(world)
        assert complaint(state) == ""
    alter(state, statement)
    assert named in complaint(state)


@pytest.mark.clause("Annex 11 draft §12.3", "IEC 62443-4-2 CR 3.9")
def test_a_dropped_trigger_is_named(state):
    with closing(sqlite3.connect(state / "ledger.sqlite")) as db:
        db.execute("DROP TRIGGER entry_no_update")
    assert "trigger entry_no_update" in complaint(state)


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.70", "IEC 62443-4-2 CR 3.9")
def test_who_alters_an_entry_and_chains_again_is_found_by_the_signed_head(state):
    with ledger_file.reading(state / "ledger.sqlite") as db:
        entries, before = list(ledger_file.entries(db)), chain.START
    statements = []
    for entry in entries:
        body = entry.body.replace(b'"number":7', b'"number":8') if b"a.person" not in entry.body else entry.body
        body = body.replace(b"a.person", b"b.person")
        before = chain.link(before, chain.leaf(body))
        statements.append(f"UPDATE entry SET body = x'{body.hex()}', chain = x'{before.hex()}' WHERE seq = {entry.seq}")
    alter(state, *statements)
    assert "altered and chained again" in complaint(state)


@pytest.mark.clause("21 CFR 11.70", "21 CFR 11.10(h)")
def test_a_head_of_another_key_or_device_counts_for_nothing(state, tmp_path):
    (tmp_path / "other").mkdir()
    with closing(TrailWorld(tmp_path / "other")) as other:
        with ledger_file.reading(state / "ledger.sqlite") as db:
            head = ledger_file.checkpoints(db)[-1]
        said = chain.parse_note(head.note)
        forged = chain.note(said.text, [(ORIGIN, other.key.key_id, other.key.sign(said.text.encode()))])
    alter(state, f"UPDATE checkpoint SET note = '{forged}' WHERE size = {head.size}")
    assert "no signature of a key of this device" in complaint(state)


@pytest.mark.clause("Annex 11 §7.2", "IEC 62443-4-2 CR 7.4", "21 CFR 211.68(b)")
def test_a_ledger_is_built_again_from_its_entries_alone(whole, tmp_path):
    with ledger_file.reading(whole / "ledger.sqlite") as db:
        records = [(entry.body, entry.chain) for entry in ledger_file.entries(db)]
        notes = [head.note for head in ledger_file.checkpoints(db)]
    shutil.copytree(whole / "keys", tmp_path / "keys")
    rebuild(tmp_path / "ledger.sqlite", records, notes)
    assert complaint(tmp_path) == ""
    with closing(Ledger(tmp_path / "ledger.sqlite")) as again:
        assert again.head.size == len(records)
        assert again.chain == records[-1][1]
    altered = [*records[:9], (records[9][0].replace(b"1", b"2"), records[9][1]), *records[10:]]
    with pytest.raises(LedgerError, match="entry 9"):
        rebuild(tmp_path / "altered.sqlite", altered, notes)


def test_a_batch_whose_rows_were_bent_does_not_close_and_a_sound_one_does(tmp_path):
    """Whoever bends a row, lets the batch close and bends it back would have a false report signed."""
    with closing(TrailWorld(tmp_path)) as world:
        world.play(10, close=False)
        world.ledger.prove("B-1", lambda: None)
        alter(tmp_path, "UPDATE unit SET outcome = 'accepted' WHERE number = 7")
        with pytest.raises(TrailBroken, match="table unit does not say what entry"):
            world.ledger.prove("B-1", lambda: None)
        alter(tmp_path, "UPDATE unit SET outcome = 'rejected' WHERE number = 7")
        world.ledger.prove("B-1", lambda: None)
        with ledger_file.reading(world.path) as db:
            link, statements = chain.START, []
            for entry in ledger_file.entries(db):
                body = entry.body.replace(b'"defect":"crack"', b'"defect":"grain"')
                link = chain.link(link, chain.leaf(body))
                values = f"body = x'{body.hex()}', chain = x'{link.hex()}'"
                statements.append(f"UPDATE entry SET {values} WHERE seq = {entry.seq}")
        alter(tmp_path, *statements)
        with pytest.raises(TrailBroken):
            world.ledger.prove("B-1", lambda: None)


def test_a_row_that_was_added_keeps_the_batch_open(tmp_path):
    with closing(TrailWorld(tmp_path)) as world:
        world.play(10, close=False)
        with ledger_file.reading(world.path) as db:
            names = [row[1] for row in db.execute("PRAGMA table_info(unit)")]
        values = ", ".join("99" if name == "number" else name for name in names)
        alter(tmp_path, f"INSERT INTO unit SELECT {values} FROM unit WHERE number = 5")
        with pytest.raises(TrailBroken, match="table unit has 11 rows of the batch, entries wrote 10"):
            world.ledger.prove("B-1", lambda: None)


def test_a_transaction_that_fails_leaves_no_trace_in_the_trail(tmp_path):
    with closing(TrailWorld(tmp_path)) as world:
        world.play(10)
        before = world.ledger.head
        world.ledger.set_quota(1)
        with pytest.raises(LedgerUnwritable):
            world.write(*(audit(5000 + number, why="x" * 900) for number in range(40)))
        assert world.ledger.head == before
        world.ledger.set_quota(0)
        world.write(audit(6000))
        assert world.ledger.head.size == before.size + 1
        world.sign()
        assert complaint(tmp_path) == ""


@pytest.mark.clause("ALCOA+ consistent")
def test_the_same_rows_again_are_no_news(tmp_path):
    with closing(TrailWorld(tmp_path)) as world:
        rows = (audit(1), audit(2, what="stop"), evidence(3, 7))
        world.write(*rows)
        size = world.ledger.head.size
        world.write(*rows)
        assert world.ledger.head.size == size


@pytest.mark.clause("Annex 11 draft §12.2", "ALCOA+ attributable")
@pytest.mark.parametrize(
    "change", [{"size": 2**62}, {"size": 0}, {"size": -1}, {"size": 21}, {"root": "0" * 64}, {"root": "no root"}]
)
def test_an_archive_that_has_another_trail_is_not_believed(tmp_path, change):
    """Images are deleted on that word: it must be of this trail."""
    with closing(TrailWorld(tmp_path)) as world:
        world.play(10)
        before = world.ledger.database.execute("SELECT count(*) FROM archived").fetchone()
        lie = msgspec.structs.replace(world.archived(20, seq=2), target="other", **change)
        world.write(lie, origin="uplink", batch="")
        assert world.ledger.database.execute("SELECT count(*) FROM archived").fetchone() == before
        assert world.ledger.database.execute("SELECT kind FROM conflict WHERE kind = 'ArchivedRow'").fetchone()
        world.sign()
        assert complaint(tmp_path) == ""


def test_an_act_without_person_or_reason_is_refused_and_kept_aside(tmp_path):
    with closing(TrailWorld(tmp_path)) as world:
        world.write(audit(1, why=" "), audit(2, who=""))
        assert world.ledger.database.execute("SELECT count(*) FROM audit").fetchone() == (0,)
        assert world.ledger.database.execute("SELECT count(*) FROM conflict").fetchone() == (2,)
        assert complaint(tmp_path) == ""


def test_the_newest_entries_are_checked_at_a_start_from_the_last_head_before_them(state, monkeypatch):
    monkeypatch.setattr("daemon.recorder.verify.RECENT", 30)
    with ledger_file.reading(state / "ledger.sqlite") as db:
        keys, sizes = known_keys(state), [head.size for head in ledger_file.checkpoints(db)]
        found = verify_trail(db, keys, ORIGIN, recent=True)
        assert found.first in sizes and 0 < found.first <= found.size - 30
    alter(state, f"UPDATE entry SET body = x'7b7d' WHERE seq = {found.size - 2}")
    with (
        ledger_file.reading(state / "ledger.sqlite") as db,
        pytest.raises(TrailBroken, match=f"entry {found.size - 2} was altered"),
    ):
        verify_trail(db, keys, ORIGIN, recent=True)


@pytest.mark.clause("21 CFR 11.10(a)", "IEC 62443-4-2 CR 3.9")
def test_what_the_tpm_holds_is_compared_and_one_head_may_be_unmarked(whole):
    with ledger_file.reading(whole / "ledger.sqlite") as db:
        heads = ledger_file.checkpoints(db)
    marked = [ledger_file.StoredCheckpoint(h.size, h.note, number < 3) for number, h in enumerate(heads)]
    value = anchored_value(marked)
    assert unmarked_anchor(marked, value) == 0
    more = [*marked[:3], ledger_file.StoredCheckpoint(heads[3].size, heads[3].note, True), *marked[4:]]
    assert unmarked_anchor(marked, anchored_value(more)) == heads[3].size
    assert unmarked_anchor(marked[:2], value) is None, "a head was cut off"
