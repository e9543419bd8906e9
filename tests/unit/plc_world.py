"""A PLC program on an ideal belt, with a device that writes registers as it likes; used by the tests of the PLC."""

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Cause, Flag, Inputs, Latch, Outputs, Place, PlcSpec, Step, UnitEvent
from drivers.gate.plc_logic import SCAN_US, Plc
from drivers.registers import load_map, permit_check, split

MAP = load_map()
DEVICE, FOREIGN, PLC_ID = 1001, 666, 2001
AUTOMATIC, RUN = 2, 1
COUNTS_PER_SCAN = 48
GATE = 12_000
SPEC = PlcSpec(
    identity=PLC_ID,
    device_identity=DEVICE,
    lanes=1,
    stations=(Place(0, 3000), Place(3, 4800)),
    decide=GATE - 300,
    release=GATE + 300,
    chute_eye=14_000,
    pass_eye=14_000,
    window=500,
    clear=340,
    phantom=400,
)
UnitKey = tuple[int, int]


class PlcWorld:
    """One lane. `bodies` are encoder values at which a body was at the infeed eye."""

    def __init__(self, encoder: int = 0xFFFFFFFF - 30_000, spec: PlcSpec = SPEC) -> None:
        self.bank = Bank(MAP)
        self.plc = Plc(spec, self.bank)
        self.encoder = encoder
        self.now_us = 1_000_000
        self.beating = True
        self.identity = DEVICE
        self.command = RUN
        self.mode = AUTOMATIC
        self.nonce = 0
        self.proposal = 0
        self.inputs = Inputs()
        self.bodies: list[int] = []
        self.at_gate: list[int] = []
        self.at_eye: list[tuple[int, bool]] = []
        self.events: list[UnitEvent] = []
        self.ended: list[bool] = []
        self.beat_us = 0
        self._beat = 0
        self.plc.start(self.encoder)
        self.out: Outputs = self.plc.stop()

    def body(self) -> None:
        """A body trips the infeed eye."""
        self.inputs.infeed.append(Latch(self.now_us, self.encoder))
        self.at_gate.append(self.encoder)

    def bounce(self) -> None:
        """The infeed eye sees something that has no body."""
        self.inputs.infeed.append(Latch(self.now_us, self.encoder))

    def ask_epoch(self, nonce: int, proposal: int = 0) -> int:
        """Ask for an epoch and scan until the heartbeat carried it; returns the epoch."""
        self.nonce, self.proposal = nonce, proposal
        self.scan(11)
        return self.plc.epoch

    def permit(self, number: int, epoch: int, *, slot: int | None = None, device: int = DEVICE, spoil: int = 0) -> None:
        """Write a permit; with the defaults a valid one for that unit and epoch."""
        place = number % 64 if slot is None else slot
        check = permit_check(number, epoch, 0, place, device) ^ spoil
        self.bank.write(MAP.permit.at(0, place), [*split(number), epoch & 0xFFFF, check])

    def scan(self, count: int = 1) -> list[UnitEvent]:
        """Run scans; the belt moves where it is ordered to. Returns what happened to units."""
        seen = len(self.events)
        for _ in range(count):
            self.now_us += SCAN_US
            if self.beating and self.now_us % 20_000 == 0:
                self.beat()
            if self.out.belt:
                self.encoder = (self.encoder + COUNTS_PER_SCAN) & 0xFFFFFFFF
            self._move()
            self.inputs.encoder = self.encoder
            self.out = self.plc.scan(self.now_us, self.inputs)
            self.inputs = Inputs(authority=self.inputs.authority, legacy_accept=self.inputs.legacy_accept)
            self.events.extend(self.out.events)
        return self.events[seen:]

    def travel(self, counts: int) -> list[UnitEvent]:
        """Scan until the belt moved that far."""
        return self.scan(-(-counts // COUNTS_PER_SCAN))

    def beat(self) -> None:
        """Write what the device writes with every heartbeat."""
        self._beat = self._beat % 0xFFFF + 1
        words = [self._beat, 0, *split(self.identity), *split(self.nonce), *split(self.proposal)]
        self.bank.write(100, [*words, self.command, self.mode, 0])
        if self.identity == DEVICE:
            self.beat_us = self.now_us

    def restart(self, retained: bool = True) -> None:
        """Stop and start the program; the belt stands."""
        self.out = self.plc.stop()
        self.plc.start(self.encoder, retained)
        if not retained:
            self.inputs = Inputs()

    def slots(self) -> set[int]:
        """Numbers that stand in permit slots."""
        start = MAP.permit.at(0)
        words = self.bank.words[start : start + 4 * 64]
        return {(words[i] << 16) | words[i + 1] for i in range(0, 256, 4)} - {0}

    def entry(self, ring: str, seq: int) -> dict[str, int]:
        """Return an entry of a ring of lane or station 0."""
        block = {"unit": MAP.unit, "closed": MAP.closed, "edge": MAP.edge}[ring]
        return block.read(self.bank.words, block.ring_at(0, seq))

    def head(self, name: str) -> int:
        """Return a u32 of the lane's heads."""
        return MAP.lane.read(self.bank.words, MAP.lane.at(0))[name]

    def _move(self) -> None:
        """Bodies reach the gate and the eye behind it. The gate acts at once here."""
        for at in [at for at in self.at_gate if self._beyond(at, GATE)]:
            self.at_gate.remove(at)
            self.at_eye.append((at, self.out.gates[0]))
            self.ended.append(self.out.gates[0])
        for at, passed in [item for item in self.at_eye if self._beyond(item[0], SPEC.pass_eye)]:
            self.at_eye.remove((at, passed))
            latch = Latch(self.now_us, (at + SPEC.pass_eye) & 0xFFFFFFFF)
            (self.inputs.passed if passed else self.inputs.chute).append(latch)

    def _beyond(self, at: int, counts: int) -> bool:
        return (self.encoder - at) & 0xFFFFFFFF >= counts


def decided_to_pass(event: UnitEvent) -> bool:
    """Whether the event is a decision that energised the gate."""
    return event.step is Step.DECIDED and not event.flags & Flag.DIVERTED


def run_through(world: PlcWorld) -> tuple[Flag, Cause]:
    """Let everything leave the belt; return flags and cause of the unit closed last."""
    events = world.travel(SPEC.pass_eye + SPEC.window + 100)
    closed = [event for event in events if event.step is Step.CLOSED]
    return Flag(closed[-1].flags), Cause(closed[-1].cause)
