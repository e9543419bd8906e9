"""One table: what goes wrong -> what the line does and who may go on. QA can sign this page.

`hold` closes the infeed and lets the belt run empty; `abort` stops the belt. Texts and remedies are in texts/*.toml
under the same codes; docs/operations/line-states.md prints the table.
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


STOPS = {Reaction.HOLD, Reaction.SUSPEND, Reaction.ABORT}


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. A fault that comes again within `window_s` latches: a person must reset the line (0 = never).

    `person`: it latches the first time. `safety`: its alarm can be neither shelved nor taken out of service.
    `bars`: while it stands nothing is accepted and permits already given are taken back. `revokes`: it takes permits
    back, so every one of it is on record. `max_units`, `max_s`: reject and run for that long at most, then hold
    (0 = no end).
    """

    code: str
    reaction: Reaction
    window_s: float = 0
    person: bool = False
    safety: bool = False
    bars: bool = False
    revokes: bool = False
    max_units: int = 0
    max_s: float = 0


_A, _R, _H, _S, _X = Reaction.ALARM, Reaction.REJECT, Reaction.HOLD, Reaction.SUSPEND, Reaction.ABORT
_ROWS = (
    Fault("CAMERA_LOST", _R, 10, max_units=500, max_s=60),
    Fault("CAMERA_UNSYNCED", _R, revokes=True, max_units=500),
    Fault("FRAME_LOST", _A),
    Fault("STRAY_FRAME", _A),
    Fault("STRAY_BODY", _A),
    Fault("LIGHT", _R, max_units=100, max_s=30),
    Fault("LIGHT_TREND", _A),
    Fault("TOO_CLOSE", _A, revokes=True),
    Fault("WRONG_CHANNEL", _A),
    Fault("OFF_TRACK", _A),
    Fault("VISION_LOST", _R, 10, max_units=500, max_s=60),
    Fault("VISION_FAULT", _A),
    Fault("EVIDENCE_DROPPED", _A),
    Fault("GOLDEN_FAILED", _H, person=True, safety=True, bars=True, revokes=True),
    Fault("NOT_ARMED", _H, safety=True),
    Fault("ADMISSION", _H, safety=True),
    Fault("RECORDER_LOST", _H, safety=True),
    Fault("NO_RECORD", _H, safety=True),
    Fault("LEDGER_UNWRITABLE", _A, safety=True),
    Fault("LEDGER_WRITTEN_AGAIN", _A),
    Fault("ROW_REFUSED", _A, safety=True),
    Fault("ROW_OF_ANOTHER_BATCH", _A, safety=True),
    Fault("ROW_NUMBER_SKIPPED", _A),
    Fault("RECORDER_PEER_DROPPED", _A),
    Fault("BUNDLE_NOT_ARMED", _A),
    Fault("REVOKED", _A, safety=True),
    Fault("PLC_LINK", _S, 10, safety=True),
    Fault("PLC_RESTARTED", _S, 10, safety=True),
    Fault("PLC_MEMORY", _S, 10, safety=True),
    Fault("PLC_WRONG", _X, safety=True, bars=True),
    Fault("PLC_ABORTED", _H, safety=True),
    Fault("PLC_STRANGER", _A),
    Fault("AUTHORITY", _H, safety=True),
    Fault("OVERRUN", _H, 1, safety=True),
    Fault("ESCAPED", _X, safety=True, revokes=True),
    Fault("GUARD_OPEN", _X, safety=True, bars=True),
    Fault("AIR_LOW", _H, 60, safety=True),
    Fault("BIN_FULL", _H, person=True, safety=True),
    Fault("REJECT_INHIBITED", _H, person=True, safety=True, bars=True),
    Fault("CONFIRM_EYE", _H, person=True, safety=True, bars=True),
    Fault("CONSECUTIVE_REJECTS", _H, person=True),
    Fault("SAME_DEFECT", _H, person=True),
    Fault("ZERO_REJECTS", _A),
    Fault("LATE_RUN", _H, person=True),
    Fault("REJECT_LIMIT", _H, person=True),
    Fault("CLEARANCE", _X, safety=True),
    Fault("LEFT_BEHIND", _X, safety=True, revokes=True),
    Fault("PERMITS_REVOKED", _A, revokes=True),
)
TABLE = {row.code: row for row in _ROWS}

INPUT_UNITS, INPUT_S = 100, 30.0
"""Limits of reject and run where a station chose it for an input."""

STOP_BY_PERSON, ABORT_BY_PERSON, HOLD_BY_PERSON = "STOP_BY_PERSON", "ABORT_BY_PERSON", "HOLD_BY_PERSON"
BY_PERSON = (STOP_BY_PERSON, ABORT_BY_PERSON, HOLD_BY_PERSON)

INPUTS = {
    "guard_closed": "GUARD_OPEN",
    "air_ok": "AIR_LOW",
    "bin_ok": "BIN_FULL",
    "rejects_enabled": "REJECT_INHIBITED",
    "confirm_eyes_ok": "CONFIRM_EYE",
}
"""Run conditions that a station may wire to a digital input of the PLC -> the fault that applies while it is 0."""


class Latch:
    """Remembers when each fault came; says whether it latches now. Pure: the caller brings the time."""

    def __init__(self) -> None:
        self._last_ns: dict[tuple[str, str], int] = {}

    def strike(self, code: str, now_ns: int, subject: str = "") -> bool:
        """Note a fault of a subject (a camera, an input); return True when a person must reset the line now."""
        row = TABLE[code]
        window_ns = int(row.window_s * 1e9)
        last = self._last_ns.get((code, subject))
        self._last_ns[code, subject] = now_ns
        return row.person or (last is not None and window_ns > 0 and now_ns - last < window_ns)

    def clear(self) -> None:
        """A person reset the line."""
        self._last_ns.clear()
