import json
import time
from contextlib import closing
from random import Random

import jsonschema
import msgspec
import pytest
from recorder_box import (
    LOADED,
    ROOT,
    Line,
    RecorderProcess,
    Talker,
    act,
    open_batch,
    permit,
    report_of,
    talking,
    totals,
    unit,
    until,
)

from daemon import config, messages, wire
from daemon.messages import AlarmRow, Answer, Arm, Ask, FrameLost, Hello, Report, Stored
from daemon.units import UnitId
from daemon.wire import PeerFull, PeerGone
from drivers import registers

HOLD = 60
SCHEMA = json.loads((ROOT / "docs/interfaces/report-v1.schema.json").read_text())


@pytest.fixture
def box(tmp_path):
    process = RecorderProcess(tmp_path)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def vision(box):
    with closing(open_batch(box)) as talker:
        yield talker


@pytest.fixture
def line(box, vision):
    with closing(Line(box.socket)) as talker:
        yield talker


def close(box, name="B-1"):
    with talking(box.socket, "cli") as cli:
        return cli.ask(act("batch-close", name))


def alarms(box):
    return [alarm["code"] for alarm in report_of(box)["alarms"]]


@pytest.mark.clause("21 CFR 211.188")
def test_a_batch_from_open_to_close(box, vision, line):
    """Ten units, one rejected: rows are acknowledged, the batch closes, line and vision hear it, the report is kept."""
    for number in range(1, 11):
        accepted = number != 4
        if accepted:
            line.send(permit(number, line.arm))
        line.send(unit(number, line.arm, accepted=accepted))
    line.send(totals(10, 9))
    line.settle()
    answer = close(box)
    assert answer == Answer(True, "batch B-1 is closed")
    assert line.await_one(Arm) == Arm("", "", "", "")
    assert [vision.await_one(Arm).batch, vision.await_one(Arm).batch] == ["B-1", ""]
    report = report_of(box)
    jsonschema.validate(report, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert report["closed"]
    assert (report["units"]["in"], report["units"]["accepted"], report["units"]["rejected"]) == (10, 9, 1)
    assert report["latency_ms"]["frame_to_verdict"]["n"] == 10
    assert report["configuration_digest"] == line.arm.configuration


@pytest.mark.clause("Annex 11 §10", "21 CFR 211.188")
def test_the_configuration_digest_covers_what_vision_loaded_and_what_stands_fixed(box, vision, line):
    station, release = config.digest(box.station), box.look("SELECT release FROM batch")[0][0]
    register_map = registers.load_map().digest
    expected = config.configuration_digest(station, LOADED.bundle, LOADED.recipe, register_map, release, "")
    assert line.arm == Arm("B-1", LOADED.bundle, LOADED.recipe, expected)


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 draft §12.2")
@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (act("batch-open", "B-2"), "vision has nothing loaded"),
        (act("batch-open", "../etc"), "not usable"),
        (act("batch-open", "B-2", reason=""), "an actor and a reason"),
        (act("batch-close", ""), "no batch is open"),
        (act("swap", "x"), "no batch is open"),
        (act("dance", "x"), "does not know the act 'dance'"),
        (act("record-quota", "many"), "give a number of pages"),
        (Ask("report"), "no batch is on record"),
        (Ask("status"), "ask line"),
    ],
)
def test_an_act_that_cannot_be_done_is_answered_with_one_line(box, asked, complaint):
    with talking(box.socket, "cli") as cli:
        answer = cli.ask(asked)
    assert not answer.ok
    assert complaint in answer.text
    assert "\n" not in answer.text


@pytest.mark.clause("21 CFR 11.10(f)")
def test_a_second_batch_is_refused_while_one_is_open(box, vision):
    with talking(box.socket, "cli") as cli:
        assert cli.ask(act("batch-open", "B-2")) == Answer(False, "batch B-1 is open: close it first")


@pytest.mark.clause("21 CFR 11.10(f)", "21 CFR 211.192")
def test_a_batch_with_units_missing_stays_open_and_says_why(box, vision, line):
    line.send(permit(1, line.arm))
    line.send(totals(1, 1))
    line.settle()
    answer = close(box)
    assert not answer.ok
    assert "no row for 1 units of the PLC (1)" in answer.text
    assert "1 permits have no unit row (1.0.1)" in answer.text
    assert not report_of(box)["closed"]
    line.send(unit(1, line.arm))
    line.settle()
    assert close(box).ok


@pytest.mark.clause("21 CFR 11.10(f)")
def test_a_batch_does_not_close_without_line(box, vision):
    answer = close(box)
    assert not answer.ok
    assert "line is not connected" in answer.text


