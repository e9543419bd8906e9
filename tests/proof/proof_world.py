"""The whole line in virtual time: one World plays one case and keeps the truth beside what the product says."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from proof_agenda import MS, START_NS, Agenda
from proof_belt import ProofBelt
from proof_camera import Camera, Optics
from proof_line import HEARTBEAT_NS, POLL_NS, LineProcess
from proof_peers import Recorder, Vision, loaded
from proof_plant import Plant
from proof_wire import TIMEOUT_NS, Request, Wire

from daemon import config
from daemon.messages import Bound, Judged, PermitRow, Unbound
from daemon.units import FrameKey, LineMode, UnitId, ViewKey
from daemon.wire import Message
from drivers.gate.plc_io import Flag, Place, PlcSpec, Step, UnitEvent
from drivers.plc_link import Settings
from drivers.registers import load_map
from drivers.sim.belt import BeltSpec, EyeEdge, Vial

MAP = load_map()
SCALE = 20.0
DEVICE, PLC_ID = 1001, 2001
PLACES_MM = (150.0, 240.0)
MIN_GAP_MM = 40.0
RELEASE_MM, CLEAR_MM, PHANTOM_MM, CONFIRM_MM = 15.0, 2.0, 20.0, 25.0
HOP_NS = (30_000, 250_000)
OPERATOR_NS = 300 * MS
MOST_ACTS = 12
NEXT_ACT = {"ABORTED": "clear", "STOPPED": "reset", "IDLE": "start", "HELD": "reset"}


@dataclass(frozen=True, slots=True)
class Spec:
    """What one case is played on. `number` is the first unit's, `first_frame` the last frame id before it."""

    seed: int
    vials: int
    rate: int
    cameras: int = 2
    gap_jitter: float = 0.06
    bad: float = 0.05
    encoder_start: int = 0
    number: int = 1
    first_frame: int = 0
    dense: bool = False


@dataclass(slots=True)
class Told:
    """What the gate program decided of one unit."""

    vial: int
    created_ns: int
    decided_ns: int = 0
    passed: bool = False
    flags: int = 0
    cause: int = 0
    closed: int = 0
    closed_ns: int = 0


