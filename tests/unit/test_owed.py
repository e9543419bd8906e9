"""What a restart of the line must not lift: every state is written to a real ledger and read back by the next life."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_rows import BATCH, NOW, OPENING, entries, unit

from daemon.config import Station, load
from daemon.line.conditions import Condition
from daemon.line.desk import Desk
from daemon.line.oversight import Oversight
from daemon.line.restart import begin
from daemon.messages import Act, AlarmRow
from daemon.recorder.desk import Desk as Recorder
from daemon.recorder.desk import Pins
from daemon.recorder.gather import Gather
from daemon.recorder.ledger import Ledger
from daemon.recorder.papers import Papers
from daemon.recorder.wall import WallClock
from daemon.records import BatchClosed
from daemon.states import Mode, State
from daemon.units import Outcome, UnitId
from drivers.registers import load_map
from provisioning.simstation import Layout, station_text

MS = 1_000_000
CAMERA = Condition("CAMERA_LOST", "camera_acquires", False, "body", "body")


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout()))
    return load(path)


class Lives:
    """One ledger with an open batch; `desk` and `oversight` are the present life of the line."""

    def __init__(self, ledger: Ledger, station: Station, *, rows: bool = True) -> None:
        self.ledger, self._station, self.now, self._life = ledger, station, 10**12, 0
        ledger.open_batch(OPENING, NOW)
        ledger.store(entries(unit(1)) if rows else [], {}, NOW)
        self.restart()
        self.turn()

    def restart(self) -> None:
        """The process dies; the next one is told what is on record."""
        self._life += 1
        self.desk, self.oversight = Desk(), Oversight(self._station)
        told = self.ledger.resume()
        current = self.ledger.current_batch()
        self.oversight.armed(current.recipe if current else "", told.owed.recipe)
        begin(self.desk, self.oversight, told, self.now)

    def turn(self, *found: Condition, times: int = 1) -> State:
        for _ in range(times):
            self.now += 100 * MS
            self.desk.drive(found, True, True, self.now, clearing=self.oversight.clearance.pending)
            self.write()
        return self.desk.state

    def write(self) -> None:
        """As Control does, with or without a batch."""
        batch = self.ledger.current_batch()
        rows = [AlarmRow(0, n.at_ns, n.code, n.text, n.state.name, None) for n in self.desk.fresh]
        self.desk.fresh.clear()
        self.ledger.store(entries(*rows, session=self._life, batch=batch.id if batch else ""), {}, NOW)

    def act(self, kind: str) -> str:
        answer = self.desk.act(kind, self.now, "ann")
        self.turn()
        return answer

    def run(self) -> None:
        """Start and reach Execute, the empty-line run included."""
        assert self.act("start") == ""
        self.oversight.clearance.why = ""
        assert self.turn(times=2) is State.EXECUTE


@pytest.fixture
def lives(tmp_path: Path, station: Station) -> Iterator[Lives]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        yield Lives(ledger, station)


@pytest.mark.clause("21 CFR 11.10(f)")
def test_a_line_that_nobody_started_in_this_batch_does_not_start_by_itself(lives: Lives) -> None:
    assert lives.ledger.resume().recorded == [UnitId(1, 0, 1)]
    lives.restart()
    assert lives.turn(times=2) is State.STOPPED


def test_a_line_that_died_before_its_first_row_knows_that_it_ran(tmp_path: Path, station: Station) -> None:
    """Otherwise the units that came in meanwhile would be counted to the time before the batch."""
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        lives = Lives(ledger, station, rows=False)
        lives.run()
        lives.restart()
        assert lives.turn() is State.EXECUTE and ledger.resume().running


def test_a_running_line_goes_on(lives: Lives) -> None:
    lives.run()
    lives.restart()
    assert lives.turn() is State.EXECUTE and not lives.desk.latched


@pytest.mark.clause("21 CFR 11.10(f)", "IEC 62443-4-2 CR 7.4")
@pytest.mark.parametrize("code", ["CONSECUTIVE_REJECTS", "SAME_DEFECT", "LATE_RUN"])
def test_a_hold_that_waits_for_a_person_goes_on_waiting(lives: Lives, code: str) -> None:
    lives.run()
    lives.desk.alarm(code, "20 units", lives.now)
    assert lives.turn(times=2) is State.HELD
    for _ in range(2):
        lives.restart()
        assert lives.turn(times=3) is State.HELD
        assert lives.desk.first_out.startswith(code) and lives.desk.book.active
    assert lives.act("reset") == ""
    assert lives.turn(times=2) is State.EXECUTE and not lives.desk.book.active
    lives.restart()
    assert lives.turn(times=2) is State.EXECUTE


def test_a_hold_by_a_person_and_a_second_strike_go_on_waiting(lives: Lives) -> None:
    lives.run()
    lives.act("hold")
    for found in [(CAMERA,), (), (CAMERA,), ()]:
        lives.turn(*found)
    assert lives.desk.latched == {"HOLD_BY_PERSON", "CAMERA_LOST"}
    lives.restart()
    assert lives.turn(times=2) is State.HELD
    assert lives.desk.latched == {"HOLD_BY_PERSON", "CAMERA_LOST"}


def test_a_line_that_was_emptying_to_stop_stops(lives: Lives) -> None:
    lives.run()
    lives.desk.act("stop", lives.now, "ann")
    lives.write()
    lives.restart()
    assert lives.desk.state is State.STOPPING
    assert lives.turn(times=8) is State.STOPPED


@pytest.mark.clause("21 CFR 11.10(f)", "IEC 62443-4-2 CR 7.4")
def test_an_abort_that_was_cleared_still_owes_the_reset(lives: Lives) -> None:
    lives.run()
    lives.act("abort")
    lives.turn()
    lives.act("clear")
    lives.turn()
    lives.restart()
    assert lives.desk.state is State.STOPPED and "reset" in lives.act("start")
    assert lives.act("reset") == ""
    lives.run()
    lives.restart()
    assert lives.turn() is State.EXECUTE and not lives.desk.reset_owed


def test_the_empty_line_run_is_still_to_come_and_no_removed_unit_is_forgotten(lives: Lives) -> None:
    lives.run()
    lives.act("stop")
    lives.turn(times=8)
    lives.desk.note("CLEARED", "1 units removed by ann: test: 1.0.2", lives.now)
    lives.write()
    lives.ledger.store(entries(unit(2, outcome=Outcome.REMOVED)), {}, NOW)
    lives.restart()
    assert lives.oversight.clearance.pending and list(lives.oversight.clearance.removed) == [UnitId(1, 0, 2)]
    assert lives.act("start") == "" and lives.turn() is State.STARTING
    lives.restart()
    assert lives.oversight.clearance.pending
    lives.run()
    lives.restart()
    assert not lives.oversight.clearance.pending


@pytest.mark.clause("21 CFR 11.10(f)")
def test_another_recipe_than_that_which_ran_last_begins_with_the_empty_line_run(lives: Lives) -> None:
    lives.run()
    lives.act("stop")
    lives.turn(times=8)
    lives.ledger.close_batch(BatchClosed(0, BATCH, "ann", "done", "{}"), NOW)
    lives.restart()
    assert not lives.oversight.clearance.pending
    lives.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2", recipe="q" * 64), NOW)
    lives.restart()
    assert lives.oversight.clearance.pending
    lives.run()
    lives.restart()
    assert not lives.oversight.clearance.pending


def test_nothing_is_produced_after_a_restart_in_maintenance(lives: Lives) -> None:
    assert lives.desk.change_mode("maintenance", lives.now, "ann") == ""
    lives.run()
    lives.restart()
    assert lives.turn() is State.EXECUTE
    assert lives.desk.mode is Mode.MAINTENANCE and not lives.desk.permits


@pytest.mark.clause("21 CFR 211.188")
def test_a_mode_chosen_before_the_batch_is_on_its_record(lives: Lives) -> None:
    lives.ledger.close_batch(BatchClosed(0, BATCH, "ann", "done", "{}"), NOW)
    assert lives.desk.change_mode("manual", lives.now, "ann") == ""
    lives.write()
    lives.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
    lives.desk.another_batch(lives.now)
    lives.write()
    lives.restart()
    assert lives.desk.mode is Mode.MANUAL


def _closed(lives: Lives) -> None:
    """The line stops and the batch is closed; what follows belongs to none."""
    if lives.desk.state is not State.STOPPED:
        lives.act("stop")
        lives.turn(times=8)
    lives.ledger.close_batch(BatchClosed(0, BATCH, "ann", "done", "{}"), NOW)


def test_what_happened_outside_of_a_batch_is_not_lifted_by_a_restart_either(lives: Lives) -> None:
    lives.run()
    _closed(lives)
    lives.act("abort")
    lives.turn()
    lives.restart()
    assert "reset" in lives.act("start")
    assert lives.act("reset") == "" and not lives.desk.reset_owed
    lives.restart()
    assert not lives.desk.reset_owed, "the reset is on record, though no batch is open"


def test_a_clearance_outside_of_a_batch_still_asks_for_the_empty_line_run(lives: Lives) -> None:
    lives.run()
    _closed(lives)
    lives.desk.note("CLEARED", "1 units removed by ann: test: 1.0.2", lives.now)
    lives.write()
    lives.restart()
    assert lives.oversight.clearance.pending


def test_no_line_runs_by_what_happened_outside_of_its_batch(lives: Lives) -> None:
    """Rows without a batch say neither that the line runs in the next one nor which recipe ran last."""
    lives.run()
    recipe = lives.ledger.resume().owed.recipe
    _closed(lives)
    for code, state in (("STATE", "EXECUTE"), ("STATE", "STOPPED"), ("EPOCH", "EXECUTE"), ("PEER_FOUND", "EXECUTE")):
        lives.ledger.store(entries(AlarmRow(0, lives.now, code, "x", state, None), batch="", session=9), {}, NOW)
    told = lives.ledger.resume()
    assert (told.running, told.state, told.owed.recipe) == (False, "", recipe)
    lives.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
    told = lives.ledger.resume()
    assert (told.running, told.state, told.owed.recipe) == (False, "", recipe)


@pytest.mark.clause("21 CFR 11.10(f)")
@pytest.mark.parametrize("kind", ["start", "stop"])
def test_no_batch_closes_while_the_line_starts_or_runs_empty(lives: Lives, station: Station, kind: str) -> None:
    if kind == "stop":
        lives.run()
    lives.desk.act(kind, lives.now, "ann")
    lives.write()
    clock = WallClock()
    recorder = Recorder(
        station,
        Papers(Path("/r/station.toml"), station, Path("/r")),
        Pins("s", "m", "dev", 1),
        lives.ledger,
        Gather(lives.ledger, clock, 1, 0),
        clock,
    )
    recorder.line_present = True
    answer, _ = recorder.act(Act("batch-close", "bob", "qa", "done", "", ""))
    assert not answer.ok and f"the line is in {lives.desk.state.name}" in answer.text


@pytest.mark.clause("21 CFR 11.10(f)")
@pytest.mark.parametrize("state", [State.STARTING, State.EXECUTE])
def test_a_line_does_not_run_on_into_a_batch_in_which_nobody_started_it(lives: Lives, state: State) -> None:
    if state is State.EXECUTE:
        lives.run()
    else:
        lives.desk.act("start", lives.now, "ann")
    assert lives.desk.state is state
    lives.desk.another_batch(lives.now)
    assert lives.turn(times=8) is State.STOPPED


def test_a_restart_knows_what_the_closed_rings_of_four_lanes_can_hold(lives: Lives) -> None:
    """A unit that the line did not know to be on record would be judged again from what the ring says of it."""
    lives.ledger.store(entries(*[unit(n) for n in range(2, 600)]), {}, NOW)
    assert len(lives.ledger.resume().recorded) >= load_map().closed.length * 4


def test_a_latched_fault_outlives_restarts_until_a_person_resets_with_or_without_a_batch(lives: Lives) -> None:
    lives.run()
    _closed(lives)
    for _ in range(2):
        lives.desk.alarm("PLC_RESTARTED", "new epoch", lives.now)
    lives.turn()
    lives.restart()
    assert lives.desk.latched == {"PLC_RESTARTED"}
    lives.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
    lives.restart()
    assert lives.desk.latched == {"PLC_RESTARTED"}, "opening a batch resets nothing"
    assert lives.act("reset") == ""
    lives.ledger.close_batch(BatchClosed(0, "B-2", "ann", "done", "{}"), NOW)
    lives.restart()
    assert lives.desk.latched == set(), "it was reset in the batch, nothing of it comes back outside"


def test_the_mode_is_the_one_chosen_last_with_or_without_a_batch(lives: Lives) -> None:
    _closed(lives)
    assert lives.desk.change_mode("manual", lives.now, "ann") == ""
    lives.write()
    lives.restart()
    assert lives.desk.mode is Mode.MANUAL
    lives.ledger.open_batch(msgspec.structs.replace(OPENING, id="B-2"), NOW)
    assert lives.desk.change_mode("production", lives.now, "ann") == ""
    lives.write()
    lives.ledger.close_batch(BatchClosed(0, "B-2", "ann", "done", "{}"), NOW)
    lives.restart()
    assert lives.desk.mode is Mode.PRODUCTION