@pytest.mark.clause("21 CFR 11.10(f)", "Annex 11 §10", "IEC 62443-4-2 CR 7.4")
def test_a_restart_arms_the_batch_of_the_ledger_and_not_what_vision_says_now(box, vision, line):
    line.send(permit(1, line.arm, epoch=3))
    line.settle()
    box.kill()
    box.start()
    with closing(Talker(box.socket, "vision")) as other, closing(Line(box.socket, session=2)) as again:
        other.peer.send(msgspec.structs.replace(LOADED, bundle="f" * 64))
        assert other.await_one(Arm) == line.arm
        assert again.arm == line.arm
        assert again.resume.last_epoch == 3
        assert again.resume.permitted == [permit(1, line.arm, epoch=3)]
        until(lambda: alarms(box), "no alarm")
    assert alarms(box) == ["BUNDLE_NOT_ARMED"]


def test_a_newer_line_takes_the_place_of_the_older_one(box, vision, line):
    with closing(Line(box.socket, session=2)) as newer:
        with pytest.raises(PeerGone):
            line.next()
        newer.send(unit(1, newer.arm, accepted=False))
        newer.settle()


def test_a_life_with_the_number_of_an_earlier_one_is_not_told_that_its_rows_are_stored(box, vision, line):
    for number in range(1, 6):
        line.send(unit(number, line.arm, accepted=False))
    line.settle()
    with closing(Line(box.socket)) as other:
        other.send(unit(6, line.arm, accepted=False))
        assert other.next() == Stored(1)
    assert box.look("SELECT count(*) FROM unit") == [(6,)]


def test_a_line_that_sends_again_what_is_stored_is_told_so(box, vision, line):
    for number in range(1, 6):
        line.send(unit(number, line.arm, accepted=False))
    while line.acknowledged < 5:
        line.note(line.next())
    line.unacknowledged = {4: msgspec.structs.replace(unit(4, line.arm, accepted=False), seq=4)}
    line.unacknowledged[5] = msgspec.structs.replace(unit(5, line.arm, accepted=False), seq=5)
    with closing(Line(box.socket, kept=line)) as again:
        again.settle()
    assert box.look("SELECT count(*) FROM unit") == [(5,)]


@pytest.mark.clause("ALCOA+ complete")
def test_a_hole_in_the_numbers_is_never_acknowledged(box, vision, line):
    line.send(unit(1, line.arm, accepted=False))
    line.seq += 1
    line.send(unit(3, line.arm, accepted=False))
    until(lambda: alarms(box) == ["ROW_NUMBER_SKIPPED"], "no alarm")
    line.note(line.next())
    assert line.acknowledged == 1
    line.peer.send(msgspec.structs.replace(unit(2, line.arm, accepted=False), seq=2))
    line.settle()
    assert line.acknowledged == 3


@pytest.mark.clause("IEC 62443-4-2 CR 2.10", "ALCOA+ complete")
def test_a_full_ledger_holds_back_acknowledgement_until_there_is_room(box, vision, line):
    with talking(box.socket, "cli") as cli:
        assert cli.ask(act("record-quota", "1")).ok
        number = fill(line)
        held = len(box.look("SELECT number FROM unit"))
        assert held < number
        assert "rows are not on disk yet" in " ".join(report_of(box)["not_closed_because"])
        assert cli.ask(act("record-quota", "0")).ok
    line.send(totals(number, 0))
    line.settle()
    assert [n for (n,) in box.look("SELECT number FROM unit ORDER BY number")] == list(range(1, number + 1))
    assert close(box).ok
    assert alarms(box) == ["LEDGER_UNWRITABLE", "LEDGER_WRITTEN_AGAIN"]


def fill(line, patience_s=0.5):
    """Send rows until one is not acknowledged; return how many were sent."""
    for number in range(1, 2000):
        line.send(unit(number, line.arm, accepted=False))
        try:
            while line.unacknowledged:
                line.note(line.next(patience_s))
        except TimeoutError:
            return number
    raise TimeoutError("the ledger never became full")


def test_a_line_is_not_read_any_more_while_4096_rows_wait(box, vision, line):
    with talking(box.socket, "cli") as cli:
        cli.ask(act("record-quota", "1"))
        rows = flood(line)
        assert 4096 <= rows < 6000
        report = cli.ask(Ask("report"))
        assert isinstance(report, Report)
        cli.ask(act("record-quota", "0"))
    line.settle()
    assert box.look("SELECT count(*) FROM alarm WHERE origin = 'line'") == [(rows,)]


def flood(line, quiet_s=0.5):
    """Send until the recorder has not taken anything for a while; return how many rows it took in all."""
    sent, end = 0, time.monotonic() + quiet_s
    while time.monotonic() < end:
        try:
            line.send(AlarmRow(0, 5, "FRAME_LOST", "x" * 400, "execute", UnitId(1, 0, 1)))
        except PeerFull:
            del line.unacknowledged[line.seq]
            line.seq -= 1
            time.sleep(0.001)
        else:
            sent, end = sent + 1, time.monotonic() + quiet_s
    return sent


