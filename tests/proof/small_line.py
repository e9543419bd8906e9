"""A small line whose every step is somebody's choice: gate program, binder and tracker, real, without time or wire.

The belt moves from one place to the next (`move`), 200 ms each; between two moves any message may arrive, in any order
that its way allows, or not at all. Used by the exhaustive check and by the state machine. A frame's digest names the
body it shows; `violations` fills with what must never be.
"""

from collections import deque
from dataclasses import dataclass, field

import msgspec
from small_parts import (
    AUTOMATIC,
    CAMERA,
    DECIDE,
    DEVICE,
    EYE,
    LIMITS,
    MAP,
    MOVE_NS,
    MS,
    PITCH,
    RUN,
    SESSION,
    SPEC,
    VIEW,
    WAIT_NS,
    Body,
    Write,
)

from daemon.line.binding import Bind, Binder, Decision, Edge, Missing, Settings, Unsynced
from daemon.line.tracking import Command, Grant, Revoke, Tracker
from daemon.line.unit import Finish, Permit, seen
from daemon.messages import Judged
from daemon.units import Channel, Evidence, FrameKey, JudgedView, Outcome, Reason, UnitId, Verdict
from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Fired, Flag, Inputs, Latch, Step
from drivers.gate.plc_logic import Plc
from drivers.registers import permit_check, split


