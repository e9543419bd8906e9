"""Interlocks through Control: what an input, bad light or an abort does to the permits that are out already."""

from pathlib import Path

import pytest
from msgspec.structs import replace as put

from daemon.config import Station, load
from daemon.faults import INPUTS
from daemon.line.control import Control
from daemon.line.rows import Row
from daemon.messages import (
    Act,
    AlarmRow,
    Arm,
    Bound,
    CameraState,
    FrameSeen,
    Judged,
    Loaded,
    PlcTotals,
    Resume,
    Stored,
    UnitRow,
    VisionFault,
)
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict, ViewKey
from daemon.wire import Message
from drivers.plc_link import Closed, Created, EdgeLatched, EpochGranted, LinkUp, Snapshot
from drivers.registers import Command, Lamp, load_map
from provisioning.simstation import Layout, station_text

MAP = load_map()
MS = 1_000_000
BODY = ViewKey("body")
RUN, HOLD, ABORT, SYNC, RESET = Command


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Station:
    path = tmp_path_factory.mktemp("station") / "station.toml"
    path.write_text(station_text(1502, Path("/r"), 600.0, Layout()))
    station = load(path)
    return put(station, cameras=station.cameras[:1])


class Plc:
    """The driver as Control uses it: an epoch, a live link, and what was asked of it."""

    epoch, up, back_read = 1, True, False
    edges_until_ns = rings_until_ns = 0

    def __init__(self) -> None:
        self.permitted: list[int] = []
        self.revoked: list[int] = []
        self.commands: list[tuple[int, int, int, int]] = []

    def alive(self, _now: int) -> bool:
        return self.up

    def permit(self, _lane: int, number: int) -> None:
        self.permitted.append(number)

    def revoke(self, _lane: int, number: int) -> None:
        self.revoked.append(number)

    def divert(self, *_: int) -> None:
        """The box of this test has one channel."""

    def hurry(self) -> None:
        """Time is the test's."""

    def ask_epoch(self, _proposal: int) -> None:
        """The epoch is agreed."""

    def command(self, bits: int, mode: int, state: int, lamps: int = 0) -> None:
        self.commands.append((bits, mode, state, lamps))


class Post:
    """The other processes: everything sent to them."""

    vision_up = recorder_up = True

    def __init__(self) -> None:
        self.vision: list[Message] = []
        self.rows: list[Row] = []

    def to_vision(self, message: Message) -> None:
        self.vision.append(message)

    def to_recorder(self, message: Row) -> bool:
        self.rows.append(message)
        return True


