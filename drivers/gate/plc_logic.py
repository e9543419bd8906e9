"""The PLC program of the line in a box: owner of unit numbers, edge counts, latches, rings and gates. Pure.

`Plc.scan` is called at every 2 ms of the PLC's clock with what its counter module latched since the last scan. Modbus
requests change the bank between scans only, so a scan works on one consistent copy of the permit slots.
"""

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_carrier import Carrier
from drivers.gate.plc_io import MAX_U32, Cause, Compare, Fired, Inputs, Latch, Outputs, Place, PlcSpec, Unit
from drivers.gate.plc_lane import Lane
from drivers.gate.plc_permits import Device
from drivers.registers import MAP_VERSION, Command, signed_delta

SCAN_US = 2_000
HEARTBEAT_US = 20_000
SYNC_SHOTS = 4
SYNC_GAP_US = 100_000
RUN, HOLD, ABORT, SYNC, RESET = Command


class Plc:
    """The program and its memory. Owned by the box's loop; stopped until `start`."""

    def __init__(self, spec: PlcSpec, bank: Bank) -> None:
        self._spec = spec
        self._bank = bank
        self._at = {name: item.offset for name, item in bank.map.registers.items()}
        self._device = Device(bank, spec.device_identity, spec.lanes)
        self._lanes = [Lane(index, spec, bank, self._device) for index in range(spec.lanes)]
        self._carrier = Carrier(spec.pockets, spec.turn) if spec.pockets else None
        self._out = Outputs([False] * spec.lanes, [0] * spec.lanes)
        self._starts = 0
        self._rearm: list[Compare] = []
        self._grouped: dict[int, int] = {}
        self._forget()

    def _forget(self) -> None:
        """Clear what no memory retains."""
        self._bits = 0
        self._aborted = False
        self._heartbeat = 0
        self._beat_us = -HEARTBEAT_US
        self._granted = 0
        self._grouped.clear()

    @property
    def epoch(self) -> int:
        return self._device.epoch

    @property
    def in_flight(self) -> int:
        """Units created and not closed."""
        return sum(lane.in_flight for lane in self._lanes)

    @property
    def strays(self) -> tuple[int, int]:
        """Bodies seen by the pass eyes and by the chute eyes that no unit accounts for."""
        return sum(lane.stray_pass for lane in self._lanes), sum(lane.stray_chute for lane in self._lanes)

    def stop(self) -> Outputs:
        """The program stops: every output falls."""
        out = self._out
        out.belt = out.infeed = False
        out.lamps = 0
        out.gates, out.channels = [False] * self._spec.lanes, [0] * self._spec.lanes
        out.armed, out.events = [], []
        return out

    def start(self, encoder: int, retained: bool = True) -> None:
        """The program starts. Retained: next unit numbers, epoch, units in flight, count of starts."""
        self._starts = self._starts % 0xFFFF + 1 if retained else 1
        self._bank.zero(0, len(self._bank.words))
        self._device.start(retained)
        self._grouped.clear()
        self._forget()
        for lane in self._lanes:
            lane.start(encoder, retained)
        self._rearm = [
            order
            for lane in self._lanes
            for unit in lane.units()
            for order in self._orders(unit)
            if unit.travelled(order.encoder) > unit.travelled(encoder)
        ]
        self._bank.set("map_version", MAP_VERSION)
        self._bank.set("plc_identity", self._spec.identity)
        self._bank.set("device_identity_expected", self._spec.device_identity)
        self._bank.set("starts", self._starts)
        self._bank.set("epoch", self.epoch)

    def scan(self, now_us: int, inputs: Inputs) -> Outputs:
        """Run the program once. Never called while stopped."""
        out = self._out
        out.armed, self._rearm = self._rearm, []
        if self._device.scan(now_us):
            for lane in self._lanes:
                lane.count_anew()
        self._commands(now_us, out)
        for fired in inputs.fired:
            self._edge(fired)
        for latch in inputs.infeed:
            out.armed.extend(self._orders(self._create(latch, inputs)))
        for eye, latch in inputs.eyes:
            if unit := self._lanes[latch.lane].eye_edge(eye, latch):
                out.armed.extend(self._orders(unit))
        for latch in inputs.chute:
            self._lanes[latch.lane].chute_edge(latch)
        for latch in inputs.passed:
            self._lanes[latch.lane].pass_edge(latch)
        out.events = []
        for index, lane in enumerate(self._lanes):
            was = lane.gate
            lane.track(now_us, inputs)
            if lane.gate and not was and index == 0:
                self._bank.set("gate_encoder", inputs.encoder)
            out.gates[index], out.channels[index] = lane.gate and not self._aborted, lane.channel
            out.events, lane.events = out.events + lane.events, []
        self._status(now_us, inputs, out)
        return out

    def _commands(self, now_us: int, out: Outputs) -> None:
        """Obey the device while it is alive; while it is not, belt and infeed stay as they are. Abort always counts."""
        bits = self._bank.words[self._at["command"]]
        rising = bits & ~self._bits
        if self._device.alive:
            self._bits = bits
            if rising & RESET:
                self._aborted = False
            if rising & SYNC and not self.in_flight:
                out.armed.extend(self._sync(now_us))
            out.belt = bool(bits & RUN)
            out.infeed = out.belt and not bits & HOLD
        if bits & ABORT:
            self._aborted = True
        if self._aborted:
            out.belt = out.infeed = False
            for lane in self._lanes:
                lane.rest()

    def _sync(self, now_us: int) -> list[Compare]:
        return [
            Compare(place.station, 0, now_us + (shot + 1) * SYNC_GAP_US, 0, place.lane, 0, shot)
            for place in self._spec.stations
            for shot in range(SYNC_SHOTS)
        ]

    def _create(self, latch: Latch, inputs: Inputs) -> Unit:
        """The infeed eye saw a body. On a carrier it stands in a pocket or it is none."""
        lane = self._lanes[latch.lane]
        if self._carrier is None:
            return lane.create(latch)
        phase = (inputs.carrier - signed_delta(inputs.encoder, latch.encoder)) % self._spec.turn
        unit = lane.create(latch, Cause.NONE if self._carrier.holds(phase) else Cause.OFF_POCKET)
        unit.pocket = self._carrier.index(phase)
        return unit

    def _orders(self, unit: Unit) -> list[Compare]:
        """Return the triggers of a unit as far as its position is known: up to the next re-sync eye."""
        first, last = self._lanes[unit.lane].eyes.span(unit)
        return [
            Compare(place.station, self._at_lens(unit, place, shot), None, unit.epoch, unit.lane, unit.number, shot)
            for place in self._spec.stations
            if first < place.at <= last and self._fires(unit, place)
            for shot in range(place.shots)
        ]

    def _fires(self, unit: Unit, place: Place) -> bool:
        """True if this unit fires that camera: of a group of pockets the first unit that came does."""
        if unit.lane != place.lane and unit.lane not in place.beside:
            return False
        if place.group == 1 and not place.beside:
            return True
        at, fired = self._at_lens(unit, place, 0), self._grouped.get(place.station)
        if fired is not None and 2 * abs(signed_delta(at, fired)) * self._spec.pockets < self._spec.turn:
            return False
        self._grouped[place.station] = at
        return True

    def _at_lens(self, unit: Unit, place: Place, shot: int) -> int:
        behind = unit.pocket % place.group * self._spec.turn // max(1, self._spec.pockets)
        return (unit.encoder - behind + place.at + shot * place.pitch) & MAX_U32

    def _edge(self, fired: Fired) -> None:
        order = fired.compare
        entry = {"epoch": order.epoch, "number": order.number, "lane": order.lane, "shot": order.shot}
        entry |= {"encoder": fired.encoder, "time_us": fired.time_us}
        self._bank.append(self._bank.map.edge, order.station, self._bank.map.station.at(order.station), entry)

    def _status(self, now_us: int, inputs: Inputs, out: Outputs) -> None:
        words, at, device = self._bank.words, self._at, self._device
        if now_us - self._beat_us >= HEARTBEAT_US:
            self._beat_us = now_us
            self._heartbeat = self._heartbeat % 0xFFFF + 1
            words[at["plc_heartbeat"]] = self._heartbeat
        levels = (out.belt, out.infeed, device.alive, device.nonce != 0, self._aborted, inputs.guard_closed)
        words[at["plc_state"]] = sum(1 << bit for bit, level in enumerate(levels) if level)
        words[at["device_heartbeat_echo"]] = device.beat
        words[at["authority"]] = inputs.authority
        words[at["inputs"]] = inputs.switches
        words[at["resync_lost"]] = sum(lane.eyes.lost for lane in self._lanes) & 0xFFFF
        out.lamps = words[at["lamps"]] if device.alive else 0
        words[at["foreign_writes"]] = device.foreign_writes & 0xFFFF
        if self._carrier:
            words[at["carrier_index"]] = self._carrier.index(inputs.carrier)
        if inputs.chute or inputs.passed or inputs.eyes:
            self._latched(inputs)
        if out.events or inputs.eyes or inputs.chute or inputs.passed or device.nonce != self._granted:
            self._totals()

    def _latched(self, inputs: Inputs) -> None:
        """What the eyes of lane 0 latched, for teaching the line's distances."""
        for name, latches in (("chute_encoder", inputs.chute), ("pass_encoder", inputs.passed)):
            mine = [latch.encoder for latch in latches if latch.lane == 0]
            if mine:
                self._bank.set(name, mine[-1])

    def _totals(self) -> None:
        """Registers that change with units and epochs only."""
        self._granted = self._device.nonce
        stray_pass, stray_chute = self.strays
        self._bank.set("epoch", self._device.epoch)
        self._bank.set("epoch_nonce_granted", self._device.nonce)
        self._bank.set("refused_permits", sum(lane.refused for lane in self._lanes))
        self._bank.set("cause", next((lane.last_cause for lane in self._lanes if lane.last_cause), 0))
        self._bank.set("stray_pass", stray_pass)
        self._bank.set("stray_chute", stray_chute)
        self._bank.set("slip", self._lanes[0].eyes.slip & 0xFFFF)
        self._bank.set("resync_stray", sum(lane.eyes.strays for lane in self._lanes))
        for index, lane in enumerate(self._lanes):
            self._bank.write(self._bank.map.stray.at(index), [lane.stray_pass & 0xFFFF, lane.stray_chute & 0xFFFF])
