"""The whole line without sockets: real Control, PLC driver, gate program, belts and fusion on one simulated clock.

Cameras are ideal: a frame of exactly what stood before the lens, two milliseconds after its edge. What a test asks of a
station is written in `station()`; what a vial shows is `bad`, by its number.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from daemon import config
from daemon.line.control import Control
from daemon.messages import Act, Arm, Bound, CameraState, FrameSeen, Loaded, Resume, Staged, Stored, Unbound, UnitRow
from daemon.units import Channel, Evidence, FrameKey, UnitId
from daemon.views import views_of
from daemon.vision.fusion import Again, Drop, Fusion, Judge, Looked
from daemon.vision.judging import Limit, Rules
from daemon.wire import Message
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_logic import Plc as Program
from drivers.links import Reply
from drivers.plc_link import Plc, Settings
from drivers.registers import load_map
from drivers.sim.box_setup import RunSpec, belt_specs, plc_spec
from drivers.sim.lanes import Lanes
from drivers.sim.machine import SCAN_NS, Machine, Pulse

MS = 1_000_000
T0 = 10**12
MAP = load_map()
FRAME_NS = 2 * MS
CONFIGURATIONS = {"recipe": "configuration", "other": "other configuration"}
CHANNELS = {"critical": Channel.CRITICAL, "cosmetic": Channel.COSMETIC}


def camera(name: str, station: int, position_mm: float, **more: Any) -> dict[str, Any]:
    """Return a camera of the station document."""
    size = {"width": 640, "height": 480}
    return {"name": name, "serial": name, "producer": "", "station": station, "position_mm": position_mm} | size | more


def station(cameras: Sequence[dict[str, Any]], **more: Any) -> config.Station:
    """Return a station with these cameras; `geometry` is laid over the usual one."""
    geometry = {"counts_per_mm": 20.0, "gate_mm": 600.0, "chute_eye_mm": 700.0, "pass_eye_mm": 700.0}
    document = {
        "name": "test",
        "identity": 1001,
        "plc_identity": 2001,
        "production": False,
        "mode": "automatic",
        "wiring": {"kind": "modbus-client"},
        "geometry": geometry | more.pop("geometry", {}),
        "cameras": list(cameras),
        "vision": {"bundle": "b", "recipe": "r", "trust": "t"},
    }
    return msgspec.convert(document | more, config.Station)


class DirectLink:
    """A RegisterLink straight into the PLC's memory."""

    def __init__(self, bank: Bank, now: Callable[[], int]) -> None:
        self._bank, self._now = bank, now
        self._replies: list[Reply] = []
        self.up = False
        self.idle = True

    def fileno(self) -> int:
        return -1

    def read(self, tag: str, address: int, count: int, index: int = 0, seq: int = 0) -> None:
        if self._bank.refresh and not address:
            self._bank.refresh()
        words = list(self._bank.words[address : address + count])
        self._replies.append(Reply(tag, index, seq, words, self._now(), self._now()))

    def write(self, tag: str, address: int, words: Sequence[int], index: int = 0, seq: int = 0) -> None:
        assert self._bank.writable(address, len(words)), f"{tag} at {address}"
        self._bank.write(address, words)

    def connect(self, now_ns: int) -> bool:
        up, self.up = self.up, True
        return not up

    def service(self, now_ns: int) -> list[Reply]:
        replies, self._replies = self._replies, []
        return replies

    def close(self) -> None:
        self.up = False


