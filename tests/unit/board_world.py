"""The reject board's core on an ideal belt, with a device that says what frames it likes; used by the board's tests."""

from dataclasses import replace

from plc_world import AUTOMATIC, COUNTS_PER_SCAN, DEVICE, FOREIGN, GATE, RUN, SPEC

from drivers.gate.plc_io import Cause, Compare, Fired, Flag, Inputs, Latch, Outputs, Step, UnitEvent
from drivers.registers import permit_check
from drivers.serial_frames import Beat, BoardEvent, Decoder, Frame, Permit, Ping, Revoke, Said, Status, encode
from drivers.sim.board_program import BoardProgram

SCAN_US, PING_US, BEAT_US = 2_000, 8_000, 20_000
MAX = 0xFFFFFFFF


class BoardWorld:
    """One lane. The belt moves while the board lets it; bodies end at the pass eye or in the chute by the gate."""

    def __init__(self, encoder: int = MAX - 30_000, now_us: int = MAX - 900_000, must: int = 0) -> None:
        self.board = BoardProgram(SPEC, must)
        self.encoder, self.now_us = encoder, now_us
        self.beating = True
        self.device, self.nonce, self.proposal = DEVICE, 0, 0
        self.command, self.mode = RUN, AUTOMATIC
        self.sequence = 0
        self.echo: int | None = None
        self.acknowledge: int | None = None
        self.inputs = Inputs()
        self.statuses: list[Status] = []
        self.events: list[tuple[int, BoardEvent]] = []
        self.steps: list[UnitEvent] = []
        self.ended: list[bool] = []
        self.fired: list[Compare] = []
        self._at_gate: list[int] = []
        self._at_eye: list[tuple[int, bool]] = []
        self._beat = 0
        self._decoder = Decoder()
        self.board.start(self.encoder)
        self.out: Outputs = self.board.stop()
        self.board.start(self.encoder, retained=False)

    @property
    def status(self) -> Status:
        return self.statuses[-1]

    def say(self, said: Said, sequence: int = 0) -> bytes:
        """Send a frame; returns its bytes."""
        taken = self.events[-1][0] if self.events else 0
        data = encode(Frame(said, sequence, taken if self.acknowledge is None else self.acknowledge))
        self.board.receive(data)
        return data

    def beat(self) -> None:
        """Send a heartbeat."""
        self._beat = self._beat % 0xFFFF + 1
        echo = self.seen if self.echo is None else self.echo
        words = (self.nonce, self.proposal, self.command, self.mode, 6, 4)
        self.say(Beat(self.device, self._beat, echo, *words))

    @property
    def seen(self) -> int:
        """The board's beat that the device saw last."""
        return self.statuses[-1].beat if self.statuses else 0

    def agree(self, nonce: int = 7) -> int:
        """Ask for an epoch and wait for it; returns it."""
        self.nonce, self.sequence = nonce, 0
        self.scan(22)
        assert self.status.nonce == nonce
        return self.status.epoch

    def valid(self, number: int) -> Permit:
        """Return the permit that a right device would send for that unit now."""
        epoch, slot = self.status.epoch, number % 64
        check = permit_check(number, epoch, 0, slot, DEVICE)
        return Permit(DEVICE, epoch, number, 0, slot, check, self.seen)

    def permit(self, number: int, /, **changes: int) -> bytes:
        """Send a permit in sequence; with `changes` of its fields a wrong one."""
        self.sequence += 1
        return self.say(replace(self.valid(number), **changes), self.sequence)

    def revoke(self, number: int) -> None:
        self.sequence += 1
        self.say(Revoke(DEVICE, self.status.epoch, number, 0), self.sequence)

    def body(self) -> None:
        """A body trips the infeed eye."""
        self.inputs.infeed.append(Latch(self.now_us & MAX, self.encoder))
        self._at_gate.append(self.encoder)

    def scan(self, count: int = 1) -> list[UnitEvent]:
        """Tick the board; returns what happened to units."""
        before = len(self.steps)
        for _ in range(count):
            self.now_us += SCAN_US
            if self.out.belt:
                self.encoder = (self.encoder + COUNTS_PER_SCAN) & MAX
            if self.beating:
                if self.now_us // PING_US != (self.now_us - SCAN_US) // PING_US:
                    self.say(Ping(self.now_us & MAX))
                if self.now_us // BEAT_US != (self.now_us - SCAN_US) // BEAT_US:
                    self.beat()
            self._move()
            self.inputs.encoder = self.encoder
            self.out = self.board.scan(self.now_us, self.inputs)
            self.fired += self.out.armed
            self.inputs = Inputs(authority=self.inputs.authority, legacy_accept=self.inputs.legacy_accept)
            self.steps += self.out.events
            self.listen()
        return self.steps[before:]

    def travel(self, counts: int) -> list[UnitEvent]:
        """Tick until the belt moved that far."""
        return self.scan(-(-counts // COUNTS_PER_SCAN))

    def listen(self) -> None:
        """Hear what the board says."""
        for frame in self._decoder.feed(self.board.transmit(4096)):
            if isinstance(frame.said, Status):
                self.statuses.append(frame.said)
            elif isinstance(frame.said, BoardEvent):
                self.events.append((frame.sequence, frame.said))

    def fire(self, order: Compare) -> None:
        """A trigger output rose."""
        self.inputs.fired.append(Fired(order, self.now_us, order.encoder))

    def through(self) -> tuple[Flag, Cause]:
        """Let everything leave the belt; return flags and cause of the unit closed last."""
        steps = self.travel(SPEC.pass_eye + SPEC.window + 100)
        closed = [step for step in steps if step.step is Step.CLOSED]
        return Flag(closed[-1].flags), Cause(closed[-1].cause)

    def _move(self) -> None:
        for at in [at for at in self._at_gate if self._beyond(at, GATE)]:
            self._at_gate.remove(at)
            self._at_eye.append((at, self.out.gates[0]))
            self.ended.append(self.out.gates[0])
        for at, passed in [item for item in self._at_eye if self._beyond(item[0], SPEC.pass_eye)]:
            self._at_eye.remove((at, passed))
            latch = Latch(self.now_us & MAX, (at + SPEC.pass_eye) & MAX)
            (self.inputs.passed if passed else self.inputs.chute).append(latch)

    def _beyond(self, at: int, counts: int) -> bool:
        return (self.encoder - at) & MAX >= counts


__all__ = ["COUNTS_PER_SCAN", "DEVICE", "FOREIGN", "GATE", "SPEC", "BoardWorld"]
