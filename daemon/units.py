"""The daemon's words: units, frames, verdicts, reasons, outcomes (DESIGN section 7).

Every process imports this module and none of them adds behaviour to it. All types are frozen and travel
between processes as msgpack (see wire.py). Times are CLOCK_MONOTONIC nanoseconds, positions encoder counts.
"""

import enum
from typing import Annotated

import msgspec


class Verdict(enum.StrEnum):
    """What the judging of a unit's views came to. Only ACCEPT can lead to a permit."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDECIDED = "undecided"


class Reason(enum.StrEnum):
    """Why a unit was not accepted; NONE only beside ACCEPT."""

    NONE = "none"
    DEFECT = "defect"
    DOUBTFUL = "doubtful"
    LIGHT = "light"
    LATE = "late"
    NO_IMAGE = "no_image"
    UNSYNCED = "unsynced"
    MISMATCH = "mismatch"
    TOO_CLOSE = "too_close"
    PHANTOM = "phantom"
    ENGINE_FAULT = "engine_fault"
    LINE_DOWN = "line_down"
    LINE_FAULT = "line_fault"
    NO_RECORD = "no_record"


class Outcome(enum.StrEnum):
    """Where a unit ended up, as confirmed by the eyes of the line. One per unit, for ever."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"
    SAMPLED = "sampled"
    REMOVED = "removed"
    QUARANTINED = "quarantined"
    ESCAPED = "escaped"


class Channel(enum.StrEnum):
    """Reject channel of a unit that is not accepted."""

    NONE = "none"
    CRITICAL = "critical"
    COSMETIC = "cosmetic"
    GREY = "grey"
    SAMPLE = "sample"


class LineMode(enum.StrEnum):
    """Who acts on the verdicts. Permits exist in AUTOMATIC only."""

    SHADOW = "shadow"
    PROPOSE = "propose"
    AUTOMATIC = "automatic"


class Authority(enum.IntEnum):
    """The PLC's key switch `inspection authority`, values as in the register map."""

    LEGACY = 0
    BOTH = 1
    LINEWARDEN = 2


class UnitId(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One unit on the belt. `number` is the PLC's (u32, retained, never 0), `epoch` the life it was created in."""

    epoch: int
    lane: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.lane}.{self.number}"


class FrameKey(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One frame. `session` is a random u32 of each acquisition start, `frame_id` the camera's own count."""

    camera: str
    session: int
    frame_id: int

    def __str__(self) -> str:
        return f"{self.camera}/{self.session:08x}/{self.frame_id}"


class ViewKey(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One look at a unit: which view of the recipe, which region of a frame that shows several units, which shot."""

    camera: str
    region: int = 0
    shot: int = 0

    @property
    def role(self) -> "ViewKey":
        """The view of the recipe that this is, in whichever region of a frame the unit was seen."""
        return self if not self.region else ViewKey(self.camera, 0, self.shot)


class Evidence(msgspec.Struct, frozen=True):
    """What the hardware latched with one frame (DESIGN section 4); the unit number is never among it.

    `exposed_ns` is the device timestamp mapped to CLOCK_MONOTONIC, wrong by at most `uncertainty_ns`.
    `edge_count` counts every rising trigger edge since acquisition start, `missed` those that came while busy.
    `complete` is False for a partial frame, `consistent` False where chunk and buffer information disagree.
    """

    key: FrameKey
    edge_count: int
    missed: int
    device_ts: int
    exposed_ns: int
    uncertainty_ns: int
    encoder: int
    line_status: int
    complete: bool
    consistent: bool
    received_ns: int


class Stages(msgspec.Struct, frozen=True):
    """CLOCK_MONOTONIC stamps of a unit's way, 0 where the stage did not happen (schema: report latency_ms)."""

    created_ns: int = 0
    last_edge_ns: int = 0
    frame_ns: int = 0
    inferred_ns: int = 0
    inference_ns: int = 0
    judged_ns: int = 0
    permit_ns: int = 0
    closed_ns: int = 0


class JudgedView(msgspec.Struct, frozen=True):
    """One view as `vision` judged it: the frame used, the sha256 of its raw bytes, its class scores in 0..1."""

    view: ViewKey
    key: FrameKey
    device_ts: int
    digest: str
    scores: dict[str, float]


class StopRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of equal results at which the line stops or warns; QA's numbers, signed with the recipe. 0 = rule off.

    In units in a row: `consecutive_rejects` for whatever defect and `same_defect` for one stop the line, so do
    `late_run` late verdicts; `zero_rejects_in` units without a reject raise an alarm.
    """

    consecutive_rejects: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 20
    same_defect: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 10
    late_run: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 3
    zero_rejects_in: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 5_000
