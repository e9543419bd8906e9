"""What the rules ask of every record, asked of every table, column, key and word that there is, found by introspection.

A table, a setting or an act that comes later has to answer here too.
"""

import json
import shutil
import sqlite3
import typing
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import BATCH, CONFIGURATION, NOW, OPENING, entries, look, totals
from trail_world import ORIGIN, TrailWorld, audit, checkpointed, complaint

from daemon import ledger_file, records
from daemon.config import Station
from daemon.ledger_file import LEDGER, LedgerUnreadable
from daemon.recorder import events, schema
from daemon.recorder.events import STEP_NS, ClockWatch
from daemon.recorder.ledger import Ledger
from daemon.recorder.opening import known_keys
from daemon.recorder.schema import OLDER_TABLES, TRAIL_VERSION, schema_path
from daemon.recorder.tables import verify_tables
from daemon.recorder.verify import TrailBroken, verify_trail
from daemon.recorder.wall import ClockQuality, WallTime
from daemon.recorder.writers import Writers

RECORDS = Path(__file__).resolve().parents[2] / "docs" / "interfaces" / "records-v1.md"
TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
# What may change, in one direction each; what it was before stands in the entries.
MAY_CHANGE = {
    ("batch", "state"),  # open -> closed
    ("checkpoint", "anchored"),  # 0 -> 1
    ("session", "acknowledged"),  # only forward
}
# Newest counts of the PLC; every earlier one is an entry. A session's time and digest are no record of the product.
MUTABLE = {"plc_totals", "session"}
# Columns that hold one of a few words.
WORDS = {"retained": "dropped", "open": "closed", "closed": "open"}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A state folder with rows in every table; nobody writes into it."""
    folder = tmp_path_factory.mktemp("played")
    world = TrailWorld(folder)
    world.play(100)
    checkpointed(world)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The same of few units, for what looks at all of it many times."""
    folder = tmp_path_factory.mktemp("small")
    world = TrailWorld(folder)
    world.play(7)
    checkpointed(world)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """The schema is played once and copied after that: verifying a small ledger takes a hundredth of playing it."""
    with closing(schema.new_in_memory()) as db:
        image = db.serialize()

    def copied():
        made = sqlite3.connect(":memory:", isolation_level=None)
        made.deserialize(image)
        return made

    monkeypatch.setattr(schema, "new_in_memory", copied)
    monkeypatch.setattr("daemon.recorder.tables.new_in_memory", copied)


@pytest.fixture
def state(played, tmp_path):
    return shutil.copytree(played, tmp_path / "state")


def tables(path):
    return [name for (name,) in look(path, TABLES)]


def columns(path, table):
    return [name for (name,) in look(path, f"SELECT name FROM pragma_table_info('{table}')")]


def another(value):
    """A value of the same type that differs."""
    if value in WORDS:
        return WORDS[value]
    if isinstance(value, int):
        return value + 1
    return value[:-1] + (b"\x55" if value[-1:] != b"\x55" else b"\x56") if isinstance(value, bytes) else value + "x"


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 §9", "ALCOA+ complete", "IEC 62443-4-2 CR 3.9")
def test_no_row_of_any_table_can_be_deleted(state):
    path = state / LEDGER
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in tables(path):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() > (0,), f"{table} has no row here"
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(f"DELETE FROM {table}")


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 §9", "Annex 11 draft §12.3", "ALCOA+ original", "IEC 62443-4-2 CR 3.9")
def test_no_column_of_any_table_can_be_overwritten_but_for_those_that_go_one_way(state):
    path = state / LEDGER
    changed = set()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for table in tables(path):
            for column in columns(path, table):
                (value,) = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
                try:
                    db.execute("BEGIN")
                    db.execute(f"UPDATE {table} SET {column} = ?", (another(value),))
                    changed.add((table, column))
                except sqlite3.IntegrityError:
                    pass
                finally:
                    db.execute("ROLLBACK")
    assert {(table, column) for table, column in changed if table not in MUTABLE} <= MAY_CHANGE


