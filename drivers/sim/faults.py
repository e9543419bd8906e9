"""The faults that the line in a box can play, as one table, and their schedule. Pure.

`NAME@UNIT` fires when vial number UNIT (from 1) trips the infeed eye, `NAME@UNIT+MS` so many milliseconds later; it
lasts its default duration and clears itself.
The box plays what happens to belt, PLC and cameras; what happens to a daemon is announced on the box's standard output
and played by whoever started it.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

MS = 1_000_000
MOST_DELAY_MS = 10_000


class Executor(enum.StrEnum):
    """Who plays a fault."""

    BOX = "box"
    SUPERVISOR = "supervisor"


class FaultName(enum.StrEnum):
    KILL_VISION = "kill-vision"
    HANG_VISION = "hang-vision"
    KILL_CAMERA = "kill-camera"
    HANG_CAMERA = "hang-camera"
    CAMERA_LOSS = "camera-loss"
    CAMERA_RESTART = "camera-restart"
    EDGE_LOST = "edge-lost"
    EDGE_EXTRA = "edge-extra"
    EDGE_LATE = "edge-late"
    BUSY_TRIGGER = "busy-trigger"
    FRAME_LOST = "frame-lost"
    FRAME_DUP = "frame-dup"
    FRAME_REORDER = "frame-reorder"
    INCOMPLETE_FRAME = "incomplete-frame"
    STALE_BUFFER = "stale-buffer"
    LATE_VERDICT = "late-verdict"
    PLC_LINK_DOWN = "plc-link-down"
    PLC_RESTART = "plc-restart"
    KILL_LINE = "kill-line"
    HANG_LINE = "hang-line"
    POWER_OFF = "power-off"
    RESTART_SAME_NUMBERS = "restart-same-numbers"
    RECORDER_FULL = "recorder-full"
    KILL_RECORDER = "kill-recorder"
    HANG_RECORDER = "hang-recorder"
    DOUBLE_TRIGGER = "double-trigger"
    WRONG_DIGEST = "wrong-digest"
    AIR_LOW = "air-low"
    BIN_FULL = "bin-full"
    GUARD_OPEN = "guard-open"
    REJECT_INHIBITED = "reject-inhibited"
    CHUTE_BLIND = "chute-blind"
    LIGHT_OUT = "light-out"


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One row of the table. `duration_ms` 0: an instant, nothing to clear."""

    executor: Executor
    duration_ms: int
    text: str