class World:
    """Control in an open batch, in Execute, its one camera in step."""

    def __init__(self, station: Station) -> None:
        self.now, self.unit = 10**12, 0
        self.inputs, self.counters = 0xFFFF, dict.fromkeys(("stray_pass", "stray_chute"), 0)
        self.plc, self.post = Plc(), Post()
        self.control = Control(station, self.plc, MAP, lambda *_: "c", self.post)  # type: ignore[arg-type]
        self.control.message(Resume(0, []), self.now)
        self.control.message(Arm("B", "b", "r", "c"), self.now)
        self.control.message(Loaded("b", "r", "bundle", "recipe", [BODY], 120.0, 5.0, 40.0, 400.0), self.now)
        self.control.message(CameraState("body", 7, True, ""), self.now)
        self.control.event(LinkUp(), self.now)
        self.control.event(EpochGranted(1), self.now)
        self.turn()
        assert self.act("start").startswith("start")
        for _ in range(5):
            self.close(self.unit_through(permit=False), "diverted", "chute_seen")
        self.turn(5)
        assert self.state == "EXECUTE"

    @property
    def state(self) -> str:
        return self.control.status(self.now).state

    def act(self, kind: str, new: str = "") -> str:
        return self.control.act(Act(kind, "ann", "operator", "test", "", new), self.now).text

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 5 * MS
            self.plc.edges_until_ns = self.plc.rings_until_ns = self.now
            registers = dict.fromkeys(MAP.registers, 0) | self.counters
            registers |= {"map_version": 1, "plc_identity": 2001, "authority": 2, "epoch": 1}
            registers |= {"inputs": self.inputs, "encoder": self.now // 100_000}
            lanes = [dict.fromkeys(MAP.lane.fields, 0)]
            self.control.event(Snapshot(registers, lanes, self.now), self.now)
            self.control.tick(self.now)
            if self.post.rows:
                self.control.message(Stored(self.post.rows[-1].seq), self.now)

    def unit_through(self, *, permit: bool = True) -> int:
        """A unit comes, its picture is taken and bound, its verdict is ACCEPT; return its number."""
        self.unit += 1
        n, at = self.unit, self.now
        unit, key = UnitId(1, 0, n), FrameKey("body", 7, n)
        self.control.event(Created(0, 1, n, at // 100_000, at), at)
        self.control.event(EdgeLatched(0, n, 1, 0, n, 0, at // 100_000, at, 1000), at)
        self.control.message(FrameSeen(Evidence(key, n, 0, 0, at, 1000, 0, 0, True, True, at)), at)
        self.turn()
        if permit:
            assert any(isinstance(m, Bound) and m.unit == unit for m in self.post.vision)
            views = [JudgedView(BODY, key, 0, "d", {})]
            judged = Judged(unit, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", views, "b", "r", 1, 2, 3, 4)
            self.control.message(judged, self.now)
        self.now += 90 * MS
        self.turn()
        return n

    def close(self, number: int, *flags: str) -> None:
        bits = sum(MAP.flags[flag] for flag in flags)
        self.control.event(Closed(0, 1, number, bits, 0, self.now), self.now)
        self.turn()

    def outcomes(self) -> dict[int, tuple[Outcome, Reason]]:
        return {row.unit.number: (row.outcome, row.reason) for row in self.post.rows if isinstance(row, UnitRow)}

    def codes(self) -> list[str]:
        return [row.code for row in self.post.rows if isinstance(row, AlarmRow)]


@pytest.fixture
def world(station: Station) -> World:
    return World(station)


def _bit(station: Station, name: str) -> int:
    return 0xFFFF & ~(1 << next(entry.bit for entry in station.inputs if entry.name == name))


def test_a_good_unit_gets_its_permit(world: World) -> None:
    number = world.unit_through()
    assert world.plc.permitted == [number] and world.plc.commands[-1][3] & Lamp.GREEN


@pytest.mark.parametrize("name", ["rejects_enabled", "confirm_eyes_ok", "guard_closed"])
def test_an_input_that_bars_accepting_takes_permits_back_and_gives_none(
    world: World, station: Station, name: str
) -> None:
    before = world.unit_through()
    world.inputs = _bit(station, name)
    world.turn(2)
    assert world.plc.revoked == [before] and "PERMITS_REVOKED" in world.codes()
    world.unit_through()
    assert world.plc.permitted == [before]
    assert world.state == ("ABORTED" if name == "guard_closed" else "HELD")
    assert INPUTS[name] in world.codes()


@pytest.mark.parametrize("name", ["air_ok", "bin_ok"])
def test_other_inputs_close_the_infeed_and_let_the_permitted_pass(world: World, station: Station, name: str) -> None:
    world.unit_through()
    world.inputs = _bit(station, name)
    world.turn(2)
    assert (world.state, world.plc.revoked) == ("HELD", [])
    assert world.plc.commands[-1][0] == RUN | HOLD


@pytest.mark.clause("21 CFR 11.10(a)")
def test_an_engine_that_answers_otherwise_takes_permits_back_until_a_person_has_reset(world: World) -> None:
    """What it accepted is in doubt: nothing under way passes, and nothing of what vision accepts after its restart."""
    before = world.unit_through()
    world.control.message(VisionFault("GOLDEN_FAILED", "golden: other numbers"), world.now)
    world.turn(2)
    assert (world.state, world.plc.revoked) == ("HELD", [before])
    assert {"GOLDEN_FAILED", "PERMITS_REVOKED"} <= set(world.codes())
    world.unit_through()
    world.turn(50)
    assert (world.plc.permitted, world.state) == ([before], "HELD")


def test_bad_light_is_an_alarm_with_its_value_and_the_line_goes_on(world: World) -> None:
    world.control.message(VisionFault("LIGHT", "patch 5.0, trend 140.0, band 110 to 235", "body"), world.now)
    world.turn(2)
    assert world.state == "EXECUTE"
    status = world.control.status(world.now)
    assert ("LIGHT/body", "unacknowledged") in [(line.name, line.state) for line in status.standing]
    assert any(isinstance(row, AlarmRow) and "patch 5.0" in row.text for row in world.post.rows)
    world.now += 2_000 * MS
    world.turn()
    assert [line.state for line in world.control.status(world.now).standing if line.code == "LIGHT"] == ["returned"]


def test_ten_equal_defects_hold_the_line_for_a_person(world: World) -> None:
    for _ in range(10):
        number = world.unit_through(permit=False)
        key = FrameKey("body", 7, number)
        views = [JudgedView(BODY, key, 0, "d", {})]
        judged = Judged(
            UnitId(1, 0, number), Verdict.REJECT, Reason.DEFECT, Channel.CRITICAL, "crack", views, "b", "r", 1, 2, 3, 4
        )
        world.control.message(judged, world.now)
        world.close(number, "diverted", "chute_seen")
    world.turn(2)
    assert world.state == "HELD" and "SAME_DEFECT" in world.codes()
    assert world.control.status(world.now).first_out.startswith("the same defect too often in a row")
    assert world.plc.commands[-1][3] & (Lamp.BLUE | Lamp.HORN) == Lamp.BLUE | Lamp.HORN
    world.act("acknowledge", "all")
    world.turn()
    assert not world.plc.commands[-1][3] & Lamp.HORN


def test_removed_units_have_their_row_and_none_may_turn_up(world: World) -> None:
    first, second = world.unit_through(), world.unit_through()
    world.act("abort")
    world.turn(2)
    assert world.plc.revoked == [first, second]
    world.act("clear")
    world.turn(2)
    assert world.act("clear", "removed") == "clear: STOPPED"
    world.turn()
    removed = {number: entry for number, entry in world.outcomes().items() if entry[0] is Outcome.REMOVED}
    assert removed.keys() >= {first, second}
    assert any(row.text.startswith(f"{len(removed)} units removed by ann: test:") for row in world.post.rows
               if isinstance(row, AlarmRow) and row.code == "CLEARED")  # fmt: skip
    world.close(first, "diverted", "chute_seen")
    assert world.state == "ABORTED" and "CLEARANCE" in world.codes()


def test_a_body_behind_the_gate_in_the_empty_line_run_has_escaped(world: World) -> None:
    world.act("stop")
    world.turn(200)
    world.act("clear", "removed")
    world.act("start")
    world.turn(2)
    assert world.plc.commands[-1][0] == RUN | HOLD
    world.counters["stray_pass"] += 1
    world.turn(2)
    assert (world.state, "ESCAPED" in world.codes()) == ("ABORTED", True)


def test_a_body_in_the_chute_that_is_no_units_is_told_of_and_stops_nothing(world: World) -> None:
    world.unit_through()
    world.counters["stray_chute"] += 1
    world.turn(2)
    assert (world.state, world.codes().count("STRAY_BODY")) == ("EXECUTE", 1)


def test_totals_name_a_body_only_after_its_alarm_is_on_its_way(world: World) -> None:
    """If the process dies between the two, the next life tells of it again."""
    world.counters["stray_chute"] += 1
    world.turn(40)
    kinds = [
        type(row).__name__
        for row in world.post.rows
        if (isinstance(row, AlarmRow) and row.code == "STRAY_BODY") or (isinstance(row, PlcTotals) and row.stray_chute)
    ]
    assert kinds == ["AlarmRow", "PlcTotals"]


def test_maintenance_tells_the_plc_to_pass_nothing(world: World) -> None:
    world.act("stop")
    world.turn(200)
    assert world.act("mode", "maintenance").startswith("mode")
    world.turn()
    assert world.plc.commands[-1][1] == 0
    world.act("start")
    world.turn(3)
    world.unit_through()
    assert world.plc.permitted == []