@pytest.mark.clause("21 CFR 11.10(a)", "21 CFR 11.10(e)", "ALCOA+ accurate", "IEC 62443-4-2 CR 3.4", "Annex 11 §7.1")
def test_whoever_gets_behind_the_triggers_is_named_whatever_column_he_alters(played, small, quick):
    """Every column of every table: its triggers taken away, one value altered, the triggers put back as they were."""
    # Compared with what the TPM holds, when the recorder starts.
    assert altered_unseen(small) | altered_unseen(played, ("node",)) == {("checkpoint", "anchored")}


def altered_unseen(state, only=()):
    """Return the columns in which an altered value is not found; nothing is written to the file."""
    keys, unseen = known_keys(state), set()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        with closing(sqlite3.connect(state / LEDGER)) as file:
            file.backup(db)
        for table in only or tables(state / LEDGER):
            for column in columns(state / LEDGER, table):
                db.execute("BEGIN")
                if alter(db, table, column) and verifies(db, keys):
                    unseen.add((table, column))
                db.execute("ROLLBACK")
    return unseen


def alter(db, table, column):
    """Alter the value in one row; False where the schema's own rules do not let it."""
    found = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?"
    triggers = db.execute(found, (table,)).fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    values = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
    if values is None:
        return False
    try:
        db.execute(f"UPDATE OR ROLLBACK {table} SET {column} = ? WHERE {column} = ?", (another(*values), *values))
    except sqlite3.IntegrityError:
        db.execute("BEGIN")
        return False
    for _, sql in triggers:
        db.execute(sql)
    return True


def verifies(db, keys):
    try:
        verify_trail(db, keys, ORIGIN)
        verify_tables(db)
    except TrailBroken:
        return False
    return True


@pytest.mark.clause("21 CFR 11.10(e)", "Annex 11 §9", "ALCOA+ original")
def test_counts_that_were_replaced_stand_in_the_trail_with_their_earlier_values(tmp_path):
    with closing(Ledger(tmp_path / LEDGER)) as ledger:
        for seq, created in enumerate((3, 5, 8), start=1):
            ledger.store(entries(totals(created, created, seq=seq)), {}, NOW)
    bodies = [json.loads(body) for (body,) in look(tmp_path / LEDGER, "SELECT body FROM entry ORDER BY seq")]
    assert [body["row"]["created"] for body in bodies if body["row"]["type"] == "plc_totals"] == [3, 5, 8]


@pytest.mark.clause("Annex 11 draft §12.2", "Annex 11 §9", "Annex 11 §12.4", "ALCOA+ attributable", "21 CFR 11.10(e)")
@pytest.mark.parametrize("field", ["who", "why"])
@pytest.mark.parametrize("blank", ["", " ", "\t", " \n "])
def test_an_act_without_person_or_reason_is_not_taken_and_its_refusal_is_on_record(tmp_path, field, blank):
    with closing(Ledger(tmp_path / LEDGER)) as ledger:
        (refusal,) = ledger.store(entries(audit(1, **{field: blank})), {}, NOW)
        assert "without a person or a reason" in refusal.why
        assert look(tmp_path / LEDGER, "SELECT count(*) FROM audit") == [(0,)]
        (body,) = [json.loads(text) for (text,) in look(tmp_path / LEDGER, "SELECT body FROM entry WHERE seq > 0")]
    assert body["row"]["type"] == "refused_row" and json.loads(body["row"]["message"])[field] == blank


@pytest.mark.clause("Annex 11 draft §12.2", "ALCOA+ attributable", "ALCOA+ contemporaneous", "21 CFR 11.10(e)")
def test_every_entry_says_when_by_which_clock_and_where_it_came_from(played):
    bodies = [json.loads(body) for (body,) in look(played / LEDGER, "SELECT body FROM entry ORDER BY seq")]
    assert [body["entry"] for body in bodies] == list(range(len(bodies)))
    for body in bodies:
        assert body["at"] > 1_700_000_000_000_000_000
        assert body["clock"] in ("ntp", "unsynchronised")
        assert body["origin"] in ("line", "vision", "uplink", "recorder")


