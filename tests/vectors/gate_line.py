"""A line with two lanes for the tapes of the gate: belt, counter module, and a device that writes what it likes."""

from dataclasses import replace

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Fired, Inputs, Latch, Outputs, Place, PlcSpec, ResyncEye
from drivers.gate.plc_logic import Plc
from drivers.registers import Command, channel_check, permit_check, split
from tests.vectors.gate_tape import MAP, Tape

DEVICE, FOREIGN, AUTOMATIC = 1001, 666, 2
RUN, HOLD, ABORT, SYNC, RESET = (int(bit) for bit in Command)
GATE, EYE = 3000, 3600
SPEC = PlcSpec(
    identity=2001,
    device_identity=DEVICE,
    lanes=2,
    stations=(Place(0, 700), Place(3, 1200, 0, 2, 150), Place(5, 900, 1)),
    decide=GATE - 300,
    release=GATE + 300,
    chute_eye=EYE,
    pass_eye=EYE,
    window=260,
    clear=340,
    phantom=400,
)
EYED = replace(SPEC, eyes=(ResyncEye(800, 150), ResyncEye(2_000, 200)))
ROTARY = replace(SPEC, pockets=12, turn=7_201)
GRID = replace(
    ROTARY, stations=(Place(0, 700, 0, 1, 0, 3, (1,)), Place(2, 1_500, 1, 2, 50, 2), Place(4, 900, 1, beside=(0,)))
)
STEP_US = 5_000
BEAT_SCANS = 4
MOST_LATCHES, MOST_PULSES, MOST_UNITS = 8, 32, 60  # what a counter module hands over in one scan, a PLC follows


