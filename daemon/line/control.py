"""The line's decisions over everything it hears: PLC, cameras, vision, recorder and people in; permits out. No I/O.

The loop (loop.py) brings events and the time and owns the sockets. Way of one unit: `_created` -> `_edge`/`_frame`
(binding) -> Bound to vision -> Judged -> `_grant` -> `_closed` -> row.
"""

from collections.abc import Iterable

from daemon.config import Station
from daemon.line import binding, tracking
from daemon.line.acts import Acts, Scene
from daemon.line.arming import Arming, Pinned
from daemon.line.changes import Changes
from daemon.line.conditions import Facts, conditions, told_by_plc, told_mode
from daemon.line.desk import RUNNING, Desk
from daemon.line.grid import Grid
from daemon.line.latches import LatchBook
from daemon.line.oversight import Oversight
from daemon.line.permits import Permits
from daemon.line.post import Post
from daemon.line.restart import begin
from daemon.line.rows import Rows, permit_row, unit_row
from daemon.line.stations import Stations, limits
from daemon.line.strays import Strays, unclaimed
from daemon.line.summary import Summary, in_full
from daemon.line.trail import Trail
from daemon.line.unit import CHANNELS, Finish, seen
from daemon.messages import (
    Act,
    Answer,
    Arm,
    Bound,
    CameraState,
    FrameLost,
    FrameSeen,
    GapRow,
    Judged,
    Loaded,
    Resume,
    Staged,
    Status,
    Stored,
    Unbound,
    VisionFault,
)
from daemon.states import State
from daemon.units import LineMode, Reason, UnitId
from daemon.wire import Message
from drivers import plc_link as wires
from drivers.registers import PlcState, RegisterMap

DRIVE_NS = 4_000_000
ORPHANS_NS = 15_000_000_000