@pytest.mark.clause("ALCOA+ legible", "21 CFR 11.10(b)", "Annex 11 draft §12.4")
def test_every_word_of_an_entry_is_in_the_published_format(played):
    """An inspector reads the entries with any JSON reader and this page beside him."""
    page = RECORDS.read_text(encoding="utf-8")
    words = {row.__struct_config__.tag for row in typing.get_args(records.Row)}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []
    for (body,) in look(played / LEDGER, "SELECT body FROM entry"):
        assert [key for key in json.loads(body) if f"`{key}`" not in page] == []


@pytest.mark.clause("IEC 62443-4-2 CR 6.1", "Annex 11 draft §12.9", "IEC 62443-4-2 CR 3.9", "ALCOA+ available")
def test_records_can_be_read_while_they_are_written_and_a_reader_writes_nothing(tmp_path):
    path = tmp_path / LEDGER
    with closing(Ledger(path)) as ledger:
        with ledger_file.reading(path) as db:
            before = [entry.seq for entry in ledger_file.entries(db)]
            ledger.store(entries(audit(1), audit(2)), {}, NOW)
            assert len(list(ledger_file.entries(db))) == len(before) + 2
        for statement in ("DELETE FROM alarm", "DROP TRIGGER entry_no_update", "PRAGMA user_version = 9"):
            with pytest.raises(LedgerUnreadable, match="readonly"), ledger_file.reading(path) as db:
                db.execute(statement)


SYSTEMD = RECORDS.parents[2] / "systemd"


@pytest.mark.clause("21 CFR 11.10(d)", "Annex 11 §12.1", "Annex 11 draft §12.3", "IEC 62443-4-2 CR 3.9")
def test_other_accounts_of_the_computer_get_at_no_record():
    """The state folder and every file and socket are the daemon's own user's; its group reads, nobody else. Process
    slots, a user of its own, reads the ledger as one of the group."""
    for path in SYSTEMD.glob("*.service"):
        lines = path.read_text(encoding="utf-8").splitlines()
        user = "linewarden-slots" if path.name == "linewarden-slots.service" else "linewarden"
        assert {f"User={user}", "Group=linewarden", "UMask=0027"} <= set(lines), path.name
        assert ("StateDirectoryMode=0750" in lines) == ("StateDirectory=linewarden" in lines), path.name


# ---- always on ------------------------------------------------------------------------------------------------------

ABOUT_RECORDS = ("audit", "trail", "ledger", "record", "journal", "history", "chain", "checkpoint", "log")
SETTINGS_OF_THE_RECORDER = {"group_ms", "key", "tpm"}


def settings_of(struct, seen):
    """Yield (struct, field, type) of a document and everything in it."""
    if struct in seen:
        return
    seen.add(struct)
    for field in msgspec.structs.fields(struct):
        yield struct, field.name, field.type
        for inner in structs_in(field.type):
            yield from settings_of(inner, seen)


def structs_in(kind):
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for argument in typing.get_args(kind):
        yield from structs_in(argument)


@pytest.mark.clause("Annex 11 draft §12.3", "21 CFR 11.10(e)", "IEC 62443-4-2 CR 3.9")
def test_no_setting_of_the_station_switches_the_trail_off():
    """Every setting whose name has to do with records is one that this test knows; none of them is a switch."""
    found = list(settings_of(Station, set()))
    about = {(struct.__name__, name) for struct, name, _ in found if any(word in name for word in ABOUT_RECORDS)}
    assert about == {("Station", "recorder")}
    own = {name: kind for struct, name, kind in found if struct.__name__ == "Recorder"}
    assert set(own) == SETTINGS_OF_THE_RECORDER
    assert bool not in own.values()


@pytest.mark.clause("Annex 11 draft §12.3", "Annex 11 draft §12.1", "ALCOA+ complete")
def test_every_kind_of_row_that_there_is_becomes_an_entry(tmp_path):
    """Nothing that the recorder can write goes past the trail."""
    with closing(Ledger(tmp_path / LEDGER)) as ledger:
        known = set(Writers(ledger.database)._by_type)
    assert known == set(typing.get_args(records.Row)) - {records.Genesis}


@pytest.mark.clause("Annex 11 draft §12.3", "21 CFR 11.10(e)")
def test_every_row_that_is_on_record_has_the_entry_that_wrote_it(played):
    for table in tables(played / LEDGER):
        if "entry" in columns(played / LEDGER, table):
            bare = f"SELECT count(*) FROM {table} WHERE entry NOT IN (SELECT seq FROM entry WHERE seq > 0)"
            assert look(played / LEDGER, bare) == [(0,)], table


