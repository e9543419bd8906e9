"""The line's one loop: PLC, cameras, vision and recorder in; permits out. Nothing waits, nothing touches a disk.

Way of one unit: `_created` -> `_edge`/`_frame` (binding) -> Bound to vision -> `_judged` -> permit -> `_closed` -> row.
"""

import select
import time
from collections.abc import Callable
from pathlib import Path

from daemon.config import Station
from daemon.line import binding, tracking
from daemon.line.conditions import Condition, Facts, conditions, key_fits
from daemon.line.desk import PERMITTING, RUNNING, Desk
from daemon.line.peers import Peers
from daemon.line.rows import Rows, permit_row, unit_row
from daemon.line.stations import Stations, limits
from daemon.line.summary import Summary
from daemon.line.unit import Finish, seen
from daemon.messages import (
    Act,
    AlarmRow,
    Answer,
    Arm,
    Ask,
    Bound,
    CameraState,
    FrameLost,
    FrameSeen,
    GapRow,
    Hello,
    Judged,
    Loaded,
    Resume,
    Status,
    Stored,
    Unbound,
    VisionFault,
)
from daemon.notify import Watchdog
from daemon.states import State
from daemon.units import Evidence, LineMode, Reason, UnitId, ViewKey
from daemon.wire import Message, Peer
from drivers import plc_link as wires
from drivers.registers import RegisterMap

TURN_S = 0.001
DRIVE_NS = 4_000_000
REMEMBERED = 1024
ORPHANS_NS = 15_000_000_000
Pinned = Callable[[str, str], str]  # (bundle, recipe) -> configuration digest of what this process runs on
MODES = {LineMode.SHADOW: 0, LineMode.PROPOSE: 1, LineMode.AUTOMATIC: 2}