class LineWorld:
    """`bad[vial]` is the channel of its defect. `rows` are the units' final rows, `frames` what each frame showed."""

    vision_up = recorder_up = True

    def __init__(self, made: config.Station, vials: int, rate: float = 600.0, **recipe: Any) -> None:
        self.station, self.now = made, T0
        self.bad: dict[int, str] = {}
        self.rows: dict[UnitId, UnitRow] = {}
        self.vials: dict[UnitId, int] = {}
        self.frames: dict[tuple[FrameKey, int], int] = {}
        self.lost: set[tuple[str, int]] = set()
        self.inferred_twice = 0
        self._looked: dict[tuple[FrameKey, int], Looked] = {}
        bank = Bank(MAP)
        run = RunSpec(vials, rate, 1, None, 1, 16, 0.0, None)  # type: ignore[arg-type]  # no pictures here
        self.machine = Machine(Lanes.build(belt_specs(made, run), T0), Program(plc_spec(made), bank), bank, T0)
        bank.refresh = lambda: self.machine.refresh(self.now)
        self.bank = bank
        self._flying: deque[tuple[int, Pulse]] = deque()
        self._edges: Counter[str] = Counter()
        self._by_station = {entry.station: entry for entry in made.cameras}
        views = sorted(views_of(made, 0))
        limits = {view: {name: Limit(0.3, 0.7) for name in CHANNELS} for view in views}
        rules = Rules(limits, CHANNELS)
        judges = {"recipe": Judge("bundle", rules), "other": Judge("other bundle", rules)}
        self._fusion = Fusion(judges, {entry.name: entry.look for entry in made.cameras})
        stations = tuple(sorted(self._by_station))
        settings = Settings(1001, 2001, made.lanes, stations, 4 * MS, 20 * MS, 80 * MS)
        self.driver = Plc(DirectLink(bank, lambda: self.now), MAP, settings, lambda: self.now)
        self.control = Control(made, self.driver, MAP, lambda _bundle, recipe, _plan: CONFIGURATIONS[recipe], self)
        numbers = {"max_latency_ms": 100.0, "window_ms": 5.0, "min_gap_mm": 40.0, "max_gap_mm": 400.0} | recipe
        self._loaded = Loaded("bundle", "recipe", "bundle 1", "recipe 1", views, **numbers)
        self.other = Loaded("other bundle", "other", "bundle 2", "recipe 2", views, **numbers)
        self._inbox: deque[Message] = deque()
        self._greet()

    def start(self) -> None:
        """A person starts the line."""
        self.until(lambda: self.control.act(Act("start", "operator", "operator", "test", "", ""), self.now).ok)

    def play(self) -> None:
        """Let every vial through; every unit has its row afterwards."""
        if not self.machine.belt.vials:
            self.start()
        belt, plc = self.machine.belt, self.machine.plc
        self.until(lambda: belt.exhausted and belt.on_belt == 0 and plc.in_flight == 0)
        self.until(lambda: len(self.rows) >= len(self.vials))

    def until(self, done: Callable[[], bool], seconds: int = 20) -> None:
        end = self.now + seconds * 1000 * MS
        while not done():
            assert self.now < end, f"the line is {self.control.status(self.now)}"
            self.step()

    def step(self) -> None:
        """One millisecond: the PLC scans in every second one, the line's loop turns in each."""
        self.now += MS
        if (self.now // MS) % (SCAN_NS // MS) == 0:
            turn = self.machine.scan(self.now)
            self.vials |= {UnitId(*unit): vial for unit, vial in turn.created}
            self._flying.extend((pulse.due_ns + FRAME_NS, pulse) for pulse in turn.pulses)
        for at, pulse in [item for item in self._flying if item[0] <= self.now]:
            self._flying.remove((at, pulse))
            self._frame(pulse)
        for event in self.driver.service(self.now):
            self.control.event(event, self.now)
        while self._inbox:
            self.control.message(self._inbox.popleft(), self.now)
        self.control.tick(self.now)

    def to_vision(self, message: Message) -> None:
        if isinstance(message, Bound):
            self._say(self._fusion.bound(message, self.now))
        elif isinstance(message, Unbound):
            self._say(self._fusion.unbound(message.key, message.region))

    def to_recorder(self, message: Message) -> bool:
        if isinstance(message, UnitRow):
            assert message.unit not in self.rows, "every unit closes once"
            self.rows[message.unit] = message
        self._inbox.append(Stored(getattr(message, "seq", 0)))
        return True

    def by_vial(self) -> dict[int, UnitRow]:
        """Return the rows of units that had a body, by vial."""
        return {self.vials[unit]: row for unit, row in self.rows.items() if self.vials.get(unit)}

    def misbound(self) -> list[str]:
        """Name every verdict that stands on a frame of another vial."""
        return [
            f"{row.unit} {view.key}: vial {self.frames[view.key, view.view.region]} for {self.vials[row.unit]}"
            for row in self.rows.values()
            for view in row.views
            if self.frames[view.key, view.view.region] != self.vials[row.unit]
        ]

    def _greet(self) -> None:
        for process in ("recorder", "vision"):
            self.control.hello(process)
        self._inbox += [Resume(0, []), Arm("B1", "bundle", "recipe", "configuration"), self._loaded]
        for entry in self.station.cameras:
            self._inbox.append(CameraState(entry.name, 7, True, ""))
            self._fusion.session(entry.name, 7)

    def _frame(self, pulse: Pulse) -> None:
        """A camera exposed at an edge; its process tells line and vision."""
        entry = self._by_station[pulse.station]
        self._edges[entry.name] += 1
        count, at = self._edges[entry.name], pulse.due_ns
        if (entry.name, pulse.vial) in self.lost:
            return
        key = FrameKey(entry.name, 7, count)
        received = at + FRAME_NS
        seen = Evidence(key, count, 0, at, at, 20_000, pulse.encoder, 0, True, True, received)
        self._inbox.append(FrameSeen(seen))
        for region, shown in enumerate(self._shows(entry, at)):
            self.frames[key, region] = shown
            scores = {name: 0.9 if self.bad.get(shown) == name or not shown else 0.1 for name in CHANNELS}
            looked = Looked(key, at, f"vial {shown}", scores, received, received, MS, "recipe", region=region)
            self._looked[key, region] = looked
            self._say(self._fusion.looked(looked, self.now))

    def _shows(self, entry: config.Camera, at: int) -> list[int]:
        """Return the vial in each region of a frame, 0 = an empty pocket."""
        index = self.station.cameras.index(entry)
        if not entry.regions:
            return [self.machine.belt.before_lens(index, at)]
        carrier = self.station.geometry.carrier
        assert carrier is not None
        travel = self.machine.belt.belts[0]._drive.at(at)
        shown = []
        for region in entry.regions:
            due = travel + region.behind * carrier.pitch_mm
            vials = [vial for vial in self.machine.belt.vials if vial.lane == region.lane]
            near = [vial.ordinal for vial in vials if abs(vial.lens_at[index] - due) < carrier.pitch_mm / 3]
            shown.append(near[0] if near else 0)
        return shown

    def _say(self, commands: Sequence[Message | Drop | Again]) -> None:
        for command in commands:
            if isinstance(command, Again):
                self.inferred_twice += 1
                looked = replace(self._looked[command.key, command.region], recipe=command.recipe)
                self._say(self._fusion.looked(looked, self.now))
            elif not isinstance(command, Drop):
                self._inbox.append(command)

    def stage(self) -> None:
        """Vision has the other pair warm besides."""
        self._inbox += [Staged([self.other]), self._loaded]

    def swap(self, recipe: str) -> None:
        """The recorder has the signed order on record and arms what it names."""
        bundle = {"recipe": "bundle", "other": "other bundle"}[recipe]
        self._inbox.append(Arm("B1", bundle, recipe, CONFIGURATIONS[recipe]))

    def vision_restarts(self) -> None:
        """It forgets what it saw; what it had warm before it has warm again."""
        self.control.gone("vision", "test", "killed", self.now)
        self._fusion.line_lost()
        self.control.hello("vision")
        self.stage()