class Line:
    """The belt, the counter module and a device. `pace` is counts per scan, `slip` how late bodies come by each eye."""

    def __init__(self, spec: PlcSpec = SPEC, encoder: int = 10_000, now_us: int = 1_000_000) -> None:
        self.spec = spec
        self.slip = [0] * len(spec.eyes)
        self.bank = Bank(MAP)
        plc = Plc(spec, self.bank)
        plc.start(encoder)
        self.tape = Tape(plc, self.bank, encoder)
        self.encoder, self.now_us, self.pace = encoder, now_us, 240
        self.beating, self.identity, self.command, self.mode = True, DEVICE, RUN, AUTOMATIC
        self.nonce = self.proposal = 0
        self.inputs = Inputs()
        self.out: Outputs = plc.stop()
        self._beat = 0
        self._scans = 0
        self._bodies: list[tuple[int, int]] = []
        self._coming: list[tuple[int, int, int]] = []
        self._ended: list[tuple[int, int, bool]] = []
        self._orders: list[Compare] = []

    @property
    def full(self) -> bool:
        """Whether another body would be more than a function block can follow."""
        units = max(lane.in_flight for lane in self.tape._lanes)
        return units + len(self.inputs.infeed) >= MOST_UNITS or len(self.inputs.infeed) >= MOST_LATCHES - 1

    @property
    def epoch(self) -> int:
        return int(self.tape.epoch)

    def agree(self, nonce: int = 7, proposal: int = 0) -> "Line":
        """Ask for an epoch and wait until it is granted."""
        self.nonce, self.proposal = nonce, proposal
        self.scan(BEAT_SCANS + 1)
        return self

    def body(self, lane: int = 0, *, real: bool = True) -> int:
        """A body (or only a reflection) trips the infeed eye; returns the number that its unit will have."""
        self.inputs.infeed.append(Latch(self.now_us, self.encoder, lane))
        if real:
            self._bodies.append((lane, self.encoder))
            places = [eye.at + slip for eye, slip in zip(self.spec.eyes, self.slip, strict=True)]
            self._coming += [(eye, lane, (self.encoder + at) & 0xFFFFFFFF) for eye, at in enumerate(places)]
        waiting = sum(latch.lane == lane for latch in self.inputs.infeed)
        return int(self.tape._lanes[lane]._next + waiting - 2) % 0xFFFFFFFF + 1

    def permit(self, number: int, **change: int) -> None:
        """Write a permit: a valid one but for what is named (epoch, slot, lane, device, spoil)."""
        epoch, lane = change.get("epoch", self.epoch), change.get("lane", 0)
        slot = change.get("slot", number % 64)
        check = permit_check(number, epoch, change.get("named_lane", lane), slot, change.get("device", DEVICE))
        self.bank.write(MAP.permit.at(lane, slot), [*split(number), epoch & 0xFFFF, check ^ change.get("spoil", 0)])

    def channel(self, number: int, channel: int, spoil: int = 0) -> None:
        """Name a reject channel for a unit of lane 0."""
        check = channel_check(number, self.epoch, 0, channel, DEVICE) ^ spoil
        self.bank.write(MAP.channel.at(0, number % 64), [*split(number), channel, check])

    def unit(self, lane: int = 0, **change: int) -> int:
        """A body and its permit."""
        number = self.body(lane)
        self.scan()
        self.permit(number, lane=lane, **change)
        return number

    def scan(self, count: int = 1) -> None:
        """Run scans; every fourth carries a heartbeat."""
        for _ in range(count):
            self._scans += 1
            self.now_us += STEP_US
            if self.beating and self._scans % BEAT_SCANS == 0:
                self.beat()
            if self.out.belt:
                self.encoder = (self.encoder + self.pace) & 0xFFFFFFFF
            self._move()
            self.inputs.encoder = self.encoder
            self.inputs.infeed.sort(key=lambda latch: latch.lane)
            self.inputs.carrier = self.encoder % self.spec.turn if self.spec.turn else 0
            self.out = self.tape.scan(self.now_us, self.inputs)
            self._orders += self.out.armed
            levels = {"authority": self.inputs.authority, "legacy_accept": self.inputs.legacy_accept}
            self.inputs = Inputs(**levels, switches=self.inputs.switches)

    def through(self) -> None:
        """Until everything left the belt."""
        self.scan(4000 // self.pace + 1)

    def beat(self) -> None:
        """Write what the device writes with every heartbeat."""
        self._beat = self._beat % 0xFFFF + 1
        words = [self._beat, 0, *split(self.identity), *split(self.nonce), *split(self.proposal)]
        self.bank.write(MAP.registers["device_heartbeat"].offset, [*words, self.command, self.mode, 6, self._beat % 32])

    def restart(self, retained: bool) -> None:
        """Stop and start the program."""
        self._orders.clear()
        self.out = self.tape.stop()
        self.tape.start(self.encoder, retained)

    def _move(self) -> None:
        for eye, lane, at in [item for item in self._coming if self._beyond(item[2], 0)][:MOST_LATCHES]:
            self._coming.remove((eye, lane, at))
            self.inputs.eyes.append((eye, Latch(self.now_us, at, lane)))
        for body in [body for body in self._bodies if self._beyond(body[1], GATE)]:
            self._bodies.remove(body)
            self._ended.append((*body, self.out.gates[body[0]]))
        for lane, at, passed in [item for item in self._ended if self._beyond(item[1], EYE)][:MOST_LATCHES]:
            self._ended.remove((lane, at, passed))
            latch = Latch(self.now_us, (at + EYE) & 0xFFFFFFFF, lane)
            (self.inputs.passed if passed else self.inputs.chute).append(latch)
        for order in [order for order in self._orders if self._due(order)][:MOST_PULSES]:
            self._orders.remove(order)
            self.inputs.fired.append(Fired(order, self.now_us, order.encoder if order.at_us is None else self.encoder))

    def _due(self, order: Compare) -> bool:
        return order.at_us <= self.now_us if order.at_us is not None else self._beyond(order.encoder, 0)

    def _beyond(self, at: int, counts: int) -> bool:
        return counts <= (self.encoder - at) & 0xFFFFFFFF < 0x80000000