class World:
    """Plays until every vial left the belt, or time is up. `hooks[step]` are asked at each step of each vial's way."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.agenda = agenda = Agenda()
        self.chance = random.Random(f"{spec.seed} world")
        self.judge = random.Random(f"{spec.seed} vials")
        self.bad: dict[int, bool] = {}
        self.units: dict[UnitId, Told] = {}
        self.written: dict[UnitId, list[tuple[int, bool]]] = defaultdict(list)
        self.noted: Callable[[str, int], None] = lambda *_: None
        self.granted: dict[UnitId, PermitRow] = {}
        self.bound: list[tuple[UnitId, FrameKey]] = []
        self.unbound: list[tuple[int, str]] = []
        self.edges: dict[tuple[int, int], int] = {}
        self.wrong: list[str] = []
        self.uncounted: set[int] = set()
        self.taken: set[int] = set()
        geometry = _geometry(spec.rate)
        names = ("body", "crimp")[: spec.cameras]
        self.station = _station(names, geometry)
        belt = ProofBelt(_belt(spec, geometry), START_NS)
        self.plant = Plant(agenda, belt, _plc(geometry, spec.cameras), MAP, spec.dense)
        if spec.number > 1:
            self.plant.program._lanes[0]._next = spec.number
        self.wire = Wire(self.plant, self.chance)
        self.recorder = Recorder(agenda, self.chance)
        views = tuple(ViewKey(name) for name in names)
        self.vision = Vision(agenda, self.chance, loaded(views, MIN_GAP_MM), self.is_bad)
        self.vision.slow_ns = (MS // 2, 2 * MS) if spec.rate > 1500 else (MS, 5 * MS)
        settings = Settings(DEVICE, PLC_ID, 1, tuple(range(spec.cameras)), POLL_NS, HEARTBEAT_NS, TIMEOUT_NS)
        self.line = LineProcess(agenda, self.wire, self.station, MAP, settings, self)
        optics = Optics(MS, 2 * MS) if spec.rate > 1500 else Optics(2 * MS, 6 * MS)
        self.cameras = [
            Camera(agenda, name, optics, self.chance, self._shows(index)) for index, name in enumerate(names)
        ]
        self._acts = MOST_ACTS
        self._connect()

    def _connect(self) -> None:
        self.plant.trigger = self._trigger
        self.plant.news = self.line.poll
        self.plant.beaten = self.line.poll_again
        self.plant.told = self._told
        self.line.arrived = self._arrived
        self.recorder.answer = lambda message: self._hop(lambda: self.line.deliver(message))
        self.recorder.state = self._state
        self.vision.answer = self._answer
        for camera in self.cameras:
            camera.first_id = self.spec.first_frame
            camera.to_line = self._to_line
            camera.to_vision = self.vision.frame
            camera.new_ring = self.vision.session

    # ---- the line's Post -------------------------------------------------------------------------------------------

    @property
    def vision_up(self) -> bool:
        return self.vision.up

    @property
    def recorder_up(self) -> bool:
        return self.recorder.up

    def to_vision(self, message: Message) -> None:
        if isinstance(message, Bound):
            self.bound.append((message.unit, message.key))
        elif isinstance(message, Unbound):
            self.unbound.append((self.agenda.now, message.key.camera))
        if self.vision.up:
            life = self.vision.life
            self._hop(lambda: self.vision.receive(message) if life == self.vision.life else None)

    def to_recorder(self, message: Message) -> bool:
        if isinstance(message, PermitRow) and message.unit not in self.granted:
            self.granted[message.unit] = message
            if message.unit.epoch != self.line.epoch:
                self.wrong.append(f"permit for {message.unit} while the line's epoch is {self.line.epoch}")
        if not self.recorder.up:
            return False
        self.recorder.receive(message)
        return True

    # ---- playing ---------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Start the line with an empty belt and let every vial through."""
        for camera in self.cameras:
            camera.start()
        self.begin_line()
        self.agenda.after(50 * MS, lambda: self._operate("STOPPED"))
        gap_ns = 60_000_000_000 // self.spec.rate
        self.agenda.run(START_NS + 12_000 * MS + 4 * self.spec.vials * gap_ns, self._over)
        settle = self.agenda.now + 300 * MS
        self.agenda.run(settle, lambda: False)

    def _over(self) -> bool:
        belt = self.plant.belt
        return belt.exhausted and not belt.on_belt and not self.plant.program.in_flight and self.line.up

    def begin_line(self) -> None:
        """A life of the line begins and its peers greet it."""
        self.line.start()
        control = self.line.control
        if self.recorder.up:
            control.hello("recorder")
            self.line.deliver(self.recorder.resume())
            self.line.deliver(self.recorder.arm)
        if self.vision.up:
            control.hello("vision")
            self.line.deliver(self.vision.staged)
            self.line.deliver(self.vision.loaded)
        for camera in self.cameras:
            camera.report()

    def gone(self, process: str, name: str) -> None:
        """The line notices that a peer went away."""
        if self.line.up:
            self.line.control.gone(process, name, "closed", self.agenda.now)
            self.line.poll()

    def greet(self, process: str) -> None:
        """A process greets the line, which takes it for a new one."""
        if self.line.up:
            self.line.control.hello(process)

    def is_bad(self, vial: int) -> bool:
        """Whether these pixels show a defect; the empty belt is no good vial."""
        if not vial:
            return True
        if vial not in self.bad:
            self.bad[vial] = self.judge.random() < self.spec.bad
        return self.bad[vial]

    def unit(self, event: UnitEvent) -> UnitId:
        return UnitId(event.epoch, event.lane, event.number)

    def vial(self, unit: UnitId) -> int:
        """The body behind a unit, 0 where there never was one."""
        return self.plant.vials.get((unit.epoch, unit.lane, unit.number), 0)

    def body(self, ordinal: int) -> Vial:
        return self.plant.belt.vials[ordinal - 1]

    def _shows(self, index: int) -> Callable[[int], int]:
        return lambda at_ns: self.plant.belt.shown(index, at_ns)

    def _hop(self, act: Callable[[], None]) -> None:
        self.agenda.after(self.chance.randrange(*HOP_NS), act)

    def _to_line(self, message: Message) -> None:
        self._hop(lambda: self.line.deliver(message))

    def _answer(self, message: Message) -> None:
        if isinstance(message, Judged):
            self.noted("judged", self.vial(message.unit))
        self._to_line(message)

    def _trigger(self, station: int, due_ns: int, vial: int) -> None:
        self.edges[station, vial] = due_ns
        self.cameras[station].edge(due_ns, vial)
        self.noted(f"edge {station}", vial)

    def _told(self, event: UnitEvent) -> None:
        unit = self.unit(event)
        told = self.units.get(unit)
        if event.step is Step.CREATED or told is None:
            told = self.units[unit] = Told(self.vial(unit), self.agenda.now)
            self.noted("created", told.vial)
        elif event.step is Step.PERMIT_SEEN:
            self.noted("permit seen", told.vial)
        elif event.step is Step.DECIDED:
            told.decided_ns, told.passed = self.agenda.now, not event.flags & Flag.DIVERTED
            told.flags, told.cause = event.flags, event.cause
            if told.passed and not self.plant.lets_pass:
                self.wrong.append(f"{unit} passed against key, mode, epoch or a silent device")
            self.noted("decided", told.vial)
        elif event.step is Step.CLOSED:
            told.closed += 1
            told.closed_ns = self.agenda.now
            told.flags, told.cause = event.flags, event.cause
            self.noted("closed", told.vial)

    def _arrived(self, request: Request) -> None:
        if request.tag not in ("permit", "revoke"):
            return
        unit = UnitId(self.plant.program.epoch, request.index, request.seq)
        self.written[unit].append((self.agenda.now, request.tag == "permit"))
        if request.tag == "permit":
            self.noted("permit", self.vial(unit))

    def _state(self, state: str) -> None:
        if state in NEXT_ACT and self._acts:
            self.agenda.after(OPERATOR_NS, lambda: self._operate(state))

    def _operate(self, state: str) -> None:
        """The operator does what the state asks for."""
        if self._acts:
            self._acts -= 1
            if state == "STOPPED":
                self.line.act("clear", "rejected")
            self.line.act(NEXT_ACT[state])


