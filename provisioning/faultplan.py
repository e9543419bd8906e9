"""What is expected of the line under each fault of the box's table: its state meanwhile, and who brings it back.

The names, who plays a fault and its duration are `drivers.sim.faults`; this table is what the report and the tests
compare with, and the README prints it.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from drivers.sim.faults import FaultError, FaultName, Order, parse


class Resets(enum.StrEnum):
    """Who brings the line back to Execute."""

    NOBODY = "nobody: it stays in Execute"
    DEVICE = "the device"
    PERSON = "a person"


@dataclass(frozen=True, slots=True)
class Expectation:
    """`states`: PackML states the line may be seen in from the fault's begin to its end. `closes`: whether the batch
    can be closed afterwards; where nobody knows where a unit went it cannot."""

    states: tuple[str, ...]
    resets: Resets
    effect: str
    closes: bool = True


_GOES_ON = ("execute",)
_HOLDS = ("execute", "holding", "held", "unholding")
_SUSPENDS = ("execute", "suspending", "suspended", "unsuspending")
_ABORTS = ("execute", "aborting", "aborted", "clearing", "stopped", "resetting", "idle", "starting", "holding", "held")


def _goes_on(effect: str) -> Expectation:
    return Expectation(_GOES_ON, Resets.NOBODY, effect)


EXPECTED: dict[FaultName, Expectation] = {
    FaultName.KILL_VISION: _goes_on("every unit is rejected until vision is back"),
    FaultName.HANG_VISION: _goes_on("every unit is rejected until the watchdog has restarted vision"),
    FaultName.KILL_CAMERA: _goes_on("units without its picture are rejected until it is in step again"),
    FaultName.HANG_CAMERA: _goes_on("units without its picture are rejected until the watchdog has restarted it"),
    FaultName.CAMERA_LOSS: _goes_on("units without its picture are rejected until it is in step again"),
    FaultName.CAMERA_RESTART: _goes_on("a new session: units are rejected until it is in step again"),
    FaultName.EDGE_LOST: _goes_on("count and time disagree: rejected until three matches agree"),
    FaultName.EDGE_EXTRA: _goes_on("count and time disagree: rejected until three matches agree"),
    FaultName.EDGE_LATE: _goes_on("the frame's time does not fit: the unit is rejected"),
    FaultName.BUSY_TRIGGER: _goes_on("the unit has no image and is rejected; still in step"),
    FaultName.FRAME_LOST: _goes_on("the unit has no image and is rejected; still in step"),
    FaultName.FRAME_DUP: _goes_on("the second copy is refused: its key is used"),
    FaultName.FRAME_REORDER: _goes_on("both frames find their own unit, or are rejected"),
    FaultName.INCOMPLETE_FRAME: _goes_on("an incomplete frame counts as no image"),
    FaultName.STALE_BUFFER: _goes_on("chunk and buffer disagree: the frame is refused"),
    FaultName.LATE_VERDICT: _goes_on("verdicts after the deadline are dropped: rejected as late"),
    FaultName.PLC_LINK_DOWN: Expectation(_SUSPENDS, Resets.DEVICE, "the PLC rejects by itself until the link is back"),
    FaultName.PLC_RESTART: Expectation(_SUSPENDS, Resets.DEVICE, "a new epoch: every older permit is void"),
    FaultName.KILL_LINE: Expectation(_GOES_ON, Resets.DEVICE, "the PLC rejects; its ring names the units"),
    FaultName.HANG_LINE: Expectation(_GOES_ON, Resets.DEVICE, "the PLC rejects; the watchdog restarts line"),
    FaultName.POWER_OFF: Expectation(_GOES_ON, Resets.DEVICE, "as `kill-line`; what was not durable is read again"),
    FaultName.RESTART_SAME_NUMBERS: Expectation(_SUSPENDS, Resets.DEVICE, "same numbers, new epoch: nothing matches"),
    FaultName.RECORDER_FULL: Expectation(_HOLDS, Resets.DEVICE, "the infeed closes until rows are durable again"),
    FaultName.KILL_RECORDER: Expectation(_HOLDS, Resets.DEVICE, "rows are sent again when the recorder is back"),
    FaultName.HANG_RECORDER: Expectation(
        _HOLDS, Resets.DEVICE, "the infeed closes; rows are sent again to the new one"
    ),
    FaultName.DOUBLE_TRIGGER: _goes_on("a phantom or two units too close: rejected"),
    FaultName.WRONG_DIGEST: Expectation(_HOLDS, Resets.DEVICE, "verdicts of a bundle that is not armed are dropped"),
    FaultName.AIR_LOW: Expectation(_HOLDS, Resets.DEVICE, "the infeed closes until the pressure is back"),
    FaultName.BIN_FULL: Expectation(_HOLDS, Resets.PERSON, "the infeed closes until a person emptied the bin"),
    FaultName.GUARD_OPEN: Expectation(_ABORTS, Resets.PERSON, "abort; what is in the machine is rejected, empty run"),
    FaultName.REJECT_INHIBITED: Expectation(_HOLDS, Resets.PERSON, "nothing is accepted, the infeed closes"),
    FaultName.CHUTE_BLIND: Expectation(
        _ABORTS, Resets.PERSON, "a reject that nobody saw counts as escaped: abort, the batch stays open", closes=False
    ),
    FaultName.LIGHT_OUT: _goes_on("pictures out of the light's band: their units are rejected"),
}


def label(order: Order) -> str:
    """Return NAME@UNIT, +MS where it is delayed."""
    return f"{order.name}@{order.unit}{f'+{order.delay_ms}' if order.delay_ms else ''}"


def plan(texts: Iterable[str], units: int) -> tuple[Order, ...]:
    """Return the faults of the --fault arguments in the order in which they strike.

    Raises:
        FaultError: unknown name, no unit, or a unit beyond the run.
    """
    orders = sorted((parse(text) for text in texts), key=lambda order: order.unit)
    for order in orders:
        if order.unit > units:
            raise FaultError(f"--fault {label(order)}: the run has {units} units only; name one of them")
    return tuple(orders)