class Line:
    """Owns tracker, binding, permits and line state. `turn` does one round; `main` calls it for ever."""

    def __init__(self, station: Station, runtime: Path, plc: wires.Plc, registers: RegisterMap, pinned: Pinned) -> None:
        self._station = station
        self._plc = plc
        self._flags = registers.flags
        self._pinned = pinned
        self._peers = Peers(runtime, self._gone)
        self._rows = Rows(self._peers.to_recorder)
        self._desk = Desk()
        self._stations = Stations(station)
        self._tracker = tracking.Tracker(limits(station, None), acting=station.mode is LineMode.AUTOMATIC)
        self._summary = Summary()
        self._watchdog = Watchdog()
        self._arm = Arm("", "", "", "")
        self._loaded: Loaded | None = None
        self._resume: Resume | None = None
        self._permitted: set[UnitId] = set()
        self._recorded: dict[UnitId, None] = {}
        self._snapshot: wires.Snapshot | None = None
        self._strays: list[int] = []
        self._orphans_since = 0
        self._next_drive_ns = 0
        self._ready = False  # the PLC is not spoken to before the recorder told what it has and which batch is open

    def turn(self) -> None:
        """Wait for something at most TURN_S, then do everything that is due."""
        watched = [fd for fd in (self._plc.fileno(), *self._peers.filenos()) if fd >= 0]
        ready = select.select(watched, [], [], TURN_S)[0]
        now = time.monotonic_ns()
        for event in self._plc.service(now) if self._ready else ():
            self._plc_event(event, now)
        self._stations.feed(self._plc.edges_until_ns)
        for peer, message in self._peers.service(now, ready):
            self._message(peer, message, now)
        self._tick(now)
        self._plc.flush()
        self._watchdog.advanced()

    def close(self) -> None:
        """Withdraw: the heartbeat stops, so the PLC rejects by itself."""
        self._plc.close()
        self._peers.close()

    def _plc_event(self, event: wires.Event, now: int) -> None:
        match event:
            case wires.Snapshot():
                self._snapshotted(event, now)
            case wires.Created():
                self._created(event, now)
            case wires.EdgeLatched():
                self._edge(event, now)
            case wires.Closed():
                self._closed(event, now)
            case wires.LinkUp():
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

    def _ask_epoch(self) -> None:
        self._plc.ask_epoch(self._summary.last_epoch + 1)

    def _snapshotted(self, snapshot: wires.Snapshot, now: int) -> None:
        before, self._snapshot = self._snapshot, snapshot
        if before:
            self._stations.speed(before, snapshot)
        strays = [snapshot.registers[name] for name in ("stray_pass", "stray_chute")]
        unexplained = [0, strays[1]] if self._desk.state in RUNNING else strays
        old, self._strays = self._strays or unexplained, strays
        passed, chute = ((new - was) & 0xFFFF for new, was in zip(strays, old, strict=True))
        commands, nobodys = self._tracker.stray_pass(passed, now)
        self._do([*commands, *self._tracker.stray_chute(chute, now)], now)
        if nobodys and self._arm.batch:
            self._desk.alarm("ESCAPED", f"{nobodys} bodies passed that are no unit's", now)

    def _plc_restarted(self, event: wires.PlcRestarted, now: int) -> None:
        self._desk.alarm("PLC_MEMORY" if event.memory_lost else "PLC_RESTARTED", "new epoch", now)
        for name in self._stations.names:
            self._decide(name, self._stations.binder(name).plc_restarted(), now)
        self._do(self._tracker.void_all(Reason.LINE_FAULT), now)
        self._strays = [0, 0]
        if event.memory_lost:
            self._tracker.memory_lost()
            self._orphans_since = now
        self._ask_epoch()

    def _overrun(self, event: wires.Overrun, now: int) -> None:
        self._desk.alarm("OVERRUN", f"{event.missing} entries of ring {event.ring} {event.index}", now)
        if event.ring == "closed" and self._arm.batch:
            self._rows.put(GapRow(0, self._plc.epoch, event.index, 0, event.missing, "ring overrun"), now)

    def _created(self, event: wires.Created, now: int) -> None:
        unit = UnitId(event.epoch, event.lane, event.number)
        if not self._concerns(unit):
            return
        self._summary.created(unit)
        stale = unit.epoch != self._plc.epoch
        refuse = Reason.LINE_DOWN if stale else self._refusal(now)
        self._do(self._tracker.created(unit, event.encoder, event.at_ns, refuse), now)

    def _concerns(self, unit: UnitId) -> bool:
        """True for a unit of the open batch that has no row yet."""
        since = self._resume.since_epoch if self._resume else 0
        return bool(self._arm.batch) and unit not in self._recorded and unit.epoch >= since

    def _edge(self, event: wires.EdgeLatched, now: int) -> None:
        name = self._stations.at(event.station)
        unit = UnitId(event.epoch, event.lane, event.number) if event.number else None
        if unit:
            self._tracker.edge(unit, ViewKey(name, 0, event.shot), event.at_ns)
        edge = binding.Edge(event.k, unit, event.shot, event.at_ns, event.uncertainty_ns)
        self._decide(name, self._stations.binder(name).edge(edge, now), now)

    def _closed(self, event: wires.Closed, now: int) -> None:
        unit = UnitId(event.epoch, event.lane, event.number)
        if not self._concerns(unit):
            return
        told = seen(unit, event.flags, self._flags, event.at_ns)
        self._summary.created(unit)
        self._do(self._tracker.closed(told, unit in self._permitted), now)

    def _message(self, peer: Peer, message: Message, now: int) -> None:
        match message:
            case FrameSeen():
                self._frame(message.evidence, now)
            case Judged():
                self._do(self._tracker.judged(message, now, self._refusal(now)), now)
            case Stored():
                self._rows.stored(message.seq)
            case CameraState():
                self._camera_state(message, now)
            case FrameLost():
                self._desk.alarm("FRAME_LOST", f"{message.key.camera}: {message.cause}", now, quiet=True)
            case Loaded():
                self._loaded = message
                self._configure()
            case VisionFault():
                self._desk.alarm("VISION_FAULT", f"{message.code} {message.text}", now, quiet=True)
            case Resume() | Arm():
                self._from_recorder(message, now)
            case Hello():
                self._hello(peer, message)
            case Act():
                self._peers.answer(peer, self._act(message, now))
            case Ask():
                self._peers.answer(peer, self._status(now))

    def _hello(self, peer: Peer, hello: Hello) -> None:
        if hello.process == "recorder":
            self._rows.connected()
        if hello.process == "vision":
            self._loaded = None

    def _from_recorder(self, message: Resume | Arm, now: int) -> None:
        if isinstance(message, Resume):
            self._resume = message
            self._permitted = {row.unit for row in message.permitted}
            self._recorded |= dict.fromkeys(message.recorded)
            if not self._summary.last_epoch:
                self._plc.back_read = bool(message.running or message.recorded or message.permitted)
                self._summary.last_epoch = message.last_epoch
            return
        resumed = not self._ready and self._resume is not None and self._resume.running
        if message.batch != self._arm.batch:
            self._summary.new_batch()
        self._arm = message
        self._configure()
        self._ready = self._resume is not None
        if resumed and message.batch:
            self._desk.resume(now)

    def _camera_state(self, message: CameraState, now: int) -> None:
        if message.camera not in self._stations.names:
            return
        session = message.session if message.acquiring else 0
        self._stations.sessions[message.camera] = session
        self._decide(message.camera, self._stations.binder(message.camera).session(session), now)

    def _gone(self, peer: Peer, why: str) -> None:
        now = time.monotonic_ns()
        if peer.process == "camera" and peer.name in self._stations.names:
            self._stations.sessions[peer.name] = 0
            self._decide(peer.name, self._stations.binder(peer.name).session(0), now)
        elif peer.process == "vision":
            self._loaded = None
        if peer.process in ("camera", "vision", "recorder"):
            self._desk.note("PEER_LOST", f"{peer.process} {peer.name}: {why}", now)

    def _act(self, act: Act, now: int) -> Answer:
        if not act.reason or not act.actor:
            return Answer(False, "an act needs an actor and a reason")
        if act.kind == "start" and not self._arm.batch:
            return Answer(False, "no batch is open: open one with the recorder first")
        text = self._desk.act(act.kind, now, act.actor)
        return Answer(not text, text or f"{act.kind}: {self._desk.state.name}")

    def _frame(self, evidence: Evidence, now: int) -> None:
        name = evidence.key.camera
        if name in self._stations.names:
            self._decide(name, self._stations.binder(name).frame(evidence, now), now)

    def _decide(self, camera: str, decisions: list[binding.Decision], now: int) -> None:
        for decision in decisions:
            match decision:
                case binding.Bind():
                    view = ViewKey(camera, 0, decision.shot)
                    refused = self._tracker.bound(decision.unit, view, decision.evidence)
                    self._do(refused, now)
                    if not refused:
                        self._peers.to_vision(Bound(decision.unit, view, decision.evidence.key))
                case binding.Missing():
                    self._do(self._tracker.missing(decision.unit, decision.reason), now)
                case binding.Stray():
                    self._peers.to_vision(Unbound(decision.key))
                    if self._desk.state is State.EXECUTE and decision.cause != binding.SYNC_SHOT:
                        self._desk.alarm("STRAY_FRAME", f"{camera}: {decision.cause}", now, quiet=True)
                case binding.Unsynced():
                    self._desk.alarm("CAMERA_UNSYNCED", f"{camera}: {decision.cause}", now, quiet=True)
                    self._do(self._tracker.distrust(camera), now)
                case binding.Synced():
                    pass

    def _do(self, commands: list[tracking.Command], now: int) -> None:
        for command in commands:
            match command:
                case tracking.Grant():
                    self._grant(command, now)
                case tracking.WouldPermit():
                    self._summary.permitted(command.stages)
                case tracking.Revoke():
                    self._plc.revoke(command.unit.lane, command.unit.number)
                case tracking.Forget():
                    self._peers.to_vision(Unbound(command.key))
                case Finish():
                    self._finish(command, now)
                case tracking.Escape():
                    self._desk.alarm("ESCAPED", f"unit {command.unit}: {command.cause}", now)

    def _grant(self, grant: tracking.Grant, now: int) -> None:
        self._plc.permit(grant.unit.lane, grant.unit.number)
        self._rows.put(permit_row(grant, self._arm), now)
        self._summary.permitted(grant.stages)

    def _finish(self, finish: Finish, now: int) -> None:
        row = unit_row(finish, self._arm)
        self._recorded[finish.unit] = None
        if len(self._recorded) > REMEMBERED:
            del self._recorded[next(iter(self._recorded))]
        self._rows.put(row, now)
        self._summary.finished(row)
        if finish.reason is Reason.TOO_CLOSE:
            self._desk.alarm("TOO_CLOSE", str(finish.unit), now, quiet=True)

    def _tick(self, now: int) -> None:
        if self._snapshot:
            self._tracker.encoder(self._stations.furthest(self._snapshot, now))
        for name in self._stations.names:
            self._decide(name, self._stations.binder(name).tick(now), now)
        silent = Reason.LATE if self._peers.vision else Reason.ENGINE_FAULT
        self._do(self._tracker.tick(now, silent, self._plc.rings_until_ns), now)
        if self._tracker.orphans and now - self._orphans_since > ORPHANS_NS:
            self._do(self._tracker.give_up_orphans(now), now)
        if now >= self._next_drive_ns:
            self._next_drive_ns = now + DRIVE_NS
            self._drive(now)
        self._rows.pump()
        if self._stations.waits:
            self._plc.hurry()

    def _drive(self, now: int) -> None:
        """Let the conditions move the line state, and tell PLC and recorder."""
        bits = self._desk.drive(self._found(now), self._stations.synced, not len(self._tracker), now)
        self._plc.command(bits, MODES[self._station.mode], self._desk.state)
        self._report(now)

    def _report(self, now: int) -> None:
        """Alarms and the PLC's totals go on record; the totals before a change of state, so that it closes on them."""
        if not self._arm.batch:
            self._desk.fresh.clear()
            return
        for totals in self._summary.totals(self._snapshot, now, bool(self._desk.fresh)):
            self._rows.put(totals, now)
        for alarm in self._desk.fresh:
            self._rows.put(AlarmRow(0, alarm.at_ns, alarm.code, alarm.text, alarm.state.name, None), now)
        self._desk.fresh.clear()

    def _refusal(self, now: int) -> Reason | None:
        """Why no permit may be given at this moment, or None."""
        if self._desk.state not in PERMITTING or not self._plc.epoch or not self._plc.alive(now):
            return Reason.LINE_FAULT
        facts = self._facts(now)
        if not (facts.plc_right and facts.key_fits):
            return Reason.LINE_FAULT
        if not self._peers.recorder or self._rows.overdue(now):
            return Reason.NO_RECORD
        return None if self._armed_is_loaded() else Reason.MISMATCH

    def _armed_is_loaded(self) -> bool:
        loaded, arm = self._loaded, self._arm
        same = loaded and (loaded.bundle, loaded.recipe) == (arm.bundle, arm.recipe)
        return bool(same and arm.batch and arm.configuration == self._pinned(arm.bundle, arm.recipe))

    def _configure(self) -> None:
        """Take limits from recipe and station once the loaded documents are the armed ones."""
        if self._loaded and self._armed_is_loaded():
            self._stations.limit(self._loaded.window_ms, self._loaded.min_gap_mm)
            self._tracker.configure(limits(self._station, self._loaded))

    def _facts(self, now: int) -> Facts:
        registers = self._snapshot.registers if self._snapshot else {}
        identity = (registers["map_version"], registers["plc_identity"]) if registers else None
        return Facts(
            link=self._plc.up,
            plc_alive=self._plc.alive(now),
            plc_right=identity in (None, (1, self._station.plc_identity)),
            epoch=self._plc.epoch,
            key_fits=not registers or key_fits(self._station.mode, registers["authority"]),
            recorder=self._peers.recorder is not None,
            stored=not self._rows.overdue(now),
            batch=self._arm.batch,
            vision=self._peers.vision is not None,
            loaded=self._loaded is not None,
            armed_is_loaded=self._armed_is_loaded(),
            cameras=self._stations.facts(),
        )

    def _found(self, now: int) -> list[Condition]:
        return conditions(self._facts(now))

    def _status(self, now: int) -> Status:
        key_switch = self._snapshot.registers["authority"] if self._snapshot else None
        facts, bundle = self._facts(now), self._loaded.bundle_name if self._loaded else ""
        return self._summary.status(self._desk, facts, self._station.mode, key_switch, bundle, len(self._rows))