# ---- time -----------------------------------------------------------------------------------------------------------

SPANS = st.lists(
    st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**10), st.sampled_from(ClockQuality)), max_size=12
)


@pytest.mark.clause("Annex 11 draft §12.3", "IEC 62443-4-2 CR 2.11", "ALCOA+ contemporaneous")
@given(SPANS)
def test_a_step_of_the_clock_is_recorded_with_both_times_and_nothing_else_is(spans):
    wall, mono, quality = 1_795_000_000_000_000_000, 5, ClockQuality.NTP
    watch = ClockWatch(WallTime(wall, quality), mono)
    for step, passed, told in spans:
        expected, mono = wall + passed, mono + passed
        wall = expected + step
        rows = {row.what: row for row in watch.look(WallTime(wall, told), mono)}
        assert ("clock-step" in rows) == (abs(step) >= STEP_NS)
        assert ("clock-quality" in rows) == (told is not quality)
        if row := rows.get("clock-step"):
            assert (moment(row.old), moment(row.new)) == (instant(expected), instant(wall))
            assert row.who == "recorder" and f"{step / 1e9:+.3f} s" in row.why
        quality = told


def moment(text):
    return datetime.fromisoformat(text)


def instant(wall_ns):
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=wall_ns // 1_000_000)


@pytest.mark.clause("Annex 11 draft §12.2", "ALCOA+ contemporaneous")
@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_time_in_words_names_its_zone(wall_ns):
    text = events.utc(wall_ns)
    assert text.endswith("Z") and moment(text) == instant(wall_ns)


# ---- older schemas --------------------------------------------------------------------------------------------------


def fill(db, table):
    """Put two rows into a table, whatever its columns are."""
    found = db.execute(f"SELECT name, type, dflt_value FROM pragma_table_info('{table}')").fetchall()
    for number in (1, 2):
        made = [made_up(table, name, kind, number) for name, kind, _ in found]
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(made))})", made)


def made_up(table, name, kind, number):
    if name == "state" and table == "batch":
        return "closed"
    return {"INTEGER": number, "TEXT": f"{name} {number}", "BLOB": bytes([number] * 32)}[kind]


@pytest.mark.clause("Annex 11 §4.8", "Annex 11 §17", "21 CFR 11.10(a)")
def test_no_value_that_an_older_schema_held_can_be_altered_unseen(tmp_path, quick):
    path = tmp_path / LEDGER
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for step in range(1, TRAIL_VERSION):
            db.executescript(schema_path(step).read_text())
        for table in tables(path):
            fill(db, table)
        older = {(table, column) for table in OLDER_TABLES for column in columns(path, table)}
    checkpointed(TrailWorld(tmp_path))
    assert complaint(tmp_path) == ""
    assert altered_unseen(tmp_path, OLDER_TABLES) & older == set()


# ---- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.clause("ALCOA+ consistent", "21 CFR 11.10(e)")
@pytest.mark.parametrize("seq", [-1, 0, 5, 10**6])
def test_an_entry_can_be_put_nowhere_but_at_the_end(state, seq):
    with closing(sqlite3.connect(state / LEDGER, isolation_level=None)) as db:
        for verb in ("INSERT", "INSERT OR REPLACE"):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(f"{verb} INTO entry VALUES (?, x'00', x'00')", (seq,))


@pytest.mark.clause("21 CFR 211.188", "21 CFR 211.68(b)")
def test_a_batch_record_names_people_documents_release_and_configuration(played):
    """What was used and who used it stands on the batch from its first moment, and on every row."""
    (opening,) = look(
        played / LEDGER, "SELECT actor, role, reason, bundle, recipe, station, register_map, release FROM batch"
    )
    assert all(opening) and opening[0] == OPENING.actor
    assert look(played / LEDGER, "SELECT DISTINCT batch, configuration FROM unit") == [(BATCH, CONFIGURATION)]
    assert look(played / LEDGER, "SELECT count(*) FROM batch WHERE closed_actor = '' OR closed_reason = ''") == [(0,)]
