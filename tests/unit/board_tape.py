"""Plays the tapes of the gate program (tests/vectors/gate) to the reject board: register writes become frames."""

from typing import Any

from drivers.gate.plc_bank import Bank
from drivers.gate.plc_io import Compare, Fired, Inputs, Key, Latch, PlcSpec, Step
from drivers.registers import CHANNEL_MARK, load_map, u32
from drivers.serial_board import BEAT_FIELDS
from drivers.serial_frames import Beat, Decoder, Frame, Permit, Ping, Said, Sort, Status, encode
from drivers.sim.board_program import BoardProgram

MAP = load_map()
MAX = 0xFFFFFFFF
LATCHES = ("infeed", "chute", "passed")


class BoardTape:
    """The board where a tape expects the gate program. The tape's device is told the board's heartbeat."""

    def __init__(self, spec: PlcSpec) -> None:
        self._board = BoardProgram(spec)
        self._bank = Bank(MAP)
        self._decoder = Decoder()
        self._status: Status | None = None
        self._sequence = self._beaten = 0
        self._slots: dict[int, list[int]] = {}
        self.closed: list[tuple[int, ...]] = []

    def start(self, step: dict[str, Any]) -> None:
        self._board.stop()
        self._board.start(step["encoder"], step["start"])
        self._bank.zero(0, MAP.size)
        self._slots.clear()
        self._status = None
        self._sequence = self._beaten = 0
        self.closed.clear()

    def write(self, address: int, words: list[int]) -> None:
        """The device writes; it is said at the next scan."""
        self._bank.write(address, words)

    def scan(self, step: dict[str, Any]) -> tuple[list[bool], list[int]]:
        """Say what is new, run one scan; returns gates and channels."""
        if self._bank.get("device_heartbeat") != self._beaten:
            self._beat()
        for lane in range(2):
            for slot in range(MAP.permit.length):
                self._slot(MAP.permit.at(lane, slot), lane, slot, Permit)
                self._slot(MAP.channel.at(lane, slot), lane, slot, Sort)
        self._say(Ping(1))
        out = self._board.scan(step["now"], inputs(step))
        for frame in self._decoder.feed(self._board.transmit(256)):
            if isinstance(frame.said, Status):
                self._status = frame.said
        for address, *words in step.get("set", []):
            self._bank.write(address, words)
        self.closed += [(e.lane, e.epoch, e.number, e.flags) for e in out.events if e.step is Step.CLOSED]
        return list(out.gates), list(out.channels)

    def _slot(self, at: int, lane: int, slot: int, kind: type[Permit]) -> None:
        words = self._bank.words[at : at + 4].tolist()
        before, self._slots[at] = self._slots.get(at), words
        if not any(words) or before == words or not self._status:
            return
        status = self._status
        epoch = status.epoch if kind is Sort else status.epoch & ~0xFFFF | words[2]
        place = CHANNEL_MARK | words[2] if kind is Sort else slot
        said = kind(status.device, epoch, u32(words, 0), lane, place, words[3], status.beat)
        self._sequence += epoch == status.epoch
        self._say(said, self._sequence)

    def _beat(self) -> None:
        self._beaten = self._bank.get("device_heartbeat")
        fields = {field: self._bank.get(name) for field, name in BEAT_FIELDS.items()}
        before = self._status
        if before and fields["nonce"] not in (0, before.nonce) and fields["device"] == before.device:
            self._sequence = 0
        self._say(Beat(**fields | {"echo": before.beat if before else 0}))

    def _say(self, said: Said, sequence: int = 0) -> None:
        self._board.receive(encode(Frame(said, sequence, 0)))


def inputs(step: dict[str, Any]) -> Inputs:
    """Return what a step of a tape latched."""
    found = {name: [Latch(at, enc, lane) for lane, at, enc in step.get(name, [])] for name in LATCHES}
    fired = [
        Fired(Compare(station, 0, None, epoch, lane, number, shot), at, enc)
        for station, epoch, lane, number, shot, enc, at in step.get("fired", [])
    ]
    levels = {"legacy_accept": step.get("legacy", False), "guard_closed": step.get("guard", True)}
    return Inputs(encoder=step["encoder"], fired=fired, authority=step.get("key", Key.LINEWARDEN), **found, **levels)