class Control:
    """Owns tracker, binding, permits and line state. Every method takes the time, CLOCK_MONOTONIC ns."""

    def __init__(self, station: Station, plc: wires.Plc, registers: RegisterMap, pinned: Pinned, post: Post) -> None:
        self._station = station
        self._plc = plc
        self._flags = registers.flags
        self._post = post
        self._arming = Arming(pinned)
        self._rows = Rows(post.to_recorder)
        self._oversight = Oversight(station)
        self._permits = Permits(plc, self._rows, after_record=self._oversight.direct)
        self._desk = Desk(self._oversight.overrides)
        self._stations = Stations(station)
        self._grid = Grid(station)
        self._tracker = tracking.Tracker(limits(station, None), acting=station.mode is LineMode.AUTOMATIC)
        self._trail = Trail(self._rows)
        self._changes = Changes(station.mode)
        self._acts = Acts(self._desk, self._oversight, self._tracker, self._arming, self._trail)
        self._summary = Summary()
        self._snapshot: wires.Snapshot | None = None
        self._strays = Strays()
        self.latches = LatchBook(registers.flags)
        self._off_track = {registers.causes[name] for name in ("off_pocket", "lost", "stray_body")}
        self._orphans_since = 0
        self._next_drive_ns = 0

    @property
    def ready(self) -> bool:
        """The PLC is not spoken to before the recorder told what it has and which batch is open."""
        return self._arming.ready

    def event(self, event: wires.Event, now: int) -> None:
        """The PLC said something."""
        self._stations.look_ahead(self._tracker, self._snapshot, now)
        self.latches.take(event)
        match event:
            case wires.Snapshot():
                self._snapshotted(event, now)
            case wires.Created():
                self._created(event, now)
            case wires.EdgeLatched():
                self._edge(event, now)
            case wires.Closed():
                self._closed(event, now)
            case wires.LinkUp() | wires.EpochTaken():
                self._ask_epoch()
            case wires.LinkDown():
                self._desk.note("PLC_LINK", event.cause, now)
                self._do(self._tracker.void_all(Reason.LINE_FAULT), now)
            case wires.EpochGranted():
                self._do(self._tracker.void_all(Reason.LINE_FAULT), now)
            case wires.PlcRestarted():
                self._plc_restarted(event, now)
            case wires.Overrun():
                self._overrun(event, now)
            case wires.Remark():
                self._desk.alarm("PLC_STRANGER", event.text, now, quiet=True)

    def _ask_epoch(self) -> None:
        self._plc.ask_epoch(self._summary.last_epoch + 1)

    def _snapshotted(self, snapshot: wires.Snapshot, now: int) -> None:
        before, self._snapshot = self._snapshot, snapshot
        if before:
            self._stations.speed(before, snapshot)
        if self._oversight.snapshot(snapshot, self._desk.state):
            self._desk.note("CLEARED", "the empty-line run saw nothing", now)
        for news in self._strays.take(snapshot, self._desk.state in RUNNING):
            passed, escaped = self._tracker.stray_pass(news.passed, now, news.lane)
            diverted = self._tracker.stray_chute(news.chute, now, news.lane)
            self._do([*passed, *diverted], now)
            for code, text in unclaimed(escaped, news.chute - len(diverted)) if self._arming.batch else ():
                self._desk.alarm(code, text, now, quiet=code == "STRAY_BODY")

    def _plc_restarted(self, event: wires.PlcRestarted, now: int) -> None:
        self._desk.alarm("PLC_MEMORY" if event.memory_lost else "PLC_RESTARTED", "new epoch", now)
        for name in self._stations.names:
            self._decide(name, self._stations.binder(name).plc_restarted(), now)
        self._do(self._tracker.void_all(Reason.LINE_FAULT), now)
        self._strays.forget()
        if event.memory_lost:
            self._tracker.memory_lost()
            self._orphans_since = now
        self._ask_epoch()

    def _overrun(self, event: wires.Overrun, now: int) -> None:
        self._desk.alarm("OVERRUN", f"{event.missing} entries of ring {event.ring} {event.index}", now)
        if event.ring == "closed" and self._arming.batch:
            self._rows.put(GapRow(0, self._plc.epoch, event.index, 0, event.missing, "ring overrun"), now)

    def _created(self, event: wires.Created, now: int) -> None:
        unit = UnitId(event.epoch, event.lane, event.number)
        if not self._arming.concerns(unit):
            return
        self._arming.created(unit)
        self._grid.created(unit, event.encoder)
        self._summary.created(unit)
        refuse = self._refusal(now) if unit.epoch == self._plc.epoch else Reason.LINE_DOWN
        self._do(self._tracker.created(unit, event.encoder, event.at_ns, refuse), now)

    def _edge(self, event: wires.EdgeLatched, now: int) -> None:
        name = self._stations.at(event.station)
        unit = UnitId(event.epoch, event.lane, event.number) if event.number else None
        if unit:
            for member, view in self._grid.served(name, unit, event.shot, event.encoder):
                self._tracker.edge(member, view, event.at_ns)
        edge = binding.Edge(event.k, unit, event.shot, event.at_ns, event.uncertainty_ns)
        self._decide(name, self._stations.binder(name).edge(edge, now), now)

    def _closed(self, event: wires.Closed, now: int) -> None:
        unit = UnitId(event.epoch, event.lane, event.number)
        told = seen(unit, event.flags, self._flags, event.at_ns)
        if event.cause in self._off_track:
            self._desk.alarm("OFF_TRACK", f"unit {unit}", now, quiet=True)
        if told.chute or told.passed:
            self._alarm(self._oversight.sighted(told), now)
        if not self._arming.concerns(unit):
            return
        self._summary.created(unit)
        self._do(self._tracker.closed(told, self._arming.permitted(unit)), now)

    def message(self, message: Message, now: int) -> None:
        """Something arrived from camera, vision or recorder."""
        self._stations.look_ahead(self._tracker, self._snapshot, now)
        match message:
            case FrameSeen() if (name := message.evidence.key.camera) in self._stations.names:
                self._decide(name, self._stations.binder(name).frame(message.evidence, now), now)
            case Judged():
                ours = self._arming.judges(message)
                self._do(self._tracker.judged(message, now, self._refusal(now), ours=ours), now)
            case Stored():
                self._rows.stored(message.seq)
                self._permits.stored(message.seq, now)
            case CameraState():
                self._camera_state(message.camera, message.session if message.acquiring else 0, now)
            case FrameLost():
                self._desk.alarm("FRAME_LOST", f"{message.key.camera}: {message.cause}", now, quiet=True)
            case Loaded() | Staged():
                self._arming.warmed(message)
                self._configure()
            case VisionFault():
                self._desk.alarm(*self._oversight.vision_fault(message, now), now, quiet=True)
            case Resume():
                self._resumed(message)
            case Arm():
                self._armed(message, now)

    def hello(self, process: str) -> None:
        """A process greeted: what was known of its earlier life is void."""
        if process == "recorder":
            self._rows.connected()
        if process == "vision":
            self._arming.vision_lost()

    def gone(self, process: str, name: str, why: str, now: int) -> None:
        """A process went away."""
        if process == "camera":
            self._camera_state(name, 0, now)
        elif process == "vision":
            self._arming.vision_lost()
        if process in ("camera", "vision", "recorder"):
            self._desk.note("PEER_LOST", f"{process} {name}: {why}", now)

    def act(self, act: Act, now: int) -> Answer:
        """A person, or a machine on his behalf, acts."""
        runs = bool(self._snapshot and self._snapshot.registers["plc_state"] & PlcState.BELT_RUNS)
        answer, commands = self._acts.act(act, Scene(conditions(self._facts(now)), runs, self._flags["permitted"], now))
        self._do(commands, now)
        return answer

    def _resumed(self, resume: Resume) -> None:
        self._arming.resume(resume)
        self._strays.earlier(resume.totals)
        if not self._summary.last_epoch:
            self._plc.back_read = bool(resume.running or resume.recorded or resume.permitted)
            self._summary.last_epoch = resume.last_epoch

    def _armed(self, arm: Arm, now: int) -> None:
        if arm.batch != self._arming.batch:
            self._summary.new_batch()
            self._oversight.reset()
            self._desk.another_batch(now)
        first = not self._arming.ready
        if cut := self._arming.take(arm):
            self._desk.note("SUBLOT", cut, now)
        self._oversight.armed(arm.recipe, self._arming.told.owed.recipe, swapped=bool(cut))
        if arm.revoked:
            self._desk.alarm("REVOKED", arm.revoked, now, quiet=True)
        self._configure()
        if first:
            begin(self._desk, self._oversight, self._arming.told, now)

    def _camera_state(self, camera: str, session: int, now: int) -> None:
        if camera in self._stations.names:
            self._stations.sessions[camera] = session
            self._decide(camera, self._stations.binder(camera).session(session), now)

    def _decide(self, camera: str, decisions: list[binding.Decision], now: int) -> None:
        for decision in decisions:
            match decision:
                case binding.Bind():
                    for unit, view in self._grid.members(camera, decision.unit, decision.shot):
                        refused = self._tracker.bound(unit, view, decision.evidence)
                        self._do(refused, now)
                        if not refused:
                            self._post.to_vision(Bound(unit, view, decision.evidence.key, self._arming.recipe_of(unit)))
                case binding.Missing():
                    for unit, _ in self._grid.members(camera, decision.unit, decision.shot):
                        self._do(self._tracker.missing(unit, decision.reason), now)
                case binding.Stray():
                    self._post.to_vision(Unbound(decision.key))
                    if self._desk.state is State.EXECUTE and decision.cause != binding.SYNC_SHOT:
                        self._desk.alarm("STRAY_FRAME", f"{camera}: {decision.cause}", now, quiet=True)
                case binding.Unsynced():
                    self._desk.alarm("CAMERA_UNSYNCED", f"{camera}: {decision.cause}", now, quiet=True)
                    self._do(self._tracker.distrust(camera), now)

    def _do(self, commands: list[tracking.Command], now: int) -> None:
        for command in commands:
            match command:
                case tracking.Grant():
                    self._permits.grant(permit_row(command, self._arming.arm_of(command.unit)), now)
                    self._summary.permitted(command.stages)
                case tracking.WouldPermit():
                    self._summary.permitted(command.stages)
                case tracking.Revoke():
                    self._permits.revoke(command.unit)
                case tracking.Divert():
                    self._plc.divert(command.unit.lane, command.unit.number, CHANNELS[command.channel])
                case tracking.Misplaced():
                    self._desk.alarm("WRONG_CHANNEL", f"{command.unit} in {command.channel}", now, quiet=True)
                case tracking.Forget():
                    self._post.to_vision(Unbound(command.key, command.region))
                case Finish():
                    self._finish(command, now)
                case tracking.Escape():
                    self._desk.alarm("ESCAPED", f"unit {command.unit}: {command.cause}", now)

    def _finish(self, finish: Finish, now: int) -> None:
        row = unit_row(finish, self._arming.arm_of(finish.unit))
        self._arming.recorded(finish.unit)
        self._rows.put(row, now)
        self._summary.finished(row)
        self._desk.turned_away += finish.reason is not Reason.NONE
        self._alarm(self._oversight.finished(finish, row.defect), now)
        if finish.reason is Reason.TOO_CLOSE:
            self._desk.alarm("TOO_CLOSE", str(finish.unit), now, quiet=True)

    def tick(self, now: int) -> None:
        """Do everything that is due. Called every turn of the loop, after the events and messages."""
        self._stations.feed(self._plc.edges_until_ns)
        self._stations.look_ahead(self._tracker, self._snapshot, now)
        for name in self._stations.names:
            self._decide(name, self._stations.binder(name).tick(now), now)
        silent = Reason.LATE if self._post.vision_up else Reason.ENGINE_FAULT
        self._do(self._tracker.tick(now, silent, self._plc.rings_until_ns), now)
        if self._tracker.orphans and now - self._orphans_since > ORPHANS_NS:
            self._do(self._tracker.give_up_orphans(now), now)
        if now >= self._next_drive_ns:
            self._next_drive_ns = now + DRIVE_NS
            self._drive(now)
        self._rows.pump()
        if self._stations.waits:
            self._plc.hurry()

    def _alarm(self, found: Iterable[tuple[str, str]], now: int) -> None:
        for code, text in found:
            self._desk.alarm(code, text, now)

    def _drive(self, now: int) -> None:
        """Let the conditions move the line state, and tell PLC and recorder."""
        facts = self._facts(now)
        for code, text in self._changes.since(facts, self._arming.loaded, self._stations.sessions):
            self._desk.note(code, text, now)
        found, clearing = conditions(facts), self._oversight.clearance.pending
        bits = self._desk.drive(found, self._stations.synced, not len(self._tracker), now, clearing=clearing)
        if self._oversight.takes_back(self._desk.state, found, barred=self._desk.barred):
            self._take_back(now)
        mode = told_mode(self._station.mode, self._desk.mode)
        self._plc.command(bits, mode, self._desk.state, self._desk.lamps(self._plc.alive(now)))
        self._report(now)

    def _take_back(self, now: int) -> None:
        """Nothing that is in the machine may be accepted any more."""
        commands = self._tracker.revoke_all(Reason.LINE_FAULT)
        if any(isinstance(command, tracking.Revoke) for command in commands):
            self._desk.alarm("PERMITS_REVOKED", f"{len(self._tracker)} units under way", now)
        self._do(commands, now)

    def _report(self, now: int) -> None:
        """Alarms and the PLC's totals go on record; the totals before a change of state, so that it closes on them."""
        if self._arming.batch:
            for totals in self._summary.totals(self._snapshot, self._strays, now, bool(self._desk.fresh)):
                self._rows.put(totals, now)
        self._trail.notes(self._desk.fresh, self._arming, now)
        self._desk.fresh.clear()
        self._strays.told()

    def _refusal(self, now: int) -> Reason | None:
        """Why no permit may be given at this moment, or None."""
        if not self._desk.permits or self._oversight.barred or not self._plc.epoch or not self._plc.alive(now):
            return Reason.LINE_FAULT
        facts = self._facts(now)
        if not (facts.plc_right and facts.key_fits):
            return Reason.LINE_FAULT
        if not self._post.recorder_up or self._rows.overdue(now):
            return Reason.NO_RECORD
        return None if self._arming.armed_is_loaded else Reason.MISMATCH

    def _configure(self) -> None:
        """Take limits from recipe and station once the loaded documents are the armed ones."""
        if loaded := self._arming.armed:
            self._stations.limit(loaded.window_ms, loaded.min_gap_mm)
            self._tracker.configure(limits(self._station, loaded))
            self._oversight.configure(loaded)

    def _facts(self, now: int) -> Facts:
        plc = told_by_plc(self._snapshot.registers if self._snapshot else {}, self._station)
        return Facts(
            link=self._plc.up,
            plc_alive=self._plc.alive(now),
            plc_right=plc.right,
            plc_aborted=plc.aborted,
            epoch=self._plc.epoch,
            key_fits=plc.key_fits,
            recorder=self._post.recorder_up,
            stored=not self._rows.overdue(now),
            batch=self._arming.batch,
            vision=self._post.vision_up,
            loaded=self._arming.loaded is not None,
            armed_is_loaded=self._arming.armed_is_loaded,
            cameras=self._stations.facts(),
            inputs=self._oversight.inputs(),
            lights=self._oversight.lights(now),
            misfit=self._oversight.misfit,
            key=self._snapshot.registers["authority"] if self._snapshot else None,
        )

    def status(self, now: int) -> Status:
        """Return the snapshot that `linewarden status` shows."""
        facts, bundle = self._facts(now), self._arming.bundle_name
        told = self._summary.status(self._desk, facts, self._station.mode, bundle, len(self._rows))
        return in_full(told, self._desk, self._oversight, self._tracker.in_machine(), now)