def _geometry(rate: int) -> config.Geometry:
    """The gate stands far enough behind the last camera for the latency at this speed."""
    lead = max(15.0, 0.011 * rate)
    gate = 600.0 if rate <= 1500 else 240.0 + 0.13 * rate + 2 * lead
    return config.Geometry(
        counts_per_mm=SCALE, gate_mm=gate, ejector_lead_mm=lead, chute_eye_mm=gate + 100.0, pass_eye_mm=gate + 100.0
    )


def _station(names: tuple[str, ...], geometry: config.Geometry) -> config.Station:
    cameras = [
        config.Camera(
            name=name, serial=name, producer="none", station=i, position_mm=PLACES_MM[i], width=640, height=480
        )
        for i, name in enumerate(names)
    ]
    return config.Station(
        name="proof",
        identity=DEVICE,
        plc_identity=PLC_ID,
        mode=LineMode.AUTOMATIC,
        wiring=config.ModbusClient(),
        geometry=geometry,
        cameras=cameras,
        vision=config.Vision(bundle="", recipe="", trust=""),
    )


def _belt(spec: Spec, geometry: config.Geometry) -> BeltSpec:
    return BeltSpec(
        rate_per_min=spec.rate,
        counts_per_mm=SCALE,
        cameras=PLACES_MM[: spec.cameras],
        gate_mm=geometry.gate_mm,
        chute_eye_mm=geometry.chute_eye_mm,
        pass_eye_mm=geometry.pass_eye_mm,
        seed=spec.seed,
        vials=spec.vials,
        pictures=1,
        gap_jitter=spec.gap_jitter,
        encoder_start=spec.encoder_start,
    )


def _plc(geometry: config.Geometry, cameras: int) -> PlcSpec:
    lead, gate = geometry.ejector_lead_mm, geometry.gate_mm
    return PlcSpec(
        identity=PLC_ID,
        device_identity=DEVICE,
        lanes=1,
        stations=tuple(Place(i, round(PLACES_MM[i] * SCALE)) for i in range(cameras)),
        decide=round((gate - lead) * SCALE),
        release=round((gate + RELEASE_MM) * SCALE),
        chute_eye=round(geometry.chute_eye_mm * SCALE),
        pass_eye=round(geometry.pass_eye_mm * SCALE),
        window=round(CONFIRM_MM * SCALE),
        clear=round((lead + CLEAR_MM) * SCALE),
        phantom=round(PHANTOM_MM * SCALE),
    )


__all__ = ["EyeEdge", "PermitRow", "Spec", "Told", "World"]