_BOX, _SUPERVISOR = Executor.BOX, Executor.SUPERVISOR
FAULTS: dict[FaultName, FaultSpec] = {
    FaultName.KILL_VISION: FaultSpec(_SUPERVISOR, 0, "SIGKILL to vision"),
    FaultName.HANG_VISION: FaultSpec(_SUPERVISOR, 3000, "SIGSTOP to vision; its watchdog or SIGCONT ends it"),
    FaultName.KILL_CAMERA: FaultSpec(_SUPERVISOR, 0, "SIGKILL to the first camera process"),
    FaultName.HANG_CAMERA: FaultSpec(_SUPERVISOR, 3000, "SIGSTOP to the first camera process; its watchdog ends it"),
    FaultName.CAMERA_LOSS: FaultSpec(_BOX, 400, "cable of the first camera pulled"),
    FaultName.CAMERA_RESTART: FaultSpec(_BOX, 300, "first camera loses power, its clock and counters start again"),
    FaultName.EDGE_LOST: FaultSpec(_BOX, 0, "trigger edge of the unit never reaches the first camera"),
    FaultName.EDGE_EXTRA: FaultSpec(
        _BOX, 0, "the first camera sees an edge, half a gap after the unit's, that nobody gave"
    ),
    FaultName.EDGE_LATE: FaultSpec(_BOX, 30, "trigger edge of the unit reaches the first camera late"),
    FaultName.BUSY_TRIGGER: FaultSpec(_BOX, 0, "first camera is busy when the unit's edge comes"),
    FaultName.FRAME_LOST: FaultSpec(_BOX, 0, "frame of the unit uses its id and never arrives"),
    FaultName.FRAME_DUP: FaultSpec(_BOX, 0, "frame of the unit arrives twice"),
    FaultName.FRAME_REORDER: FaultSpec(_BOX, 0, "frame of the unit arrives after the next one"),
    FaultName.INCOMPLETE_FRAME: FaultSpec(_BOX, 0, "frame of the unit arrives half filled, without chunks"),
    FaultName.STALE_BUFFER: FaultSpec(_BOX, 0, "frame of the unit: new buffer information, old pixels and chunks"),
    FaultName.LATE_VERDICT: FaultSpec(_SUPERVISOR, 1000, "vision answers later than the deadline"),
    FaultName.PLC_LINK_DOWN: FaultSpec(_BOX, 500, "Modbus connections closed and refused"),
    FaultName.PLC_RESTART: FaultSpec(_BOX, 300, "PLC program stops, outputs fall; starts again with its memory"),
    FaultName.KILL_LINE: FaultSpec(_SUPERVISOR, 0, "SIGKILL to line"),
    FaultName.HANG_LINE: FaultSpec(_SUPERVISOR, 1000, "SIGSTOP to line, then SIGCONT"),
    FaultName.POWER_OFF: FaultSpec(_SUPERVISOR, 1000, "the device's computer loses power: every process at once"),
    FaultName.RESTART_SAME_NUMBERS: FaultSpec(
        _BOX, 300, "PLC loses power and memory; numbers, epoch, clock begin again"
    ),
    FaultName.RECORDER_FULL: FaultSpec(_SUPERVISOR, 1000, "recorder's database may not grow"),
    FaultName.KILL_RECORDER: FaultSpec(_SUPERVISOR, 0, "SIGKILL to recorder"),
    FaultName.HANG_RECORDER: FaultSpec(_SUPERVISOR, 3000, "SIGSTOP to recorder; its watchdog ends it"),
    FaultName.DOUBLE_TRIGGER: FaultSpec(_BOX, 0, "infeed eye sees the vial a second time 8 mm later"),
    FaultName.WRONG_DIGEST: FaultSpec(_SUPERVISOR, 1000, "verdicts carry a configuration digest that is not armed"),
    FaultName.AIR_LOW: FaultSpec(_BOX, 600, "input air_ok falls"),
    FaultName.BIN_FULL: FaultSpec(_BOX, 600, "input bin_ok falls"),
    FaultName.GUARD_OPEN: FaultSpec(_BOX, 600, "input guard_closed falls"),
    FaultName.REJECT_INHIBITED: FaultSpec(_BOX, 600, "input rejects_enabled falls; the gate still obeys"),
    FaultName.CHUTE_BLIND: FaultSpec(_BOX, 1500, "the chute eye sees nothing, input confirm_eyes_ok falls"),
    FaultName.LIGHT_OUT: FaultSpec(_BOX, 600, "the first camera's lamp is dark"),
}


class FaultError(Exception):
    """A fault was asked for that does not exist; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class Order:
    """One fault to play `delay_ms` after that vial trips the infeed eye."""

    name: FaultName
    unit: int
    delay_ms: int = 0

    @property
    def spec(self) -> FaultSpec:
        return FAULTS[self.name]


def parse(text: str) -> Order:
    """Read `NAME@UNIT` or `NAME@UNIT+MS`.

    Raises:
        FaultError: no such fault, or the unit is not a number from 1.
    """
    name, _, place = text.partition("@")
    unit, plus, delay = place.partition("+")
    if name not in {fault.value for fault in FaultName}:
        known = " ".join(sorted(FaultName))
        raise FaultError(f"--fault {text}: there is no fault {name!r}; write NAME@UNIT with one of: {known}")
    if not unit.isascii() or not unit.isdecimal() or int(unit) < 1:
        raise FaultError(f"--fault {text}: say at which vial it strikes, a number from 1, as in {name}@100")
    if plus and not (delay.isascii() and delay.isdecimal() and int(delay) <= MOST_DELAY_MS):
        raise FaultError(f"--fault {text}: after + stand milliseconds, 0 to {MOST_DELAY_MS}, as in {name}@100+35")
    return Order(FaultName(name), int(unit), int(delay or 0))


class Schedule:
    """Orders by vial; each is given out once."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._orders: dict[int, list[Order]] = {}
        for order in orders:
            self._orders.setdefault(order.unit, []).append(order)

    @property
    def left(self) -> int:
        """Orders not yet given out."""
        return sum(map(len, self._orders.values()))

    def take(self, unit: int) -> list[Order]:
        """Return what strikes when this vial trips the infeed eye. Called once per vial."""
        return self._orders.pop(unit, [])