@dataclass
class SmallLine:
    """`bodies` vials in all; `number` and `encoder` may start just before their wrap."""

    count: int = 2
    number: int = 1
    encoder: int = 0
    violations: list[str] = field(default_factory=list)
    passes: int = 0

    def __post_init__(self) -> None:
        self.bank = Bank(MAP)
        self.program = Plc(SPEC, self.bank)
        self.start = self.encoder
        self.program.start(self.encoder, retained=False)
        self.program._lanes[0]._next = self.number
        self.now_ns = 1_000 * MOVE_NS
        self.beat = self.nonce = self.epoch = self.newest = 0
        self.beating = True
        self.bodies: list[Body] = []
        self.tracker = Tracker(LIMITS)
        self.binder = self._synced_binder()
        self.frames: deque[tuple[Evidence, int]] = deque()
        self.events: deque[tuple[str, tuple[int, ...]]] = deque()
        self.bound: dict[UnitId, tuple[FrameKey, int]] = {}
        self.writes: deque[Write] = deque()
        self.sent: list[tuple[UnitId, int, list[int]]] = []
        self.granted: set[UnitId] = set()
        self.standing: set[UnitId] = set()
        self.finished: dict[UnitId, Outcome] = {}
        self.closed: set[UnitId] = set()
        self.lives = 0
        self.k = 3
        self.frame_id = 3
        self.ask_epoch()
        self._scan(Inputs(encoder=self.encoder))
        self._hear_epoch()

    # ---- choices ---------------------------------------------------------------------------------------------------

    def places(self) -> list[tuple[int, str, Body | None]]:
        """What the belt reaches next, nearest first: (counts from the start, place, body)."""
        due: list[tuple[int, str, Body | None]] = []
        if len(self.bodies) < self.count:
            due.append((len(self.bodies) * PITCH, "infeed", None))
        for body in self.bodies:
            for place, counts in (("camera", CAMERA), ("gate", DECIDE), ("eye", EYE)):
                due.append((body.entered + counts, place, body))
        travelled = (self.encoder - self.start) & 0xFFFFFFFF
        return sorted((item for item in due if item[0] > travelled or item[1] == "infeed"), key=lambda item: item[0])

    def move(self) -> None:
        """The belt goes on to the next place, and the program scans there."""
        counts, place, body = self.places()[0]
        self.now_ns += MOVE_NS
        self.encoder = (self.start + counts) & 0xFFFFFFFF
        inputs = Inputs(encoder=self.encoder)
        latch = Latch(self.now_ns // 1000, self.encoder)
        if place == "infeed":
            body = Body(counts)
            self.bodies.append(body)
            inputs.infeed.append(latch)
        elif place == "camera" and body and body.order:
            inputs.fired.append(Fired(body.order, latch.time_us, self.encoder))
            self._expose(body)
        elif place == "eye" and body:
            (inputs.passed if body.passed else inputs.chute).append(latch)
        self._scan(inputs, body)
        if place == "gate" and body and body.passed is None:
            body.passed = False
        self.tracker.encoder(self.encoder)
        self.do(self.tracker.tick(self.now_ns, Reason.LATE, self.now_ns))
        self.decide(self.binder.tick(self.now_ns))

    def scan(self) -> None:
        """The program scans where the belt is."""
        self._scan(Inputs(encoder=self.encoder))

    def hear(self) -> None:
        """The line reads the next entry of the PLC's rings; a unit that has its row concerns it no more (arming.py)."""
        kind, values = self.events.popleft()
        if kind != "edge" and UnitId(values[0], 0, values[1]) in self.finished:
            return
        if kind == "created":
            epoch, number, encoder, at_ns = values
            unit = UnitId(epoch, 0, number)
            refuse = None if epoch == self.epoch and self.beating else Reason.LINE_FAULT
            self.do(self.tracker.created(unit, encoder, at_ns, refuse))
        elif kind == "edge":
            k, epoch, number, at_ns = values
            unit = UnitId(epoch, 0, number)
            self.tracker.edge(unit, VIEW, at_ns)
            self.binder.feed(at_ns + 1)
            self.decide(self.binder.edge(Edge(k, unit, 0, at_ns, MS // 10), self.now_ns))
        else:
            epoch, number, flags, at_ns = values
            told = seen(UnitId(epoch, 0, number), flags, MAP.flags, at_ns)
            self.do(self.tracker.closed(told, False))

    def frame(self, *, twice: bool = False, keep: bool = False) -> None:
        """The oldest frame on its way arrives; `keep`: a copy of it stays on the way."""
        evidence = msgspec.structs.replace(self.frames[0][0], received_ns=self.now_ns + MS)
        if not keep:
            self.frames.popleft()
        for _ in range(2 if twice else 1):
            self.decide(self.binder.frame(evidence, self.now_ns))

    def lose_frame(self) -> None:
        """The oldest frame never arrives."""
        self.frames.popleft()

    def swap_frames(self) -> None:
        """Two frames change places on their way."""
        self.frames.rotate(1)

    def judge(self, unit: UnitId, verdict: Verdict = Verdict.ACCEPT, other: UnitId | None = None) -> None:
        """Vision's verdict arrives; `other`: over the pixels of that unit."""
        key, shows = self.bound[other or unit]
        view = JudgedView(VIEW, key, 0, f"body {shows}", {})
        reason = Reason.NONE if verdict is Verdict.ACCEPT else Reason.DEFECT
        judged = Judged(unit, verdict, reason, Channel.NONE, "", [view], "bundle", "recipe", 0, 0, 0, 0)
        refuse = None if self.epoch and self.beating else Reason.LINE_FAULT
        self.do(self.tracker.judged(judged, self.now_ns, refuse, ours=True))

    def write(self) -> None:
        """Half of the oldest permit on its way, or the whole of a revocation, lands in the PLC."""
        head = self.writes[0]
        words = head.words if not any(head.words) else head.words[head.done : head.done + 2]
        self.bank.write(head.address + head.done, words)
        head.done += len(words)
        if head.done >= len(head.words):
            self.writes.popleft()
            self.sent.append((head.unit, head.address, head.words))
            self._stands(head.unit, any(head.words))

    def replay(self, index: int) -> None:
        """A write of earlier arrives again, unless it was revoked: then nobody can tell it from the line's own."""
        unit, address, words = self.sent[index]
        if all((unit, address, [0, 0, 0, 0]) != later for later in self.sent[index + 1 :]):
            self.bank.write(address, words)
            self._stands(unit, any(words) and unit in self.granted)

    def _stands(self, unit: UnitId, given: bool) -> None:
        """A permit landed whole; it counts if the program holds the device for alive in the unit's epoch."""
        alive = self.bank.get("plc_state") & 4 and unit.epoch == self.program.epoch
        (self.standing.add if given and alive else self.standing.discard)(unit)

    def forge(self, part: slice) -> None:
        """A stranger writes a part of a permit for the youngest body."""
        unit = self.bodies[-1].unit if self.bodies else None
        if unit:
            words = [*split(unit.number), unit.epoch & 0xFFFF, 0x5A5A]
            slot = MAP.permit.at(0, unit.number % MAP.permit.length)
            self.bank.write(slot + (part.start or 0), words[part])

    def mix_epochs(self, *, new: bool) -> None:
        """Somebody writes a permit with a valid check for a unit of an old epoch: in its own or in the new one (not
        where that number is a unit's again: no gate can tell that from the line's own)."""
        now, units = self.program.epoch, [body.unit for body in self.bodies if body.unit]
        for unit in units:
            if unit.epoch != now and not (new and UnitId(now, 0, unit.number) in units):
                number, epoch = unit.number, now if new else unit.epoch
                slot = number % MAP.permit.length
                check = permit_check(number, epoch, 0, slot, DEVICE)
                self.bank.write(MAP.permit.at(0, slot), [*split(number), epoch & 0xFFFF, check])

    def ask_epoch(self) -> None:
        """The line asks for a new epoch."""
        self.nonce += 1
        self.epoch = 0

    def hang(self) -> None:
        """Heartbeats stop."""
        self.beating = False

    def wake(self) -> None:
        """Heartbeats go on."""
        self.beating = True

    def restart_line(self) -> None:
        """The line dies and starts again: it knows nothing, what it was about to write is gone, a new epoch begins."""
        self.lives += 1
        self.tracker, self.binder = Tracker(LIMITS), Binder(Settings(40 * MS, WAIT_NS))
        self.tracker.encoder(self.encoder)
        self.binder.session(SESSION)
        self.writes.clear()
        self.bound.clear()
        self.ask_epoch()

    def restart_plc(self, retained: bool) -> None:
        """The program stops and starts."""
        self.program.stop()
        self.program.start(self.encoder, retained)
        if not retained:
            for body in self.bodies:
                body.order = None
        self.events.clear()
        self.k = 0
        self.decide(self.binder.plc_restarted())
        self.do(self.tracker.void_all(Reason.LINE_FAULT))
        if not retained:
            self.tracker.memory_lost()
        self.ask_epoch()

    # ---- what follows ----------------------------------------------------------------------------------------------

    def decide(self, decisions: list[Decision]) -> None:
        """Carry out what the binder says, as Control does."""
        for decision in decisions:
            if isinstance(decision, Bind):
                shows = self.shown[decision.evidence.key]
                if self.body_of(decision.unit) != shows:
                    self.violations.append(f"frame of body {shows} credited to {decision.unit}")
                if decision.unit in self.bound or decision.evidence.key in [key for key, _ in self.bound.values()]:
                    self.violations.append(f"{decision.evidence.key} or {decision.unit} was credited twice")
                self.do(self.tracker.bound(decision.unit, VIEW, decision.evidence))
                self.bound[decision.unit] = (decision.evidence.key, shows)
            elif isinstance(decision, Missing):
                self.do(self.tracker.missing(decision.unit, decision.reason))
            elif isinstance(decision, Unsynced):
                self.do(self.tracker.distrust(VIEW.camera))
                for entry in self.tracker._units.values():
                    if entry.permit is Permit.GRANTED:
                        self.violations.append(f"{entry.id} keeps its permit though its camera is out of step")

    def do(self, commands: list[Command]) -> None:
        """Carry out what the tracker says, as Control does."""
        for command in commands:
            if isinstance(command, Grant):
                self._grant(command)
            elif isinstance(command, Revoke):
                address = MAP.permit.at(0, command.unit.number % MAP.permit.length)
                self.writes.append(Write(command.unit, address, [0, 0, 0, 0]))
                self.granted.discard(command.unit)
            elif isinstance(command, Finish):
                self._finish(command)

    def body_of(self, unit: UnitId) -> int:
        """Index of the body behind a unit, -1 where there is none."""
        return next((i for i, body in enumerate(self.bodies) if body.unit == unit), -1)

    def _grant(self, grant: Grant) -> None:
        unit = grant.unit
        if [view.digest for view in grant.judged.views] != [f"body {self.body_of(unit)}"]:
            self.violations.append(f"permit of {unit} rests on {grant.judged.views}")
        if unit in self.granted:
            self.violations.append(f"{unit} was permitted twice")
        if unit.epoch != self.epoch:
            self.violations.append(f"{unit} was permitted in epoch {self.epoch}")
        self.granted.add(unit)
        slot = unit.number % MAP.permit.length
        check = permit_check(unit.number, self.epoch, 0, slot, DEVICE)
        words = [*split(unit.number), self.epoch & 0xFFFF, check]
        self.writes.append(Write(unit, MAP.permit.at(0, slot), words))

    def _finish(self, finish: Finish) -> None:
        if finish.unit in self.finished:
            self.violations.append(f"{finish.unit} was closed twice")
        self.finished[finish.unit] = finish.outcome
        body = self.body_of(finish.unit)
        passed = body >= 0 and self.bodies[body].passed
        if finish.outcome is Outcome.REJECTED and passed:
            self.violations.append(f"{finish.unit} is on record as rejected and passed")

    def _expose(self, body: Body) -> None:
        self.k += 1
        self.frame_id += 1
        key = FrameKey(VIEW.camera, SESSION, self.frame_id)
        self.shown = {**self.shown, key: self.bodies.index(body)}
        evidence = Evidence(key, self.frame_id, 0, 0, self.now_ns, MS // 10, 0, 0, True, True, self.now_ns + MS)
        self.frames.append((evidence, self.bodies.index(body)))

    def _scan(self, inputs: Inputs, body: Body | None = None) -> None:
        if self.beating:
            self._beat()
        head, epoch = MAP.station.at(0), self.program.epoch
        out = self.program.scan(self.now_ns // 1000, inputs)
        if self.program.epoch != epoch or not self.bank.get("plc_state") & 4:
            self.standing.clear()
            if any(self.bank.words[MAP.permit.at(0) : MAP.permit.at(0, MAP.permit.length)]):
                self.violations.append("permits stand in a new epoch or without a device")
        for event in out.events:
            unit = UnitId(event.epoch, 0, event.number)
            if event.step is Step.CREATED and body:
                self._named(unit)
                body.unit, body.order = unit, out.armed[0]
                self._must_be_zero(unit)
                self.events.append(("created", (event.epoch, event.number, self.encoder, self.now_ns)))
            elif event.step is Step.DECIDED:
                self._decided(unit, bool(event.flags & Flag.DIVERTED))
                self._must_be_zero(unit)
            elif event.step is Step.CLOSED:
                if unit in self.closed:
                    self.violations.append(f"the program closed {unit} twice")
                self.closed.add(unit)
                self.events.append(("closed", (event.epoch, event.number, event.flags, self.now_ns)))
        for fired in inputs.fired:
            k = (self.bank.words[head] << 16) | self.bank.words[head + 1]
            self.events.append(("edge", (k, fired.compare.epoch, fired.compare.number, self.now_ns)))
        self._hear_epoch()

    def _named(self, unit: UnitId) -> None:
        """A program that forgot and agreed with nobody since may give a name again; nothing of that name can pass."""
        for body in self.bodies:
            if body.unit == unit:
                if unit in self.granted:
                    self.violations.append(f"the program gave {unit} twice, and it was permitted")
                body.unit = None
                self.closed.discard(unit)

    def _must_be_zero(self, unit: UnitId) -> None:
        at = MAP.permit.at(0, unit.number % MAP.permit.length)
        if any(self.bank.words[at : at + MAP.permit.entry]):
            self.violations.append(f"the slot of {unit} was not cleared")

    def _decided(self, unit: UnitId, diverted: bool) -> None:
        index = self.body_of(unit)
        if index >= 0:
            self.bodies[index].passed = not diverted
        if diverted:
            return
        self.passes += 1
        if unit not in self.standing:
            self.violations.append(f"{unit} passed without a permit of the line")
        if unit.epoch != self.program.epoch:
            self.violations.append(f"{unit} passed in epoch {self.program.epoch}")
        if self.stale:
            self.violations.append(f"{unit} passed without a heartbeat")

    def _beat(self) -> None:
        self.beat += 1
        words = [self.beat & 0xFFFF, 0, *split(DEVICE), *split(self.nonce), *split(self.newest + 1), RUN, AUTOMATIC, 6]
        self.bank.write(MAP.registers["device_heartbeat"].offset, words)
        self.beat_ns = self.now_ns

    def _hear_epoch(self) -> None:
        """The line reads that its epoch was granted: what it had open before is void."""
        if not self.epoch and self.nonce and self.bank.get("epoch_nonce_granted") == self.nonce:
            self.epoch = self.newest = self.bank.get("epoch")
            self.do(self.tracker.void_all(Reason.LINE_FAULT))

    @property
    def stale(self) -> bool:
        """Whether the last heartbeat is older than the program allows."""
        return self.now_ns - self.beat_ns > 80 * MS

    def _synced_binder(self) -> Binder:
        """A binder that saw three sync shots."""
        binder = Binder(Settings(40 * MS, WAIT_NS))
        binder.session(SESSION)
        self.shown: dict[FrameKey, int] = {}
        self.beat_ns = self.now_ns
        for k in (1, 2, 3):
            at_ns = self.now_ns - (5 - k) * MOVE_NS
            key = FrameKey(VIEW.camera, SESSION, k)
            binder.edge(Edge(k - 3, None, k, at_ns, MS // 10), at_ns)
            binder.frame(Evidence(key, k, 0, 0, at_ns, MS // 10, 0, 0, True, True, at_ns + MS), at_ns + MS)
        return binder
