"""One table: what goes wrong -> what the line does, who may go on, what the operator reads. QA can sign this page.

`hold` closes the infeed and lets the belt run empty; `abort` stops the belt. A fault that comes again within `window_s`
latches: a person must reset the line.
"""

import enum
from dataclasses import dataclass


class Reaction(enum.StrEnum):
    """What the line does by itself; rejecting needs no action, it is what happens without a permit."""

    ALARM = "alarm"
    REJECT = "reject and run"
    HOLD = "hold infeed"
    SUSPEND = "suspend"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: reaction, latch window in s (0 = never latches), text for the operator and what to do."""

    code: str
    reaction: Reaction
    window_s: float
    text: str
    remedy: str


_ROWS = (
    Fault("CAMERA_LOST", Reaction.REJECT, 10, "camera does not deliver", "check its cable and supply"),
    Fault("CAMERA_UNSYNCED", Reaction.REJECT, 0, "camera and line count different edges", "wait for three matches"),
    Fault("FRAME_LOST", Reaction.ALARM, 0, "a frame was lost", "check the camera link if this comes often"),
    Fault("STRAY_FRAME", Reaction.ALARM, 0, "a frame belongs to no unit", "check the trigger wiring if it comes often"),
    Fault("TOO_CLOSE", Reaction.ALARM, 0, "two units too close", "check the infeed spacing"),
    Fault("VISION_LOST", Reaction.REJECT, 10, "vision does not answer", "it restarts by itself; read its log"),
    Fault("VISION_FAULT", Reaction.ALARM, 0, "vision reports a fault", "read its text"),
    Fault("NOT_ARMED", Reaction.HOLD, 0, "verdicts from a bundle that is not armed", "load the armed bundle"),
    Fault("RECORDER_LOST", Reaction.HOLD, 0, "the recorder does not answer", "it restarts by itself; read its log"),
    Fault("NO_RECORD", Reaction.HOLD, 0, "rows are not stored", "check the disk"),
    Fault("LEDGER_UNWRITABLE", Reaction.ALARM, 0, "the ledger takes no rows", "free the disk; rows wait meanwhile"),
    Fault("LEDGER_WRITTEN_AGAIN", Reaction.ALARM, 0, "the ledger takes rows again", "nothing"),
    Fault("ROW_REFUSED", Reaction.ALARM, 0, "a row contradicts the ledger", "investigate before the batch is closed"),
    Fault("ROW_OF_ANOTHER_BATCH", Reaction.ALARM, 0, "a row of another batch", "investigate"),
    Fault("ROW_NUMBER_SKIPPED", Reaction.ALARM, 0, "a row never arrived", "line sends it again; else investigate"),
    Fault("RECORDER_PEER_DROPPED", Reaction.ALARM, 0, "a peer broke the protocol", "read the recorder's log"),
    Fault("BUNDLE_NOT_ARMED", Reaction.ALARM, 0, "vision loaded what is not armed", "load the armed bundle"),
    Fault("PLC_LINK", Reaction.SUSPEND, 10, "no connection to the PLC", "check network and PLC"),
    Fault("PLC_RESTARTED", Reaction.SUSPEND, 10, "the PLC restarted", "check its supply"),
    Fault("PLC_MEMORY", Reaction.SUSPEND, 10, "the PLC lost its memory", "check its battery; reconcile by count"),
    Fault("PLC_WRONG", Reaction.ABORT, 0, "another PLC or another register map answers", "check address and identity"),
    Fault("AUTHORITY", Reaction.HOLD, 0, "the key switch does not give the line to Linewarden", "turn the key switch"),
    Fault("OVERRUN", Reaction.HOLD, 1, "the PLC's ring was overrun", "check the load of this computer"),
    Fault("ESCAPED", Reaction.ABORT, 0, "a unit escaped", "quarantine everything since the last confirmed unit"),
)
TABLE = {row.code: row for row in _ROWS}


class Latch:
    """Remembers when each fault came; says whether it latches now. Pure: the caller brings the time."""

    def __init__(self) -> None:
        self._last_ns: dict[str, int] = {}

    def strike(self, code: str, now_ns: int) -> bool:
        """Note a fault; return True when it came a second time within its window."""
        window_ns = int(TABLE[code].window_s * 1e9)
        last = self._last_ns.get(code)
        self._last_ns[code] = now_ns
        return last is not None and window_ns > 0 and now_ns - last < window_ns

    def clear(self) -> None:
        """A person reset the line."""
        self._last_ns.clear()