@pytest.mark.clause("Annex 11 draft §12.3", "IEC 62443-4-2 CR 2.9")
def test_the_quota_is_refused_on_a_real_station(tmp_path):
    box = RecorderProcess(tmp_path, simulated=False)
    box.start()
    with talking(box.socket, "cli") as cli:
        answer = cli.ask(act("record-quota", "10"))
    box.stop()
    assert answer == Answer(False, "record-quota is for simulated stations: this one is real")


@pytest.mark.clause("21 CFR 11.10(h)", "IEC 62443-4-2 CR 1.2")
@pytest.mark.parametrize(
    ("process", "message"),
    [
        ("vision", unit(1, Arm("B-1", "", "", ""))),
        ("line", LOADED),
        ("cli", FrameLost(unit(1, Arm("", "", "", "")).views[0].key, "x")),
        ("cli", Hello(1, "cli", "again", 1)),
    ],
)
def test_a_peer_that_sends_what_is_not_its_own_is_dropped_and_nothing_else(box, process, message):
    with talking(box.socket, process) as talker:
        talker.peer.send(message)
        with pytest.raises(PeerGone):
            while True:
                talker.next()
    with talking(box.socket, "cli") as cli:
        assert isinstance(cli.ask(Ask("report")), Answer)
    assert box.look("SELECT count(*) FROM unit") == [(0,)]


@pytest.mark.clause("21 CFR 11.10(h)")
def test_another_protocol_is_refused(box):
    with talking(box.socket, "cli"):
        peer = wire.connect(box.socket, Hello(messages.PROTO + 1, "cli", "new", 1))
    with closing(peer), pytest.raises(PeerGone):
        while peer.receive() is None:
            time.sleep(0.005)


def test_sigterm_stores_what_is_gathered(box, vision, line):
    for number in range(1, 31):
        line.send(unit(number, line.arm, accepted=False))
    with talking(box.socket, "cli") as cli:
        cli.ask(Ask("status"))
    status, text = box.stop()
    stored = len(box.look("SELECT number FROM unit"))
    assert (status, text) == (0, "")
    with pytest.raises(PeerGone):
        while True:
            line.note(line.next())
    assert line.acknowledged <= stored


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda box: box.station.write_text("name = 1"), "station.toml"),
        (lambda box: box.station.unlink(), "name an existing station file"),
        (lambda box: box.ledger.write_bytes(b"nonsense" * 800), "not a usable ledger"),
    ],
)
def test_a_recorder_that_cannot_start_says_so_in_one_line(tmp_path, spoil, complaint):
    box = RecorderProcess(tmp_path)
    spoil(box)
    box.start()
    status, text = box.refused()
    assert status == 78
    assert complaint in text
    assert text.count("\n") == 1


@pytest.mark.clause("ALCOA+ consistent")
def test_a_second_recorder_does_not_start(box, vision):
    second = RecorderProcess(box.ledger.parent)
    second.start()
    status, text = second.refused()
    assert (status, "stop it first" in text) == (75, True)
    assert report_of(box)["batch"]["id"] == "B-1"


@pytest.mark.clause("21 CFR 11.10(c)", "21 CFR 11.10(e)", "ALCOA+ enduring", "ALCOA+ complete", "Annex 11 §16")
@pytest.mark.clause("IEC 62443-4-2 CR 7.4")
def test_killed_again_and_again_it_loses_nothing_acknowledged_and_doubles_nothing(box, vision, seed):
    """kill -9 in mid-stream, eight times: every acknowledged row is on disk, and in the end every row is, once."""
    random, arm, line, number = Random(seed), None, None, 0
    for _ in range(8):
        line = Line(box.socket, session=5, kept=line)
        arm = arm or line.arm
        number = stream(line, arm, number, random.randrange(20, 120))
        box.kill()
        hear_out(line)
        units = {n for (n,) in box.look("SELECT number FROM unit")}
        permits = {n for (n,) in box.look("SELECT number FROM permit")}
        assert units >= set(range(1, line.acknowledged // 2 + 1))
        assert permits >= set(range(1, (line.acknowledged + 1) // 2 + 1))
        box.start()
    with closing(Line(box.socket, session=5, kept=line)) as last:
        last.send(totals(number, number))
        last.settle()
        assert [n for (n,) in box.look("SELECT number FROM unit ORDER BY number")] == list(range(1, number + 1))
        assert box.look("SELECT count(*) FROM permit") == [(number,)]
        assert box.look("SELECT count(*) FROM conflict") == [(0,)]
        assert close(box).ok


def stream(line, arm, done, units):
    """Send units after number `done` with at most HOLD rows unacknowledged; return the last number."""
    for number in range(done + 1, done + units + 1):
        line.send(permit(number, arm))
        line.send(unit(number, arm))
        while len(line.unacknowledged) >= HOLD:
            line.note(line.next())
    return done + units


def hear_out(line):
    """Take what the dead recorder still said before it was killed."""
    with closing(line):
        try:
            while True:
                line.note(line.next())
        except PeerGone:
            pass
