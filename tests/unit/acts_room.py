"""A desk with its acts and its trail, a tracker with units in it, and the time: what tests of acts play with."""

from msgspec.structs import replace as put

from daemon.config import Station
from daemon.line.acts import Acts, Scene
from daemon.line.arming import Arming
from daemon.line.conditions import Condition
from daemon.line.desk import Desk
from daemon.line.oversight import Oversight
from daemon.line.rows import Row, Rows
from daemon.line.tracking import Command as Consequence
from daemon.line.tracking import Settings, Tracker
from daemon.line.trail import Trail
from daemon.messages import Act, Answer, Arm, Judged, Loaded, Resume
from daemon.records import AuditRow
from daemon.states import State
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Reason, UnitId, Verdict, ViewKey
from drivers.registers import Command

BODY = ViewKey("body")
PERMITTED = 1
ACT = Act("start", "ann", "operator", "because", "", "")
LOADED = Loaded("b", "r", "bundle", "recipe", [BODY], 120.0, 5.0, 40.0, 400.0)
RUN, HOLD, ABORT, SYNC, RESET = Command


class Room:
    """A desk with its acts, a tracker with units in it, and the time."""

    def __init__(self, station: Station, batch: str = "B1") -> None:
        self.now = 10**9
        self.oversight = Oversight(station)
        self.oversight.configure(LOADED)
        self.desk = Desk(self.oversight.overrides)
        self.tracker = Tracker(Settings(frozenset({BODY}), 800, 11_700, 300, 10**9))
        self.arming = Arming(lambda *_: "c")
        self.arming.resume(Resume(0, []))
        self.arming.take(Arm(batch, "b", "r", "c"))
        self.sent: list[Row] = []
        self.rows = Rows(self._send)
        self.trail = Trail(self.rows)
        self.acts = Acts(self.desk, self.oversight, self.tracker, self.arming, self.trail)
        self.found: list[Condition] = []
        self.belt_runs = False

    def _send(self, row: Row) -> bool:
        self.sent.append(row)
        return True

    def audited(self) -> list[AuditRow]:
        """What was put on record since the last call; the recorder acknowledges it."""
        self.sent.clear()
        self.rows.pump()
        for row in self.sent:
            self.rows.stored(row.seq)
        return [row for row in self.sent if isinstance(row, AuditRow)]

    def do(self, kind: str, new: str = "", **changes: str) -> tuple[Answer, list[Consequence]]:
        act = put(ACT, kind=kind, new=new, **changes)
        return self.acts.act(act, Scene(self.found, self.belt_runs, PERMITTED, self.now))

    def ok(self, kind: str, new: str = "") -> list[Consequence]:
        answer, commands = self.do(kind, new)
        assert answer.ok, answer.text
        return commands

    def refused(self, kind: str, new: str = "", **changes: str) -> str:
        answer, commands = self.do(kind, new, **changes)
        assert not answer.ok and commands == []
        return answer.text

    def drive(self, turns: int = 3) -> Command:
        bits = Command(0)
        for _ in range(turns):
            self.now += 600_000_000
            clearing = self.oversight.clearance.pending
            bits = self.desk.drive(self.found, True, not len(self.tracker), self.now, clearing=clearing)
        return bits

    def running(self) -> "Room":
        self.ok("start")
        self.drive()
        assert self.desk.state is State.EXECUTE
        return self

    def units(self, count: int) -> "Room":
        for n in range(1, count + 1):
            self.tracker.created(UnitId(7, 0, n), 2000 * n, self.now, None)
        return self

    def permit(self, n: int) -> "Room":
        unit, key = UnitId(7, 0, n), FrameKey("body", 1, n)
        self.tracker.edge(unit, BODY, self.now)
        self.tracker.bound(unit, BODY, Evidence(key, n, 0, 0, 0, 0, 0, 0, True, True, 0))
        views = [JudgedView(BODY, key, 0, "d", {})]
        judged = Judged(unit, Verdict.ACCEPT, Reason.NONE, Channel.NONE, "", views, "b", "r", 1, 2, 3, 4)
        assert self.tracker.judged(judged, self.now, None, ours=True)
        return self

    def aborted(self) -> "Room":
        self.desk.alarm("GUARD_OPEN", "", self.now)
        self.drive()
        assert self.desk.state is State.ABORTED
        return self
